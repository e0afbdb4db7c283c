"""What the paper does not say and a practitioner asks: effects that no claim judges.

Two tables: what each step of the system is worth at equal bytes (``ladder``), and how students fare
that differ from others in how they are taught (``asked``). They are over repeats as the findings
are; a repeat that was made before a question was asked does not answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from yt8m_lib.experiment.answers import LADDER
from yt8m_lib.families import FAMILIES
from yt8m_lib.report.claims import CLAIMS
from yt8m_lib.report.effects import Effects, cost
from yt8m_lib.report.seeds import over_repeats
from yt8m_lib.scoring.intervals import Estimate

if TYPE_CHECKING:  # MLflow takes seconds to import
    from yt8m_lib.experiment.steps import StudentStep
    from yt8m_lib.experiment.tracking import Experiment

DECODED_ONCE = "seconds of 8 bits decoded once, as a share of float32's, less 1"
ASIDE = "students_and_teachers"  # a rung that the next one does not stand on


def answers_of(experiment: Experiment) -> Effects:
    """What one repeat answers: GAP of each rung of the ladder, and effects of how students learn.

    Rungs are under their names in ``LADDER``, effects under their question.
    """
    found: dict[str, list[Estimate]] = {}
    for step in experiment.plan.students(compared=True):
        if step.twin and (question := _question(step)):
            difference = experiment.find(step.key).gap() - experiment.find(step.twin).gap()
            found.setdefault(question, []).append(difference)
    effects = {question: Estimate.mean(some) for question, some in found.items()}
    if seconds := cost(experiment, "seconds_quantized", "seconds_float32"):
        effects[DECODED_ONCE] = seconds
    for step in experiment.plan.of("ensembling"):
        run = experiment.find(step.key)
        effects |= {name: run.gap(name) for name in LADDER if run.has_gap(name)}
    return effects


def _question(step: StudentStep) -> str:
    """How a student is taught and its twin is not; "" where it is by lambda alone (claim 7)."""
    student, words = step.how_taught, []
    if student.top_k:
        words.append(f"{student.top_k} soft targets a video, not all that are stored")
    if student.temperature:
        words.append(f"temperature {student.temperature:g}, not 1")
    if student.times:
        words.append(f"{student.times} times the epochs")
    if student.label_weight is not None and words:
        alone = student.label_weight == 1
        words.append("labels alone" if alone else f"lambda {student.label_weight:g}")
    return f"{FAMILIES[step.family].title}: {', '.join(words)}" if words else ""


def asked(found: Sequence[Effects]) -> pd.DataFrame:
    """How students fare that are taught otherwise.

    Args:
        found: of each repeat, its effects, those of claims among them.

    Returns:
        A row a question: question, effect with its interval ``effect_low`` to ``effect_high``,
        seeds, videos; empty where nothing was asked.
    """
    questions = dict.fromkeys(q for one in found for q in one if q not in (LADDER | CLAIMS))
    rows = []
    for question in questions:
        some = [effects[question] for effects in found if question in effects]
        effect = over_repeats(some)
        low, high = effect.interval()
        rows.append((question, effect.value, low, high, len(some), effect.videos))
    columns = ["question", "effect", "effect_low", "effect_high", "seeds", "videos"]
    return pd.DataFrame(rows, columns=columns)


def ladder(found: Sequence[Effects]) -> pd.DataFrame:
    """What each step of the system is worth, at as many bytes as the shipped ensemble has.

    Args:
        found: as for ``asked``.

    Returns:
        A row a rung: ``step`` in words, ``gap`` with its interval, ``gain`` over the rung that it
        stands on with its own, ``seeds``, ``videos``; empty where no repeat has a ladder.
    """
    repeats = [effects for effects in found if "single_teacher" in effects]
    rows, below = [], ""
    for name in LADDER if repeats else ():
        some = [effects[name] for effects in repeats if name in effects]
        if len(some) != len(repeats):
            continue
        gap = over_repeats(some)
        row = {"step": LADDER[name], "gap": gap.value, **_ends("gap", gap)}
        if below:
            gain = over_repeats([effects[name] - effects[below] for effects in repeats])
            row |= {"gain": gain.value, **_ends("gain", gain)}
        rows.append(row | {"seeds": len(some), "videos": gap.videos})
        below = below if name == ASIDE else name
    return pd.DataFrame(rows)


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    low, high = estimate.interval()
    return {f"{name}_low": low, f"{name}_high": high}
