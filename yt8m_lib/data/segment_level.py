"""Segment-rated records, YouTube-8M's of 2019: people said which classes five seconds show.

A frame-level record with, in its context, ``segment_start_times``, ``segment_end_times``,
``segment_labels`` and ``segment_scores`` (1 where the class is shown, 0 where not), one entry a
rating. Each rated segment becomes an example of its own: its id is the video's, a colon and its
first second; its labels are the classes that were found in it; and the classes that nobody rated
are unknown, so that neither the loss nor a metric looks at them.
"""

from collections.abc import Iterator

import tensorflow as tf

from yt8m_lib.data.frame_level import FrameLevel
from yt8m_lib.data.record_kinds import ParsedVideos
from yt8m_lib.settings import Data

STARTS, ENDS, LABELS, SCORES = (
    f"segment_{what}" for what in ("start_times", "end_times", "labels", "scores")
)
RATED = "rated"  # the context feature of an example that lists its rated classes


class SegmentLevel(FrameLevel):
    """Records whose rated segments are examples."""

    name = "segment"

    def recognises(self, record: tf.train.SequenceExample) -> bool:
        """Whether there are ratings beside the frames."""
        return {STARTS, LABELS, SCORES} <= set(record.context.feature) and super().recognises(
            record
        )

    def examples(self, record: bytes) -> list[bytes]:
        """The rated segments of a record, in the order of time; none where nothing was rated."""
        video = tf.train.SequenceExample.FromString(record)
        return [segment.SerializeToString(deterministic=True) for segment in self._cut(video)]

    def parse(self, records: tf.Tensor, data: Data) -> ParsedVideos:
        """Read segments as videos, with the classes that were rated."""
        rated = {RATED: tf.io.VarLenFeature(tf.int64)}
        context, *_ = tf.io.parse_sequence_example(records, rated, {})
        return super().parse(records, data)._replace(rated=context[RATED])

    def problems(self, record: tf.train.SequenceExample) -> Iterator[str]:
        """Find ratings that do not belong together, or lie outside the video."""
        yield from super().problems(record)
        starts, labels, scores = self._ratings(record)
        if not len(starts) == len(labels) == len(scores):
            yield f"{len(starts)} starts, {len(labels)} labels and {len(scores)} scores of segments"
        elif starts and not 0 <= min(starts) <= max(starts) < self.seconds(record):
            yield f"segments from {min(starts)} to {max(starts)} s, {self.seconds(record)} frames"

    def _ratings(self, record: tf.train.SequenceExample) -> tuple[list, list, list]:
        feature = record.context.feature
        whole = (list(feature[name].int64_list.value) for name in (STARTS, LABELS))
        return *whole, list(feature[SCORES].float_list.value)

    def _cut(self, video: tf.train.SequenceExample) -> Iterator[tf.train.SequenceExample]:
        starts, labels, scores = self._ratings(video)
        ends = list(video.context.feature[ENDS].int64_list.value) or [s + 5 for s in starts]
        name = video.context.feature[self.id_feature].bytes_list.value[0]
        for start in sorted(set(starts)):
            rated = [i for i, other in enumerate(starts) if other == start]
            segment = tf.train.SequenceExample()
            context = segment.context.feature
            context[self.id_feature].bytes_list.value.append(b"%s:%d" % (name, start))
            context[RATED].int64_list.value.extend(sorted({labels[i] for i in rated}))
            found = sorted({labels[i] for i in rated if scores[i] > 0.5})
            context[self.labels_feature].int64_list.value.extend(found)
            for stream in self.streams:
                frames = video.feature_lists.feature_list[stream.key].feature
                kept = segment.feature_lists.feature_list[stream.key].feature
                kept.extend(frames[start : max(ends[i] for i in rated)])
            yield segment


SEGMENT_LEVEL = SegmentLevel()
