"""Distillation (sec. 3.1 and 4.2): choose a family's teachers, train students on what they say."""

from pathlib import Path

import pandas as pd

from yt8m_lib import models
from yt8m_lib.data import records
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.plan import Step
from yt8m_lib.experiment.tracking import Experiment, RunLog
from yt8m_lib.methods import distillation, ensembling, inference
from yt8m_lib.phases.common import (
    follow_with_shadow,
    forget_models,
    fresh_model,
    log_answers,
    log_model,
    make_trainer,
)
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions, report_half


def distil(
    experiment: Experiment, step: Step, run: RunLog, train: Records, validation: Records
) -> None:
    """One step of the distillation phase: choose teachers, or train a student."""
    if step.tags["kind"] == "soft targets":
        choose_teachers(experiment, step, run)
    else:
        train_student(experiment, step, run, train, validation)


def choose_teachers(experiment: Experiment, step: Step, run: RunLog) -> pd.DataFrame:
    """Choose who teaches, let them predict every training video, store the soft targets.

    First round: the best combination on the selection half; second: all first-round students.

    Returns:
        Every combination's ``members`` and selection-half ``gap``, the best first.
    """
    params = experiment.params
    found = {key.split("/", 1)[1]: experiment.find(key) for key in step.parents}
    answers = {name: Predictions.load(r.file("predictions.npz")) for name, r in found.items()}
    size = params.distillation.teachers if step.tags["round"] == "1" else len(found)
    combinations = ensembling.best_combination(answers, size)
    chosen = combinations["members"][0]
    together = ensembling.combine(answers, ensembling.flat_weights(chosen))
    run.say(f"teachers: {', '.join(chosen)}")
    folder = soft_targets_folder(experiment, step)
    forget_models()
    teachers = [models.load(found[name].file("model.keras")) for name in chosen]
    train, _ = records.shards(params)
    distillation.write_soft_targets(teachers, train, params, folder, run.say)
    listed = combinations.assign(members=combinations["members"].map(" + ".join))
    run.table("combinations", listed)
    log_answers(run, together)
    run.metrics(**metrics.evaluate(report_half(together)))
    run.tags(teachers=" + ".join(chosen), folder=folder)
    return listed


def soft_targets_folder(experiment: Experiment, step: Step) -> Path:
    """Where a step's sidecar shards lie."""
    root = experiment.params.distillation.soft_targets
    root = Path(root) if root else experiment.params.folder / "soft_targets"
    return root / f"{step.name}-{experiment.plan.fingerprint(step.key)}"


def train_student(
    experiment: Experiment, step: Step, run: RunLog, train: Records, validation: Records
) -> None:
    """Train an architecture on labels and soft targets; average it where its family is averaged."""
    params, name = experiment.params, step.tags["model"]
    teachers = experiment.find(step.parents[0])
    files, _ = records.shards(params)
    taught = train.with_soft_targets(records.sidecar_paths(files, teachers.tags["folder"]))
    model = fresh_model(params, name, experiment.plan.seed(step))
    trainer = make_trainer(experiment, step, run, model, name, checkpoints="student")
    run.table("history", pd.DataFrame(trainer.fit(taught, params.models[name].epochs)))
    run.tags(teachers=teachers.tags["teachers"])
    if params.is_averaged(name):
        follow_with_shadow(experiment, step, run, model, taught, validation)
    else:
        answers = inference.predict([model], validation, params, params.seed)
        log_model(run, model, answers, params)
