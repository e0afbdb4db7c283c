"""Which layout a record has that no record kind recognises, and the settings that would read it.

Feature lists of one value a second are streams. What holds the id and the labels is told by the
names that data sets give them: YouTube-8M of 2017 and AudioSet say ``video_id``, MediaPipe says
``clip/...``.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from yt8m_lib.data.framing import FramingError, records_of
from yt8m_lib.data.record_kinds import kind_of_parsed, parsed
from yt8m_lib.streams import YOUTUBE_8M, Stream

IDS = ("id", "video_id", "clip/data_path", "clip/media_id", "clip/example_id")
LABELS = ("labels", "clip/label/index", "label", "segment_labels")
KNOWN = {stream.key: stream.width for stream in YOUTUBE_8M}


def settings_for(video: tf.train.SequenceExample) -> dict[str, Any] | None:
    """The ``data`` settings that would read such a record; None where nothing in it is a stream."""
    streams = [
        stream
        for key, values in sorted(video.feature_lists.feature_list.items(), key=_order)
        if (stream := _stream(key, values)) is not None
    ]
    if not streams:
        return None
    context = video.context.feature
    found: dict[str, Any] = {"level": "frame"}
    for setting, names, usual in (("id_key", IDS, "id"), ("labels_key", LABELS, "labels")):
        key = next((name for name in names if name in context), None)
        if key not in (None, usual):
            found[setting] = key
    if tuple(Stream(**stream) for stream in streams) != YOUTUBE_8M:
        found["streams"] = streams
    return found


def advice(video: tf.train.SequenceExample) -> str:
    """The settings that would read such a record as a person writes them, or ""."""
    settings = settings_for(video)
    if settings is None:
        return ""
    text = yaml.safe_dump({"data": settings}, sort_keys=False, default_flow_style=None, width=100)
    lacks = [] if set(IDS) & set(video.context.feature) else ["no feature that holds an id"]
    lacks += [] if set(LABELS) & set(video.context.feature) else ["no feature that holds labels"]
    note = f"# but there is {' and '.join(lacks)}: `yt8m pack` adds them\n" if lacks else ""
    return text + note


def advice_for(files: Iterable[str]) -> dict[str, list[str]]:
    """Advice for shards that cannot be read as they are, by their first record.

    Returns:
        The files that each piece of advice is for.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        try:
            record = next(records_of(file), None)
        except FramingError:
            continue
        video = None if record is None else parsed(record)
        if video is None or (kind_of_parsed(video) and "id" in video.context.feature):
            continue
        if words := advice(video):
            found.setdefault(words, []).append(file)
    return found


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    """Image features come before the others, as YouTube-8M has them."""
    return (0 if item[0].lower().startswith(("rgb", "image", "video")) else 1, item[0])


def _stream(key: str, values: tf.train.FeatureList) -> dict[str, Any] | None:
    """A stream's settings, judged by its first value; None for a list that is none."""
    if not values.feature:
        return None
    first = values.feature[0]
    name = key.split("/")[0].lower().replace("_embedding", "") or key
    floats = len(first.float_list.value)
    if floats > 1:
        return {"name": name, "key": key, "width": floats, "storage": "floats"}
    if len(first.bytes_list.value) != 1 or not first.bytes_list.value[0]:
        return None
    size = len(first.bytes_list.value[0])
    known = next((s for s in YOUTUBE_8M if s.key == key and s.width == size), None)
    if known:
        return {"name": known.name, "key": key, "width": size}
    if key in KNOWN and size % KNOWN[key] == 0 and size // KNOWN[key] in (2, 4):
        storage = {2: "float16", 4: "float32"}[size // KNOWN[key]]
        return {"name": name, "key": key, "width": KNOWN[key], "storage": storage}
    return {"name": name, "key": key} | _width(values)


def _width(values: tf.train.FeatureList) -> dict[str, Any]:
    """Width and storage of bytes: those that make the likeliest numbers of them."""
    data = b"".join(value.bytes_list.value[0] for value in values.feature[:8])
    size = len(values.feature[0].bytes_list.value[0])
    for storage in ("float32", "float16"):
        kind = tf.as_dtype(storage).as_numpy_dtype
        if size % kind().itemsize == 0 and _are_features(data, kind):
            return {"width": size // kind().itemsize, "storage": storage}
    return {"width": size}


def _are_features(data: bytes, kind: type) -> bool:
    """Whether bytes look like features as such numbers: finite, none tiny or huge but zeros."""
    with np.errstate(all="ignore"):
        sizes = np.abs(np.frombuffer(data, kind).astype(np.float64))
        return bool(
            np.isfinite(sizes).all()
            and np.mean((sizes == 0) | (sizes > 1e-4)) > 0.98
            and sizes.max() < 1e4
        )
