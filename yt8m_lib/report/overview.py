"""What a notebook shows of its phase: what is planned, how training went, what came out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from yt8m_lib.catalogue import METRICS
from yt8m_lib.experiment.answers import LABEL_COUNTS
from yt8m_lib.scoring.predictions import selection_half
from yt8m_lib.settings import Params

if TYPE_CHECKING:  # MLflow takes seconds to import
    from yt8m_lib.experiment.tracking import Experiment, FinishedRun

COSTS = ("size_bytes", "size_bytes_float32", "seconds")


def architectures(params: Params) -> pd.DataFrame:
    """A row for each model: its architecture, sizes and training settings."""
    rows = {name: model.model_dump() for name, model in params.models.items()}
    columns = ["architecture", "clusters", "hidden", "batch", "rate", "epochs", "rate_decay"]
    return pd.DataFrame(rows).T[columns].rename_axis("model").reset_index()


def results(experiment: Experiment) -> pd.DataFrame:
    """A row for each finished run of this phase: metrics on the report half, bytes and seconds."""
    rows = []
    for name, run in experiment.finished().items():
        family = experiment.plan[f"{experiment.phase}/{name}"].family
        shown = {key: run.metrics[key] for key in (*METRICS, *COSTS) if key in run.metrics}
        rows.append({"name": name, "family": family} | shown)
    return pd.DataFrame(rows)


def histories(experiment: Experiment, name: str = "history") -> pd.DataFrame:
    """The training histories of this phase's runs, one after another, with a column ``model``."""
    parts = [
        run.table(name).assign(model=model)
        for model, run in experiment.finished().items()
        if run.has(f"{name}.csv")
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def labels_a_video(data: FinishedRun) -> np.ndarray:
    """How many training videos have 0, 1, 2, ... labels."""
    return np.load(data.file("labels_a_video.npy"), allow_pickle=False)


def class_counts(data: FinishedRun) -> np.ndarray:
    """How many training videos each class labels."""
    return data.array(LABEL_COUNTS)


def halves(batches: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """How many of the videos in some batches, and of their labels, each half holds."""
    rows = [
        (name, int(labels.sum()))
        for batch in batches
        for name, labels in zip(
            np.where(selection_half(batch["id"].numpy()), "selection", "report"),
            batch["labels"].numpy(),
            strict=True,
        )
    ]
    table = pd.DataFrame(rows, columns=["half", "labels"])
    return table.groupby("half").agg(videos=("labels", "size"), labels=("labels", "sum"))


def size_against_gap(results: pd.DataFrame) -> pd.DataFrame:
    """Correlation of the logarithm of a model's bytes with its GAP, a row for each family."""
    rows = [
        (family, len(part), np.corrcoef(np.log(part["size_bytes_float32"]), part["gap"])[0, 1])
        for family, part in results.groupby("family")
        if len(part) > 2
    ]
    return pd.DataFrame(rows, columns=["family", "models", "correlation"])


def combinations(experiment: Experiment) -> pd.DataFrame:
    """Every first-round combination of teachers with its GAP on the selection half."""
    finished = experiment.finished("distillation")
    parts = [
        finished[step.name].table("combinations").assign(family=step.family)
        for step in experiment.plan.soft_targets()
        if step.round == 1 and step.name in finished
    ]
    return pd.concat(parts, ignore_index=True)


def tags(batch: dict[str, Any], answer: dict[str, Any]) -> pd.DataFrame:
    """A row for each video: its true labels and the model's five most confident classes."""
    rows = []
    for place, video in enumerate(batch["id"].numpy()):
        pairs = zip(answer["classes"][place, :5], answer["confidences"][place, :5], strict=True)
        best = ", ".join(f"{int(c)} ({float(p):.2f})" for c, p in pairs)
        true = ", ".join(map(str, np.flatnonzero(batch["labels"][place])))
        rows.append((video.decode(errors="replace"), true, best))
    return pd.DataFrame(rows, columns=["video", "labels", "most confident classes"])
