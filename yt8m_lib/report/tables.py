"""The paper's four tables as data frames; rows have intervals, the paper's finding and a verdict.

Every GAP is on the report half of the validation videos; every interval is a 95 % paired bootstrap
over those videos (one training of each model: what another seed would change is not in it).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from yt8m_lib.settings import Params
from yt8m_lib.report.claims import CLAIMS, Claim
from yt8m_lib.scoring.intervals import Estimate

if TYPE_CHECKING:  # MLflow takes seconds to import, and reading tables needs none of it
    from yt8m_lib.experiment.tracking import Experiment, FinishedRun

TITLES = {
    "averaging": "Table 1. Weight averaging (sec. 4.1)",
    "quantization": "Table 2. Partial weight quantisation (sec. 3.2)",
    "distillation": "Table 3. Distillation (sec. 4.2)",
    "ensemble": "Table 4. The final ensemble (sec. 4.3)",
}
COUNTS = ("bytes", "claim", "parameters", "videos", "round", "epoch", "seeds", "size_bytes")
FINDINGS = {
    "findings": "Findings, claim by claim",
    "beside": "Effects beside those under other choices",
}
SCHEMES: dict[str, Claim] = {"linear": CLAIMS["3-gap"], "quantile": CLAIMS["5"]}
ROUNDS: dict[str, Claim] = {"1": CLAIMS["6-model"], "2": CLAIMS["8-model"]}


def averaging(experiment: Experiment) -> pd.DataFrame:
    """Table 1: GAP before averaging, after the same training without it, and after."""
    rows = []
    for step, run in _runs(experiment, "averaging"):
        before = experiment.find(f"teachers/{step.name}").gap()
        raw, after = run.gap("unaveraged"), run.gap()
        rows.append(
            {
                "model": step.name,
                "family": step.tags["family"],
                "gap_before": before.value,
                "gap_unaveraged": raw.value,
                "gap_after": after.value,
                **_effect("gain", after - before),
                **_effect("gain_over_control", after - raw),
                **_judge(CLAIMS[f"1-{step.tags['family']}"], after - before),
            }
        )
    return pd.DataFrame(rows)


def quantization(experiment: Experiment) -> pd.DataFrame:
    """Table 2: GAP, bytes and seconds of every student in float32 and in 8 bits."""
    rows = []
    for step, run in _runs(experiment, "quantization"):
        before, after = experiment.find(step.parents[0]).gap(), run.gap()
        low, high = (after - before).interval()
        figures = run.metrics
        rows.append(
            {
                "model": step.tags["student"],
                "scheme": step.tags["scheme"],
                "gap_float32": before.value,
                "gap_quantized": after.value,
                "gap_change": after.value - before.value,
                "change_low": low,
                "change_high": high,
                "bytes_float32": int(figures["size_bytes_float32"]),
                "bytes_quantized": int(figures["size_bytes"]),
                "size_ratio": figures["size_bytes"] / figures["size_bytes_float32"],
                "seconds_float32": figures["seconds_float32"],
                "seconds_quantized": figures["seconds_quantized"],
                "time_ratio": figures["seconds_quantized"] / figures["seconds_float32"],
                **_judge(SCHEMES.get(step.tags["scheme"]), after - before),
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
        before, after = (base or teacher).gap(), run.gap()
        rows.append(
            {
                "model": step.name,
                "family": step.tags["family"],
                "round": int(step.tags["round"]),
                "teachers": experiment.find(step.parents[0]).tags["teachers"],
                "gap_before": before.value,
                "gap_after": after.value,
                **_effect("gain", after - before),
                **_judge(ROUNDS[step.tags["round"]], after - before),
            }
        )
    return pd.DataFrame(rows)


def ensemble(experiment: Experiment) -> pd.DataFrame:
    """Table 4: every member with its weight and bytes, the ensemble flat and tuned, baselines."""
    run = experiment.find("ensembling/ensemble")
    rows: list[dict[str, Any]] = [
        {
            "model": member.model,
            "weight": member.weight,
            "bytes": member.bytes,
            "gap": experiment.find(f"quantization/{member.model}").gap().value,
        }
        for member in run.table("members").itertuples()
    ]
    # Of the variables: on disk (``saved_model_bytes``) a random fingerprint varies by a byte.
    all_bytes, used_bytes = int(run.metrics["flat_bytes"]), int(run.metrics["size_bytes"])
    flat, tuned = run.gap("flat"), run.gap()
    rows += [
        {"model": "ensemble (flat)", "weight": 1.0, "bytes": all_bytes, "gap": flat.value},
        {"model": "ensemble (tuned)", "weight": 1.0, "bytes": used_bytes, "gap": tuned.value}
        | _judge(CLAIMS["11"], tuned - flat),
        {"model": "class prior", "gap": run.gap("class_prior").value},
    ]
    for step, teacher in _runs(experiment, "teachers"):
        if step.tags["family"] == "baseline":
            rows.append({"model": f"{step.name} on the mean frame", "gap": teacher.gap().value})
    return pd.DataFrame(rows)


def _runs(experiment: Experiment, phase: str) -> Iterator[tuple[Any, FinishedRun]]:
    finished = experiment.finished(phase)
    return ((s, finished[s.name]) for s in experiment.plan.of(phase) if s.name in finished)


def _effect(name: str, difference: Estimate) -> dict[str, float]:
    low, high = difference.interval()
    return {name: difference.value, f"{name}_low": low, f"{name}_high": high}


def _judge(claim: Claim | None, effect: Estimate) -> dict[str, str]:
    if claim is None:
        return {"paper": "", "verdict": ""}
    return {"paper": claim.paper, "verdict": claim.judge(effect)}


def verdicts(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """How many rows of each table came out which way."""
    counts = {name: table["verdict"].dropna().value_counts() for name, table in tables.items()}
    return pd.DataFrame(counts).T.fillna(0).astype(int)


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
    return f"{(TITLES | FINDINGS)[name]}: {params.experiment}, {params.data.classes:,} classes"


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
        if name.endswith("high"):
            continue
        if name.endswith("low"):
            stem = name.removesuffix("low")  # "gain_", or nothing beside a column "effect"
            pairs = zip(table[name], table[f"{stem}high"], strict=True)
            heading = f"{stem.replace('_', ' ')}95 %"
            columns[heading] = [_ends(low, high) for low, high in pairs]
        else:
            columns[name.replace("_", " ")] = [_figure(name, value) for value in table[name]]
    return pd.DataFrame(columns)


def _ends(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"[{low:+.4f}, {high:+.4f}]"


def _figure(name: str, value: Any) -> str:
    if value == "" or value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if not isinstance(value, int | float | np.number):
        return str(value)
    if name.startswith(COUNTS):
        return f"{int(value):,}"
    if name.startswith(("gain", "gap_change", "effect")):
        return f"{value:+.4f}"
    if name.startswith("seconds") or name.endswith("ratio") or name == "weight":
        return f"{value:.3f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
