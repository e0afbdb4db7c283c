"""Labels of parsed videos as multi-hot vectors, checked the same way for every record kind."""

import re

import tensorflow as tf

from yt8m_lib.data.record_kinds import ParsedVideos, RecordKind, check_videos
from yt8m_lib.settings import Data


def multi_hot(videos: ParsedVideos, records: tf.Tensor, kind: RecordKind, data: Data) -> tf.Tensor:
    """Labels of a batch as 0 or 1 for each class; labels beyond ``data.classes`` are dropped.

    Args:
        videos: the parsed videos.
        records: the serialised records that they were parsed from, string [B].
        kind: the kind of the records.
        data: the vocabulary and the classes.

    Returns:
        float32 [B, data.classes]. Computing it raises ``tf.errors.InvalidArgumentError``, which
        names the videos, for labels out of the vocabulary and for records without the feature.
    """
    row, value = tf.cast(videos.labels.indices[:, 0], tf.int32), videos.labels.values  # [labels]
    in_vocabulary = (value >= 0) & (value < data.vocabulary)
    problem = f"labels outside 0..{data.vocabulary - 1} (`data.vocabulary`) in videos"
    checks = [
        check_videos(in_vocabulary, problem, tf.gather(videos.ids, row), value),
        _check_present(row, videos.ids, records, kind.labels_feature),
    ]
    with tf.control_dependencies(checks):
        among_classes = value < data.classes
    where = tf.stack([row, tf.cast(value, tf.int32)], axis=1)  # [labels, 2]
    where = tf.boolean_mask(where, among_classes)
    zeros = tf.zeros([tf.shape(videos.ids)[0], data.classes])
    return tf.tensor_scatter_nd_update(zeros, where, tf.ones(tf.shape(where)[:1]))


def _check_present(
    row: tf.Tensor, ids: tf.Tensor, records: tf.Tensor, feature: str
) -> tf.Operation:
    """Check that each record has the feature, which may be empty.

    Parsing gives the same for an empty list and a missing one, so the feature's name is looked for
    in the serialised record. Only records without labels are looked through, and those are rare.
    """
    labelled = tf.tensor_scatter_nd_update(
        tf.zeros(tf.shape(ids), tf.bool), row[:, None], tf.ones(tf.shape(row), tf.bool)
    )  # [B]
    unlabelled = tf.boolean_mask(records, ~labelled)
    key = rf"\x0a\x{len(feature):02x}{re.escape(feature)}"  # field 1, its length, its bytes
    named = tf.strings.regex_full_match(unlabelled, rf"\C*{key}\C*")
    problem = f"no feature `{feature}` (test files have none: they can be predicted only) in videos"
    return check_videos(named, problem, tf.boolean_mask(ids, ~labelled))
