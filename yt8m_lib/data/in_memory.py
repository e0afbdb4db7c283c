"""Videos kept decoded in memory between epochs, in the type that records have."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.data.soft_targets import dense, read_soft_targets

Columns = dict[str, tf.Tensor]
MARKS = ("labels", "rated")  # 0 or 1 for each class


class InMemory:
    """All videos of some shards, read on first use and then served in any order.

    Args:
        read: makes the dataset of batches in file order, without soft targets.
        classes: V, of the soft targets.
    """

    def __init__(self, read: Callable[[], tf.data.Dataset], classes: int):
        self._read, self._classes = read, classes

    def batches(
        self,
        size: int,
        seed: tuple[int, int] | None,
        skip: int,
        drop_remainder: bool,
        sidecars: Sequence[str] | None,
    ) -> tf.data.Dataset:
        """Batches of one epoch; a seed shuffles all videos. See ``records.Records.batches``."""
        columns = self._videos
        if sidecars:
            columns = columns | self._soft_targets(sidecars)
        order = np.arange(len(columns["id"]))
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        places = tf.data.Dataset.from_tensor_slices(order).batch(size, drop_remainder).skip(skip)

        def gathered(place: tf.Tensor) -> Columns:
            return _gathered(columns, place, self._classes)

        return places.map(gathered, tf.data.AUTOTUNE, deterministic=True).prefetch(2)

    @functools.cached_property
    def _videos(self) -> Columns:
        """All N videos without padding.

        ``id`` [N]; ``num_frames`` [N]; ``frames`` of all videos one after the other,
        [sum of num_frames, F]; ``first`` [N], where among them a video's frames begin; and, if
        they are read, ``labels`` and ``rated`` uint8 [N, V].
        """
        parts: dict[str, list[tf.Tensor]] = {}
        with tf.device("/cpu:0"):
            for batch in self._read().map(_flattened, tf.data.AUTOTUNE, deterministic=True):
                for name, part in batch.items():
                    parts.setdefault(name, []).append(part)
            columns = {name: tf.concat(parts.pop(name), axis=0) for name in list(parts)}
            columns["first"] = tf.cumsum(columns["num_frames"], exclusive=True)
        return columns

    def _soft_targets(self, sidecars: Sequence[str]) -> Columns:
        """Soft targets of all videos: ``classes`` int32 [N, k], ``confidences`` float16 [N, k]."""
        with tf.device("/cpu:0"):
            targets = read_soft_targets(sidecars, self._videos["id"].numpy())
        return {"classes": targets.classes, "confidences": targets.confidences}


def _flattened(batch: Columns) -> Columns:
    """Take out a batch's padding, so that frames follow one another; store a label in a byte."""
    valid = tf.sequence_mask(batch["num_frames"], tf.shape(batch["frames"])[1])  # [B, T]
    flat = batch | {"frames": tf.boolean_mask(batch["frames"], valid)}  # [frames, F]
    marks = {name: tf.cast(flat[name], tf.uint8) for name in MARKS if name in flat}
    return flat | marks


def _gathered(columns: Columns, place: tf.Tensor, classes: int) -> Columns:
    """Make a batch of the videos at these places [B], with their frames padded again."""
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
    if "classes" in columns:
        listed = (tf.gather(columns[name], place) for name in ("classes", "confidences"))
        batch["soft_targets"] = dense(*listed, classes)
    return batch
