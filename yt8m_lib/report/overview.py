"""What a notebook shows of its phase: what is planned, how training went, what came out."""

from typing import Any

import numpy as np
import pandas as pd

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.tracking import Experiment, FinishedRun
from yt8m_lib.methods import quantization
from yt8m_lib.settings import Params
from yt8m_lib.scoring.predictions import selection_half

SHOWN = ["gap", "hit_at_1", "perr", "map", "size_bytes", "size_bytes_float32", "seconds"]


def architectures(params: Params) -> pd.DataFrame:
    """A row a model: its architecture, sizes and training settings."""
    rows = {name: model.model_dump() for name, model in params.models.items()}
    columns = ["architecture", "clusters", "hidden", "batch", "rate", "epochs", "rate_decay"]
    return pd.DataFrame(rows).T[columns].rename_axis("model").reset_index()


def results(experiment: Experiment) -> pd.DataFrame:
    """A row a finished run of this phase: its metrics on the report half, bytes and seconds."""
    rows = []
    for name, run in experiment.finished().items():
        metrics = {key: run.metrics[key] for key in SHOWN if key in run.metrics}
        rows.append({"name": name, "family": run.tags.get("family", "")} | metrics)
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
    return np.load(data.file("labels_a_video.npy"))


def class_counts(data: FinishedRun) -> np.ndarray:
    """How many training videos each class labels."""
    return np.load(data.file("label_counts.npy"))


def halves(validation: Records) -> pd.DataFrame:
    """How many validation videos and labels each half holds."""
    rows = [
        (name, int(labels.sum()))
        for batch in validation.batches(1024)
        for name, labels in zip(
            np.where(selection_half(batch["id"].numpy()), "selection", "report"),
            batch["labels"].numpy(),
            strict=True,
        )
    ]
    table = pd.DataFrame(rows, columns=["half", "labels"])
    return table.groupby("half").agg(videos=("labels", "size"), labels=("labels", "sum"))


def size_against_gap(results: pd.DataFrame) -> pd.DataFrame:
    """Correlation of the logarithm of a model's bytes with its GAP, a row a family."""
    rows = [
        (family, len(part), np.corrcoef(np.log(part["size_bytes_float32"]), part["gap"])[0, 1])
        for family, part in results.groupby("family")
        if len(part) > 2
    ]
    return pd.DataFrame(rows, columns=["family", "models", "correlation"])


def combinations(experiment: Experiment) -> pd.DataFrame:
    """Every first-round combination of teachers with its GAP on the selection half."""
    parts = [
        run.table("combinations").assign(family=run.tags["family"])
        for name, run in experiment.finished().items()
        if run.tags.get("kind") == "soft targets" and run.tags["round"] == "1"
    ]
    return pd.concat(parts, ignore_index=True)


def largest_weight(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """The largest variable of the first student, before and after the codec."""
    run = experiment.finished()[experiment.plan.of("quantization")[0].name]
    stored = quantization.load(run.file("weights.npz"))
    student = experiment.find(experiment.plan[f"quantization/{run.tags['step']}"].parents[0])
    plain = models.load(student.file("model.keras")).variables
    place = max(range(len(plain)), key=lambda i: int(np.prod(plain[i].shape)))
    return plain[place].numpy(), quantization.decode(stored[place])


def tags(batch: dict[str, Any], answer: dict[str, Any]) -> pd.DataFrame:
    """A row a video: its true labels and the model's five most confident classes."""
    rows = []
    for place, video in enumerate(batch["id"].numpy()):
        pairs = zip(answer["classes"][place, :5], answer["confidences"][place, :5], strict=True)
        said = ", ".join(f"{int(c)} ({float(p):.2f})" for c, p in pairs)
        true = ", ".join(map(str, np.flatnonzero(batch["labels"][place])))
        rows.append((video.decode(errors="replace"), true, said))
    return pd.DataFrame(rows, columns=["video", "labels", "most confident classes"])
