"""What a kind of records offers, and what serves all kinds: telling them apart, writing, checking.

A record is a serialised ``tf.train.SequenceExample`` or ``tf.train.Example`` in a TFRecord shard.
An ``Example`` parses as a ``SequenceExample`` without feature lists whose context is its features,
so every record is looked at as a ``SequenceExample``. To add a kind, write a file such as
``video_level.py`` and a line in ``catalogue.RECORD_KINDS``; parameter files name it as
``data.level``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from yt8m_lib.catalogue import RECORD_KINDS
from yt8m_lib.data.framing import FramingError, records_of
from yt8m_lib.data.listing import DataError
from yt8m_lib.files import written_whole
from yt8m_lib.settings import Data
from yt8m_lib.streams import YOUTUBE_8M, Stream


class ParsedVideos(NamedTuple):
    """A batch of B videos as a record kind reads them."""

    ids: tf.Tensor  # string [B]
    labels: tf.SparseTensor  # int64, the labels of each video in its row
    frames: tf.Tensor  # [B, T, F], of the type that ``streams.frames_type`` gives
    num_frames: tf.Tensor  # int32 [B]
    rated: tf.SparseTensor | None = None  # int64, the classes that labels say anything about


class RecordKind(ABC):
    """One kind of records: how they are recognised, read, inspected and written.

    What the catalogue holds reads YouTube-8M's own features; ``of`` makes one for others.

    Attributes:
        name: the kind's name in ``data.level``.
        id_feature: the context feature that holds the video's id, one bytes value.
        labels_feature: the context feature that holds the video's labels, a list of int64.
    """

    name: str
    id_feature = "id"
    labels_feature = "labels"

    def of(self, data: Data) -> "RecordKind":
        """The kind for an experiment's streams and keys; itself where it has none to choose."""
        return self

    @abstractmethod
    def recognises(self, record: tf.train.SequenceExample) -> bool:
        """Whether a record is of this kind, judged by the names of its features."""

    @abstractmethod
    def parse(self, records: tf.Tensor, data: Data) -> ParsedVideos:
        """Parse a batch of serialised records, string [B].

        This is graph code of an input pipeline: ``check_videos`` reports what is wrong with a
        record. Labels are checked for all kinds alike, in ``labels.multi_hot``.
        """

    @abstractmethod
    def seconds(self, record: tf.train.SequenceExample) -> int:
        """How many frames, one a second, a record holds; 1 where it holds a mean."""

    @abstractmethod
    def problems(self, record: tf.train.SequenceExample) -> Iterator[str]:
        """Say what is wrong with a record's frames, one problem after the other."""

    @abstractmethod
    def serialise(self, video: Any) -> bytes:
        """Serialise a video, the same bytes for the same video.

        Args:
            video: what the kind's file defines, such as ``frame_level.FrameVideo``.
        """

    def chunk(self, data: Data) -> int | None:
        """How many records are parsed together; None for as many as a batch has."""
        return None

    def warning(self, data: Data) -> str:
        """What users of these settings should be warned of, or ""."""
        return ""

    @property
    def is_split(self) -> bool:
        """Whether a record holds other than one example."""
        return type(self).examples is not RecordKind.examples

    def examples(self, record: bytes) -> list[bytes]:
        """What a record holds, each as ``parse`` takes it; most kinds hold one example a record."""
        return [record]

    @property
    def context_features(self) -> dict[str, Any]:
        """Id and labels as ``tf.io.parse_example`` wants them described."""
        return {
            self.id_feature: tf.io.FixedLenFeature([], tf.string),
            self.labels_feature: tf.io.VarLenFeature(tf.int64),
        }


class StreamRecords(RecordKind):
    """A kind whose streams and keys an experiment chooses.

    Args:
        streams: that a frame is made of.
        id_key: the feature of a video's id.
        labels_key: the feature of its labels.
    """

    def __init__(
        self,
        streams: Sequence[Stream] = YOUTUBE_8M,
        id_key: str = "id",
        labels_key: str = "labels",
    ):
        self.streams = tuple(streams)
        self.id_feature, self.labels_feature = id_key, labels_key

    def of(self, data: Data) -> Self:
        """The kind for an experiment's streams and keys."""
        keys = data.id_key or self.id_feature, data.labels_key or self.labels_feature
        return type(self)(data.streams, *keys)


def kind_for(data: Data) -> RecordKind:
    """The kind of an experiment's records, for its streams and keys."""
    return RECORD_KINDS[data.level].of(data)


def parsed(record: bytes) -> tf.train.SequenceExample | None:
    """A serialised record as every kind looks at it, or None where it is none."""
    try:
        return tf.train.SequenceExample.FromString(record)
    except DecodeError:
        return None


def kind_of_parsed(video: tf.train.SequenceExample, data: Data | None = None) -> RecordKind | None:
    """The kind that recognises a record with the streams and keys of ``data``, or None."""
    names = dict.fromkeys([*([data.level] if data else []), *RECORD_KINDS])  # the expected first
    data = data or Data()
    kinds = (RECORD_KINDS[name].of(data) for name in names)
    return next((kind for kind in kinds if kind.recognises(video)), None)


def why_unknown(video: tf.train.SequenceExample | None, data: Data | None = None) -> str:
    """Why no kind recognises a record, and what helps."""
    if video is None:
        return "of none of the formats of tf.train (Example, SequenceExample)"
    names = sorted([*video.context.feature, *video.feature_lists.feature_list])
    if any("feature/floats" in name for name in names):
        return "as MediaPipe writes them, in floats: `yt8m inspect` says which settings read them"
    shown = ", ".join(ascii(name)[1:-1] for name in names[:8]) or "no features"
    wanted = ", ".join(stream.key for stream in (data or Data()).streams)
    return (
        f"of none of {known_kinds()} with the streams {wanted}, by the names of its features "
        f"({shown}): `yt8m inspect` says which settings would read them"
    )


def kind_of_shard(file: str, data: Data | None = None) -> RecordKind:
    """The kind of a shard's first record.

    Args:
        file: the shard.
        data: its streams and keys; YouTube-8M's where not given.

    Raises:
        DataError: when the shard is damaged, empty, not there, or of no known kind.
    """
    try:
        record = next(records_of(file), None)
    except FramingError as error:
        raise DataError(f"{file}: {error}") from None
    video = None if record is None else parsed(record)
    kind = None if video is None else kind_of_parsed(video, data)
    if kind is None:
        what = "no record" if record is None else f"records {why_unknown(video, data)}"
        raise DataError(f"{file}: holds {what}. Leave it out with `data.exclude`.")
    return kind


def ids_of(file: str, kind: RecordKind) -> list[bytes]:
    """The ids of a shard's videos, in its order, of which nothing else is parsed."""
    feature = {kind.id_feature: kind.context_features[kind.id_feature]}
    batches = examples_of(tf.data.TFRecordDataset(file), kind).batch(256)
    found = batches.map(lambda records: tf.io.parse_sequence_example(records, feature)[0])
    return [video for batch in found for video in batch[kind.id_feature].numpy()]


def examples_of(records: tf.data.Dataset, kind: RecordKind) -> tf.data.Dataset:
    """The examples in serialised records, one after the other; "" stays what it is."""
    if not kind.is_split:
        return records

    def split(record: bytes) -> np.ndarray:
        return np.array(kind.examples(record) if record else [b""], object)

    def examples(record: tf.Tensor) -> tf.data.Dataset:
        found = tf.numpy_function(split, [record], tf.string)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(found, [None]))

    return records.flat_map(examples)


def check_kind(file: str, data: Data) -> None:
    """Refuse a shard whose records are of another kind, before anything is trained on it.

    Raises:
        DataError: as ``kind_of_shard``, or when the kind is not ``data.level``.
    """
    found = kind_of_shard(file, data).name
    if found != data.level:
        raise DataError(other_level(file, found, data.level))


def other_level(file: str, found: str, expected: str) -> str:
    """What is wrong with a shard of another kind than the one that is read, and what helps."""
    return (
        f"{file}: read as {expected}-level records, holds {found}-level ones. "
        f"Set `data.level: {found}`, or give other shards."
    )


def known_kinds() -> str:
    """The kinds that there are, for error messages."""
    return f"the known kinds ({', '.join(RECORD_KINDS)})"


def check_videos(good: tf.Tensor, problem: str, ids: tf.Tensor, *values: tf.Tensor) -> tf.Operation:
    """Check a batch inside an input pipeline.

    Args:
        good: bool [B], False for the videos that have the problem.
        problem: what is wrong, to be followed by the ids of those videos.
        ids: string [B].
        values: further tensors [B] to show for those videos.

    Returns:
        An operation that raises ``tf.errors.InvalidArgumentError`` unless all are good.
    """
    shown = [tf.boolean_mask(value, ~good) for value in (ids, *values)]
    return tf.debugging.Assert(tf.reduce_all(good), [problem, *shown], summarize=3)


def write_records(path: str | Path, videos: Iterable[Any], kind: RecordKind) -> int:
    """Write a shard of videos of one kind, whole or not at all; returns how many it holds."""
    return write_serialised(path, (kind.serialise(video) for video in videos))


def write_serialised(path: str | Path, records: Iterable[bytes]) -> int:
    """Write a TFRecord file, whole or not at all; returns how many records it holds."""
    count = 0
    with written_whole(path) as beside, tf.io.TFRecordWriter(beside) as writer:
        for record in records:
            writer.write(record)
            count += 1
    return count


def example(**features: Any) -> tf.train.Example:
    """An ``Example`` of these features: bytes, integers or floats; None leaves a feature out."""
    given = {name: _feature(value) for name, value in features.items() if value is not None}
    return tf.train.Example(features=tf.train.Features(feature=given))


def _feature(value: Any) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    value = np.asarray(value)
    if value.dtype.kind == "f" and value.size:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value.astype(np.int64)))
