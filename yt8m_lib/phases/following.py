"""Training on at a lower rate while averages of the weights follow (sec. 4.1).

Teachers do so in the phase of that name, students of averaged families at the end of theirs.
"""

import math

import pandas as pd

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import CHECKPOINTS, MODEL, SHADOW_CHECKPOINTS, UNAVERAGED
from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.methods import inference
from yt8m_lib.methods.averaging import Average, CheckpointMean, Shadow
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.phases.measuring import log_gap, log_model, save_model
from yt8m_lib.phases.training import forget_models, make_trainer


def follow(run: RunLog, model: VideoModel, train: Records, videos: int = 0) -> None:
    """Train a model on and log it averaged, unaveraged and averaged in the ways to be compared.

    Args:
        run: of the step, whose settings say how.
        model: with the weights to start from.
        train: the training videos.
        videos: how many they are; needed where means of checkpoints are compared.
    """
    settings = run.step.settings
    averages = _averages(run, model, videos)
    trainer = make_trainer(
        run,
        model,
        checkpoints="averaging",
        prefix="averaging_",
        averages=tuple(averages.values()),
        rate_divisor=settings.averaging.rate_divisor,
    )
    run.table("averaging_history", pd.DataFrame(trainer.fit(train, settings.averaging.epochs)))
    save_model(run, model, _file(UNAVERAGED))
    shadow = averages.pop("shadow")
    for name, average in averages.items():
        average.swap(model)
        save_model(run, model, _file(name))
        average.swap(model)
    shadow.swap(model)
    save_model(run, model)


def measure_averages(run: RunLog, validation: Records) -> None:
    """Log what the averaged model answers, and the GAP of the others of the same training."""
    forget_models()
    model = models.load(run.logged(MODEL))
    averaged = [variable.numpy() for variable in model.variables]
    predict = inference.make_predictor([model], validation, run.params, run.params.seed)
    for name in (UNAVERAGED, *_compared(run)):
        model.set_weights(models.load(run.logged(_file(name))).get_weights())
        log_gap(run, name, predict()[0])
    model.set_weights(averaged)
    log_model(run, model, validation)


def _compared(run: RunLog) -> tuple[str, ...]:
    """The averages that are only compared with the shadow."""
    checkpoints = run.step.settings.averaging.checkpoints
    return (CHECKPOINTS, SHADOW_CHECKPOINTS) if checkpoints else ()


def _averages(run: RunLog, model: VideoModel, videos: int) -> dict[str, Average]:
    """The shadow, and where asked for the mean of checkpoints and the two together."""
    settings = run.step.settings
    shadow = Shadow(model, settings.averaging.time_constant)
    averages: dict[str, Average] = {"shadow": shadow}
    if _compared(run):
        steps = settings.averaging.epochs * math.ceil(videos / settings.model.batch)
        every = max(1, steps // settings.averaging.checkpoints)
        averages[CHECKPOINTS] = CheckpointMean(lambda: model.variables, every)
        averages[SHADOW_CHECKPOINTS] = CheckpointMean(lambda: shadow.averages, every)
    return averages


def _file(name: str) -> str:
    """The file that the weights behind an answer are logged as."""
    return f"{name}.keras"
