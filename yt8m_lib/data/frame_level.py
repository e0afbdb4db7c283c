"""Frame-level records, which the paper trains on (sec. 1 of the published system).

A ``SequenceExample``: context ``id`` (bytes) and ``labels`` (int64 list), feature lists ``rgb`` and
``audio`` of one bytes value a second, 1024 and 128 uint8.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from yt8m_lib.data.record_kinds import (
    ParsedVideos,
    RecordKind,
    check_videos,
    example,
    write_records,
)
from yt8m_lib.settings import AUDIO, RGB, Data

SIZES = {"rgb": RGB, "audio": AUDIO}  # bytes of a frame, by feature list


class FrameVideo(NamedTuple):
    """A video with its frames, uint8 [T, 1152], rgb then audio; labels may be None."""

    id: bytes
    labels: Sequence[int] | None
    frames: np.ndarray


class FrameLevel(RecordKind):
    """Records that hold a video's frames."""

    name = "frame"

    def recognises(self, record: tf.train.SequenceExample) -> bool:
        """Whether both feature lists are there."""
        return set(SIZES) <= set(record.feature_lists.feature_list)

    def parse(self, records: tf.Tensor, data: Data) -> ParsedVideos:
        """Read frames, at most ``data.max_frames`` a video, padded to the longest of the batch."""
        one_string_a_second = tf.io.FixedLenSequenceFeature([], tf.string)
        context, seconds, lengths = tf.io.parse_sequence_example(
            records, self.context_features, dict.fromkeys(SIZES, one_string_a_second)
        )
        ids = context[self.id_feature]
        with tf.control_dependencies(_checks(ids, seconds, lengths)):
            num_frames = tf.cast(tf.minimum(lengths["rgb"], data.max_frames), tf.int32)
        longest = tf.reduce_max(num_frames)
        # Padding strings are empty, and empty strings decode to bytes 0.
        streams = [
            tf.io.decode_raw(seconds[name][:, :longest], tf.uint8, fixed_length=size)
            for name, size in SIZES.items()
        ]  # uint8 [B, T, 1024], [B, T, 128]
        frames = tf.concat(streams, axis=2)  # [B, T, 1152]
        return ParsedVideos(ids, context[self.labels_feature], frames, num_frames)

    def seconds(self, record: tf.train.SequenceExample) -> int:
        """How many frames of rgb the record holds."""
        return len(record.feature_lists.feature_list["rgb"].feature)

    def problems(self, record: tf.train.SequenceExample) -> Iterator[str]:
        """Find frames of a wrong size, streams of different lengths, and videos without frames."""
        lengths = {}
        for name, size in SIZES.items():
            frames = record.feature_lists.feature_list[name].feature
            lengths[name] = len(frames)
            if any(f.HasField("float_list") for f in frames):
                yield f"{name} frames are floats: bytes are needed, quantised from [-2, 2]"
            elif any([len(value) for value in f.bytes_list.value] != [size] for f in frames):
                yield f"{name} frames are not {size} bytes each"
        if lengths["rgb"] != lengths["audio"]:
            yield f"{lengths['rgb']} frames of rgb, {lengths['audio']} of audio"
        if not lengths["rgb"]:
            yield "no frames"

    def serialise(self, video: FrameVideo) -> bytes:
        """Serialise a video with its frames."""
        context = example(id=video.id, labels=video.labels).features
        record = tf.train.SequenceExample(context=context)
        streams = {"rgb": video.frames[:, :RGB], "audio": video.frames[:, RGB:]}
        for name, frames in streams.items():
            steps = record.feature_lists.feature_list[name].feature
            for frame in frames:
                steps.add().bytes_list.value.append(frame.tobytes())
        return record.SerializeToString(deterministic=True)


FRAME_LEVEL = FrameLevel()


def write_frame_records(path: str | Path, videos: Iterable[FrameVideo]) -> int:
    """Write a frame-level shard, whole or not at all; returns how many videos it holds."""
    return write_records(path, videos, FRAME_LEVEL)


def _checks(
    ids: tf.Tensor, seconds: dict[str, tf.Tensor], lengths: dict[str, tf.Tensor]
) -> list[tf.Operation]:
    """Checks of a batch's frames: strings [B, T] a stream, and each video's lengths [B]."""
    same_length = lengths["rgb"] == lengths["audio"]
    return [
        check_videos(same_length, "rgb and audio differ in length, videos", ids),
        check_videos(lengths["rgb"] > 0, "no frames in videos", ids),
        *(
            check_videos(
                _all_of_size(seconds[name], lengths[name], size),
                f"{name} frames are not {size} bytes each in videos",
                ids,
            )
            for name, size in SIZES.items()
        ),
    ]


def _all_of_size(strings: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
    """Whether ``count`` [B] of a video's strings are ``size`` bytes: [B, T] -> bool [B]."""
    right = tf.cast(tf.strings.length(strings) == size, tf.int64)
    return tf.reduce_sum(right, axis=1) == count
