"""YouTube-8M records as batches of uint8 frames (sec. 1 of the published system).

Whatever the level, a batch is a dict: ``id`` string [B], ``frames`` uint8 [B, T, 1152] (rgb then
audio; padding is byte 0), ``num_frames`` int32 [B], ``labels`` float32 [B, V] (0 or 1), and
``soft_targets`` float32 [B, V] when sidecar shards are given. Features stay uint8, a quarter of the
memory traffic, until the model dequantises them.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import tensorflow as tf

from yt8m_lib.data.in_memory import InMemory
from yt8m_lib.data.inspection import inspect
from yt8m_lib.data.record_files import (
    FrameVideo,
    MeanVideo,
    check_level,
    level,
    write_frame_records,
    write_soft_targets,
    write_video_records,
)
from yt8m_lib.data.record_parsing import check, dense, parse_records, parse_soft_targets
from yt8m_lib.data.shards import DataError, digest, find, shards, sidecar_paths, split
from yt8m_lib.settings import Data

__all__ = [
    "DataError",
    "FrameVideo",
    "MeanVideo",
    "Records",
    "check_level",
    "digest",
    "find",
    "inspect",
    "level",
    "shards",
    "sidecar_paths",
    "split",
    "write_frame_records",
    "write_soft_targets",
    "write_video_records",
]

_INTERLEAVED = 8  # shards that a shuffled epoch reads from at a time
_BUFFER = 1024  # serialised records to shuffle among: 260 MB of 225-frame videos
_EXPANDED = 384  # frames made around means at a time: they should fit the processor's cache


class Records:
    """The videos of some shards, in batches.

    Args:
        files: the shards.
        data: their level, and what to keep of them.
        soft_targets: sidecar shards, one for each of ``files`` in the same order.
        labels: False reads records without labels too, and batches then have no ``labels``.

    Raises:
        DataError: when the first shard is not of ``data.level`` or lacks features, or a sidecar is
            missing.
    """

    def __init__(
        self,
        files: Sequence[str],
        data: Data,
        soft_targets: Sequence[str] | None = None,
        labels: bool = True,
    ):
        self.files, self.data, self.labels = list(files), data, labels
        self.soft_targets = None if soft_targets is None else list(soft_targets)
        if not self.files:
            raise DataError("no shards given")
        check_level(self.files[0], data.level)
        _check_sidecars(self.files, self.soft_targets)
        if data.level == "video" and data.frames == 1:
            warnings.warn(
                "data.frames is 1: VLAD and Fisher pooling of a single frame ignore their own "
                "assignments, so those models train on rounding noise",
                stacklevel=2,
            )
        self._memory = InMemory(lambda: self._read(None, 256), data.classes) if data.cache else None

    def with_soft_targets(self, sidecars: Sequence[str]) -> Self:
        """The same videos with soft targets; cached videos are shared, not read again."""
        twin = type(self)(self.files, self.data, sidecars, self.labels)
        twin._memory = self._memory
        return twin

    def batches(
        self,
        size: int,
        seed: tuple[int, int] | None = None,
        skip: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Batches of one epoch.

        Args:
            size: videos a batch.
            seed: of this epoch's order; None keeps the order of the files. Cached videos are
                shuffled as a whole, others by interleaving shuffled shards and through a buffer.
            skip: batches to leave out at the start; the others are what they would have been.
            drop_remainder: leave out a last batch of fewer videos.

        Returns:
            The dataset. Reading it raises ``InvalidArgumentError`` naming ids for a record that is
            out of order, and ``DataLossError`` for a damaged shard.
        """
        if self._memory is None:
            return self._read(self.soft_targets, size, seed, skip, drop_remainder)
        return self._memory.batches(size, seed, skip, drop_remainder, self.soft_targets)

    def _read(
        self,
        sidecars: Sequence[str] | None,
        size: int,
        seed: tuple[int, int] | None = None,
        skip: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        """Batches straight from the shards, in parallel, in an order that the seed decides."""

        parse = _parser(self.data, self.labels, sidecars is not None)
        records = _serialized(self.files, sidecars, seed).skip(skip * size)
        if self.data.level == "frame":
            records = records.batch(size, drop_remainder)
            return records.map(parse, tf.data.AUTOTUNE, deterministic=True).prefetch(2)
        chunks = records.batch(max(1, _EXPANDED // self.data.frames))
        chunks = chunks.map(parse, tf.data.AUTOTUNE, deterministic=True)
        return chunks.rebatch(size, drop_remainder).prefetch(2)


@functools.cache  # tracing takes a second, and soft targets are predicted shard by shard
def _parser(data: Data, labels: bool, taught: bool) -> Callable:
    """A traced function of serialised videos [B] and soft targets [B] that gives a batch."""

    def parse(records: tf.Tensor, soft_targets: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = parse_records(records, data, labels)
        if taught:
            batch["soft_targets"] = _matched(batch["id"], soft_targets, data.classes)
        return batch

    return tf.function(parse, input_signature=[tf.TensorSpec([None], tf.string)] * 2)


def _matched(ids: tf.Tensor, sidecars: tf.Tensor, classes: int) -> tf.Tensor:
    """Parse soft targets [B], which must be of these videos: float32 [B, classes]."""
    targets = parse_soft_targets(sidecars)
    problem = "soft targets are of other videos: ids of videos, of soft targets"
    with tf.control_dependencies([check(targets.ids == ids, problem, ids, targets.ids)]):
        return dense(targets.classes, targets.confidences, classes)


def _serialized(
    files: Sequence[str], sidecars: Sequence[str] | None, seed: tuple[int, int] | None
) -> tf.data.Dataset:
    """Pairs of a serialised video and its serialised soft targets ("" without sidecars)."""
    order = np.arange(len(files))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order)
    names = np.array([files, sidecars or [""] * len(files)])[:, order]  # [2, files]
    pairs = tf.data.Dataset.from_tensor_slices(tuple(names)).interleave(
        _pairs if sidecars else _alone,
        cycle_length=1 if seed is None else _INTERLEAVED,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return pairs if seed is None else _shuffled(pairs, seed)


def _shuffled(dataset: tf.data.Dataset, seed: tuple[int, int]) -> tf.data.Dataset:
    """Shuffle through a buffer, in an order that ``seed`` alone decides.

    ``shuffle`` mixes its seed with the global one, which whoever trains may have set. The inner
    function is traced as a graph of its own, so what it sets as global seed stays inside.
    """
    number = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)

    def inside(_: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(0)
        return dataset.shuffle(_BUFFER, seed=number, reshuffle_each_iteration=False)

    return tf.data.Dataset.from_tensors(0).flat_map(inside)


def _alone(file: tf.Tensor, _: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(file).map(lambda record: (record, ""))


def _pairs(file: tf.Tensor, sidecar: tf.Tensor) -> tf.data.Dataset:
    """Zip a shard to its sidecar; both must end together, where zipping alone would just stop."""
    end = tf.data.Dataset.from_tensors("")
    records = tf.data.TFRecordDataset(file).concatenate(end)
    soft_targets = tf.data.TFRecordDataset(sidecar).concatenate(end.repeat())

    def inside(record: tf.Tensor, soft_target: tf.Tensor) -> tf.Tensor:
        together = (record == "") == (soft_target == "")
        problem = "soft targets and videos differ in number: shard, soft targets"
        with tf.control_dependencies([check(together[None], problem, file[None], sidecar[None])]):
            return record != ""

    return tf.data.Dataset.zip((records, soft_targets)).filter(inside)


def _check_sidecars(files: Sequence[str], sidecars: Sequence[str] | None) -> None:
    if sidecars is None:
        return
    missing = [sidecar for sidecar in sidecars if not tf.io.gfile.exists(sidecar)]
    if missing or len(sidecars) != len(files):
        raise DataError(
            f"{len(files)} shards, {len(sidecars)} sidecar shards of soft targets, of which "
            f"missing: {missing}. Predict the soft targets of every training shard first."
        )
