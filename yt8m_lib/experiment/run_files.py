"""The files of one run: in a folder of its own, or wherever a server of MLflow keeps them.

Whoever reads a file asks for its path. From a server it is fetched into a cache on this machine
first; what is written goes there once it is whole, and stays in that cache for who reads it next.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mlflow
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from typing_extensions import override

from yt8m_lib.bounded_cache import BoundedCache
from yt8m_lib.experiment import servers, store
from yt8m_lib.files import delete, written_whole
from yt8m_lib.settings import Params


class RunFiles(ABC):
    """What a run logged, by name."""

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all files and folders that the run logged, but not of those in folders."""

    def has(self, name: str) -> bool:
        """Whether the run logged a file or folder of this name."""
        return name in self.names()

    def are_there(self) -> bool:
        """Whether they still are: somebody may have deleted them all."""
        return bool(self.names())

    @abstractmethod
    def path(self, name: str) -> Path:
        """Where a file or folder that was logged can be read; at once, for it may go again."""

    @abstractmethod
    def writing(self, name: str) -> Iterator[Path]:
        """Give a path to write to; when the block ends without an error, that file is logged."""

    @abstractmethod
    def add(self, path: Path, folder: str = "") -> None:
        """Log a file, or all that is in a folder, below a folder of the run's."""


class InFolder(RunFiles):
    """The files of a run of the results folder; they move along with it."""

    def __init__(self, folder: Path):
        self.folder = folder

    @override
    def names(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()] if self.are_there() else []

    @override
    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    @override
    def are_there(self) -> bool:
        return self.folder.exists()

    @override
    def path(self, name: str) -> Path:
        return self.folder / name

    @override
    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with written_whole(self.folder / name) as beside:
            yield Path(beside)

    @override
    def add(self, path: Path, folder: str = "") -> None:
        if path.is_dir():
            shutil.copytree(path, self.folder / folder, dirs_exist_ok=True)
            return
        with written_whole(self.folder / folder / path.name) as beside:
            shutil.copyfile(path, beside)


class Remote:
    """What the files of all runs of a store share: its client, their names, the cache.

    Args:
        address: of the server or database.
        folder: of the cache.
        limit: bytes that the cache may take.
    """

    def __init__(self, address: str, folder: Path, limit: int):
        self.client, self.cache = (
            mlflow.MlflowClient(tracking_uri=address),
            BoundedCache(folder, limit),
        )
        self._address = address
        self._repositories: dict[str, ArtifactRepository] = {}
        self._listed: dict[tuple[str, int], list[str]] = {}

    def repository(self, run_id: str) -> ArtifactRepository:
        """Where a run's files are read: MLflow's client asks five times for a file, this twice."""
        if run_id not in self._repositories:
            place = self.client.get_run(run_id).info.artifact_uri
            self._repositories[run_id] = get_artifact_repository(place, self._address)
        return self._repositories[run_id]

    def names(self, run_id: str, revision: int) -> list[str]:
        """What a run logged, asked for once a revision of it."""
        if (run_id, revision) not in self._listed:
            found = self.repository(run_id).list_artifacts()
            self._listed[run_id, revision] = [file.path for file in found]
        return self._listed[run_id, revision]

    def forget_names(self, run_id: str) -> None:
        """Ask anew what a run logged: it has just logged something."""
        self._listed = {key: names for key, names in self._listed.items() if key[0] != run_id}


class OnServer(RunFiles):
    """The files of a run behind MLflow's client.

    Args:
        remote: the store.
        run_id: of the run.
        revision: how often the run was measured again: its files differ between revisions.
    """

    def __init__(self, remote: Remote, run_id: str, revision: int):
        self._remote, self._run_id, self._revision = remote, run_id, revision

    @override
    def names(self) -> list[str]:
        return self._remote.names(self._run_id, self._revision)

    @override
    def path(self, name: str) -> Path:
        logged, _, inside = name.partition("/")  # a folder is fetched whole

        def fetch(folder: Path) -> Path:
            found = self._remote.repository(self._run_id)
            return Path(found.download_artifacts(logged, str(folder)))

        return self._remote.cache.get(self._key(logged), fetch) / inside

    @override
    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        folder = self._remote.cache.scratch()
        try:
            yield folder / name
            self.add(folder / name)
            self._remote.cache.put(self._key(name), folder / name)
        finally:
            delete(folder)

    @override
    def add(self, path: Path, folder: str = "") -> None:
        log = (
            self._remote.client.log_artifacts if path.is_dir() else self._remote.client.log_artifact
        )
        log(self._run_id, str(path), folder or None)
        self._remote.forget_names(self._run_id)

    def _key(self, name: str) -> str:
        return f"{self._run_id}/{self._revision}/{name}"


def files_of(params: Params, run_id: str, revision: int = 0) -> RunFiles:
    """The files of a run, wherever the store of these settings keeps them."""
    address = servers.address(params)
    if address is None:
        return InFolder(store.artifacts(params, run_id))
    remote = _remote(address, params.folder / "fetched", params.tracking.cache_bytes)
    return OnServer(remote, run_id, revision)


@cache
def _remote(address: str, folder: Path, limit: int) -> Remote:
    return Remote(address, folder, limit)
