"""A folder of copies that never outgrows a bound: what was not used for longest goes first.

Processes of one machine may share a folder: a file is copied by one of them while the others wait
for it, and a file that is in use stays. Nothing here knows what is copied, or from where.
"""

import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO

HELD = 32  # files that a process was given last, and may be about to open
_BUCKETS = 64  # of keys that wait for each other's copying


class BoundedCache:
    """Copies of files by key.

    The bound holds for finished copies; each process adds the one that it is copying. It is
    exceeded, too, as long as more than that is in use: by a process that has a copy open under a
    lock, which is the case for the last ``held`` that it was given.

    Args:
        folder: where the copies lie, made where it is missing; nothing else belongs in it.
        max_bytes: of all copies together.
        held: how many copies a process may be about to open, or still be reading.
    """

    def __init__(self, folder: str | Path, max_bytes: int, held: int = HELD):
        self.folder, self.max_bytes, self.held = Path(folder), max_bytes, held
        self.folder.mkdir(parents=True, exist_ok=True)
        self._in_use: deque[IO[bytes]] = deque()
        self._threads = Lock()

    def get(self, key: str, fetch: Callable[[Path], object]) -> Path:
        """The local copy of what a key names, made now where there is none.

        Args:
            key: names what is copied, and changes when that changes.
            fetch: writes the copy to the path that it is given; when it raises, nothing is kept.

        Returns:
            The copy's path. It is only to be read, and to be opened soon: it may go when ``held``
            others were given to this process.
        """
        name = self._name(key)
        path = self.folder / name
        if self._used(path):
            return path
        with self._locked(f"copying-{int(name[:8], 16) % _BUCKETS}"):
            while not self._used(path):  # another process may have made it, or made room of it
                beside = self.folder / f".{name}.part"  # of a killed process, where there is one
                try:
                    fetch(beside)
                    self._take_in(beside, path)
                finally:
                    beside.unlink(missing_ok=True)
        return path

    @property
    def nbytes(self) -> int:
        """The size of all finished copies."""
        return sum(size for _, size, _ in self._copies())

    def _name(self, key: str) -> str:
        """A file name for a key: a hash, and the end of the key for people who look."""
        plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in os.path.basename(key))
        return f"{hashlib.sha256(key.encode()).hexdigest()[:24]}-{plain[-80:]}"

    def _used(self, path: Path) -> bool:
        """Note that a copy is used now; False where it is not there."""
        try:
            file = open(path, "rb")  # noqa: SIM115 - open as long as it is in use
        except FileNotFoundError:
            return False
        fcntl.flock(file, fcntl.LOCK_SH)
        if not _is_at(file, path):  # it went in between
            file.close()
            return False
        os.utime(path)
        with self._threads:
            self._in_use.append(file)
            if len(self._in_use) > self.held:
                self._in_use.popleft().close()
        return True

    def _take_in(self, beside: Path, path: Path) -> None:
        with self._locked("room"):
            self._make_room(beside.stat().st_size)
            os.replace(beside, path)

    def _make_room(self, needed: int) -> None:
        """Delete the copies that were not used for longest and are not in use."""
        copies = sorted(self._copies())
        total = needed + sum(size for _, size, _ in copies)
        for _, size, path in copies:
            if total <= self.max_bytes:
                return
            if _delete_unused(path):
                total -= size

    def _copies(self) -> Iterator[tuple[int, int, Path]]:
        """When each finished copy was last used, its bytes and its path."""
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if not path.name.startswith("."):
                    about = path.stat()
                    yield about.st_mtime_ns, about.st_size, path

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with open(self.folder / f".{name}.lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _delete_unused(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one that a path leads to."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False
