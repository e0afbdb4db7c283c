"""A real PostgreSQL and a real server of MLflow on loopback, for the tests of a shared store."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "of-a-database-that-lives-for-one-test"
USER = "yt8m"
ALONE = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
SECONDS = 120  # for a server to come up on a busy machine


@dataclass(frozen=True)
class Served:
    """Where they listen.

    Attributes:
        database: address of the database, without its password.
        server: address of the server.
        files: the folder that the server keeps artifacts in.
    """

    database: str
    server: str
    files: Path


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextmanager
def running() -> Iterator[Served]:
    """Both, until the block ends, however it ends; skips the test where one cannot be had."""
    pytest.importorskip("psycopg", reason="no psycopg: pip install -e '.[postgres]'")
    with _postgres() as database, tempfile.TemporaryDirectory() as files:
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
        command += ["--serve-artifacts", "--artifacts-destination", files, "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with _started(command, env=os.environ | ALONE | {"PGPASSWORD": PASSWORD}) as process:
            address = f"http://127.0.0.1:{port}"
            _until(lambda: urllib.request.urlopen(f"{address}/health", timeout=5), process)
            yield Served(database, address, Path(files))


@contextmanager
def _postgres() -> Iterator[str]:
    postgres, initdb = _binary("postgres"), _binary("initdb")
    if not (postgres and initdb):
        pytest.skip("no PostgreSQL: neither on PATH nor under /usr/lib/postgresql")
    who = _other_user()
    folder, port = Path(tempfile.mkdtemp(prefix="yt8m-postgres-")), free_port()
    try:
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            if who:
                shutil.chown(path, who["user"], who["group"])
        made = [initdb, "-D", str(folder / "data"), "-U", USER, "--auth=scram-sha-256"]
        made += ["--pwfile", str(folder / "password"), "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, capture_output=True, cwd="/", **who)
        command = [postgres, "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with _started(command, **who) as process:
            _until(lambda: _connected(port), process)
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> str | None:
    there = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return shutil.which(name) or (there[-1] if there else None)


def _other_user() -> dict[str, Any]:
    """As whom PostgreSQL runs, which refuses root."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is neither `postgres` nor `nobody`")


def _connected(port: int) -> None:
    import psycopg

    address = {"host": "127.0.0.1", "port": port, "dbname": "postgres"}
    psycopg.connect(user=USER, password=PASSWORD, **address).close()


@contextmanager
def _started(command: list[str], **how: Any) -> Iterator[subprocess.Popen]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd="/", start_new_session=True, **how
        )
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read()[-3000:].decode(errors="replace"))
            raise
        finally:
            _stopped(process)


def _stopped(process: subprocess.Popen) -> None:
    """End a server with all that it started, which are a session of their own."""
    for signal in (15, 9):
        try:
            os.killpg(process.pid, signal)
            process.wait(timeout=20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _until(works: Any, process: subprocess.Popen) -> None:
    """Try until something works; fails where it does not, or its server ended."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            return works()
        except Exception as error:
            assert process.poll() is None, f"{process.args[0]} ended with {process.returncode}"
            assert time.monotonic() < until, f"{process.args[0]} does not answer: {error}"
            time.sleep(0.3)
