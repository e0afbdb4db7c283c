"""The store of runs: MLflow's database in the results folder, unless a server is asked for.

That database is made once, checked, and moved along with its folder.

Where a run's files lie follows from the results folder, never from what the database says: results
that were copied are read and written in the copy. The database is told of the new place for those
who look at it with ``make ui``.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from yt8m_lib.experiment import servers
from yt8m_lib.experiment.servers import StoreError
from yt8m_lib.files import check_folder, written_whole
from yt8m_lib.settings import ROOT, Params

ARTIFACTS = "artifacts"
# MLflow prints a bar for every file that it fetches, and a run's address when it ends.
QUIET = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PLACES = """SELECT experiment_id, name, artifact_location FROM experiments
    WHERE lifecycle_stage = 'active'"""
MOVES = (
    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
    "UPDATE runs SET artifact_uri = ? || '/' || run_uuid || '/artifacts' WHERE experiment_id = ?",
)


def database(params: Params) -> Path:
    """The file with all runs of a results folder."""
    return Path(os.path.abspath(ROOT / params.results)) / "mlflow.db"


def connect(params: Params) -> str:
    """Point MLflow at the store of runs; that of the results folder is made if need be.

    Returns:
        Its address.

    Raises:
        StoreError: when the database is damaged, or a server does not answer.
    """
    path, address = database(params), servers.address(params)
    check_folder(path.parent)
    if address:
        servers.check(address)
        _point_mlflow_at(address)
        return address
    if params.tracking.artifacts:
        raise StoreError(
            "tracking.artifacts is given, but runs are recorded in the results folder, where their "
            f"files are, too: give `tracking.uri` or {servers.VARIABLE} with it, or take it out"
        )
    with exclusively(path.parent):
        if not path.exists():
            _create(path)
        _check(path, path.stat().st_ino)
        _move_along(path)
    _point_mlflow_at(_address(path))
    return _address(path)


def _point_mlflow_at(address: str) -> None:
    """Let functions of MLflow that are not told another store use this one, in this process."""
    given = os.environ.get(servers.VARIABLE)
    mlflow.set_tracking_uri(address)
    # MLflow notes it there, where our notebooks would take it for what the user asked for.
    os.environ.pop(servers.VARIABLE, None)
    if given is not None:
        os.environ[servers.VARIABLE] = given
    for quiet, value in QUIET.items():
        os.environ.setdefault(quiet, value)


@contextmanager
def exclusively(results: Path) -> Iterator[None]:
    """Alone among the processes that open this results folder: its database is made but once."""
    results.mkdir(parents=True, exist_ok=True)
    with open(results / "mlflow.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def artifacts(params: Params, run_id: str) -> Path:
    """Where a run's files lie, in a results folder with a database of its own."""
    return params.folder / ARTIFACTS / run_id / "artifacts"


def create_experiment(client: mlflow.MlflowClient, params: Params) -> str:
    """Find or make an experiment by its name; returns MLflow's identifier.

    Raises:
        StoreError: when a server has one of this name that was deleted, or will not make one.
    """
    path, address = database(params), servers.address(params)
    with exclusively(path.parent):
        found = client.get_experiment_by_name(params.experiment)
        if address:
            found = found or _create_on_server(client, params, address)
            return _usable(found, address)
        if found:
            return found.experiment_id
        place = _place(path.parent, params.experiment)
        return client.create_experiment(params.experiment, artifact_location=place)


def _create_on_server(client: mlflow.MlflowClient, params: Params, address: str) -> Experiment:
    try:
        place = servers.place_of_files(params, address)
        client.create_experiment(params.experiment, artifact_location=place)
    except MlflowException as error:
        # Another machine may have been as quick.
        if not client.get_experiment_by_name(params.experiment):
            raise StoreError(f"{servers.shown(address)}: {error.message}") from None
    return client.get_experiment_by_name(params.experiment)


def _usable(found: Experiment, address: str) -> str:
    if found.lifecycle_stage == "active":
        return found.experiment_id
    raise StoreError(
        f"{servers.shown(address)}: the experiment {found.name} was deleted there. Restore it "
        f"(mlflow experiments restore --experiment-id {found.experiment_id}), or choose another "
        "`experiment`"
    )


def _create(path: Path) -> None:
    """Make the database under another name: a process that is killed leaves none or a whole one."""
    with written_whole(path) as beside:
        store = SqlAlchemyStore(_address(Path(beside)), str(path.parent))
        store.engine.dispose()


@cache
def _check(path: Path, inode: int) -> None:
    """Refuse a damaged database; once a process, since large ones take a moment."""
    try:
        with closing(_open(path)) as file:
            (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
            file.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise StoreError(
            f"{path} is damaged ({verdict}). Put back a copy of it, or move it away: then "
            "everything in this results folder is made again."
        )


def _move_along(path: Path) -> None:
    """Tell the database where its experiments' files lie, where it names another folder."""
    with closing(_open(path)) as file, file:
        for number, name, old in file.execute(PLACES).fetchall():
            new = _place(path.parent, name)
            own = Path(_local(old)).parts[-2:] == (name, ARTIFACTS)
            if own and os.path.realpath(_local(old)) != os.path.realpath(_local(new)):
                words = f"{name}: its results lie in {path.parent} now, not where they were made"
                print(words, file=sys.stderr, flush=True)
                for statement in MOVES:
                    file.execute(statement, (new, number))


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=60)


def _address(path: Path) -> str:
    """MLflow's address of a database, in which ``%``, ``?`` and ``#`` of a path are quoted."""
    return f"sqlite:///{quote(str(path))}"


def _place(results: Path, experiment: str) -> str:
    """The address of an experiment's artifacts."""
    return (results / experiment / ARTIFACTS).as_uri()


def _local(address: str) -> str:
    """The path behind an address of artifacts; older ones are plain paths."""
    return unquote(urlsplit(address).path) if address.startswith("file:") else address
