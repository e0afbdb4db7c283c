"""Distillation (sec. 3.1 and 4.2): choose a family's teachers, train students on what they say."""

from pathlib import Path

import pandas as pd

from yt8m_lib import models
from yt8m_lib.data import records
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import MODEL, PREDICTIONS, SOFT_TARGETS
from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.experiment.steps import SoftTargetsStep
from yt8m_lib.methods import distillation, ensembling
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.phases.following import follow, measure_averages
from yt8m_lib.phases.measuring import log_answers, log_model, save_model
from yt8m_lib.phases.training import forget_models, fresh_model, make_trainer
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions, report_half
from yt8m_lib.settings import ROOT


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
    found = run.parents("candidates")
    answers = {n: Predictions.load(r.file(f"{PREDICTIONS}.npz")) for n, r in found.items()}
    size = run.step.settings.teachers if run.step.round == 1 else len(found)
    combinations = ensembling.best_combination(answers, size)
    chosen = combinations["members"][0]
    together = ensembling.combine(answers, ensembling.flat_weights(chosen))
    run.say(f"teachers: {', '.join(chosen)}")
    folder = soft_targets_folder(run)
    forget_models()
    teachers = [models.load(found[name].file(MODEL)) for name in chosen]
    train, _ = records.shards(run.params)
    distillation.write_soft_targets(teachers, train, run.params, folder, run.say)
    listed = combinations.assign(members=combinations["members"].map(" + ".join))
    run.table("combinations", listed)
    log_answers(run, together)
    run.metrics(**metrics.evaluate(report_half(together)))
    results = ROOT / run.params.results
    named = folder.relative_to(results) if folder.is_relative_to(results) else folder
    run.json(SOFT_TARGETS, {"teachers": list(chosen), "folder": str(named)})
    run.describe(teachers=" + ".join(chosen))
    return listed


def soft_targets_folder(run: RunLog) -> Path:
    """Where a step's sidecar shards go."""
    root = run.params.distillation.soft_targets
    root = ROOT / root if root else run.params.folder / "soft_targets"
    return root / f"{run.step.name}-{run.experiment.plan.fingerprint(run.step.key)}"


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
