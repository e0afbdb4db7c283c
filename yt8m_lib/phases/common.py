"""What the phases share: reading videos, making models, training them, logging what came out."""

import math

import keras
import pandas as pd

from yt8m_lib import models
from yt8m_lib.data import records
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.plan import Step
from yt8m_lib.experiment.tracking import Experiment, RunLog
from yt8m_lib.methods import inference
from yt8m_lib.methods.averaging import Average, CheckpointMean, Shadow
from yt8m_lib.methods.quantization import stored_bytes
from yt8m_lib.methods.training import Trainer
from yt8m_lib.settings import Params
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.intervals import gap_estimate
from yt8m_lib.scoring.predictions import Predictions, report_half, selection_half


def open_videos(experiment: Experiment) -> tuple[Records, Records]:
    """The experiment's training and validation videos."""
    data = experiment.params.data
    train, validation = records.shards(experiment.params)
    records.check_level(train[0], data.level)
    return Records(train, data), Records(validation, data)


def forget_models() -> None:
    """Free the memory of earlier steps' models."""
    keras.backend.clear_session()


def fresh_model(params: Params, name: str, seed: int) -> keras.Model:
    """An architecture of the experiment with weights drawn from a seed."""
    forget_models()
    keras.utils.set_random_seed(seed)
    return models.build(params.models[name], params.data.classes, params.training.batch_norm_decay)


def make_trainer(
    experiment: Experiment,
    step: Step,
    run: RunLog,
    model: keras.Model,
    name: str,
    checkpoints: str,
    prefix: str = "",
    **more: object,
) -> Trainer:
    """A trainer with the step's seed and lambda that keeps its checkpoints in the run's scratch."""
    params = experiment.params
    return Trainer(
        model,
        params.models[name],
        params.training,
        seed=experiment.plan.seed(step),
        label_weight=step.settings.get("label_weight", 1.0),
        checkpoints=run.scratch / checkpoints,
        say=run.say,
        on_epoch=lambda row: run.epoch(row, prefix),
        **more,
    )


def follow_with_shadow(
    experiment: Experiment,
    step: Step,
    run: RunLog,
    model: keras.Model,
    train: Records,
    validation: Records,
) -> None:
    """Train on at a lower rate while averages follow; log the raw weights' answers and theirs."""
    params, settings = experiment.params, step.settings["averaging"]
    averages = _averages(experiment, step, model)
    trainer = make_trainer(
        experiment,
        step,
        run,
        model,
        step.tags["model"],
        checkpoints="averaging",
        prefix="averaging_",
        averages=list(averages.values()),
        rate_divisor=settings["rate_divisor"],
    )
    history = trainer.fit(train, settings["epochs"])
    run.table("averaging_history", pd.DataFrame(history))
    answer = inference.make_predictor([model], validation, params, params.seed)
    log_gap(run, "unaveraged", answer()[0])
    shadow = averages.pop("shadow")
    for name, average in averages.items():
        average.swap(model)
        log_gap(run, name, answer()[0])
        average.swap(model)
    shadow.swap(model)
    log_model(run, model, answer(), params)


def _averages(experiment: Experiment, step: Step, model: keras.Model) -> dict[str, Average]:
    """The shadow and, to be compared with it, the mean of checkpoints and the two together."""
    settings = step.settings["averaging"]
    shadow = Shadow(model, settings["time_constant"])
    averages: dict[str, Average] = {"shadow": shadow}
    if settings.get("checkpoints"):
        videos = experiment.find("data/data").metrics["train_videos"]
        steps = settings["epochs"] * math.ceil(videos / step.settings["model"]["batch"])
        every = max(1, steps // settings["checkpoints"])
        averages["checkpoints"] = CheckpointMean(lambda: model.variables, every)
        averages["shadow_checkpoints"] = CheckpointMean(lambda: shadow.averages, every)
    return averages


def log_answers(run: RunLog, answers: Predictions) -> None:
    """Log a model's answers, and their GAP with its resamples."""
    run.save("predictions.npz", answers.save)
    run.save("predictions_gap.npz", gap_estimate(report_half(answers)).save)


def log_gap(run: RunLog, name: str, answers: Predictions) -> None:
    """Log the GAP of other answers with its resamples: all that a comparison needs of them."""
    gap = gap_estimate(report_half(answers))
    run.save(f"{name}_gap.npz", gap.save)
    run.metrics(**{f"gap_{name}": gap.value})


def log_model(
    run: RunLog, model: keras.Model, answers: tuple[Predictions, float], params: Params
) -> None:
    """Log a trained model, what ``predict`` says of it, its metrics, and its bytes."""
    predictions, seconds = answers
    weights = [tuple(v.shape) for v in model.variables]
    float32, quantized = stored_bytes(weights, params.quantization.more_than)
    run.save("model.keras", lambda path: models.save(model, path))
    log_answers(run, predictions)
    chosen = selection_half(predictions.ids)
    run.metrics(
        **metrics.evaluate(report_half(predictions)),
        gap_selection=metrics.gap(predictions.select(chosen)),
        size_bytes=quantized,
        size_bytes_float32=float32,
        inference_seconds=seconds,
    )
