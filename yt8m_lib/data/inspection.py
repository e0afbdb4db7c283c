"""What shards hold and what is wrong with them: read strictly once, before anything trains."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from yt8m_lib.data.framing import FramingError, records_of
from yt8m_lib.data.record_kinds import RecordKind, kind_of_parsed, parsed, why_unknown
from yt8m_lib.data.video_ids import VideoIds
from yt8m_lib.settings import Data

_ID_OF_2017 = "video_id"


def inspect(
    files: Sequence[str],
    vocabulary: int | None = 3862,
    labels: bool = True,
    ids: VideoIds | None = None,
    data: Data | None = None,
) -> pd.DataFrame:
    """Read every record of every shard, checksums included.

    Args:
        files: the shards; a bad one does not keep the others from being read.
        vocabulary: labels from 0 to one less are in range; None lets every label pass.
        labels: whether a record without the labels' feature is bad; the data set's test
            files have none.
        ids: receives the ids of each shard's videos, a shard at a time.
        data: the streams and keys of the records; YouTube-8M's where not given.

    Returns:
        A row a shard: ``path``, ``level`` (the kind of its records), ``videos``, ``frames_min``,
        ``frames_mean``, ``frames_max`` (1 for a video-level record), ``labels_mean`` (a video), and
        ``bad``: empty, or what is wrong first and in how many videos. A damaged shard's other
        columns describe what comes before the damage.
    """
    progress = tqdm(files, desc="inspecting", unit=" shards")
    return pd.DataFrame([inspect_shard(file, vocabulary, labels, ids, data) for file in progress])


def inspect_shard(
    file: str,
    vocabulary: int | None,
    needs_labels: bool,
    ids: VideoIds | None = None,
    data: Data | None = None,
) -> dict[str, Any]:
    """The row of ``inspect`` for one shard."""
    kinds, names, frames, labels, wrong = [], [], [], [], []
    damage = ""
    try:
        for record in records_of(file):
            video = parsed(record)
            kind = None if video is None else kind_of_parsed(video, data)
            kinds.append(kind.name if kind else "unknown")
            if kind is None:
                wrong.append(why_unknown(video, data))
                continue
            names += _ids(video, kind)[:1]
            frames.append(kind.seconds(video))
            labels.append(len(_labels(video, kind)))
            wrong += _first_problem(video, kind, vocabulary, needs_labels)
    except FramingError as error:
        damage = str(error)
    if ids is not None:
        ids.add(names)
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


def _first_problem(
    video: tf.train.SequenceExample, kind: RecordKind, vocabulary: int | None, needs_labels: bool
) -> list[str]:
    """The first thing that is wrong with a video, after its id; nothing where all is right."""
    ids = _ids(video, kind)
    name = repr(ids[0])[2:-1] if ids else "(no id)"
    problems = _problems(video, kind, vocabulary, needs_labels)
    return [f"{name}: {problem}" for problem in problems][:1]


def _problems(
    video: tf.train.SequenceExample, kind: RecordKind, vocabulary: int | None, needs_labels: bool
) -> Iterator[str]:
    context = video.context.feature
    ids = _ids(video, kind)
    if not ids and kind.id_feature != _ID_OF_2017 and _ID_OF_2017 in context:
        yield (
            f"a record of 2017 ({_ID_OF_2017}; other classes) or of AudioSet: fetch the data set "
            f"of 2018, or set `data.id_key: {_ID_OF_2017}`"
        )
    elif len(ids) != 1:
        yield f"{len(ids)} ids" if ids else f"feature {kind.id_feature} missing"
    if kind.labels_feature in context:
        holds = context[kind.labels_feature].WhichOneof("kind") or "int64_list"
        if holds != "int64_list":
            found = {"float_list": "floats", "bytes_list": "text"}[holds]
            yield f"{kind.labels_feature} are {found}: integers are needed"
    if vocabulary is not None:
        outside = [label for label in _labels(video, kind) if not 0 <= label < vocabulary]
        if outside:
            yield f"labels {outside} outside 0..{vocabulary - 1} (the vocabulary)"
    yield from kind.problems(video)
    if needs_labels and kind.labels_feature not in context:
        yield f"feature {kind.labels_feature} missing (test files: they can be predicted only)"


def _ids(video: tf.train.SequenceExample, kind: RecordKind) -> list[bytes]:
    context = video.context.feature  # asking a map for a name that it lacks adds the name
    return list(context[kind.id_feature].bytes_list.value) if kind.id_feature in context else []


def _labels(video: tf.train.SequenceExample, kind: RecordKind) -> Sequence[int]:
    context = video.context.feature
    return context[kind.labels_feature].int64_list.value if kind.labels_feature in context else []
