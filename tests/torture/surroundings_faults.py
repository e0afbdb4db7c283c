"""Faults of surroundings: disks full or read-only, other users, ports, no network."""

import os
import re
import socket
import subprocess
import sys
import time

import psutil

from torture import experiment
from torture.data_faults import shard
from torture.faults import (
    ROOT,
    SkippedError,
    Workshop,
    experiment_folder,
    fault,
    refused,
    works,
)

NOBODY = 65534
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def _predict(workshop: Workshop) -> str:
    model = experiment_folder(workshop.finished) / "model"
    return f"$yt8m predict '{model}' '{shard(workshop.folder / 'a.tfrecord')}'"


@fault("full disk under `predict`", "`--output` on a full tmpfs", "one line, nothing left there")
def full_disk_predict(workshop: Workshop) -> None:
    fill = 'head -c 1M /dev/zero > "$disk/filled" 2>/dev/null; '
    script = f'{fill} {_predict(workshop)} --output "$disk/out.csv"; ended=$?; '
    ended = workshop.with_full_disk(64, script + 'echo "left: $(ls -A "$disk")"; exit $ended')
    refused(ended, "out.csv")
    assert "left: filled\n" in ended.printed + "\n", ended.printed[-300:]


@fault(
    "full disk under `run`", "results on a tmpfs too small for the data", "one line, no half file"
)
def full_disk_run(workshop: Workshop) -> None:
    run = f"$yt8m run '{experiment.FILE}' --set results=\"$disk\"; ended=$?; "
    left = 'find "$disk" -name ".[0-9]*"; exit $ended'
    ended = workshop.with_full_disk(800, run + left)
    assert ended.status == 1 and "Traceback" not in ended.printed, ended.printed[-600:]
    # The disk's words for it, or the database's.
    assert re.search("no space left|disk is full", ended.printed), ended.printed[-600:]


@fault("full disk under a notebook", "results with no room left, a teacher again", "one message")
def full_disk_notebook(workshop: Workshop) -> None:
    size = sum(path.stat().st_size for path in workshop.finished.rglob("*") if path.is_file())
    copy = f'cp -r \'{workshop.finished}/.\' "$disk"; head -c 9G /dev/zero > "$disk/filled"; '
    more = "--only teachers --models logistic --force"
    run = f"$yt8m run '{experiment.FILE}' --set results=\"$disk\" {more}"
    ended = workshop.with_full_disk(size // 1024 + 2000, copy + run)
    assert ended.status == 1 and "Traceback" not in ended.printed, ended.printed[-600:]


@fault("read-only results", "results on a read-only disk", "one line that names the folder")
def read_only(workshop: Workshop) -> None:
    script = f"$yt8m run '{experiment.FILE}' --set results=\"$disk/results\" --only data"
    refused(workshop.mounted("-o ro", script), "disk")


@fault("read-only finished results", "`tables` where the disk is read-only", "the tables are shown")
def read_only_tables(workshop: Workshop) -> None:
    bind = f'mount --bind \'{workshop.results()}\' "$disk" && mount -o remount,ro,bind "$disk"'
    script = f"{bind} && $yt8m tables '{experiment.FILE}' --set results=\"$disk\""
    works(workshop.mounted("", script), "Table 4")


def _as_nobody(workshop: Workshop, *arguments: object):
    if os.getuid():
        raise SkippedError("only root can work as another user")
    readable = [sys.executable, "-c", "import numpy, yt8m_lib"]
    home = {"HOME": "/nonexistent"}
    try:
        status = workshop.process(readable, home, user=NOBODY, group=NOBODY, extra_groups=[]).status
    except PermissionError:
        status = 1
    if status:
        raise SkippedError("another user cannot read the project or its Python here")
    workshop.folder.chmod(0o755)
    program = [sys.executable, "-m", "yt8m_lib", *map(str, arguments)]
    return workshop.process(program, home, user=NOBODY, group=NOBODY, extra_groups=[])


@fault("another user's results", "run as another user", "one line that names the folder")
def another_user(workshop: Workshop) -> None:
    where = ("--set", f"results={workshop.results()}", "--only", "data")
    refused(_as_nobody(workshop, "run", experiment.FILE, *where), "results")


@fault("another user's checkout", "run with results of one's own, without a home", "it works")
def another_users_checkout(workshop: Workshop) -> None:
    results = workshop.folder / "own"
    results.mkdir()
    results.chmod(0o777)
    where = ("--set", f"results={results}", "--only", "data")
    works(_as_nobody(workshop, "run", experiment.FILE, *where))


@fault("plain locale", "run under LC_ALL=C in a folder named Übung", "it works")
def plain_locale(workshop: Workshop) -> None:
    env = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": ""}
    works(workshop.run(workshop.folder / "Übung", "--only", "data", env=env))


@fault("port taken", "`make ui` where port 5000 is taken", "it ends and says so; no other port")
def port_taken(workshop: Workshop) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 5000))
        except OSError:
            raise SkippedError("port 5000 is in use here already") from None
        taken.listen()
        command = ["timeout", "120", "make", "-o", ".venv/ready", "ui"]
        ended = workshop.process(command)
    assert ended.status not in (0, 124), f"ended with {ended.status}: {ended.printed[-300:]}"
    assert "port 5000 is in use" in ended.printed, ended.printed[-300:]


@fault("servers", "what listens while a notebook runs", "sockets on loopback alone")
def servers(workshop: Workshop) -> None:
    run = subprocess.Popen(
        experiment.command(workshop.folder / "results", "--only", "data"),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seen = set()
    while run.poll() is None:
        try:
            family = [psutil.Process(run.pid)]
            family += family[0].children(recursive=True)
            for process in family:
                seen |= {
                    one.laddr.ip
                    for one in process.net_connections("inet")
                    if one.status == psutil.CONN_LISTEN
                }
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
    assert run.returncode == 0, run.returncode
    assert seen, "no kernel was seen to listen"
    assert seen <= {*LOOPBACK}, f"listens on {seen}"


@fault("no network", "the whole experiment with nothing but loopback", "the same tables")
def no_network(workshop: Workshop) -> None:
    cut = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    if workshop.process([*cut, "true"]).status:
        raise SkippedError("cutting the network is not permitted here")
    results = workshop.folder / "results"
    experiment.run(results, before=cut)
    assert not (found := experiment.differences(results, workshop.finished)), found
