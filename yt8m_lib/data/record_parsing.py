"""Serialised YouTube-8M records to tensors, whole batches at a time, with everything checked.

These functions run inside input pipelines, so what is wrong with a record is raised as
``tf.errors.InvalidArgumentError``; its message names the videos.
"""

from typing import NamedTuple

import tensorflow as tf

from yt8m_lib.data.within_video import frames_around, seeds_of
from yt8m_lib.settings import AUDIO, RGB, Data

_CONTEXT = {
    "id": tf.io.FixedLenFeature([], tf.string),
    "labels": tf.io.VarLenFeature(tf.int64),
}


def parse_records(records: tf.Tensor, data: Data, labels: bool = True) -> dict[str, tf.Tensor]:
    """Parse a batch of serialised videos of ``data.level``.

    Args:
        records: string [B].
        data: the level, how many frames to keep or to simulate, and the classes.
        labels: whether labels are read; if so, each record must have the feature, if empty.

    Returns:
        ``id`` string [B], ``frames`` uint8 [B, T, 1152], ``num_frames`` int32 [B] and, if asked
        for, ``labels`` float32 [B, data.classes].
    """
    parse = _parse_frames if data.level == "frame" else _parse_means
    context, frames, num_frames = parse(records, data)
    batch = {"id": context["id"], "frames": frames, "num_frames": num_frames}
    if labels:
        batch["labels"] = _multi_hot(context["labels"], batch["id"], records, data)
    return batch


class SoftTargets(NamedTuple):
    """Sidecar records: ids string [B], classes int32 [B, k], confidences float16 [B, k]."""

    ids: tf.Tensor
    classes: tf.Tensor
    confidences: tf.Tensor


def parse_soft_targets(records: tf.Tensor) -> SoftTargets:
    """Parse a batch of serialised sidecar records, string [B]."""
    names = ("id", "classes", "confidences")
    parsed = tf.io.parse_example(records, {n: tf.io.FixedLenFeature([], tf.string) for n in names})
    classes = tf.cast(tf.io.decode_raw(parsed["classes"], tf.uint16), tf.int32)
    return SoftTargets(parsed["id"], classes, tf.io.decode_raw(parsed["confidences"], tf.float16))


def dense(classes: tf.Tensor, confidences: tf.Tensor, total: int) -> tf.Tensor:
    """Spread listed confidences over all classes, 0 elsewhere: [B, k] -> float32 [B, total]."""
    row = tf.range(tf.shape(classes)[0])[:, None] + tf.zeros_like(classes)  # [B, k]
    where = tf.stack([row, classes], axis=-1)  # [B, k, 2]
    zeros = tf.zeros([tf.shape(classes)[0], total])
    return tf.tensor_scatter_nd_update(zeros, where, tf.cast(confidences, tf.float32))


def check(good: tf.Tensor, problem: str, ids: tf.Tensor, *values: tf.Tensor) -> tf.Operation:
    """Raise naming the videos for which ``good`` [B] is false, with their values."""
    shown = [tf.boolean_mask(value, ~good) for value in (ids, *values)]
    return tf.debugging.Assert(tf.reduce_all(good), [problem, *shown], summarize=3)


def _parse_frames(records: tf.Tensor, data: Data) -> tuple[dict, tf.Tensor, tf.Tensor]:
    """Context, frames cut at ``data.max_frames`` and padded to the longest, and their number."""
    one_string_a_second = tf.io.FixedLenSequenceFeature([], tf.string)
    context, seconds, lengths = tf.io.parse_sequence_example(
        records, _CONTEXT, {"rgb": one_string_a_second, "audio": one_string_a_second}
    )
    ids, rgb, audio = context["id"], seconds["rgb"], seconds["audio"]  # [B], [B, T], [B, T]
    checks = [
        check(lengths["rgb"] == lengths["audio"], "rgb and audio differ in length, videos", ids),
        check(lengths["rgb"] > 0, "no frames in videos", ids),
        *(
            check(
                _all_of_size(seconds[name], lengths[name], size),
                f"{name} frames are not {size} bytes each in videos",
                ids,
            )
            for name, size in {"rgb": RGB, "audio": AUDIO}.items()
        ),
    ]
    with tf.control_dependencies(checks):
        num_frames = tf.cast(tf.minimum(lengths["rgb"], data.max_frames), tf.int32)
    longest = tf.reduce_max(num_frames)
    frames = tf.concat(
        [
            tf.io.decode_raw(rgb[:, :longest], tf.uint8, fixed_length=RGB),
            tf.io.decode_raw(audio[:, :longest], tf.uint8, fixed_length=AUDIO),
        ],
        axis=2,
    )  # padding strings are empty, and empty strings decode to bytes 0
    return context, frames, num_frames


def _parse_means(records: tf.Tensor, data: Data) -> tuple[dict, tf.Tensor, tf.Tensor]:
    """Context, ``data.frames`` frames simulated around each mean, and their number."""
    means = {
        "mean_rgb": tf.io.FixedLenFeature([RGB], tf.float32),
        "mean_audio": tf.io.FixedLenFeature([AUDIO], tf.float32),
    }
    parsed = tf.io.parse_example(records, _CONTEXT | means)
    mean = tf.concat([parsed["mean_rgb"], parsed["mean_audio"]], axis=1)  # [B, 1152]
    num_frames = tf.fill(tf.shape(parsed["id"]), data.frames)
    frames = frames_around(mean, num_frames, seeds_of(parsed["id"]), data.frames)
    return parsed, frames, num_frames


def _all_of_size(strings: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
    """Whether ``count`` [B] of a video's strings are ``size`` bytes: [B, T] -> bool [B]."""
    right = tf.cast(tf.strings.length(strings) == size, tf.int64)
    return tf.reduce_sum(right, axis=1) == count


def _multi_hot(
    labels: tf.SparseTensor, ids: tf.Tensor, records: tf.Tensor, data: Data
) -> tf.Tensor:
    """Labels as float32 [B, data.classes]; those beyond the classes kept are dropped."""
    row, value = tf.cast(labels.indices[:, 0], tf.int32), labels.values  # one each a label
    in_vocabulary = (value >= 0) & (value < data.vocabulary)
    problem = f"labels outside 0..{data.vocabulary - 1} (`data.vocabulary`) in videos"
    checks = [
        check(in_vocabulary, problem, tf.gather(ids, row), value),
        _check_labels_present(row, ids, records),
    ]
    with tf.control_dependencies(checks):
        kept = value < data.classes
    where = tf.stack([row, tf.cast(value, tf.int32)], axis=1)  # [labels, 2]
    where = tf.boolean_mask(where, kept)
    zeros = tf.zeros([tf.shape(ids)[0], data.classes])
    return tf.tensor_scatter_nd_update(zeros, where, tf.ones(tf.shape(where)[:1]))


def _check_labels_present(row: tf.Tensor, ids: tf.Tensor, records: tf.Tensor) -> tf.Operation:
    """Parsing cannot tell an empty list from a missing one: look for the feature's name itself.

    Only records without labels are looked through, and those are rare.
    """
    labelled = tf.tensor_scatter_nd_update(
        tf.zeros(tf.shape(ids), tf.bool), row[:, None], tf.ones(tf.shape(row), tf.bool)
    )
    unlabelled = tf.boolean_mask(records, ~labelled)
    named = tf.strings.regex_full_match(unlabelled, r"\C*\x0a\x06labels\C*")
    problem = "no feature `labels` (test files have none: they can be predicted only) in videos"
    return check(named, problem, tf.boolean_mask(ids, ~labelled))
