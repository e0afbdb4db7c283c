"""The experiment that the harness runs, and what it compares of it."""

import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from smoke_runs import TIMINGS

from torture.mutations import records_of
from yt8m_lib import params
from yt8m_lib.report import tables
from yt8m_lib.settings import ROOT

FILE = Path(__file__).with_name("torture.yaml")
NAME = FILE.stem


def command(results: Path, *more: str, action: str = "run", file: Path = FILE) -> list[str]:
    """The command line on the experiment, its results in a folder."""
    program = [sys.executable, "-m", "yt8m_lib", action, str(file)]
    return [*program, "--set", f"results={results}", *more]


def run(results: Path, *more: str, before: tuple[str, ...] = ()) -> str:
    """Run it to its end; returns what it printed.

    Args:
        results: the folder of its results.
        more: further arguments.
        before: the start of a command line that runs it, such as ``unshare --net``.

    Raises:
        AssertionError: when it fails.
    """
    program = [*before, *command(results, *more)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


def read_tables(results: Path) -> dict[str, pd.DataFrame]:
    """The paper's tables that it left, without what measures the machine."""
    settings = params.load(FILE, [f"results={results}"])
    found = dict(tables.read(settings))
    return {n: found[n].drop(columns={*TIMINGS} & {*found[n]}) for n in tables.TITLES}


def differences(one: Path, other: Path) -> list[str]:
    """Which tables of two results folders are not the same to the last bit."""
    ours, theirs, found = read_tables(one), read_tables(other), []
    for name in ours:
        try:
            pd.testing.assert_frame_equal(ours[name], theirs[name], check_exact=True, obj=name)
        except AssertionError as error:
            found.append(f"table {name}: {' '.join(str(error).split())[:300]}")
    return found


# --- Files that are whole ---


def _text(path: Path) -> None:
    path.read_text(encoding="utf-8")


def _npz(path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            arrays[name]


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None


def _png(path: Path) -> None:
    assert path.read_bytes().rstrip(b"\0").endswith(b"IEND\xaeB`\x82")


def _shard(path: Path) -> None:
    assert records_of(path.read_bytes())[1]


WHOLE: dict[str, Callable] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".csv": pd.read_csv,
    ".npz": _npz,
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".keras": _zip,
    ".png": _png,
    ".md": _text,
    ".tfrecord": _shard,
}


def half_written(results: Path) -> list[str]:
    """Files that a reader would take as finished and that are not whole.

    Looked at are stand-in data, soft targets, tables and the artifacts of finished runs, and the
    database itself. Left out is what nobody reads as finished: names that begin with a dot, scratch
    folders, artifacts of runs that are not finished, and executed notebooks.
    """
    folder, database = results / NAME, results / "mlflow.db"
    places = [folder / name for name in ("data", "soft_targets", "tables")]
    found = []
    if database.exists() and database.stat().st_size:
        with sqlite3.connect(database, timeout=60) as store:
            (verdict,) = store.execute("pragma integrity_check").fetchone()
            found += [] if verdict == "ok" else [f"{database}: {verdict}"]
            places += _finished(store, folder)
    for place in places:
        for path in sorted(place.rglob("*")):
            check = WHOLE.get(path.suffix)
            if check and path.is_file() and not path.name.startswith("."):
                found += _problem(path, check)
    return found


def _finished(store: sqlite3.Connection, folder: Path) -> list[Path]:
    try:
        rows = store.execute("select run_uuid from runs where status = 'FINISHED'").fetchall()
    except sqlite3.OperationalError:  # killed before MLflow had made its tables
        return []
    return [folder / "artifacts" / run / "artifacts" for (run,) in rows]


def _problem(path: Path, check: Callable) -> list[str]:
    try:
        check(path)
    except FileNotFoundError:  # an orphaned kernel works on, and has just replaced it
        return []
    except Exception as error:  # whatever a half file does to its reader
        return [f"{path.name} is not whole: {type(error).__name__}: {error}"]
    return []
