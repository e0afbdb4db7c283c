"""What each claim compares, in one repeat of an experiment.

The effect of a part of a claim is the mean over all pairs of models that it compares, on the report
half of the validation videos. The functions below give each pair's difference under the name that
the part has in ``claims.CLAIMS``; a difference that no claim is about is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from yt8m_lib import families
from yt8m_lib.experiment import answers
from yt8m_lib.report.claims import CLAIMS
from yt8m_lib.scoring.intervals import Estimate, mean_estimate
from yt8m_lib.settings import Model

if TYPE_CHECKING:  # MLflow takes seconds to import
    from yt8m_lib.experiment.tracking import Experiment

Effects = dict[str, Estimate]  # of each part of a claim, in one repeat
Differences = Iterator[tuple[str, Estimate]]


def effects_of(experiment: Experiment) -> Effects:
    """The effect of each part of a claim that one repeat of an experiment tests."""
    found: dict[str, list[Estimate]] = {}
    for compare in (_averaging, _quantization, _distillation, _inference, _sizes, _ensemble):
        for part, difference in compare(experiment):
            found.setdefault(part, []).append(difference)
    means = {part: Estimate.mean(found[part]) for part in CLAIMS if part in found}
    return means | _costs(experiment)


def _averaging(experiment: Experiment) -> Differences:
    """Claims 1 and 2: a model before, after, and after the same training averaged otherwise."""
    for step in experiment.plan.of("averaging"):
        run, before = experiment.find(step.key), experiment.find(step.parents["teacher"])
        yield f"1-{step.family}", run.gap() - before.gap()
        yield f"1-{step.family}-control", run.gap() - run.gap(answers.UNAVERAGED)
        if step.settings.averaging.checkpoints:
            yield f"2-{step.family}", run.gap(answers.CHECKPOINTS) - run.gap()
            yield f"2-{step.family}-both", run.gap(answers.SHADOW_CHECKPOINTS) - run.gap()


def _quantization(experiment: Experiment) -> Differences:
    """Claims 3 and 5: a student's answers with stored weights against float32 and other codecs."""
    steps = experiment.plan.of("quantization")
    linear = {step.student: step.key for step in steps if step.codec == "linear"}
    for step in steps:
        gap = experiment.find(step.key).gap()
        if step.codec == "linear":
            yield "3-gap", gap - experiment.find(step.parents["student"]).gap()
        elif step.codec == "quantile" and step.student in linear:
            yield "5", gap - experiment.find(linear[step.student]).gap()


def _costs(experiment: Experiment) -> Effects:
    """Claims 3 and 4: bytes and seconds of the students in 8 bits, as a share of float32's.

    Seconds are those of decoding on each call, as published.
    """
    found = {
        "3-size": cost(experiment, "size_bytes", "size_bytes_float32"),
        "4": cost(experiment, "seconds_on_call", "seconds_float32"),
    }
    return {part: effect for part, effect in found.items() if effect}


def cost(experiment: Experiment, new: str, old: str) -> Estimate | None:
    """By how much a metric of the students in 8 bits is above another, as a share of that.

    None where not all of them were measured so.
    """
    steps = [step for step in experiment.plan.of("quantization") if step.codec == "linear"]
    runs = [experiment.find(step.key).metrics for step in steps]
    if not runs or any(new not in run for run in runs):
        return None
    return mean_estimate([run[new] / run[old] - 1 for run in runs])


def _distillation(experiment: Experiment) -> Differences:
    """Claims 6 to 9: students against their architecture's teacher, and against each other."""
    students = experiment.plan.students()
    gaps = {step.key: experiment.find(step.key).gap() for step in students}
    first = {s.model: s for s in students if s.round == 1 and s.taught_by == s.family}
    for step in students:
        own = first.get(step.model)
        if step is own:
            gain = gaps[step.key] - experiment.find(step.parents["before"]).gap()
            yield f"6-{step.family}", gain
            yield "6-model", gain
        elif own and step.round == 2:
            yield "8-model", gaps[step.key] - gaps[own.key]
        elif own and step.taught_by != step.family:
            yield f"9-{step.family}", gaps[step.key] - gaps[own.key]
    for step in experiment.plan.students(compared=True):
        if step.twin and step.how_taught.differs_by_lambda:
            change = experiment.find(step.key).gap() - experiment.find(step.twin).gap()
            yield f"7-{step.settings.label_weight:g}", change


def _inference(experiment: Experiment) -> Differences:
    """Claim 10: the same weights on all frames and on random ones."""
    for step in experiment.plan.of("teachers"):
        if "random_frames" in step.measuring.compare_inference:
            run = experiment.find(step.key)
            yield f"10-{step.family}", run.gap() - run.gap("random_frames")


def _sizes(experiment: Experiment) -> Differences:
    """Claims 12 and 13: models that differ in batch alone, or in size alone."""
    models = experiment.params.models

    def gap(name: str) -> Estimate:
        return experiment.find(f"teachers/{name}").gap()

    for names in _alike(models, {"batch"}, lambda model: model.batch):
        if len(names) == 3:
            small, middle, large = names
            yield "12-small", gap(small) - gap(middle)
            yield "12-large", gap(large) - gap(middle)
    for names in _alike(
        models, {"clusters", "hidden"}, lambda model: (model.clusters, model.hidden)
    ):
        yield f"13-{models[names[0]].family}", gap(names[-1]) - gap(names[0])


def _alike(models: dict[str, Model], but: set[str], order: Callable) -> list[list[str]]:
    """Groups of models that are alike in all but some settings.

    Args:
        models: by name.
        but: the settings in which the models of a group may differ.
        order: of these settings; the models of a group are sorted by it.

    Returns:
        Their names, a list for each group of two or more.
    """
    groups: dict[tuple, list[str]] = {}
    for name, model in models.items():
        # The released configurations are compared among themselves.
        key = (model.published, model.model_dump_json(exclude=but))
        groups.setdefault(key, []).append(name)
    return [sorted(g, key=lambda n: order(models[n])) for g in groups.values() if len(g) > 1]


def _ensemble(experiment: Experiment) -> Differences:
    """Claims 6 (a family's flat averages), 8 (the ensemble), 11 and 14."""
    for step in experiment.plan.of("ensembling"):
        run = experiment.find(step.key)
        yield "11", run.gap() - run.gap(answers.FLAT)
        if run.has_gap(answers.FIRST_ROUND):
            yield "8-ensemble", run.gap() - run.gap(answers.FIRST_ROUND)
        alone = [name for name in map(answers.alone, families.teaching()) if run.has_gap(name)]
        if {answers.alone(family) for family in CLAIMS["14"].families} <= set(alone):
            best = max(alone, key=lambda name: run.metrics[f"gap_selection_{name}"])
            yield "14", run.gap() - run.gap(best)
        for family in families.teaching():
            students, teachers = answers.students_of(family), answers.teachers_of(family)
            if run.has_gap(students):
                yield "6-together", run.gap(students) - run.gap(teachers)
