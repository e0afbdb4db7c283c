"""Video-level records: the mean of each video's frames, around which frames are simulated.

An ``Example`` with ``id`` (bytes), ``labels`` (int64 list) and the floats ``mean_rgb`` [1024] and
``mean_audio`` [128], or ``mean_<key>`` of other streams. ``within_video`` says how frames are made
around a mean.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from yt8m_lib.data.record_kinds import ParsedVideos, StreamRecords, check_videos, example
from yt8m_lib.data.within_video import frames_around, seeds_of
from yt8m_lib.settings import Data
from yt8m_lib.streams import Stream

# Means of dequantised bytes lie in [-2, 2.01], those of real records in [-1.992, 2.008]. Somebody's
# means of features that never were bytes may lie a little beyond, and are clipped.
FARTHEST = 3.0
FRAMES_AT_A_TIME = 384  # simulated together: they should fit the processor's cache


class MeanVideo(NamedTuple):
    """A video with the mean of its dequantised frames, float32 [F]; labels may be None."""

    id: bytes
    labels: Sequence[int] | None
    mean: np.ndarray


class VideoLevel(StreamRecords):
    """Records that hold the mean of a video's frames; those that are simulated are bytes."""

    name = "video"

    @property
    def means(self) -> dict[str, Stream]:
        """The stream that each feature of a record is the mean of."""
        return {f"mean_{stream.key}": stream for stream in self.streams}

    def recognises(self, record: tf.train.SequenceExample) -> bool:
        """Whether the mean of each stream is there."""
        return set(self.means) <= set(record.context.feature)

    def parse(self, records: tf.Tensor, data: Data) -> ParsedVideos:
        """Simulate ``data.frames`` frames around each video's mean."""
        means = {
            name: tf.io.FixedLenFeature([stream.width], tf.float32)
            for name, stream in self.means.items()
        }
        parsed = tf.io.parse_example(records, self.context_features | means)
        scaled = [_in_range(parsed[name], stream) for name, stream in self.means.items()]
        mean = tf.concat(scaled, axis=1)  # [B, F]
        ids = parsed[self.id_feature]
        within = tf.reduce_all(tf.abs(mean) <= FARTHEST, axis=1)  # false for what is not a number
        with tf.control_dependencies(
            [check_videos(within, f"{_range(*self.streams)}, and not so in videos", ids)]
        ):
            mean = tf.identity(mean)
        num_frames = tf.fill(tf.shape(ids), data.frames)
        frames = frames_around(mean, num_frames, seeds_of(ids), data.frames)
        return ParsedVideos(ids, parsed[self.labels_feature], frames, num_frames)

    def seconds(self, record: tf.train.SequenceExample) -> int:
        """A mean counts as one frame."""
        return 1

    def problems(self, record: tf.train.SequenceExample) -> Iterator[str]:
        """Find means of a wrong size, and values that no mean can have."""
        for name, stream in self.means.items():
            values = np.array(record.context.feature[name].float_list.value)
            if len(values) != stream.width:
                yield f"{name} has {len(values)} values, not {stream.width}"
                continue
            far = np.abs(_in_range(values, stream))
            if not np.isfinite(values).all():
                yield f"{name} has values that are not numbers"
            elif far.max() > FARTHEST:
                yield f"{name} has values up to {values[far.argmax()]:g}: {_range(stream)}"

    def serialise(self, video: MeanVideo) -> bytes:
        """Serialise a video with its mean."""
        ends = np.cumsum([stream.width for stream in self.streams])[:-1]
        means = dict(zip(self.means, np.split(video.mean, ends), strict=True))
        about = {self.id_feature: video.id, self.labels_feature: video.labels}
        record = example(**about, **means)
        return record.SerializeToString(deterministic=True)

    def chunk(self, data: Data) -> int:
        """Records whose simulated frames fit the processor's cache."""
        return max(1, FRAMES_AT_A_TIME // data.frames)

    def warning(self, data: Data) -> str:
        """Warn of a single frame a video."""
        if data.frames > 1:
            return ""
        return (
            "data.frames is 1: VLAD and Fisher pooling of a single frame ignore their own "
            "assignments, so those models train on rounding noise"
        )


VIDEO_LEVEL = VideoLevel()


def _in_range(mean: tf.Tensor, stream: Stream) -> tf.Tensor:
    """A stream's mean as if its bytes stood for [-2, 2], as YouTube-8M's do."""
    low, high = stream.range
    return mean if (low, high) == (-2.0, 2.0) else (mean - low) / (high - low) * 4.0 - 2.0


def _range(*streams: Stream) -> str:
    """Where the means of dequantised bytes lie, in words."""
    ends = {f"[{s.range[0]:g}, {s.range[1] + (s.range[1] - s.range[0]) / 400:g}]" for s in streams}
    return f"means of dequantised bytes lie in {' and '.join(sorted(ends))}"
