"""Videos kept decoded in memory between epochs, in the type that records have."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from yt8m_lib.data.cached import Cached, Columns

MARKS = ("labels", "rated")  # 0 or 1 for each class


class InMemory(Cached):
    """All videos of some shards, read on first use.

    Args:
        read: makes the dataset of batches in file order, without soft targets.
        classes: V.
    """

    def __init__(self, read: Callable[[], tf.data.Dataset], classes: int):
        super().__init__(classes)
        self._read = read

    @property
    def ids(self) -> np.ndarray:
        """Of all videos, bytes [N]."""
        return self._videos["id"].numpy()

    @property
    def lengths(self) -> np.ndarray:
        """Frames of all videos, int32 [N]."""
        return self._videos["num_frames"].numpy()

    @functools.cached_property
    def _videos(self) -> Columns:
        """All N videos without padding.

        ``id`` [N]; ``num_frames`` [N]; ``frames`` of all videos one after the other,
        [sum of num_frames, F]; ``first`` [N], where among them a video's frames begin; and, if
        they are read, ``labels`` and ``rated`` uint8 [N, V].
        """
        parts: dict[str, list[tf.Tensor]] = {}
        with tf.device("/cpu:0"):
            for batch in self._read().map(flattened, tf.data.AUTOTUNE, deterministic=True):
                for name, part in batch.items():
                    parts.setdefault(name, []).append(part)
            columns = {name: tf.concat(parts.pop(name), axis=0) for name in list(parts)}
            columns["first"] = tf.cumsum(columns["num_frames"], exclusive=True)
        return columns

    def gathered(self, place: tf.Tensor) -> Columns:
        """Make a batch of the videos at these places [B], with their frames padded again."""
        columns = self._videos
        num_frames = tf.gather(columns["num_frames"], place)
        second = tf.range(tf.reduce_max(num_frames))  # [T]
        valid = second < num_frames[:, None]  # [B, T]
        row = tf.gather(columns["first"], place)[:, None] + tf.where(valid, second, 0)
        frames = tf.gather(columns["frames"], row)  # [B, T, F]
        frames *= tf.cast(valid, frames.dtype)[:, :, None]
        batch = {"id": tf.gather(columns["id"], place), "frames": frames, "num_frames": num_frames}
        for name in MARKS:
            if name in columns:
                batch[name] = tf.cast(tf.gather(columns[name], place), tf.float32)
        return batch


def flattened(batch: Columns) -> Columns:
    """Take out a batch's padding, so that frames follow one another; store a label in a byte."""
    valid = tf.sequence_mask(batch["num_frames"], tf.shape(batch["frames"])[1])  # [B, T]
    flat = batch | {"frames": tf.boolean_mask(batch["frames"], valid)}  # [frames, F]
    marks = {name: tf.cast(flat[name], tf.uint8) for name in MARKS if name in flat}
    return flat | marks
