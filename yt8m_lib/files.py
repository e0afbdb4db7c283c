"""Writing files whole, and telling local paths from remote ones.

Only a path with ``://`` (``gs://bucket/...``) imports TensorFlow, for ``tf.io.gfile``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: str | Path) -> Iterator[str]:
    """Give a name to write to; when the block ends without an error, that file becomes ``path``.

    The name lies beside ``path``, whose folder is made where it is missing, and ends like it. A
    write that is killed or fails leaves ``path`` as it was, never half a file: the contents reach
    the disk before the name does.

    Args:
        path: a local or remote file.
    """
    folder, slash, name = str(path).rpartition("/")
    beside = f"{folder}{slash}.{os.getpid()}-{name}"
    if is_remote(beside):
        yield from _remotely(beside, str(path))
        return
    os.makedirs(folder or ".", exist_ok=True)
    try:
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        Path(beside).unlink(missing_ok=True)


def _remotely(beside: str, path: str) -> Iterator[str]:
    try:
        yield beside
        gfile().rename(beside, path, overwrite=True)
    finally:
        if gfile().exists(beside):
            gfile().remove(beside)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole."""
    with written_whole(path) as beside, open(beside, "w", encoding="utf-8") as file:
        file.write(text)


def is_remote(path: str) -> bool:
    """Whether a path names an object store rather than a local file."""
    return "://" in path


def gfile() -> Any:
    """TensorFlow's file functions, for remote paths; the import takes seconds."""
    import tensorflow as tf

    return tf.io.gfile
