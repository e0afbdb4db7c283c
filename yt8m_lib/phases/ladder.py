"""What each step of the system is worth, at as many bytes as the shipped ensemble has.

A rung of the ladder is an average at equal weight: models are taken by their GAP on the selection
half while they fit, and of these the first n, where n is the number that does best there. Answers
are the stored ones, so all rungs are measured alike; that 8 bits change them is neglected for
teachers, which are not stored so.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from yt8m_lib.experiment.answers import LADDER, PREDICTIONS
from yt8m_lib.experiment.runs import FinishedRun, RunLog
from yt8m_lib.methods import ensembling
from yt8m_lib.methods.ensembling import Scorer
from yt8m_lib.scoring.predictions import Predictions


class Made(NamedTuple):
    """A finished model.

    Attributes:
        answers: for the validation videos.
        gap: on the selection half.
        nbytes: in 8 bits, or as the experiment stores its models.
        as_float32: bytes without that.
    """

    answers: Predictions
    gap: float
    nbytes: int
    as_float32: int


def rungs(
    run: RunLog, stored: Mapping[str, Predictions], weights: Mapping[str, float], budget: int
) -> Iterator[tuple[str, Predictions, int]]:
    """Each rung's name in ``answers.LADDER``, its answers and its bytes.

    Args:
        run: of the ensemble.
        stored: what the ensemble's members answer, by their names.
        weights: those that the search found.
        budget: bytes of the ensemble with these weights, which a rung may have.
    """
    teachers, averaged = _made(run, "teachers"), _made(run, "averaged")
    students, second = _made(run, "students"), _second_round(run)
    plain = {name: made._replace(nbytes=made.as_float32) for name, made in teachers.items()}
    best = teachers | averaged
    kinds = {
        "teachers": plain,
        "coded_teachers": teachers,
        "averaged_teachers": best,
        "first_students": {n: made for n, made in students.items() if n not in second},
        "students": students if second else {},
        "students_and_teachers": best | students,
    }
    first = _that_fit(plain, budget)[0]
    yield "single_teacher", plain[first].answers, plain[first].nbytes
    for name in LADDER:
        if kinds.get(name):
            yield name, *_together(kinds[name], budget)
    yield "tuned_students", ensembling.combine(stored, weights), budget


def _together(models: Mapping[str, Made], budget: int) -> tuple[Predictions, int]:
    """The best average of the first few that fit, and its bytes."""
    taken = _that_fit(models, budget)
    answers = {name: models[name].answers for name in taken}
    scorer = Scorer(list(answers.values()))
    counts = range(1, len(taken) + 1)
    gaps = [scorer.gap((np.arange(len(taken)) < count) / count) for count in counts]
    chosen = taken[: int(np.argmax(gaps)) + 1]
    combined = ensembling.combine(answers, ensembling.flat_weights(chosen))
    return combined, sum(models[name].nbytes for name in chosen)


def _that_fit(models: Mapping[str, Made], budget: int) -> list[str]:
    """Models by falling GAP that fit together; the smallest alone where none does."""
    order = sorted(models, key=lambda name: -models[name].gap)
    sizes = {name: made.nbytes for name, made in models.items()}
    return ensembling.fit_budget(sizes, max(budget, min(sizes.values())), order)


def _made(run: RunLog, role: str) -> dict[str, Made]:
    """The finished models of a role of the ensemble's parents, by their steps' names."""
    keys = run.step.parents[role]
    found = {key.split("/", 1)[1]: run.experiment.find(key) for key in keys}
    return {name: _of(model) for name, model in found.items()}


def _of(model: FinishedRun) -> Made:
    measured = model.metrics
    return Made(
        Predictions.load(model.file(f"{PREDICTIONS}.npz")),
        measured["gap_selection"],
        int(measured["size_bytes"]),
        int(measured["size_bytes_float32"]),
    )


def _second_round(run: RunLog) -> set[str]:
    students = run.params.distillation.students
    return {name for name, student in students.items() if student.round == 2}
