"""Shards by name: paths, globs and lists of them.

A path is a path: whatever exists as it is written is taken as it is, brackets and all, and only the
rest is read as a glob. Free of TensorFlow for local files.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from yt8m_lib.errors import UserError
from yt8m_lib.files import gfile, is_remote, matches


class DataError(UserError):
    """Data that cannot be used; the message says what, where, and what to do."""


def find(pattern: str, exclude: Collection[str] = (), start: str | Path = "") -> list[str]:
    """The shards that a path, a glob or a list names, sorted.

    Args:
        pattern: local or ``gs://``. A name that ends in ``.txt`` is a list of shards, one a line;
            names in it are seen from the list, empty lines and lines that begin with ``#`` count
            for nothing.
        exclude: shards to leave out: file names, or paths where there is a ``/`` in them.
        start: the folder that a relative pattern is seen from; "" is the working directory.

    Raises:
        DataError: when no shard is left, or a list names what is not there, or a shard twice.
    """
    if is_remote(pattern):
        found = _read_list(pattern) if pattern.endswith(".txt") else _on_a_store(pattern)
    else:
        found = _on_disk(_seen_from(start, pattern))
    out = {exact(_seen_from(start, e)) if "/" in e else e for e in exclude}
    files = sorted(file for file in found if not {base_name(file), exact(file)} & out)
    if not files:
        why = "every match is excluded" if found else "nothing matches it"
        seen = f" (seen from {start})" if start and pattern[0] not in "/~" else ""
        raise DataError(f"no shard at {pattern!r}{seen}: {why}. Check the glob and `data.exclude`.")
    for file in files:
        if file.encode(errors="ignore").decode() != file:
            raise DataError(f"{file!r}: the name is no UTF-8 text: rename the file or folder")
    return files


def exact(path: str) -> str:
    """The one path of a file, however many links lead to it."""
    return path if is_remote(path) else os.path.realpath(path)


def base_name(path: str) -> str:
    """The last part of a local or remote path."""
    return path.rsplit("/", 1)[-1]


def open_file(path: str) -> BinaryIO:
    """Open a local or remote file for reading bytes."""
    return gfile().GFile(path, "rb") if is_remote(path) else open(path, "rb")


def size_of(path: str) -> int:
    """How many bytes a local or remote file has."""
    return gfile().stat(path).length if is_remote(path) else os.stat(path).st_size


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Name a path in what its file system refuses.

    Raises:
        DataError: in place of such an error.
    """
    outside: tuple[type[Exception], ...] = (OSError,)
    if is_remote(path):
        import tensorflow as tf

        outside = (OSError, tf.errors.OpError)
    try:
        yield
    except outside as error:
        what = getattr(error, "strerror", None) or getattr(error, "message", error)
        raise DataError(f"{path} cannot be read: {what}") from None


def _on_disk(path: str) -> list[str]:
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder: give the shards in it, as '{path}/*.tfrecord'")
    if os.path.exists(path) and path.endswith(".txt"):
        return _read_list(path)
    found = matches(path)
    files = [match for match in found if not os.path.isdir(match)]
    if found and not files:
        raise DataError(f"{path} matches folders alone, such as {found[0]}: give their shards")
    return files


def _seen_from(start: str | Path, path: str) -> str:
    """A path seen from a folder; ``~`` is the home folder, unless something there is called so."""
    if not os.path.lexists(os.path.join(start, path.split("/")[0])):
        path = os.path.expanduser(path)
    return os.path.join(start, path)


def _on_a_store(pattern: str) -> list[str]:
    """The files of an object store that match."""
    scheme = pattern.split("://")[0]
    if scheme not in gfile().get_registered_schemes() or scheme in ("http", "https"):
        raise DataError(
            f"{pattern}: shards are not read from {scheme}://; fetch them first and give their path"
        )
    with readable(pattern):
        return [pattern] if gfile().exists(pattern) else gfile().glob(pattern)


def _read_list(path: str) -> list[str]:
    """The shards that a list names, in its order."""
    with readable(path), open_file(path) as stream:
        raw = stream.read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: a list of shards is UTF-8 text, and this is not") from None
    first: dict[str, int] = {}
    files = []
    for number, file in _lines(path, text):
        if first.setdefault(exact(file), number) != number:
            raise DataError(
                f"{path}: lines {first[exact(file)]} and {number} name the same shard, {file}: "
                "leave one out"
            )
        files.append(file)
    return files


def _lines(path: str, text: str) -> Iterator[tuple[int, str]]:
    """The shards that the lines of a list name, with the lines' numbers."""
    folder = os.path.dirname(path)
    for number, line in enumerate(text.split("\n"), 1):
        name = line.removesuffix("\r")
        if not name.strip() or name.startswith("#"):
            continue
        file = name if is_remote(name) else _beside(folder, name)
        if not is_remote(file) and not os.path.isfile(file):
            what = "a folder" if os.path.isdir(file) else "not there"
            raise DataError(f"{path}, line {number}: {file} is {what}; a line names one shard")
        yield number, file


def _beside(folder: str, name: str) -> str:
    """A name in a list as a path; blanks at its ends count where the file is called so."""
    as_written = f"{folder}/{name}" if folder and not name.startswith("/") else name
    if is_remote(as_written) or os.path.exists(as_written):
        return as_written
    return _seen_from(folder, name.strip())
