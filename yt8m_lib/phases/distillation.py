"""Distillation (sec. 3.1 and 4.2): choose a family's teachers, train students on what they say."""

from collections.abc import Callable, Sequence

import pandas as pd

from yt8m_lib import models
from yt8m_lib.data import records
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import MODEL, PREDICTIONS, SOFT_TARGETS
from yt8m_lib.experiment.runs import FinishedRun, RunLog
from yt8m_lib.experiment.steps import SoftTargetsStep
from yt8m_lib.experiment.tracking import Experiment, MissingRunError
from yt8m_lib.files import seen_from
from yt8m_lib.methods import distillation, ensembling
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.phases.following import follow, measure_averages
from yt8m_lib.phases.measuring import log_answers, log_gain, log_model, save_model
from yt8m_lib.phases.training import forget_models, fresh_model, make_trainer
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions, report_half
from yt8m_lib.settings import ROOT, Params


def distil(run: RunLog, train: Records, validation: Records) -> None:
    """One step of the distillation phase: choose teachers, or train and measure a student."""
    if isinstance(run.step, SoftTargetsStep):
        choose_teachers(run)
        return
    if not run.is_made:
        fit_averaged(run, train) if run.step.settings.averaging else fit(run, train)
        run.made()
    measure(run, validation)


def choose_teachers(run: RunLog) -> pd.DataFrame:
    """Choose who teaches, let them predict every training video, store the soft targets.

    First round: the best combination on the selection half; second: all first-round students.

    Returns:
        Every combination's ``members`` and selection-half ``gap``, the best first.
    """
    experiment, step = run.experiment, run.step
    combinations, answers = _combinations(experiment, step)
    chosen = combinations["members"][0]
    together = ensembling.combine(answers, ensembling.flat_weights(chosen))
    train, _ = records.shards(run.params)
    folder = _predict(experiment, step, chosen, train, run.say)
    listed = combinations.assign(members=combinations["members"].map(" + ".join))
    run.table("combinations", listed)
    log_answers(run, together)
    run.metrics(**metrics.evaluate(report_half(together)))
    run.json(SOFT_TARGETS, {"teachers": list(chosen), "folder": _named(folder, run.params)})
    run.describe(teachers=" + ".join(chosen))
    return listed


def write_part(
    experiment: Experiment, part: int, parts: int, say: Callable[[str], None] = print
) -> list[str]:
    """Write one part of the soft targets that are still to do, and finish no step.

    Several tasks that each write a part share the work of ``choose_teachers``, which then finds all
    sidecars there. A step whose candidates are not finished yet is left for later.

    Args:
        experiment: opened for the phase of distillation.
        part: which part of the training shards, counted from 1; see ``shards.part_of``.
        parts: how many parts there are.
        say: receives lines of progress.

    Returns:
        The names of the steps that a part was written for.
    """
    train, _ = records.shards(experiment.params)
    mine, written = records.part_of(train, part, parts), []
    for step in experiment.todo():
        if not isinstance(step, SoftTargetsStep):
            continue
        try:
            combinations, _ = _combinations(experiment, step)
        except MissingRunError as missing:
            say(f"{step.name}: left for later: {missing}")
            continue
        say(f"{step.name}: {len(mine)} of {len(train)} shards, part {part} of {parts}")
        _predict(experiment, step, combinations["members"][0], mine, say)
        written.append(step.name)
    return written


def _combinations(
    experiment: Experiment, step: SoftTargetsStep
) -> tuple[pd.DataFrame, dict[str, Predictions]]:
    """Every combination of a step's candidates, the best first, and the candidates' answers."""
    found = _candidates(experiment, step)
    answers = {n: Predictions.load(r.file(f"{PREDICTIONS}.npz")) for n, r in found.items()}
    size = step.settings.teachers if step.round == 1 else len(found)
    return ensembling.best_combination(answers, size), answers


def _candidates(experiment: Experiment, step: SoftTargetsStep) -> dict[str, FinishedRun]:
    keys = step.parents["candidates"]
    return {key.split("/", 1)[1]: experiment.find(key) for key in keys}


def _predict(
    experiment: Experiment,
    step: SoftTargetsStep,
    chosen: Sequence[str],
    files: Sequence[str],
    say: Callable[[str], None],
) -> str:
    """Let the chosen teachers predict some training shards; returns the sidecars' folder."""
    say(f"teachers: {', '.join(chosen)}")
    folder, found = soft_targets_folder(experiment, step), _candidates(experiment, step)
    forget_models()
    teachers = [models.load(found[name].file(MODEL)) for name in chosen]
    distillation.write_soft_targets(teachers, files, experiment.params, folder, say)
    return folder


def soft_targets_folder(experiment: Experiment, step: SoftTargetsStep) -> str:
    """Where a step's sidecar shards go: a local folder, or one on an object store."""
    name = f"{step.name}-{experiment.plan.fingerprint(step.key)}"
    root = experiment.params.distillation.soft_targets
    return seen_from(ROOT, f"{root or experiment.params.folder / 'soft_targets'}/{name}")


def _named(folder: str, params: Params) -> str:
    """How the record names a folder: one within the results is seen from there."""
    results = f"{ROOT / params.results}/"
    return folder.removeprefix(results)


def fit(run: RunLog, train: Records) -> None:
    """Train an architecture on labels and soft targets."""
    save_model(run, _taught(run, _with_soft_targets(run, train)))


def fit_averaged(run: RunLog, train: Records) -> None:
    """Do the same, then train on while an average follows, as for the family's teachers."""
    taught = _with_soft_targets(run, train)
    follow(run, _taught(run, taught), taught)


def _with_soft_targets(run: RunLog, train: Records) -> Records:
    soft_targets = run.parent("soft_targets").json(SOFT_TARGETS)
    files, _ = records.shards(run.params)
    run.describe(teachers=" + ".join(soft_targets["teachers"]))
    folder = run.experiment.folder_of(soft_targets["folder"])
    return train.with_soft_targets(records.sidecar_paths(files, folder))


def _taught(run: RunLog, taught: Records) -> VideoModel:
    """A fresh model, trained on labels and soft targets."""
    model = fresh_model(run)
    trainer = make_trainer(run, model, checkpoints="student")
    history = trainer.fit(taught, run.step.settings.model.epochs)
    run.table("history", pd.DataFrame(history))
    return model


def measure(run: RunLog, validation: Records) -> None:
    """Log what the student answers, and where it is averaged what it answers without that."""
    if run.step.settings.averaging:
        measure_averages(run, validation)
    else:
        forget_models()
        log_model(run, models.load(run.logged(MODEL)), validation)
    log_gain(run, run.parent("before"))
