"""YouTube-8M records as batches of uint8 frames (sec. 1 of the published system).

Whatever the kind of the records, a batch is a dict: ``id`` string [B], ``frames`` [B, T, F] (of
YouTube-8M uint8 [B, T, 1152], rgb then audio; padding is 0), ``num_frames`` int32 [B], ``labels``
float32 [B, V] (0 or 1), and ``soft_targets`` float32 [B, V] when sidecar shards are given. Where
labels say something of some classes alone, ``rated`` float32 [B, V] is 1 for these. Features stay
uint8, a quarter of the memory traffic, until the model dequantises them.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np
import tensorflow as tf

from yt8m_lib.data.cached import Cached, untuned
from yt8m_lib.data.faults import Batches, named_faults
from yt8m_lib.data.frame_level import FrameVideo, write_frame_records
from yt8m_lib.data.framing import AROUND, overrun
from yt8m_lib.data.in_memory import InMemory
from yt8m_lib.data.inspection import inspect
from yt8m_lib.data.labels import multi_hot
from yt8m_lib.data.listing import readable, size_of
from yt8m_lib.data.nearby import nearest_copy
from yt8m_lib.data.on_disk import OnDisk
from yt8m_lib.data.record_kinds import (
    RecordKind,
    check_kind,
    check_videos,
    examples_of,
    kind_for,
    kind_of_shard,
    write_records,
)
from yt8m_lib.data.shards import DataError, digest, find, part_of, shards, sidecar_paths, split
from yt8m_lib.data.soft_targets import check_sidecars, dense_soft_targets, write_soft_targets
from yt8m_lib.data.video_level import MeanVideo
from yt8m_lib.settings import Data

__all__ = [
    "DataError",
    "FrameVideo",
    "MeanVideo",
    "Records",
    "check_kind",
    "digest",
    "find",
    "in_order",
    "inspect",
    "kind_of_shard",
    "part_of",
    "shards",
    "sidecar_paths",
    "split",
    "write_frame_records",
    "write_records",
    "write_soft_targets",
]

_INTERLEAVED = 8  # shards that a shuffled epoch reads from at a time
_BUFFER = 1024  # serialised records to shuffle among: 260 MB of 225-frame videos


class Records:
    """The videos of some shards, in batches.

    Args:
        files: the shards.
        data: the kind of their records, and how they are read.
        soft_targets: sidecar shards, one for each of ``files`` in the same order.
        labels: False reads records without labels too, and batches then have no ``labels``.

    Raises:
        DataError: when the first shard is not of the kind ``data.level`` or lacks features, or a
            sidecar is missing.
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
        check_kind(self.files[0], data)
        if self.soft_targets is not None:
            check_sidecars(self.files, self.soft_targets)
        self._kind = kind_for(data)
        if warning := self._kind.warning(data):
            warnings.warn(warning, stacklevel=2)
        self._memory = self._cached()

    def _cached(self) -> Cached | None:
        """Where these videos are kept between epochs, if the settings ask for it."""
        if self.data.cache == "disk":
            alone = self.data.model_copy(update={"cache": False})
            return OnDisk(self.files, self.data, self.labels, lambda file: self._of(file, alone))
        if self.data.cache:
            return InMemory(lambda: self._read(None, 256), self.data.classes)
        return None

    def _of(self, file: str, data: Data) -> Batches:
        return type(self)([file], data, labels=self.labels).batches(256)

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
        by_length: bool = False,
    ) -> Batches:
        """Batches of one epoch.

        Args:
            size: videos a batch.
            seed: of this epoch's order; None keeps the order of the files. Cached videos are
                shuffled as a whole, others by interleaving shuffled shards and through a buffer.
            skip: batches to leave out at the start; the others are what they would have been.
            drop_remainder: leave out a last batch of fewer videos.
            by_length: without a seed, put videos of the same length together, so that batches have
                little padding. Each batch then has ``place`` int64 [B], where among all its videos
                are (see ``in_order``). Only cached videos can be read so; others keep their order.

        Returns:
            The dataset. Reading it raises ``DataError`` naming shard and videos, for a damaged
            shard and for records that cannot be used.
        """
        with self._named_faults():  # cached videos are read here
            if self._memory is None:
                batches = self._read(self.soft_targets, size, seed, skip, drop_remainder)
            else:
                batches = self._memory.batches(
                    size, seed, skip, drop_remainder, self.soft_targets, by_length
                )
        return Batches(batches, self._named_faults)

    @contextmanager
    def _named_faults(self) -> Iterator[None]:
        with named_faults(self.files, self.data, self.labels, self.soft_targets):
            try:
                yield
            except tf.errors.UnknownError:  # what TensorFlow makes of an error in Python
                if self._memory is None or not self._memory.fault:
                    raise
                raise DataError(self._memory.fault) from None

    @functools.cached_property
    def _sizes(self) -> list[int]:
        """Bytes of each shard; an empty one is refused."""
        sizes = []
        for file in self.files:
            with readable(file):
                sizes.append(size_of(file))
            if not sizes[-1]:
                raise DataError(f"{file}: holds no record. Leave it out with `data.exclude`.")
        return sizes

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
        pairs = _serialised(self.files, self._sizes, sidecars, seed, self._kind, self.data)
        pairs = pairs.skip(skip * size)
        chunk = self._kind.chunk(self.data)
        if chunk is None:
            batches = pairs.batch(size, drop_remainder)
            return untuned(batches.map(parse, tf.data.AUTOTUNE, deterministic=True).prefetch(2))
        chunks = pairs.batch(chunk).map(parse, tf.data.AUTOTUNE, deterministic=True)
        return untuned(chunks.rebatch(size, drop_remainder).prefetch(2))


def in_order(places: Sequence[tf.Tensor | None]) -> np.ndarray | slice:
    """What puts videos that were read ``by_length`` back into the order of their shards.

    Args:
        places: ``place`` of each batch; None of those that have none, which are in order.

    Returns:
        An index into what was made of all batches.
    """
    found = [place for place in places if place is not None]
    return np.argsort(np.concatenate(found)) if found else slice(None)


@functools.cache  # tracing takes a second, and soft targets are predicted shard by shard
def _parser(data: Data, labels: bool, taught: bool) -> Callable:
    """A traced function of serialised videos [B] and soft targets [B] that gives a batch."""
    kind = kind_for(data)

    def parse(records: tf.Tensor, soft_targets: tf.Tensor) -> dict[str, tf.Tensor]:
        videos = kind.parse(records, data)
        batch = {"id": videos.ids, "frames": videos.frames, "num_frames": videos.num_frames}
        if labels:
            batch["labels"] = multi_hot(videos, records, kind, data)
            if videos.rated is not None:
                batch["rated"] = multi_hot(
                    videos._replace(labels=videos.rated), records, kind, data
                )
        if taught:
            batch["soft_targets"] = dense_soft_targets(soft_targets, videos.ids, data.classes)
        return batch

    serialised = [tf.TensorSpec([None], tf.string)] * 2
    # Only a kind of one's own may branch over tensors in Python, which takes seconds to rewrite.
    own = type(kind).__module__.startswith("yt8m_lib.")
    return tf.function(parse, input_signature=serialised, autograph=not own)


def _serialised(
    files: Sequence[str],
    sizes: Sequence[int],
    sidecars: Sequence[str] | None,
    seed: tuple[int, int] | None,
    kind: RecordKind,
    data: Data,
) -> tf.data.Dataset:
    """Pairs of a serialised video and its serialised soft targets ("" without sidecars)."""
    order = np.arange(len(files))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order)
    columns = (np.array(files), np.array(sizes, np.int64), np.array(sidecars or files))
    places = tf.data.Dataset.from_tensor_slices(tuple(c[order] for c in columns))
    if seed is None:  # what is trained on in a shuffled order was inspected before
        places = places.map(_without_overrun)
    near, opened = nearest_copy(data), _with_soft_targets if sidecars else _without_soft_targets
    pairs = places.interleave(
        lambda file, size, other: opened(kind, near(file), size, near(other) if sidecars else ""),
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


def _without_overrun(file: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The same tensors, once it is clear that TensorFlow will not die of a length in the shard."""
    before = tf.numpy_function(lambda name: np.int64(overrun(name.decode())), [file], tf.int64)
    data = ["a record longer than the rest of the shard", file]
    with tf.control_dependencies([tf.raw_ops.Assert(condition=before < 0, data=data)]):
        return tf.identity(file), *others


def _without_soft_targets(
    kind: RecordKind, file: tf.Tensor, size: tf.Tensor, _: tf.Tensor
) -> tf.data.Dataset:
    return (
        examples_of(_to_the_end(file, size), kind)
        .filter(_is_record)
        .map(lambda record: (record, ""))
    )


def _with_soft_targets(
    kind: RecordKind, file: tf.Tensor, size: tf.Tensor, sidecar: tf.Tensor
) -> tf.data.Dataset:
    """Zip a shard to its sidecar; both must end together, where zipping alone would just stop."""
    soft_targets = tf.data.TFRecordDataset(sidecar).concatenate(_end().repeat())

    def inside(record: tf.Tensor, soft_target: tf.Tensor) -> tf.Tensor:
        together = (record == "") == (soft_target == "")
        problem = "soft targets and videos differ in number: shard, soft targets"
        same_number = check_videos(together[None], problem, file[None], sidecar[None])
        with tf.control_dependencies([same_number]):
            return _is_record(record)

    return tf.data.Dataset.zip((examples_of(_to_the_end(file, size), kind), soft_targets)).filter(
        inside
    )


def _to_the_end(file: tf.Tensor, size: tf.Tensor) -> tf.data.Dataset:
    """The records of a shard and then "", which says that they fill the shard to its last byte.

    TensorFlow takes a header that is cut for the end of the shard.
    """

    def read(used: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        filled = _is_record(record) | (used == size)
        asserted = tf.raw_ops.Assert(condition=filled, data=["cut off in a header", file])
        with tf.control_dependencies([asserted]):
            return used + AROUND + tf.cast(tf.strings.length(record), tf.int64), record

    return tf.data.TFRecordDataset(file).concatenate(_end()).scan(np.int64(0), read)


def _is_record(record: tf.Tensor) -> tf.Tensor:
    return record != ""


def _end() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors("")
