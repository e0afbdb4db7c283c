"""Data (sec. 2): check every shard once, count what is in them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from yt8m_lib.data import records
from yt8m_lib.data.inspection import inspect
from yt8m_lib.data.listing import size_of
from yt8m_lib.data.records import DataError, Records
from yt8m_lib.data.video_ids import Repeated, VideoIds
from yt8m_lib.experiment.answers import LABEL_COUNTS
from yt8m_lib.experiment.runs import RunLog

SHOWN = 20  # lines of what is wrong; the table of shards has them all


def describe(run: RunLog) -> pd.DataFrame:
    """The data phase: check every shard, count videos, frames and labels, log what was found.

    Raises:
        DataError: naming the damaged shards, or those that share videos.
    """
    train, validation = records.shards(run.params)
    data = run.params.data
    ids = VideoIds()
    table = inspect([*train, *validation], data.vocabulary, ids=ids, data=data)
    other = (table["bad"] == "") & (table["level"] != data.level)
    table.loc[other, "bad"] = f"not of `data.level: {data.level}`: " + table["level"]
    run.table("shards", table)
    _refuse_damaged(table)
    _refuse_repeated(ids.repeated(), train, validation)
    counts, labels_a_video = _count_labels(Records(train, data))
    run.save(LABEL_COUNTS, lambda path: np.save(path, counts))
    run.save("labels_a_video.npy", lambda path: np.save(path, labels_a_video))
    run.metrics(
        train_videos=table["videos"][: len(train)].sum(),
        validation_videos=table["videos"][len(train) :].sum(),
        bytes=sum(size_of(path) for path in table["path"]),
    )
    return table


def _refuse_damaged(table: pd.DataFrame) -> None:
    damaged = table[table["bad"] != ""]
    if len(damaged):
        raise DataError(
            f"{len(damaged)} of {len(table)} shards cannot be used; mend or fetch them, or list "
            "their names in data.exclude:\n"
            + _listed([f"{row.path}: {row.bad}" for row in damaged.itertuples()])
        )


def _refuse_repeated(
    repeated: Sequence[Repeated], train: Sequence[str], validation: Sequence[str]
) -> None:
    """Refuse videos that stand in the data twice: what is measured on them would be wrong."""
    if not repeated:
        return
    files = [f"{f} (training)" for f in train] + [f"{f} (validation)" for f in validation]
    on_both = sum(p.videos for p in repeated if p.first < len(train) <= p.second)
    lines = []
    for pair in repeated:
        ids = ", ".join(repr(video)[1:] for video in pair.examples)
        where = files[pair.first]
        where += " twice" if pair.first == pair.second else f" and {files[pair.second]}"
        lines.append(f"{where}: {pair.videos:,} videos, such as {ids}")
    raise DataError(
        f"{sum(pair.videos for pair in repeated):,} videos stand in the data more than once, "
        f"{on_both:,} of them in training and in validation, where they would make every GAP too "
        "high. Change the globs or lists, or list shards in data.exclude:\n" + _listed(lines)
    )


def _listed(lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(f"  {line}" for line in [*lines[:SHOWN], *more])


def _count_labels(videos: Records) -> tuple[np.ndarray, np.ndarray]:
    """Videos of each class [V], and videos with 0, 1, 2, ... labels."""
    counts, numbers = 0, []
    for batch in videos.batches(1024):
        labels = batch["labels"].numpy()
        counts = counts + labels.sum(axis=0)
        numbers.append(labels.sum(axis=1).astype(int))
    return counts, np.bincount(np.concatenate(numbers))
