"""The training loop: resuming bit for bit, soft targets, averages of the weights, inference."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.data import synthetic
from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import DataError
from yt8m_lib.methods import inference
from yt8m_lib.methods.averaging import CheckpointMean, Shadow
from yt8m_lib.methods.losses import loss_and_gradients
from yt8m_lib.methods.sensitivity import squared_gradients
from yt8m_lib.methods.training import Trainer, TrainingError, rate_schedule
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.settings import Model

tf.config.experimental.enable_op_determinism()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    sizes = ["synthetic.train_videos=96", "synthetic.validation_videos=40", "synthetic.shards=2"]
    return params.load("params/smoke.yaml", [f"results={results}", *sizes])


@pytest.fixture(scope="module")
def videos(settings):
    train, validation = synthetic.write(settings)
    return Records(train, settings.data), Records(validation, settings.data)


def make_trainer(settings, seed=1, **more):
    keras.utils.set_random_seed(seed)
    model = models.build(settings.models["NetVLAD-low"], settings.data.classes, 0.9)
    spec, training = settings.models["NetVLAD-low"], settings.training
    return Trainer(model, spec, training, seed=5, say=lambda line: None, **more)


class Killed(BaseException):
    pass


def test_a_killed_training_ends_in_the_same_weights_as_an_unbroken_one(
    settings, videos, tmp_path, monkeypatch
):
    every_step = settings.model_copy(
        update={"training": settings.training.model_copy(update={"checkpoint_minutes": 0.0})}
    )
    whole = make_trainer(settings)
    whole.averages = averages_of(whole.model)
    history = whole.fit(videos[0], epochs=2)

    broken = with_averages(make_trainer(every_step), tmp_path)
    saved = []
    save = broken._save

    def save_then_die() -> None:
        save()
        saved.append(1)
        if len(saved) == 4:  # in the second epoch, whose three steps begin at the fourth
            raise Killed

    monkeypatch.setattr(broken, "_save", save_then_die)
    with pytest.raises(Killed):
        broken.fit(videos[0], epochs=2)

    resumed = with_averages(make_trainer(every_step, seed=99), tmp_path)
    resumed_history = resumed.fit(videos[0], epochs=2)
    for one, other in zip(whole.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    for average, again in zip(whole.averages, resumed.averages, strict=True):
        for one, other in zip(average.averages, again.averages, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert [h["loss"] for h in history] == [h["loss"] for h in resumed_history]
    assert len(saved) == 4


def averages_of(model):
    shadow = Shadow(model, 4)
    return [
        shadow,
        CheckpointMean(lambda: model.variables, 2),
        CheckpointMean(lambda: shadow.averages, 2),
    ]


def with_averages(trainer, folder):
    trainer.averages = averages_of(trainer.model)
    trainer.checkpoints = trainer._manager(folder / "checkpoints")
    return trainer


def test_training_lowers_the_loss_and_one_seed_gives_one_result(settings, videos):
    first, second = make_trainer(settings), make_trainer(settings)
    one, other = first.fit(videos[0], 8), second.fit(videos[0], 8)
    assert one[-1]["loss"] < 0.8 * one[0]["loss"]
    assert [h["loss"] for h in one] == [h["loss"] for h in other]


def test_soft_targets_pull_the_predictions(settings, videos):
    """With lambda 0 the labels do not matter: a student of the opposite learns the opposite."""

    class Opposite:
        def batches(self, size, seed=None, skip=0):
            return (
                videos[0]
                .batches(size, seed, skip)
                .map(lambda batch: batch | {"soft_targets": 1.0 - batch["labels"]})
            )

    trainer = make_trainer(settings, label_weight=0.0)
    trainer.fit(Opposite(), 15)
    predictions, _ = inference.predict([trainer.model], videos[1], settings)
    assert predictions.confidences.mean() > 0.5


def test_the_rate_is_a_staircase_of_videos():
    model = Model(architecture="gru", hidden=8, batch=100, rate=1e-3, epochs=1, rate_decay=0.5)
    schedule = rate_schedule(model, decay_videos=1000, divisor=5.0)
    rates = [float(schedule(step)) for step in (0, 9, 10, 19, 20)]
    np.testing.assert_allclose(rates, [2e-4, 2e-4, 1e-4, 1e-4, 5e-5], rtol=1e-6)


def test_the_shadow_follows_its_equation_and_swaps_back():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    shadow = Shadow(model, time_constant=4)
    start = [v.numpy() for v in model.variables]
    steps = [[value + k for value in start] for k in (1.0, 5.0)]
    expected = start
    for values in steps:
        for variable, value in zip(model.variables, values, strict=True):
            variable.assign(value)
        shadow.update()
        expected = [0.75 * e + 0.25 * v for e, v in zip(expected, values, strict=True)]
    shadow.swap(model)
    for variable, value in zip(model.variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6)
    shadow.swap(model)
    for variable, value in zip(model.variables, steps[-1], strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert len(shadow.averages) == 4  # gamma, beta and both moving statistics


def test_the_checkpoint_mean_takes_every_second_step_at_equal_weight():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    mean = CheckpointMean(lambda: model.variables, every=2)
    update = tf.function(mean.update)  # as inside a training step
    for step in range(1, 8):
        model.variables[0].assign(tf.fill([2, 1], float(step)))
        update()
    mean.swap(model)
    assert model.variables[0].numpy().ravel() == pytest.approx([(2 + 4 + 6) / 3] * 2)


@pytest.mark.parametrize("mode", ["valid_frames", "sample_all"])
def test_both_inference_modes_answer_alike(settings, videos, mode):
    """All valid frames are the mean of the published random fill, up to its own spread."""
    chosen = settings.model_copy(update={"inference": mode})
    trainer = make_trainer(settings)
    trainer.fit(videos[0], 2)
    shipped, _ = inference.predict([trainer.model], videos[1], settings)
    answers, seconds = inference.predict([trainer.model], videos[1], chosen, seed=3)
    assert isinstance(answers, Predictions) and seconds > 0
    difference = np.abs(answers.dense(classes=40) - shipped.dense(classes=40)).mean()
    assert difference == 0 if mode == "valid_frames" else 0 < difference < 0.05


class Spoiled:
    """Videos whose soft targets are no numbers."""

    def __init__(self, videos):
        self.videos = videos

    def batches(self, size, seed=None, skip=0):
        wrong = tf.constant(np.nan)
        batches = self.videos.batches(size, seed, skip)
        return batches.map(lambda batch: batch | {"soft_targets": batch["labels"] * wrong})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_training_stops_at_the_first_loss_that_is_no_number(settings, videos, value):
    trainer = make_trainer(settings, name="NetVLAD-low")
    trainer.fit(videos[0], 1)
    spoiled = trainer.model.classifier.variables[0]
    spoiled.assign(tf.fill(spoiled.shape, value))
    before = trainer.model.variables[0].numpy()
    with pytest.raises(TrainingError, match=r"NetVLAD-low: the loss is .* epoch 2, step 1; ") as e:
        trainer.fit(videos[0], 3)
    assert spoiled.path in str(e.value) and "Lower `rate`" in str(e.value)
    np.testing.assert_array_equal(trainer.model.variables[0].numpy(), before)


def test_weights_that_only_the_last_step_spoiled_are_found_at_the_epochs_end(settings, videos):
    trainer = make_trainer(settings)
    idle = trainer.model.non_trainable_variables[-1]  # a moving statistic: no loss depends on it
    trainer.averages = [Spoiler(idle)]
    with pytest.raises(TrainingError, match=r"a weight is .* epoch 1, step 3; .* in ") as error:
        trainer.fit(videos[0], 2)
    assert idle.path in str(error.value)


class Spoiler:
    def __init__(self, variable):
        self.update = lambda: variable.assign(tf.fill(variable.shape, np.inf))


def test_soft_targets_that_are_no_numbers_are_named(settings, videos):
    trainer = make_trainer(settings, label_weight=0.5)
    with pytest.raises(TrainingError, match="epoch 1, step 1; the soft targets"):
        trainer.fit(Spoiled(videos[0]), 1)


def test_no_videos_is_an_error(settings, videos):
    class Nothing:
        def batches(self, size, seed=None, skip=0):
            return videos[0].batches(size, seed, skip).take(0)

    with pytest.raises(DataError, match="holds no video"):
        make_trainer(settings).fit(Nothing(), 1)


def test_sensitivities_are_squared_gradients_and_leave_the_model_as_it_was(settings, videos):
    model = make_trainer(settings).model
    before = [variable.numpy() for variable in model.variables]
    found = squared_gradients(model, videos[0], seed=3)
    for variable, values in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)
    batches = list(videos[0].batches(16, seed=(3, 0)))
    gradients = [loss_and_gradients(model, batch)[-1] for batch in batches]
    squares = [
        np.mean([np.mean(np.square(g)) for g in own]) for own in zip(*gradients, strict=True)
    ]
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    trainable = [found[places[id(variable)]] for variable in model.trainable_variables]
    np.testing.assert_allclose(trainable, squares, rtol=1e-4)
    assert all(found[places[id(variable)]] == 0 for variable in model.non_trainable_variables)
