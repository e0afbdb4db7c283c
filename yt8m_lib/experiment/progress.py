"""How far an experiment is: the line that a finished step prints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from yt8m_lib.experiment.step import Step

if TYPE_CHECKING:
    from yt8m_lib.experiment.tracking import Experiment

ASKED = "YT8M_PHASES"  # the phases that a driver was asked for, in the environment of its kernels
# Seconds a step of the demo takes on two cores; others' are taken to be in the same proportion
# until a step of the phase has been timed.
TYPICAL = {
    "data": 7.0,
    "teachers": 26.0,
    "averaging": 13.0,
    "distillation": 28.0,
    "quantization": 6.0,
    "ensembling": 68.0,
    "report": 4.0,
}


def line(experiment: Experiment, step: Step, metrics: Mapping[str, float], seconds: float) -> str:
    """What a step that has just ended made, and how far the experiment is.

    Args:
        experiment: its record, freshly read.
        step: that has just ended.
        metrics: of its run.
        seconds: that it took.

    Returns:
        Such as "[24/62, about 9 min left] NetVLAD-high: GAP 0.7681, 2.6 MB, 21 s".
    """
    phases = os.environ.get(ASKED, experiment.phase).split(",")
    steps = [one for one in experiment.plan.steps.values() if one.phase in phases]
    took = {one.key: run.metrics.get("seconds", 0.0) for one, run in experiment.ended(steps)}
    left = [one for one in steps if one.key not in took]
    count = f"{len(took)}/{len(steps)}"
    if left:
        side_by_side = max(1, len(experiment.runs("RUNNING")))
        count += f", {_in_words(_seconds_left(steps, took) / side_by_side)} left"
    return f"[{count}] {step.title}: {_result(metrics)}{seconds:.0f} s"


def _seconds_left(steps: Sequence[Step], took: Mapping[str, float]) -> float:
    """Seconds of the steps that are not among those that ``took`` some, one after the other."""
    timed = [step for step in steps if step.key in took]
    scale = sum(took.values()) / max(sum(TYPICAL[step.phase] for step in timed), 1e-9)

    def expected(phase: str) -> float:
        own = [took[step.key] for step in timed if step.phase == phase]
        return sum(own) / len(own) if own else scale * TYPICAL[phase]

    return sum(expected(step.phase) for step in steps if step.key not in took)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(10 * round(seconds / 10), 10)} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def _result(metrics: Mapping[str, float]) -> str:
    """GAP and bytes, where a step measured any."""
    words = ""
    if "gap" in metrics:
        words += f"GAP {metrics['gap']:.4f}, "
    size = metrics.get("saved_model_bytes", metrics.get("size_bytes"))
    if size:
        words += f"{size / 1e6:.1f} MB, "
    return words
