"""Shards of an object store, read from copies on the local disk where ``data.cache_folder`` is set.

A shard is copied whole when it is first opened and read from the copy in later epochs; those not
read for longest make room for others (``data.cache_bytes``). What is larger than that is read in
place.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from yt8m_lib.bounded_cache import BoundedCache
from yt8m_lib.files import is_remote, seen_from
from yt8m_lib.settings import ROOT, Data


def nearest_copy(data: Data) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function, for input pipelines, of a shard's path that gives the path to read it from."""
    if data.cache_folder is None:
        return lambda path: path
    cache = BoundedCache(seen_from(ROOT, data.cache_folder), data.cache_bytes)

    def local(path: bytes) -> np.ndarray:
        return np.array(copy_of(path.decode(), cache).encode(), object)

    return lambda path: tf.ensure_shape(tf.numpy_function(local, [path], tf.string), [])


def copy_of(path: str, cache: BoundedCache) -> str:
    """The local copy of a remote shard; the path itself for a local one, or where there is none.

    Whatever keeps a shard from being copied (a full disk, say) leaves it to be read in place, where
    what is wrong with the shard itself is found and named.
    """
    if not is_remote(path):
        return path
    try:
        about = tf.io.gfile.stat(path)
        if about.length > cache.max_bytes:
            return path
        key = f"{about.length} {about.mtime_nsec} {path}"
        return str(cache.get(key, lambda to: _copy(path, to)))
    except (tf.errors.OpError, OSError):
        return path


def _copy(path: str, to: Path) -> None:
    tf.io.gfile.copy(path, str(to), overwrite=True)
