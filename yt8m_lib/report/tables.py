"""The paper's four tables as data frames; rows have intervals, the paper's finding and a verdict.

Every GAP is on the report half of the validation videos; every interval is a 95 % paired bootstrap
over those videos (one training of each model: what another seed would change is not in it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from yt8m_lib.experiment import answers, standing
from yt8m_lib.experiment.step import Step
from yt8m_lib.families import FAMILIES
from yt8m_lib.files import write_text, written_whole
from yt8m_lib.report import ReportError
from yt8m_lib.report.claims import CLAIMS, Claim
from yt8m_lib.scoring.intervals import Estimate
from yt8m_lib.settings import Params

if TYPE_CHECKING:  # MLflow takes seconds to import, and reading tables needs none of it
    from yt8m_lib.experiment.tracking import Experiment, FinishedRun

TITLES = {
    "averaging": "Table 1. Weight averaging (sec. 4.1)",
    "quantization": "Table 2. Partial weight quantisation (sec. 3.2)",
    "distillation": "Table 3. Distillation (sec. 4.2)",
    "ensemble": "Table 4. The final ensemble (sec. 4.3)",
}
FINDINGS = {
    "findings": "Findings, claim by claim",
    "other_choices": "Effects under other choices",
    "ladder": "What each step of the system is worth, at equal bytes",
    "asked": "What the paper does not say",
}
SAID_ABOVE = ("classes", "settings")  # columns of files that say what they are of
COUNTS = ("bytes", "claim", "parameters", "videos", "round", "epoch", "seeds", "size_bytes")
AVERAGING = (
    "model", "family", "gap_before", "gap_unaveraged", "gap_after", "gain", "gain_low", "gain_high",
    "gain_over_control", "gain_over_control_low", "gain_over_control_high", "paper", "verdict",
)  # fmt: skip
QUANTIZATION = (
    "model", "codec", "gap_float32", "gap_quantized", "gap_change", "change_low", "change_high",
    "bytes_float32", "bytes_quantized", "size_ratio", "bits", "relative_error",
    "seconds_float32", "seconds_quantized", "time_ratio", "seconds_on_call", "on_call_ratio",
    "paper", "verdict",
)  # fmt: skip
ENSEMBLE = ("model", "weight", "bytes", "gap", "paper", "verdict")
DISTILLATION = (
    "model", "family", "round", "teachers", "gap_before", "gap_after",
    "gain", "gain_low", "gain_high", "paper", "verdict",
)  # fmt: skip
BY_CODEC: dict[str, Claim] = {"linear": CLAIMS["3-gap"], "quantile": CLAIMS["5"]}
BY_ROUND: dict[int, Claim] = {1: CLAIMS["6-model"], 2: CLAIMS["8-model"]}


def averaging_table(experiment: Experiment) -> pd.DataFrame:
    """Table 1: GAP before averaging, after the same training without it, and after."""
    rows = []
    for step, run in _finished(experiment, experiment.plan.of("averaging")):
        before = experiment.find(step.parents["teacher"]).gap()
        unaveraged, after = run.gap(answers.UNAVERAGED), run.gap()
        rows.append(
            {
                "model": step.name,
                "family": step.family,
                "gap_before": before.value,
                "gap_unaveraged": unaveraged.value,
                "gap_after": after.value,
                **_effect("gain", after - before),
                **_effect("gain_over_control", after - unaveraged),
                **_judge(CLAIMS.get(f"1-{step.family}"), after - before),
            }
        )
    return _frame(rows, AVERAGING)


def quantization_table(experiment: Experiment) -> pd.DataFrame:
    """Table 2: GAP, bytes and seconds of every student in float32 and as a codec stores it."""
    rows = []
    for step, run in _finished(experiment, experiment.plan.of("quantization")):
        before, after = experiment.find(step.parents["student"]).gap(), run.gap()
        low, high = (after - before).interval()
        measured = run.metrics
        rows.append(
            {
                "model": step.student,
                "codec": step.codec,
                "gap_float32": before.value,
                "gap_quantized": after.value,
                "gap_change": after.value - before.value,
                "change_low": low,
                "change_high": high,
                "bytes_float32": int(measured["size_bytes_float32"]),
                "bytes_quantized": int(measured["size_bytes"]),
                "size_ratio": measured["size_bytes"] / measured["size_bytes_float32"],
                # Runs from before these were measured, accepted as they are, have none.
                "bits": measured.get("bits", math.nan),
                "relative_error": measured.get("relative_error", math.nan),
                "seconds_float32": measured["seconds_float32"],
                "seconds_quantized": measured["seconds_quantized"],
                "time_ratio": measured["seconds_quantized"] / measured["seconds_float32"],
                "seconds_on_call": (on_call := measured.get("seconds_on_call", math.nan)),
                "on_call_ratio": on_call / measured["seconds_float32"],
                **_judge(BY_CODEC.get(step.codec), after - before),
            }
        )
    return _frame(rows, QUANTIZATION)


def distillation_table(experiment: Experiment) -> pd.DataFrame:
    """Table 3: GAP of each architecture trained on labels alone, and as a student.

    A second-round student is compared with the first-round student of its architecture: the claim
    is that the second round adds nothing more.
    """
    rows = []
    students = _finished(experiment, experiment.plan.students(compared=False))
    first = {step.model: run for step, run in students if step.round == 1}
    for step, run in students:
        base = first.get(step.model) if step.round == 2 else None
        before, after = (base or experiment.find(step.parents["before"])).gap(), run.gap()
        taught_by = experiment.find(step.parents["soft_targets"]).json(answers.SOFT_TARGETS)
        rows.append(
            {
                "model": step.name,
                "family": step.family,
                "round": step.round,
                "teachers": " + ".join(taught_by["teachers"]),
                "gap_before": before.value,
                "gap_after": after.value,
                **_effect("gain", after - before),
                **_judge(BY_ROUND[step.round], after - before),
            }
        )
    return _frame(rows, DISTILLATION)


def ensemble_table(experiment: Experiment) -> pd.DataFrame:
    """Table 4: every member with its weight and bytes, the ensemble flat and tuned, baselines."""
    if not experiment.plan.of("ensembling"):
        return _frame([], ENSEMBLE)
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
    flat, tuned = run.gap(answers.FLAT), run.gap()
    rows += [
        {"model": "ensemble (flat)", "weight": 1.0, "bytes": all_bytes, "gap": flat.value},
        {"model": "ensemble (tuned)", "weight": 1.0, "bytes": used_bytes, "gap": tuned.value}
        | _judge(CLAIMS["11"], tuned - flat),
        *(
            {
                "model": f"ensemble ({search})",
                "weight": 1.0,
                "bytes": int(run.metrics[f"{search}_bytes"]),
                "gap": run.gap(search).value,
            }
            for search in (answers.POWELL, answers.GREEDY)
            if run.has_gap(search)
        ),
        {"model": "class prior", "gap": run.gap(answers.CLASS_PRIOR).value},
    ]
    for step, teacher in _finished(experiment, experiment.plan.of("teachers")):
        if not FAMILIES[step.family].teaches:
            reads = " on the mean frame" if step.family == "baseline" else ""
            rows.append({"model": f"{step.name}{reads}", "gap": teacher.gap().value})
    return pd.DataFrame(rows)


TABLES: dict[str, Callable[[Experiment], pd.DataFrame]] = {
    "averaging": averaging_table,
    "quantization": quantization_table,
    "distillation": distillation_table,
    "ensemble": ensemble_table,
}


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A table of these rows; with its columns, too, where an experiment has nothing to show yet."""
    return pd.DataFrame(rows, columns=None if rows else columns)


def _finished(experiment: Experiment, steps: Sequence[Step]) -> list[tuple[Any, FinishedRun]]:
    """The finished ones among some steps of one phase, with their runs."""
    finished = experiment.finished(steps[0].phase) if steps else {}
    return [(step, finished[step.name]) for step in steps if step.name in finished]


def _effect(name: str, difference: Estimate) -> dict[str, float]:
    low, high = difference.interval()
    return {name: difference.value, f"{name}_low": low, f"{name}_high": high}


def _judge(claim: Claim | None, effect: Estimate) -> dict[str, str]:
    """What the paper found and our verdict; empty where the paper claims nothing."""
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
    data, text = folder / f"{name}.csv", folder / f"{name}.md"
    with written_whole(data) as beside:
        table.to_csv(beside, index=False)
    write_text(text, page(table, name, params))
    return [data, text]


def page(table: pd.DataFrame, name: str, params: Params) -> str:
    """A table under its heading, for a README."""
    return f"{heading(name, params)}\n\n{as_markdown(table)}\n"


def heading(name: str, params: Params) -> str:
    """A table's title with the experiment and its number of classes."""
    return f"{(TITLES | FINDINGS)[name]}: {params.experiment}, {params.data.classes:,} classes"


def read(params: Params) -> Iterator[tuple[str, pd.DataFrame]]:
    """The four tables as the last run wrote them, each with its name.

    Raises:
        ReportError: naming the first one that is not there, or when they are of other settings.
    """
    folder, command = params.folder / "tables", f"yt8m run params/{params.experiment}.yaml"
    if standing.note_in(folder).get("settings", mine := standing.settings_of(params)) != mine:
        raise ReportError(
            f"the tables in {folder} were asked for with other settings. For these: {command}, "
            "which reuses what is finished; or give the same --set again"
        )
    for name in TITLES:
        path = folder / f"{name}.csv"
        if not path.exists():
            raise ReportError(f"{path} is not there yet: {command}")
        yield name, pd.read_csv(path)


def as_text(table: pd.DataFrame) -> str:
    """A table for the terminal: an interval in one column, values rounded by what they measure."""
    return formatted(table).to_string(index=False)


def as_markdown(table: pd.DataFrame) -> str:
    """The table for a README, with intervals and values as ``as_text`` has them."""
    return formatted(table).to_markdown(index=False, disable_numparse=True)


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it.

    ``x_low`` and ``x_high`` are one interval, and each column is rounded by what it holds.
    """
    columns: dict[str, list[str]] = {}
    for name in table.columns:
        if name.endswith("high") or name in SAID_ABOVE:
            continue
        if name.endswith("low"):
            stem = name.removesuffix("low")  # "gain_", or nothing beside a column "effect"
            pairs = zip(table[name], table[f"{stem}high"], strict=True)
            heading = f"{stem.replace('_', ' ')}95 %"
            sign = "" if stem == "gap_" else "+"  # a GAP itself is no difference
            columns[heading] = [_ends(low, high, sign) for low, high in pairs]
        else:
            columns[name.replace("_", " ")] = [_rounded(name, value) for value in table[name]]
    return pd.DataFrame(columns)


def _ends(low: float, high: float, sign: str) -> str:
    return "" if np.isnan(low) else f"[{low:{sign}.4f}, {high:{sign}.4f}]"


def _rounded(name: str, value: Any) -> str:
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
