"""Soft targets (sec. 3.1): a sidecar shard of ours beside each source shard, in its order.

A record is an ``Example`` with the video's ``id`` and its likeliest ``classes`` (uint16) and their
``confidences`` (float16), k of each; every class not listed counts as 0. A sidecar's first record
also says which ``teachers`` predicted, as a fingerprint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from yt8m_lib.data.framing import FramingError, records_of
from yt8m_lib.data.record_kinds import check_videos, example, write_serialised
from yt8m_lib.data.shards import DataError


class SoftTargets(NamedTuple):
    """Soft targets of N videos as they are stored."""

    ids: tf.Tensor  # string [N]
    classes: tf.Tensor  # int32 [N, k]
    confidences: tf.Tensor  # float16 [N, k]


def write_soft_targets(
    path: str | Path,
    ids: Sequence[bytes],
    classes: np.ndarray,
    confidences: np.ndarray,
    teachers: str | None = None,
) -> int:
    """Write the soft targets of one source shard, in its order, whole or not at all.

    Args:
        path: the sidecar shard; ``shards.sidecar_paths`` says where.
        ids: the videos' ids, N.
        classes: [N, k], stored as uint16.
        confidences: [N, k] from 0 to 1, stored as float16.
        teachers: fingerprint of who predicted them.

    Returns:
        How many videos were written.
    """
    if not len(ids) == len(classes) == len(confidences) or classes.shape != confidences.shape:
        raise ValueError(
            f"{len(ids)} ids, classes {classes.shape}, confidences {confidences.shape}"
        )
    if not _are_confidences(confidences):
        raise ValueError(f"soft targets that are not from 0 to 1, for {path}")
    by = [None if teachers is None else teachers.encode(), *[None] * len(ids)][: len(ids)]
    columns = zip(ids, classes.astype("<u2"), confidences.astype("<f2"), by, strict=True)
    records = (
        example(id=video, classes=c.tobytes(), confidences=p.tobytes(), teachers=t)
        for video, c, p, t in columns
    )
    return write_serialised(
        path, (record.SerializeToString(deterministic=True) for record in records)
    )


def check_sidecars(files: Sequence[str], sidecars: Sequence[str]) -> None:
    """Check that there is a sidecar shard for each source shard.

    Raises:
        DataError: when one is missing.
    """
    missing = [sidecar for sidecar in sidecars if not tf.io.gfile.exists(sidecar)]
    if missing or len(sidecars) != len(files):
        raise DataError(
            f"{len(files)} shards, {len(sidecars)} sidecar shards of soft targets, of which "
            f"missing: {missing}. Predict the soft targets of every training shard first."
        )


def fault_of(sidecar: str, ids: Sequence[bytes], classes: int, teachers: str | None = None) -> str:
    """What is wrong with a sidecar shard, or "".

    Args:
        sidecar: the sidecar shard.
        ids: of the videos that it must be of, in order.
        classes: V; a listed class is below it.
        teachers: fingerprint that it must have; None lets any pass.
    """
    try:
        records = list(records_of(sidecar))
        targets = SoftTargets(*(c.numpy() for c in parse_soft_targets(tf.constant(records))))
    except FramingError as error:
        return str(error)
    except (tf.errors.OpError, ValueError):
        return "no soft targets" if records else "empty"
    if targets.ids.tolist() != list(ids):
        return f"soft targets of {len(targets.ids)} other videos, where the shard has {len(ids)}"
    if not _are_confidences(targets.confidences):
        return "soft targets that are not from 0 to 1"
    if targets.classes.size and targets.classes.max() >= classes:
        return f"soft targets of class {targets.classes.max()}, where {classes} are known"
    if teachers is not None and _teachers(records) != teachers:
        return "soft targets of other teachers"
    return ""


def _teachers(records: Sequence[bytes]) -> str | None:
    features = tf.train.Example.FromString(records[0]).features.feature
    if "teachers" not in features:
        return None
    return b"".join(features["teachers"].bytes_list.value).decode(errors="replace")


def _are_confidences(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())  # false for what is not a number


def parse_soft_targets(records: tf.Tensor) -> SoftTargets:
    """Parse a batch of serialised sidecar records, string [B]."""
    names = ("id", "classes", "confidences")
    parsed = tf.io.parse_example(records, {n: tf.io.FixedLenFeature([], tf.string) for n in names})
    classes = tf.cast(tf.io.decode_raw(parsed["classes"], tf.uint16), tf.int32)
    return SoftTargets(parsed["id"], classes, tf.io.decode_raw(parsed["confidences"], tf.float16))


def dense_soft_targets(records: tf.Tensor, ids: tf.Tensor, total: int) -> tf.Tensor:
    """Parse sidecar records, string [B], of the videos with these ids, string [B].

    Returns:
        float32 [B, total]. Computing it raises ``tf.errors.InvalidArgumentError``, which names the
        videos, when the soft targets are of others or not from 0 to 1.
    """
    targets = parse_soft_targets(records)
    problem = "soft targets are of other videos: ids of videos, of soft targets"
    within = (targets.confidences >= 0) & (targets.confidences <= 1)  # false for NaN
    within = tf.reduce_all(within, axis=1)
    checks = [
        check_videos(targets.ids == ids, problem, ids, targets.ids),
        check_videos(within, "soft targets are not from 0 to 1, videos", ids),
    ]
    with tf.control_dependencies(checks):
        return dense(targets.classes, targets.confidences, total)


def read_soft_targets(sidecars: Sequence[str], ids: np.ndarray) -> SoftTargets:
    """Read all soft targets of some sidecar shards.

    Args:
        sidecars: the sidecar shards.
        ids: the ids of the videos, in order, that the soft targets must be of.

    Raises:
        DataError: when they are of other videos or not from 0 to 1.
    """
    parts = list(tf.data.TFRecordDataset(list(sidecars)).batch(1024).map(parse_soft_targets))
    targets = SoftTargets(*(tf.concat(column, axis=0) for column in zip(*parts, strict=True)))
    _check_same_videos(ids, targets.ids.numpy(), sidecars)
    if not _are_confidences(targets.confidences.numpy()):
        raise DataError(f"soft targets in {list(sidecars)} are not from 0 to 1: predict them again")
    return targets


def dense(classes: tf.Tensor, confidences: tf.Tensor, total: int) -> tf.Tensor:
    """Spread listed confidences over all classes, 0 elsewhere: [B, k] -> float32 [B, total]."""
    row = tf.range(tf.shape(classes)[0])[:, None] + tf.zeros_like(classes)  # [B, k]
    where = tf.stack([row, classes], axis=-1)  # [B, k, 2]
    zeros = tf.zeros([tf.shape(classes)[0], total])
    return tf.tensor_scatter_nd_update(zeros, where, tf.cast(confidences, tf.float32))


def _check_same_videos(ids: np.ndarray, others: np.ndarray, sidecars: Sequence[str]) -> None:
    if len(ids) != len(others):
        raise DataError(
            f"{len(others)} soft targets in {list(sidecars)} for {len(ids)} videos: predict them "
            "again for these shards."
        )
    for video, other in zip(ids, others, strict=True):
        if video != other:
            raise DataError(
                f"soft targets are of other videos: {video!r} stands beside {other!r} in "
                f"{list(sidecars)}. Predict them again for these shards."
            )
