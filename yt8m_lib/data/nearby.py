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
from yt8m_lib.data.listing import base_name
from yt8m_lib.files import is_remote, seen_from
from yt8m_lib.settings import ROOT, Data
from yt8m_lib.sources import digest_of

OPEN = 32  # copies that a process was given last, and may be about to open


def nearest_copy(data: Data) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function, for input pipelines, of a shard's path that gives the path to read it from."""
    if data.cache_folder is None:
        return lambda path: path
    cache = BoundedCache(Path(seen_from(ROOT, data.cache_folder)), data.cache_bytes, OPEN)

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
        if about.length > cache.limit:
            return path
        key = f"{digest_of(path)}/{about.length}-{about.mtime_nsec}/{base_name(path)}"
        return str(cache.get(key, lambda folder: _copy(path, folder)))
    except (tf.errors.OpError, OSError):
        return path


def _copy(path: str, folder: Path) -> Path:
    tf.io.gfile.copy(path, str(folder / base_name(path)))
    return folder / base_name(path)
