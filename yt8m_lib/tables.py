"""The paper's four tables as data frames; rows have intervals, the paper's finding and a verdict.

Every GAP is on the report half of the validation videos; every interval is a 95 % paired bootstrap
over those videos (one training of each model: what another seed would change is not in it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from yt8m_lib import metrics
from yt8m_lib.intervals import bootstrap_gap, interval, verdict
from yt8m_lib.params import Params
from yt8m_lib.predictions import Predictions, report_half

if TYPE_CHECKING:  # MLflow takes seconds to import, and reading tables needs none of it
    from yt8m_lib.tracking import Experiment, Finished

TITLES = {
    "averaging": "Table 1. Weight averaging (sec. 4.1)",
    "quantization": "Table 2. Partial weight quantisation (sec. 3.2)",
    "distillation": "Table 3. Distillation (sec. 4.2)",
    "ensemble": "Table 4. The final ensemble (sec. 4.3)",
}

# What the paper found, as (words, direction, margin): a margin is half the paper's effect, or
# 0.0005 GAP where it found none. They stand here before any run, and no run changes them.
Finding = tuple[str, str, float]
_HELPS: Finding = ("+0.002 to +0.003", "gain", 0.001)
_HELPS_NOT: Finding = ("no gain", "none", 0.0005)
AVERAGING: dict[str, Finding] = {
    "dbof": _HELPS, "rnn": _HELPS, "netvlad": _HELPS_NOT, "fvnet": _HELPS_NOT
}  # fmt: skip
QUANTIZATION: dict[str, Finding] = {
    "linear": ("negligible change", "none", 0.0005),
    "quantile": ("does not work well", "loss", 0.0005),
}
DISTILLATION: dict[str, Finding] = {
    "1": ("+0.001 to +0.013", "gain", 0.0005),
    "2": ("no further gain", "none", 0.0005),
}
TUNED: Finding = ("tuned beats flat by 0.0005", "gain", 0.00025)
TOGETHER: Finding = ("beats every member", "gain", 0.0005)


def averaging(experiment: Experiment) -> pd.DataFrame:
    """Table 1: GAP before averaging, after the same training without it, and after."""
    rows = []
    for step, run in _runs(experiment, "averaging"):
        teacher = experiment.find(f"teachers/{step.name}")
        before, raw, after = _report(teacher), _report(run, "unaveraged"), _report(run)
        gaps = _gaps(experiment, [before, raw, after])
        gain, over_control = gaps[2] - gaps[0], gaps[2] - gaps[1]
        rows.append(
            {
                "model": step.name,
                "family": step.tags["family"],
                "gap_before": metrics.gap(before),
                "gap_unaveraged": metrics.gap(raw),
                "gap_after": metrics.gap(after),
                **_effect("gain", metrics.gap(after) - metrics.gap(before), gain),
                **_effect("gain_over_control", metrics.gap(after) - metrics.gap(raw), over_control),
                **_judge(AVERAGING[step.tags["family"]], gain, after, before),
            }
        )
    return pd.DataFrame(rows)


def quantization(experiment: Experiment) -> pd.DataFrame:
    """Table 2: GAP, bytes and seconds of every student in float32 and in 8 bits."""
    rows = []
    for step, run in _runs(experiment, "quantization"):
        before, after = _report(experiment.find(step.parents[0])), _report(run)
        gaps = _gaps(experiment, [before, after])
        change = gaps[1] - gaps[0]
        figures = run.metrics
        rows.append(
            {
                "model": step.tags["student"],
                "scheme": step.tags["scheme"],
                "gap_float32": metrics.gap(before),
                "gap_quantized": metrics.gap(after),
                "gap_change": metrics.gap(after) - metrics.gap(before),
                **_ends("change", change),
                "bytes_float32": int(figures["size_bytes_float32"]),
                "bytes_quantized": int(figures["size_bytes"]),
                "size_ratio": figures["size_bytes"] / figures["size_bytes_float32"],
                "seconds_float32": figures["seconds_float32"],
                "seconds_quantized": figures["seconds_quantized"],
                "time_ratio": figures["seconds_quantized"] / figures["seconds_float32"],
                **_judge(QUANTIZATION.get(step.tags["scheme"]), change, after, before),
            }
        )
    return pd.DataFrame(rows)


def distillation(experiment: Experiment) -> pd.DataFrame:
    """Table 3: GAP of each architecture trained on labels alone, and as a student.

    A second-round student is compared with the first-round student of its architecture: the claim
    is that the second round adds nothing more.
    """
    rows = []
    students = [(s, r) for s, r in _runs(experiment, "distillation") if s.tags["kind"] == "student"]
    first = {s.tags["model"]: r for s, r in students if s.tags["round"] == "1"}
    for step, run in students:
        teacher = experiment.find(step.parents[1])
        base = first.get(step.tags["model"]) if step.tags["round"] == "2" else None
        before, after = _report(base or teacher), _report(run)
        gaps = _gaps(experiment, [before, after])
        gain = gaps[1] - gaps[0]
        rows.append(
            {
                "model": step.name,
                "family": step.tags["family"],
                "round": int(step.tags["round"]),
                "teachers": experiment.find(step.parents[0]).tags["teachers"],
                "gap_before": metrics.gap(before),
                "gap_after": metrics.gap(after),
                **_effect("gain", metrics.gap(after) - metrics.gap(before), gain),
                **_judge(DISTILLATION[step.tags["round"]], gain, after, before),
            }
        )
    return pd.DataFrame(rows)


def ensemble(experiment: Experiment) -> pd.DataFrame:
    """Table 4: every member with its weight and bytes, the ensemble flat and tuned, baselines."""
    run = experiment.find("ensembling/ensemble")
    members = run.table("members")
    answers = {name: _report(experiment.find(f"quantization/{name}")) for name in members["model"]}
    flat, tuned = _report(run, "flat"), _report(run)
    best = max(answers.values(), key=metrics.gap)
    gaps = _gaps(experiment, [best, flat, tuned])
    rows: list[dict[str, Any]] = [
        {
            "model": m.model,
            "weight": m.weight,
            "bytes": m.bytes,
            "gap": metrics.gap(answers[m.model]),
        }
        for m in members.itertuples()
    ]
    # Of the variables: on disk (``saved_model_bytes``) a random fingerprint varies by a byte.
    all_bytes, used_bytes = int(run.metrics["flat_bytes"]), int(run.metrics["size_bytes"])
    rows += [
        {"model": "ensemble (flat)", "weight": 1.0, "bytes": all_bytes, "gap": metrics.gap(flat)}
        | _judge(TOGETHER, gaps[1] - gaps[0], flat, best),
        {"model": "ensemble (tuned)", "weight": 1.0, "bytes": used_bytes, "gap": metrics.gap(tuned)}
        | _judge(TUNED, gaps[2] - gaps[1], tuned, flat),
    ]
    for name, prediction in _baselines(experiment, run).items():
        rows.append({"model": name, "gap": metrics.gap(prediction)})
    return pd.DataFrame(rows)


def _baselines(experiment: Experiment, run: Finished) -> dict[str, Predictions]:
    found = {"class prior": _report(run, "class_prior")}
    for step, teacher in _runs(experiment, "teachers"):
        if step.tags["family"] == "baseline":
            found[f"{step.name} on the mean frame"] = _report(teacher)
    return found


def _runs(experiment: Experiment, phase: str) -> Iterator[tuple[Any, Finished]]:
    finished = experiment.finished(phase)
    return ((s, finished[s.name]) for s in experiment.plan.of(phase) if s.name in finished)


def _report(run: Finished, name: str = "predictions") -> Predictions:
    return report_half(Predictions.load(run.file(f"{name}.npz")))


def _gaps(experiment: Experiment, models: Sequence[Predictions]) -> np.ndarray:
    return bootstrap_gap(models, experiment.params.resamples, experiment.params.seed)


def _ends(name: str, differences: np.ndarray) -> dict[str, float]:
    low, high = interval(differences)
    return {f"{name}_low": low, f"{name}_high": high}


def _effect(name: str, value: float, differences: np.ndarray) -> dict[str, float]:
    return {name: value, **_ends(name, differences)}


def _judge(
    finding: Finding | None, differences: np.ndarray, after: Predictions, before: Predictions
) -> dict[str, str]:
    if finding is None:
        return {"paper": "", "verdict": ""}
    words, direction, margin = finding
    effect = metrics.gap(after) - metrics.gap(before)
    return {"paper": words, "verdict": verdict(effect, *interval(differences), direction, margin)}


# --- Files and text ---


def write(table: pd.DataFrame, name: str, params: Params) -> list[Path]:
    """Write a table as ``tables/<name>.csv`` and ``.md`` in the experiment's folder."""
    folder = params.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / f"{name}.csv", folder / f"{name}.md"
    table.to_csv(data, index=False)
    text.write_text(f"{heading(name, params)}\n\n{as_markdown(table)}\n")
    return [data, text]


def heading(name: str, params: Params) -> str:
    """A table's title with the experiment and its number of classes."""
    return f"{TITLES[name]}: {params.experiment}, {params.data.classes:,} classes"


def read(params: Params) -> Iterator[tuple[str, pd.DataFrame]]:
    """The four tables as the last run wrote them.

    Raises:
        FileNotFoundError: naming the first one that is not there.
    """
    for name in TITLES:
        path = params.folder / "tables" / f"{name}.csv"
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is not there yet: yt8m run params/{params.experiment}.yaml"
            )
        yield name, pd.read_csv(path)


def as_text(table: pd.DataFrame) -> str:
    """A table for the terminal, with intervals in one column and figures as a person reads them."""
    return _folded(table).to_string(index=False)


def as_markdown(table: pd.DataFrame) -> str:
    """A table for a README."""
    return _folded(table).to_markdown(index=False, disable_numparse=True)


def _folded(table: pd.DataFrame) -> pd.DataFrame:
    """Writes ``x_low`` and ``x_high`` as one interval and rounds each column by what it holds."""
    columns: dict[str, list[str]] = {}
    for name in table.columns:
        if name.endswith("_high"):
            continue
        if name.endswith("_low"):
            stem = name.removesuffix("_low")
            pairs = zip(table[name], table[f"{stem}_high"], strict=True)
            heading = f"{stem.replace('_', ' ')} 95 %"
            columns[heading] = [f"[{low:+.4f}, {high:+.4f}]" for low, high in pairs]
        else:
            columns[name.replace("_", " ")] = [_figure(name, value) for value in table[name]]
    return pd.DataFrame(columns)


def _figure(name: str, value: Any) -> str:
    if value == "" or value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if not isinstance(value, int | float | np.number):
        return str(value)
    if name.startswith(("bytes", "parameters", "videos", "round", "epoch", "size_bytes")):
        return f"{int(value):,}"
    if name.startswith(("gain", "gap_change")):
        return f"{value:+.4f}"
    if name.startswith("seconds") or name.endswith("ratio") or name == "weight":
        return f"{value:.3f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
