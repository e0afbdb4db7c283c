"""Writing files whole, and telling local paths from remote ones.

Only a path with ``://`` (``gs://bucket/...``) imports TensorFlow, for ``tf.io.gfile``.
"""

import glob
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yt8m_lib.errors import UserError, outside_cause


class FileError(UserError):
    """A file cannot be written; the message says which, and why."""


@contextmanager
def written_whole(path: str | Path) -> Iterator[str]:
    """Give a name to write to; when the block ends without an error, that file becomes ``path``.

    The name lies beside ``path``, whose folder is made where it is missing, and ends like it. A
    write that is killed or fails leaves ``path`` as it was, never half a file: the contents reach
    the disk before the name does. A link stays a link, and the file it leads to is replaced; a pipe
    or a device is written to as it is.

    Args:
        path: a local or remote file.

    Raises:
        FileError: when the path or the disk does not allow it.
    """
    path = str(path)
    if is_remote(path):
        yield from _remotely(path)
        return
    try:
        if is_stream(path):
            yield path
        else:
            yield from _locally(os.path.realpath(path))
    except Exception as error:
        why = outside_cause(error)
        if why is None or _is_about_another(error, path):
            raise
        raise FileError(f"{path} cannot be written: {why}") from None


def _is_about_another(error: Exception, path: str) -> bool:
    """Whether an error names a file that is neither a path, nor beside it, nor its folder."""
    if getattr(error, "filename", None) is None:
        return False
    folder = os.path.dirname(os.path.realpath(path))
    named = os.path.realpath(error.filename)
    return not (os.path.dirname(named) == folder or folder.startswith(named))


def _locally(path: str) -> Iterator[str]:
    folder, name = os.path.split(path)
    if os.path.isdir(path):
        raise FileError(f"{path} is a folder: name a file")
    os.makedirs(folder, exist_ok=True)
    beside = os.path.join(folder, f".{os.getpid()}-{name}")
    try:
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        Path(beside).unlink(missing_ok=True)


def _remotely(path: str) -> Iterator[str]:
    folder, slash, name = path.rpartition("/")
    beside = f"{folder}{slash}.{os.getpid()}-{name}"
    try:
        yield beside
        gfile().rename(beside, path, overwrite=True)
    finally:
        if gfile().exists(beside):
            gfile().remove(beside)


def check_writable(path: str | Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    Raises:
        FileError: for a folder, a file or folder that may not be written to, or an address that
            only reads.
    """
    if is_remote(str(path)):
        scheme = str(path).split("://")[0]
        if scheme not in gfile().get_registered_schemes():
            raise FileError(f"{path}: nothing can be written to {scheme}://; name a file")
        return
    if os.path.isdir(path):
        raise FileError(f"{path} is a folder: name a file")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise FileError(f"{path} may not be written to")
    if not is_stream(path):
        check_folder(os.path.dirname(os.path.realpath(path)))


def check_folder(folder: str | Path) -> None:
    """Refuse a folder in which no file can be made; one that is missing has to be possible.

    Raises:
        FileError: naming what is in the way.
    """
    there = Path(folder).absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise FileError(f"{folder} cannot be a folder: {there} is none")
    if not os.access(there, os.W_OK | os.X_OK):
        raise FileError(f"{there} may not be written to")


def matches(path: str) -> list[str]:
    """The local files and folders that a path names: itself, or what it matches as a glob.

    Whatever of it exists as it is written is taken as it is, brackets and all; only the rest is
    read as a glob.
    """
    parts = path.split("/")
    for length in range(len(parts), 0, -1):
        there = "/".join(parts[:length]) or "/"
        if os.path.exists(there):
            rest = "/".join(parts[length:])
            return (
                glob.glob(os.path.join(glob.escape(there), rest), recursive=True)
                if rest
                else [path]
            )
    return glob.glob(path, recursive=True)


def is_stream(path: str | Path) -> bool:
    """Whether a local path is written to as it is: a pipe, a device, or an open file of a process.

    ``/dev/stdout`` may lead to a file that others have written to: that one is never replaced.
    """
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    within = os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return within or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole."""
    with written_whole(path) as beside, open(beside, "w", encoding="utf-8") as file:
        file.write(text)


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; of a link the link alone."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def expanded(path: str) -> str:
    """A path as a shell would give it: ``~`` is the home folder, unless a file has that name."""
    return path if is_remote(path) or os.path.lexists(path) else os.path.expanduser(path)


def seen_from(folder: str | Path, path: str) -> str:
    """A path as it is seen from a folder; one on an object store is the same from everywhere."""
    return path if is_remote(path) else os.path.join(folder, path)


def exists(path: str) -> bool:
    """Whether a local or remote file or folder is there."""
    return gfile().exists(path) if is_remote(path) else os.path.exists(path)


def is_remote(path: str) -> bool:
    """Whether a path names an object store rather than a local file."""
    return "://" in path


def gfile() -> Any:
    """TensorFlow's file functions, for remote paths; the import takes seconds."""
    import tensorflow as tf

    return tf.io.gfile
