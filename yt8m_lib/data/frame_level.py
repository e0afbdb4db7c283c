"""Frame-level records, which the paper trains on (sec. 1 of the published system).

A ``SequenceExample``: context ``id`` (bytes) and ``labels`` (int64 list), and a feature list for
each stream with one value a second: of YouTube-8M ``rgb`` and ``audio``, 1024 and 128 uint8. Other
streams, keys and storages are read as an experiment's ``data.streams`` says.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from yt8m_lib.data.record_kinds import (
    ParsedVideos,
    StreamRecords,
    check_videos,
    example,
    write_records,
)
from yt8m_lib.settings import Data
from yt8m_lib.streams import BYTES, Stream, frames_type

NUMBERS = {"uint8": np.uint8, "float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


class FrameVideo(NamedTuple):
    """A video with its frames, [T, F] with one stream after the other; labels may be None.

    Their type is the one that ``streams.frames_type`` gives, uint8 [T, 1152] for YouTube-8M.
    """

    id: bytes
    labels: Sequence[int] | None
    frames: np.ndarray


class FrameLevel(StreamRecords):
    """Records that hold a video's frames."""

    name = "frame"

    @property
    def frames_type(self) -> str:
        """The type of frames once they are read."""
        return frames_type(self.streams)

    def recognises(self, record: tf.train.SequenceExample) -> bool:
        """Whether the feature list of each stream is there."""
        return {stream.key for stream in self.streams} <= set(record.feature_lists.feature_list)

    def parse(self, records: tf.Tensor, data: Data) -> ParsedVideos:
        """Read frames, at most ``data.max_frames`` a video, padded to the longest of the batch."""
        values = {
            s.key: tf.io.FixedLenSequenceFeature([s.width], tf.float32)
            if s.storage == "floats"
            else tf.io.FixedLenSequenceFeature([], tf.string)
            for s in self.streams
        }
        context, seconds, lengths = tf.io.parse_sequence_example(
            records, self.context_features, values
        )
        ids, first = context[self.id_feature], self.streams[0].key
        with tf.control_dependencies(self._checks(ids, seconds, lengths)):
            num_frames = tf.cast(tf.minimum(lengths[first], data.max_frames), tf.int32)
        longest = tf.reduce_max(num_frames)
        parts = [self._decoded(s, seconds[s.key][:, :longest]) for s in self.streams]
        frames = tf.concat(parts, axis=2)  # [B, T, F]
        if self.frames_type != "uint8":
            frames = self._finite(frames, ids)
        return ParsedVideos(ids, context[self.labels_feature], frames, num_frames)

    def _decoded(self, stream: Stream, values: tf.Tensor) -> tf.Tensor:
        """A stream's features [B, T, D] in the type of frames, from what the records hold."""
        if stream.storage == "floats":
            return tf.cast(values, self.frames_type)
        # Padding strings are empty, and empty strings decode to bytes 0.
        size = stream.width * BYTES[stream.storage]
        # This operation knows no halves: they are read as numbers of their size.
        read_as = "int16" if stream.storage == "float16" else stream.storage
        numbers = tf.io.decode_raw(values, read_as, fixed_length=size)
        if stream.storage == "float16":
            numbers = tf.bitcast(numbers, tf.float16)
        if stream.storage == "uint8" != self.frames_type:
            numbers = stream.values_of(tf.cast(numbers, tf.float32))
        return tf.cast(numbers, self.frames_type)

    def _finite(self, frames: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        good = tf.reduce_all(tf.math.is_finite(frames), axis=[1, 2])
        with tf.control_dependencies([check_videos(good, "not all numbers in videos", ids)]):
            return tf.identity(frames)

    def _checks(
        self, ids: tf.Tensor, seconds: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
    ) -> list[tf.Operation]:
        """Checks of a batch's frames: what each stream holds [B, T], and its lengths [B]."""
        first, *others = (stream.key for stream in self.streams)
        checks = [check_videos(lengths[first] > 0, "no frames in videos", ids)]
        for other in others:
            same = lengths[first] == lengths[other]
            checks.append(check_videos(same, f"{first} and {other} differ in length, videos", ids))
        for stream in self.streams:
            if stream.storage in BYTES:
                size = stream.width * BYTES[stream.storage]
                right = _all_of_size(seconds[stream.key], lengths[stream.key], size)
                problem = f"{stream.key} frames are not {size} bytes each in videos"
                checks.append(check_videos(right, problem, ids))
        return checks

    def seconds(self, record: tf.train.SequenceExample) -> int:
        """How many frames of the first stream the record holds."""
        return len(record.feature_lists.feature_list[self.streams[0].key].feature)

    def problems(self, record: tf.train.SequenceExample) -> Iterator[str]:
        """Find frames of a wrong size, streams of different lengths, and videos without frames."""
        first = self.streams[0].key
        lengths = {}
        for stream in self.streams:
            frames = record.feature_lists.feature_list[stream.key].feature
            lengths[stream.key] = len(frames)
            yield from _problems(stream, frames)
        for other, length in lengths.items():
            if length != lengths[first]:
                yield f"{lengths[first]} frames of {first}, {length} of {other}"
        if not lengths[first]:
            yield "no frames"

    def serialise(self, video: FrameVideo) -> bytes:
        """Serialise a video with its frames."""
        context = example(**{self.id_feature: video.id, self.labels_feature: video.labels}).features
        record = tf.train.SequenceExample(context=context)
        ends = np.cumsum([stream.width for stream in self.streams])[:-1]
        for stream, frames in zip(self.streams, np.split(video.frames, ends, axis=1), strict=True):
            steps = record.feature_lists.feature_list[stream.key].feature
            for frame in _as_stored(stream, frames):
                if stream.storage == "floats":
                    steps.add().float_list.value.extend(frame.tolist())
                else:
                    steps.add().bytes_list.value.append(frame.tobytes())
        return record.SerializeToString(deterministic=True)


FRAME_LEVEL = FrameLevel()


def write_frame_records(
    path: str | Path, videos: Iterable[FrameVideo], kind: FrameLevel = FRAME_LEVEL
) -> int:
    """Write a frame-level shard, whole or not at all; returns how many videos it holds."""
    return write_records(path, videos, kind)


def _as_stored(stream: Stream, frames: np.ndarray) -> np.ndarray:
    """A stream's features [T, D] in the type that records hold."""
    if stream.storage == "uint8" and frames.dtype != np.uint8:
        return stream.bytes_of(frames)
    return np.ascontiguousarray(frames, NUMBERS.get(stream.storage, np.float32))


def _problems(stream: Stream, frames: Sequence[Any]) -> Iterator[str]:
    """What is wrong with the values of a stream's frames."""
    key = stream.key
    if stream.storage == "floats":
        if any(len(frame.float_list.value) != stream.width for frame in frames):
            yield f"{key} frames are not {stream.width} floats each"
        elif not all(np.isfinite(frame.float_list.value).all() for frame in frames):
            yield f"{key} has values that are not numbers"
        return
    size = stream.width * BYTES[stream.storage]
    if any(frame.HasField("float_list") for frame in frames):
        yield (
            f"{key} frames are floats: bytes are needed, quantised from [-2, 2], or the stream's "
            "`storage: floats` in `data.streams`"
        )
    elif any([len(value) for value in frame.bytes_list.value] != [size] for frame in frames):
        yield f"{key} frames are not {size} bytes each"
    elif stream.storage != "uint8":
        values = b"".join(frame.bytes_list.value[0] for frame in frames)
        if not np.isfinite(np.frombuffer(values, NUMBERS[stream.storage])).all():
            yield f"{key} has values that are not numbers"


def _all_of_size(strings: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
    """Whether ``count`` [B] of a video's strings are ``size`` bytes: [B, T] -> bool [B]."""
    right = tf.cast(tf.strings.length(strings) == size, tf.int64)
    return tf.reduce_sum(right, axis=1) == count
