"""YouTube-8M TFRecord files themselves: their schema, written whole and inspected strictly.

Frame level (sec. 1 of the published system): ``SequenceExample``, context ``id`` (bytes) and
``labels`` (int64 list), feature lists ``rgb`` and ``audio`` of one bytes value a second. Video
level: ``Example`` with ``id``, ``labels`` and the floats ``mean_rgb`` and ``mean_audio``. Soft
targets are sidecar shards of ours: ``Example`` with ``id``, ``classes`` (uint16) and
``confidences`` (float16).
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from yt8m_lib.data.shards import DataError
from yt8m_lib.settings import RGB


class FrameVideo(NamedTuple):
    """A frame-level record: ``frames`` is uint8 [T, 1152], rgb then audio; labels may be None."""

    id: bytes
    labels: Sequence[int] | None
    frames: np.ndarray


class MeanVideo(NamedTuple):
    """A video-level record: ``mean`` is float32 [1152], dequantised; labels may be None."""

    id: bytes
    labels: Sequence[int] | None
    mean: np.ndarray


def write_frame_records(path: str | Path, videos: Iterable[FrameVideo]) -> int:
    """Write a frame-level shard, whole or not at all; returns how many videos it holds."""
    return _write(path, (_frame_record(*video) for video in videos))


def write_video_records(path: str | Path, videos: Iterable[MeanVideo]) -> int:
    """Write a video-level shard, whole or not at all; returns how many videos it holds."""
    return _write(path, (_video_record(*video) for video in videos))


def write_soft_targets(
    path: str | Path, ids: Sequence[bytes], classes: np.ndarray, confidences: np.ndarray
) -> int:
    """Write the soft targets of one source shard, in its order, whole or not at all.

    Args:
        path: the sidecar shard; ``shards.sidecar_paths`` says where.
        ids: the videos' ids, N.
        classes: [N, k], stored as uint16.
        confidences: [N, k], stored as float16; every class not listed counts as 0.

    Returns:
        How many videos were written.
    """
    if not len(ids) == len(classes) == len(confidences) or classes.shape != confidences.shape:
        raise ValueError(
            f"{len(ids)} ids, classes {classes.shape}, confidences {confidences.shape}"
        )
    columns = zip(ids, classes.astype("<u2"), confidences.astype("<f2"), strict=True)
    return _write(
        path,
        (
            _example(id=i, classes=c.tobytes(), confidences=p.tobytes()).SerializeToString()
            for i, c, p in columns
        ),
    )


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[str]:
    """A name beside ``path`` to write to; on success it takes the place of ``path``.

    A killed write leaves ``path`` as it was, never half a file: contents reach the disk before the
    name does.
    """
    path, beside = str(path), f"{path}.writing"
    tf.io.gfile.makedirs(path.rpartition("/")[0] or ".")
    try:
        yield beside
        if "://" not in beside:
            with open(beside, "rb") as stream:
                os.fsync(stream.fileno())
        tf.io.gfile.rename(beside, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(beside):
            tf.io.gfile.remove(beside)


def level(file: str) -> str:
    """The level of a shard, "frame" or "video", from its first record.

    Raises:
        DataError: when the shard is damaged, empty, not there, or of another kind.
    """
    try:
        record = next(iter(tf.data.TFRecordDataset(file).take(1).as_numpy_iterator()), None)
    except (tf.errors.OpError, OSError) as error:
        raise DataError(f"{file}: not a readable TFRecord shard: {error}") from None
    found = record and level_of(record)
    if not found:
        kind = "no record" if record is None else "records that are neither level's"
        raise DataError(f"{file}: holds {kind}. Leave it out with `data.exclude`.")
    return found


def check_level(file: str, expected: str) -> None:
    """Refuse a shard of another level, before anything is trained on it.

    Raises:
        DataError: as ``level``, or when the level is not the expected one.
    """
    found = level(file)
    if found != expected:
        raise DataError(
            f"{file}: read as {expected}-level records, holds {found}-level ones. "
            f"Set `data.level: {found}`, or give other shards."
        )


def level_of(record: bytes) -> str | None:
    """The level of a serialised record, from its features' names; None if it is neither."""
    try:
        video = tf.train.SequenceExample.FromString(record)
    except DecodeError:
        return None
    if {"rgb", "audio"} <= set(video.feature_lists.feature_list):
        return "frame"
    # An Example parses as a SequenceExample without lists: its features are the context.
    return "video" if {"mean_rgb", "mean_audio"} <= set(video.context.feature) else None


def _write(path: str | Path, records: Iterable[bytes]) -> int:
    count = 0
    with written_whole(path) as beside, tf.io.TFRecordWriter(beside) as writer:
        for record in records:
            writer.write(record)
            count += 1
    return count


def _frame_record(id: bytes, labels: Sequence[int] | None, frames: np.ndarray) -> bytes:
    video = tf.train.SequenceExample(context=_example(id=id, labels=labels).features)
    for name, columns in {"rgb": frames[:, :RGB], "audio": frames[:, RGB:]}.items():
        steps = video.feature_lists.feature_list[name].feature
        for row in columns:
            steps.add().bytes_list.value.append(row.tobytes())
    return video.SerializeToString(deterministic=True)


def _video_record(id: bytes, labels: Sequence[int] | None, mean: np.ndarray) -> bytes:
    video = _example(id=id, labels=labels, mean_rgb=mean[:RGB], mean_audio=mean[RGB:])
    return video.SerializeToString(deterministic=True)


def _example(**features: Any) -> tf.train.Example:
    return tf.train.Example(
        features=tf.train.Features(
            feature={k: _feature(v) for k, v in features.items() if v is not None}
        )
    )


def _feature(value: Any) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    value = np.asarray(value)
    if value.dtype.kind == "f" and value.size:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value.astype(np.int64)))
