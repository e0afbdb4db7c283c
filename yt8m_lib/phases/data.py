"""Data (sec. 2): check every shard once, count what is in them."""

from pathlib import Path

import numpy as np
import pandas as pd

from yt8m_lib.data import records
from yt8m_lib.data.inspection import inspect
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.runs import RunLog


def describe(run: RunLog) -> pd.DataFrame:
    """The data phase: check every shard, count videos, frames and labels, log what was found.

    Raises:
        DataError: naming the damaged shards.
    """
    train, validation = records.shards(run.params)
    table = inspect([*train, *validation], run.params.data.vocabulary)
    run.table("shards", table)
    damaged = table[table["bad"] != ""]
    if len(damaged):
        lines = "\n".join(f"  {row.path}: {row.bad}" for row in damaged.itertuples())
        raise records.DataError(
            f"{len(damaged)} of {len(table)} shards are damaged; fetch them again, or list their "
            f"names in data.exclude:\n{lines}"
        )
    counts, labels_a_video = _count_labels(Records(train, run.params.data))
    run.save("label_counts.npy", lambda path: np.save(path, counts))
    run.save("labels_a_video.npy", lambda path: np.save(path, labels_a_video))
    run.metrics(
        train_videos=table["videos"][: len(train)].sum(),
        validation_videos=table["videos"][len(train) :].sum(),
        bytes=sum(Path(p).stat().st_size for p in table["path"] if Path(p).exists()),
    )
    return table


def _count_labels(videos: Records) -> tuple[np.ndarray, np.ndarray]:
    """Videos of each class [V], and videos with 0, 1, 2, ... labels."""
    counts, numbers = 0, []
    for batch in videos.batches(1024):
        labels = batch["labels"].numpy()
        counts = counts + labels.sum(axis=0)
        numbers.append(labels.sum(axis=1).astype(int))
    return counts, np.bincount(np.concatenate(numbers))
