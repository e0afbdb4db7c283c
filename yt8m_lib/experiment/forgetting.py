"""Deleting all that an experiment left, and nothing else."""

import time

import mlflow

from yt8m_lib.experiment import folders, locks, registry, servers
from yt8m_lib.experiment.store import connect, database
from yt8m_lib.settings import Params


def forget(params: Params) -> str:
    """Delete all that an experiment left: its runs, artifacts, data and tables.

    Only what this program made is deleted, and links are never followed.

    Returns:
        What was deleted, and what was left, in words.

    Raises:
        FolderError: when the folder is not this program's; then nothing is deleted.
    """
    if not params.folder.exists():
        with locks.shared(params, wait=False):
            return f"{params.folder} is not there" + _forget_runs(params)
    folders.found_there(params.folder)
    with locks.lock(params, wait=False):
        runs_too = _forget_runs(params)
        deleted, left = folders.remove(params.folder)
    words = f"deleted {', '.join(deleted) or 'nothing'} in {params.folder}{runs_too}"
    return f"{words}; left what it did not make: {', '.join(left)}" if left else words


def _forget_runs(params: Params) -> str:
    address = servers.address(params)
    if not address and not database(params).exists():
        return ""
    client = mlflow.MlflowClient(tracking_uri=connect(params))
    found = client.get_experiment_by_name(params.experiment)
    if not found:
        return ""
    registry.forget(client, params.experiment)
    # MLflow keeps a deleted experiment's name taken.
    client.rename_experiment(found.experiment_id, f"{found.name}-deleted-{time.time():.0f}")
    client.delete_experiment(found.experiment_id)
    if address:
        return f", and its runs at {servers.shown(address)}, whose files `mlflow gc` there deletes"
    return ", and its runs"
