"""What the phases that train share: reading videos, making models, training them."""

import keras

from yt8m_lib import models
from yt8m_lib.data import records
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.methods.averaging import Average
from yt8m_lib.methods.devices import strategy_for
from yt8m_lib.methods.losses import Softening
from yt8m_lib.methods.training import Trainer
from yt8m_lib.models.video_model import VideoModel


def open_videos(experiment: Experiment) -> tuple[Records, Records]:
    """The experiment's training and validation videos."""
    data = experiment.params.data
    train, validation = records.shards(experiment.params)
    records.check_kind(train[0], data)
    return Records(train, data), Records(validation, data)


def forget_models() -> None:
    """Free the memory of earlier steps' models."""
    keras.backend.clear_session()


def fresh_model(run: RunLog) -> VideoModel:
    """The architecture of a step, its weights drawn from the step's seed."""
    settings = run.step.settings
    forget_models()
    keras.utils.set_random_seed(run.seed)
    data, decay = settings.data, settings.training.batch_norm_decay
    with strategy_for(settings.training.replicas).scope():
        return models.build(settings.model, data.classes, decay, data.streams, data.l2_normalise)


def make_trainer(
    run: RunLog,
    model: VideoModel,
    checkpoints: str,
    prefix: str = "",
    averages: tuple[Average, ...] = (),
    rate_divisor: float = 1.0,
) -> Trainer:
    """A trainer with a step's settings that keeps its checkpoints in the run's scratch folder.

    Args:
        run: of the step; receives the loss of each epoch.
        model: with the weights to start from.
        checkpoints: name of their folder.
        prefix: of the names under which the epochs are logged.
        averages: of the weights, which follow the training.
        rate_divisor: by which the learning rate is divided.
    """
    settings = run.step.settings
    return Trainer(
        model,
        settings.model,
        settings.training,
        seed=run.seed,
        label_weight=settings.label_weight,
        softening=Softening(settings.top_k, settings.temperature or 1.0),
        averages=averages,
        rate_divisor=rate_divisor,
        checkpoints=run.scratch / checkpoints,
        name=run.step.name,
        say=run.say,
        on_epoch=lambda row: run.epoch(row, prefix),
    )
