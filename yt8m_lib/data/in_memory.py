"""Videos kept decoded in memory between epochs, as uint8."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.data.record_parsing import dense, parse_soft_targets
from yt8m_lib.data.shards import DataError

Columns = dict[str, tf.Tensor]


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
        """``id`` [N], ``num_frames`` [N], ``first`` [N], ``labels`` uint8 [N, V] if read, and the
        frames of all videos one after the other, uint8 [sum of num_frames, 1152].
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
        """``classes`` int32 [N, k] and ``confidences`` float16 [N, k] of the same videos."""
        with tf.device("/cpu:0"):
            records = tf.data.TFRecordDataset(list(sidecars)).batch(1024).map(parse_soft_targets)
            parts = list(records)
            ids, classes, confidences = (
                tf.concat(column, axis=0) for column in zip(*parts, strict=True)
            )
        _check_same_videos(self._videos["id"].numpy(), ids.numpy(), sidecars)
        return {"classes": classes, "confidences": confidences}


def _flattened(batch: Columns) -> Columns:
    """A batch without padding: frames one after the other; labels in a byte each."""
    valid = tf.sequence_mask(batch["num_frames"], tf.shape(batch["frames"])[1])  # [B, T]
    flat = batch | {"frames": tf.boolean_mask(batch["frames"], valid)}  # [frames, 1152]
    if "labels" in flat:
        flat["labels"] = tf.cast(flat["labels"], tf.uint8)
    return flat


def _gathered(columns: Columns, place: tf.Tensor, classes: int) -> Columns:
    """The batch of the videos at these places [B]."""
    num_frames = tf.gather(columns["num_frames"], place)
    second = tf.range(tf.reduce_max(num_frames))  # [T]
    valid = second < num_frames[:, None]  # [B, T]
    row = tf.gather(columns["first"], place)[:, None] + tf.where(valid, second, 0)
    frames = tf.gather(columns["frames"], row)  # [B, T, 1152]
    frames *= tf.cast(valid, tf.uint8)[:, :, None]
    batch = {"id": tf.gather(columns["id"], place), "frames": frames, "num_frames": num_frames}
    if "labels" in columns:
        batch["labels"] = tf.cast(tf.gather(columns["labels"], place), tf.float32)
    if "classes" in columns:
        listed = (tf.gather(columns[name], place) for name in ("classes", "confidences"))
        batch["soft_targets"] = dense(*listed, classes)
    return batch


def _check_same_videos(ids: np.ndarray, others: np.ndarray, sidecars: Sequence[str]) -> None:
    if len(ids) != len(others):
        raise DataError(
            f"{len(others)} soft targets in {list(sidecars)} for {len(ids)} videos: predict them "
            "again for these shards."
        )
    for mine, other in zip(ids, others, strict=True):
        if mine != other:
            raise DataError(
                f"soft targets are of other videos: {mine!r} stands beside {other!r} in "
                f"{list(sidecars)}. Predict them again for these shards."
            )
