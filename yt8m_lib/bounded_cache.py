"""Files that were fetched from elsewhere, kept in a folder of bounded size for all processes.

What was not used for longest goes first. An entry, a file or a folder, appears whole. While it is
read it stays: whoever was given it holds a shared lock on it, which the operating system gives back
when the process ends, and only what nobody holds goes.
"""

import fcntl
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from yt8m_lib.files import delete


class BoundedCache:
    """A folder of entries, each under a key of three parts such as ``run/0/model.keras``.

    Args:
        folder: made if need be; several processes may share it.
        limit: bytes that entries take together. One larger than that is kept until the next.
        held: how many entries this process may be reading at once, whatever they take.
    """

    def __init__(self, folder: Path, limit: int, held: int = 1):
        self.folder, self.limit, self.held = folder, limit, held
        self._held: OrderedDict[str, int] = OrderedDict()  # open descriptors, the last used last
        self._threads = Lock()

    def get(self, key: str, fetch: Callable[[Path], Path]) -> Path:
        """An entry, fetched where it is not here; others that want it meanwhile wait for it.

        It stays until this process has asked for ``held`` others, and half the bound together.

        Args:
            key: of the entry.
            fetch: puts it into a folder that it is given, and says where in it.
        """
        while not self._hold(key):
            with self._alone(key) as beside:
                if not self._hold(key):
                    self._place(key, fetch(beside))
        return self.folder / key

    @contextmanager
    def _alone(self, key: str) -> Iterator[Path]:
        """A fresh folder to fetch an entry into, for one process and thread at a time."""
        name = key.replace("/", "-")
        lock = self._lock_of(f"{key}.fetching")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            beside = self.folder / ".fetching" / name
            delete(beside)  # a killed process's
            beside.mkdir(parents=True)
            yield beside
            delete(beside)
        finally:
            os.close(lock)

    def put(self, key: str, path: Path) -> None:
        """Keep a file of a scratch folder, which is moved, as the entry of a key."""
        self._place(key, path)

    def scratch(self) -> Path:
        """A fresh folder to make an entry in; whoever asked deletes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The sweep of an experiment's folder deletes it when this process was killed.
        return Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{os.getpid()}-"))

    def _place(self, key: str, made: Path) -> None:
        """Move an entry to its place; one that another process put there meanwhile is as good."""
        place = self.folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        os.utime(made, (time.time(), made.stat().st_mtime))
        try:
            os.replace(made, place)
        except OSError:
            if not place.is_dir():  # a folder does not replace another
                raise
        self._hold(key)
        self._make_room()

    def _hold(self, key: str) -> bool:
        """Take hold of an entry, and note when it was used; False when it is not there."""
        place, lock = self.folder / key, self._lock_of(key)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not place.exists():
            os.close(lock)
            return False
        os.utime(place, (time.time(), place.stat().st_mtime))
        with self._threads:
            self._let_go(key)
            self._held[key] = lock
            self._let_go_of_older()
        return True

    def _lock_of(self, key: str) -> int:
        """An open lock of an entry: a file beside the entries, which stays when the entry goes."""
        locks = self.folder / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        return os.open(locks / key.replace("/", "-"), os.O_RDWR | os.O_CREAT, 0o666)

    def _let_go_of_older(self) -> None:
        """Hold no more than half the bound; the last ``held`` entries in any case."""
        taken = 0
        for number, key in enumerate(reversed(list(self._held))):
            taken += _size(self.folder / key)
            if number >= self.held and taken > self.limit / 2:
                self._let_go(key)

    def _let_go(self, key: str) -> None:
        descriptor = self._held.pop(key, None)
        if descriptor is not None:
            os.close(descriptor)

    def _make_room(self) -> None:
        """Delete what was not used for longest and nobody holds, down to the bound."""
        with open(self.folder / ".locks" / ".all", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = {path: _size(path) for path in self.folder.glob("[!.]*/*/*")}
            total = sum(entries.values())
            for path in sorted(entries, key=_last_used):
                if total > self.limit and self._remove(path):
                    total -= entries[path]

    def _remove(self, path: Path) -> bool:
        """Delete an entry, at once for all who look for it; False where somebody holds it."""
        lock = self._lock_of(str(path.relative_to(self.folder)))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            beside = self.scratch()
            with suppress(FileNotFoundError):
                os.replace(path, beside / path.name)
            delete(beside)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for what is gone."""
    with suppress(FileNotFoundError):
        if path.is_dir():
            return sum(_size(inside) for inside in path.iterdir())
        return path.stat().st_size
    return 0


def _last_used(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_atime
    return 0.0
