"""Video-level records: the mean of each video's frames, around which frames are simulated.

An ``Example`` with ``id`` (bytes), ``labels`` (int64 list) and the floats ``mean_rgb`` [1024] and
``mean_audio`` [128]. ``within_video`` says how frames are made around a mean.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from yt8m_lib.data.record_kinds import ParsedVideos, RecordKind, check_videos, example
from yt8m_lib.data.within_video import frames_around, seeds_of
from yt8m_lib.settings import AUDIO, RGB, Data

SIZES = {"mean_rgb": RGB, "mean_audio": AUDIO}  # values of a mean, by feature
# Means of dequantised bytes lie in [-2, 2.01], those of real records in [-1.992, 2.008]. Somebody's
# means of features that never were bytes may lie a little beyond, and are clipped.
FARTHEST = 3.0
FRAMES_AT_A_TIME = 384  # simulated together: they should fit the processor's cache
_RANGE = "means of dequantised bytes lie in [-2, 2.01]"


class MeanVideo(NamedTuple):
    """A video with the mean of its dequantised frames, float32 [1152]; labels may be None."""

    id: bytes
    labels: Sequence[int] | None
    mean: np.ndarray


class VideoLevel(RecordKind):
    """Records that hold the mean of a video's frames."""

    name = "video"

    def recognises(self, record: tf.train.SequenceExample) -> bool:
        """Whether both means are there."""
        return set(SIZES) <= set(record.context.feature)

    def parse(self, records: tf.Tensor, data: Data) -> ParsedVideos:
        """Simulate ``data.frames`` frames around each video's mean."""
        means = {name: tf.io.FixedLenFeature([n], tf.float32) for name, n in SIZES.items()}
        parsed = tf.io.parse_example(records, self.context_features | means)
        mean = tf.concat([parsed[name] for name in SIZES], axis=1)  # [B, 1152]
        ids = parsed[self.id_feature]
        within = tf.reduce_all(tf.abs(mean) <= FARTHEST, axis=1)  # false for what is not a number
        with tf.control_dependencies(
            [check_videos(within, f"{_RANGE}, and not so in videos", ids)]
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
        for name, size in SIZES.items():
            values = np.array(record.context.feature[name].float_list.value)
            if len(values) != size:
                yield f"{name} has {len(values)} values, not {size}"
            elif not np.isfinite(values).all():
                yield f"{name} has values that are not numbers"
            elif np.abs(values).max() > FARTHEST:
                yield f"{name} has values up to {values[np.abs(values).argmax()]:g}: {_RANGE}"

    def serialise(self, video: MeanVideo) -> bytes:
        """Serialise a video with its mean."""
        means = {"mean_rgb": video.mean[:RGB], "mean_audio": video.mean[RGB:]}
        record = example(id=video.id, labels=video.labels, **means)
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
