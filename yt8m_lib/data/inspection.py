"""What shards hold and what is wrong with them: read strictly once, before anything trains."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from yt8m_lib.data.record_files import level_of
from yt8m_lib.settings import AUDIO, RGB

UNLABELLED = "feature labels missing"


def inspect(files: Sequence[str], vocabulary: int = 3862, labels: bool = True) -> pd.DataFrame:
    """Read every record of every shard, checksums included.

    Args:
        files: the shards; a bad one does not keep the others from being read.
        vocabulary: labels from 0 to one less are in range.
        labels: whether a record without the feature is bad; the data set's test files have none.

    Returns:
        A row a shard: ``path``, ``level``, ``videos``, ``frames_min``, ``frames_mean``,
        ``frames_max`` (1 for a video-level record), ``labels_mean`` (a video), and ``bad``: empty,
        or what is wrong first and in how many videos. A damaged shard's other columns describe
        what comes before the damage.
    """
    progress = tqdm(files, desc="inspecting", unit=" shards")
    return pd.DataFrame([_inspect_shard(file, vocabulary, labels) for file in progress])


def _inspect_shard(file: str, vocabulary: int, needs_labels: bool) -> dict[str, Any]:
    levels, frames, labels, wrong = [], [], [], []
    damage = ""
    try:
        for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
            levels.append(level_of(record))
            seconds, classes, problem = _look_at(record, levels[-1], vocabulary)
            if problem.endswith(UNLABELLED) and not needs_labels:
                problem = ""
            frames.append(seconds)
            labels.append(len(classes))
            wrong += [problem] if problem else []
    except (tf.errors.OpError, OSError) as error:
        damage = f"damaged after {len(levels)} videos ({type(error).__name__})"
    kinds = {kind or "unknown" for kind in levels}
    counts = frames or [0]
    return {
        "path": file,
        "level": kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "",
        "videos": len(levels),
        "frames_min": min(counts),
        "frames_mean": float(np.mean(counts)),
        "frames_max": max(counts),
        "labels_mean": float(np.mean(labels or [0])),
        "bad": _verdict(damage, wrong, len(levels), len({*levels})),
    }


def _verdict(damage: str, wrong: Sequence[str], videos: int, levels: int) -> str:
    problems = [damage] if damage else []
    if wrong:
        problems.append(f"{wrong[0]} (videos with problems: {len(wrong)})")
    if levels > 1:
        problems.append("records of different levels")
    if not videos and not damage:
        problems.append("no records")
    return "; ".join(problems)


def _look_at(record: bytes, level: str | None, vocabulary: int) -> tuple[int, Sequence[int], str]:
    """Frames, labels and the first problem ("" for none) of one record."""
    if level is None:
        return 0, [], "neither frame- nor video-level: features rgb, audio or means missing"
    # An Example parses as a SequenceExample whose context is its features.
    video = tf.train.SequenceExample.FromString(record)
    context = video.context.feature
    labels = context["labels"].int64_list.value if "labels" in context else []
    problems = _frame_problems if level == "frame" else _mean_problems
    seconds = len(video.feature_lists.feature_list["rgb"].feature) if level == "frame" else 1
    found = [*_context_problems(context, labels, vocabulary), *problems(video)]
    found += [] if "labels" in context else [UNLABELLED]  # last: it must hide nothing else
    return seconds, labels, f"{_id_of(context)}: {found[0]}" if found else ""


def _id_of(context: Any) -> str:
    values = context["id"].bytes_list.value if "id" in context else []
    return values[0].decode("latin-1") if values else "(no id)"


def _context_problems(context: Any, labels: Iterable[int], vocabulary: int) -> Iterator[str]:
    if _id_of(context) == "(no id)":
        yield "feature id missing"
    outside = [label for label in labels if not 0 <= label < vocabulary]
    if outside:
        yield f"labels {outside} outside 0..{vocabulary - 1}"


def _frame_problems(video: tf.train.SequenceExample) -> Iterator[str]:
    lengths = {}
    for name, size in {"rgb": RGB, "audio": AUDIO}.items():
        frames = video.feature_lists.feature_list[name].feature
        lengths[name] = len(frames)
        if any([len(value) for value in f.bytes_list.value] != [size] for f in frames):
            yield f"{name} frames are not {size} bytes each"
    if lengths["rgb"] != lengths["audio"]:
        yield f"{lengths['rgb']} frames of rgb, {lengths['audio']} of audio"
    if not lengths["rgb"]:
        yield "no frames"


def _mean_problems(video: tf.train.SequenceExample) -> Iterator[str]:
    for name, size in {"mean_rgb": RGB, "mean_audio": AUDIO}.items():
        values = np.array(video.context.feature[name].float_list.value)
        if len(values) != size:
            yield f"{name} has {len(values)} values, not {size}"
        elif not np.isfinite(values).all():
            yield f"{name} has values that are not numbers"
