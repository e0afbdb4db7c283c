"""What shards hold and what is wrong with them: read strictly once, before anything trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from yt8m_lib.data.record_kinds import RecordKind, kind_of, known_kinds


def inspect(files: Sequence[str], vocabulary: int = 3862, labels: bool = True) -> pd.DataFrame:
    """Read every record of every shard, checksums included.

    Args:
        files: the shards; a bad one does not keep the others from being read.
        vocabulary: labels from 0 to one less are in range.
        labels: whether a record without the labels' feature is bad; the data set's test
            files have none.

    Returns:
        A row a shard: ``path``, ``level`` (the kind of its records), ``videos``, ``frames_min``,
        ``frames_mean``, ``frames_max`` (1 for a video-level record), ``labels_mean`` (a video), and
        ``bad``: empty, or what is wrong first and in how many videos. A damaged shard's other
        columns describe what comes before the damage.
    """
    progress = tqdm(files, desc="inspecting", unit=" shards")
    return pd.DataFrame([_inspect_shard(file, vocabulary, labels) for file in progress])


def _inspect_shard(file: str, vocabulary: int, needs_labels: bool) -> dict[str, Any]:
    kinds, frames, labels, wrong = [], [], [], []
    damage = ""
    try:
        for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
            kind = kind_of(record)
            kinds.append(kind.name if kind else "unknown")
            seconds, classes, problem = _look_at(record, kind, vocabulary, needs_labels)
            frames.append(seconds)
            labels.append(len(classes))
            wrong += [problem] if problem else []
    except (tf.errors.OpError, OSError) as error:
        damage = f"damaged after {len(kinds)} videos ({type(error).__name__})"
    different = {*kinds}
    counts = frames or [0]
    return {
        "path": file,
        "level": different.pop() if len(different) == 1 else "mixed" if different else "",
        "videos": len(kinds),
        "frames_min": min(counts),
        "frames_mean": float(np.mean(counts)),
        "frames_max": max(counts),
        "labels_mean": float(np.mean(labels or [0])),
        "bad": _verdict(damage, wrong, kinds),
    }


def _verdict(damage: str, wrong: Sequence[str], kinds: Sequence[str]) -> str:
    problems = [damage] if damage else []
    if wrong:
        problems.append(f"{wrong[0]} (videos with problems: {len(wrong)})")
    if len({*kinds}) > 1:
        problems.append("records of different levels")
    if not kinds and not damage:
        problems.append("no records")
    return "; ".join(problems)


def _look_at(
    record: bytes, kind: RecordKind | None, vocabulary: int, needs_labels: bool
) -> tuple[int, Sequence[int], str]:
    """Frames, labels and the first problem ("" for none) of one record."""
    if kind is None:
        return 0, [], f"of none of {known_kinds()}, by the names of its features"
    video = tf.train.SequenceExample.FromString(record)
    context = video.context.feature
    has_labels = kind.labels_feature in context
    labels = context[kind.labels_feature].int64_list.value if has_labels else []
    ids = context[kind.id_feature].bytes_list.value if kind.id_feature in context else []
    found = [] if ids else [f"feature {kind.id_feature} missing"]
    outside = [label for label in labels if not 0 <= label < vocabulary]
    found += [f"labels {outside} outside 0..{vocabulary - 1}"] if outside else []
    found += kind.problems(video)
    if needs_labels and not has_labels:
        found.append(f"feature {kind.labels_feature} missing")
    name = ids[0].decode("latin-1") if ids else "(no id)"
    return kind.seconds(video), labels, f"{name}: {found[0]}" if found else ""
