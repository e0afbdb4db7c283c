"""Every box against what the authors' own code computes from the same weights and inputs."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import shared
from golden_models import SETTINGS, golden_arrays, golden_model, inputs_of, released_variables

from yt8m_lib import checkpoints
from yt8m_lib.methods import losses
from yt8m_lib.methods.optimizer import Adam
from yt8m_lib.models import frames
from yt8m_lib.models.classifiers import Logistic, MixtureOfExperts
from yt8m_lib.models.gating import Gating
from yt8m_lib.models.video_model import VideoModel

POOLED = [name for name in SETTINGS if "bidirect" not in name]
TRAINED = ["NetVLADModelLF", "NetFVModelLF", "GatedDbofModelLF", "Lstmbidirect", "GRUbidirect"]
# A variable whose gradient is zero but for rounding, in the released code as in ours.
NOISE = ("GatedDbofModelLF", "tower/input_bn/beta")


def released_values(
    model: VideoModel, values: dict[str, np.ndarray], forget_bias: float = 1.0
) -> dict[int, np.ndarray]:
    """Values of released variables in the shape of ours, by the ``id`` of our variable."""
    ours = {}
    for group in checkpoints._groups(model):
        if not all(name in values for name in group.names):
            continue
        options = {}
        if group.convert is checkpoints.lstm_weights:
            options["forget_bias"] = forget_bias
        converted = group.convert(*(values[name] for name in group.names), **options)
        ours |= {id(v): value for v, value in zip(group.variables, converted, strict=True)}
    return ours


@pytest.mark.parametrize("name", SETTINGS)
def test_inference(name):
    golden = golden_arrays(name)
    model = golden_model(name, golden)
    *streams, valid = frames.normalise(golden["input_bytes"], golden["num_frames"])
    expected = golden["input_norm"]  # of each video's first frames
    first = np.s_[:, : expected.shape[1]]
    shown = valid.numpy()[first]
    np.testing.assert_allclose(
        tf.concat(streams, axis=2).numpy()[first][shown], expected[shown], atol=1e-7
    )
    encoded = tf.function(model.encoder)(*streams, valid)
    np.testing.assert_allclose(encoded, golden["classifier_input"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.classify(encoded), golden["predictions"], atol=1e-5)
    whole = tf.function(model)(inputs_of(golden))
    np.testing.assert_allclose(whole, golden["predictions"], atol=1e-5)


@pytest.mark.parametrize("name", POOLED)
def test_pooled_vectors(name):
    golden = golden_arrays(name)
    model = golden_model(name, golden)
    streams = frames.normalise(golden["input_bytes"], golden["num_frames"])
    expected = {key[-1]: value for key, value in golden.items() if key.startswith("pool:")}
    for pooled, place in zip(model.encoder.pool(*streams), "01", strict=True):
        np.testing.assert_allclose(pooled, expected[place], atol=1e-5)


@pytest.mark.parametrize("name", POOLED)
def test_short_videos_as_the_released_code_repeats_their_last_frame(name):
    golden = golden_arrays(name)
    repeated = golden["input_bytes"].copy()
    for video, count in zip(repeated, golden["num_frames_seq"], strict=True):
        video[count:] = video[count - 1]
    answer = golden_model(name, golden)({"frames": repeated, "num_frames": golden["num_frames"]})
    np.testing.assert_allclose(answer, golden["predictions_seq"], atol=1e-5)


@pytest.mark.parametrize("name", ["MoeModel", "MoeModel_prob_gating", "LogisticModel"])
def test_classifiers_alone(name):
    golden = golden_arrays(name)
    given = {k.removeprefix("tower/"): v for k, v in released_variables(golden).items()}
    inputs = golden["classifier_input"]
    layer = (Logistic if name == "LogisticModel" else MixtureOfExperts)(40)
    layer.build(inputs.shape)
    if name == "LogisticModel":
        layer.set_weights([given["fully_connected/weights"], given["fully_connected/biases"]])
    else:
        layer.set_weights(
            [given["gates/weights"], given["experts/weights"], given["experts/biases"]]
        )
    answer = layer(inputs)
    if "gating_prob_weights" in given:
        gate = Gating()
        gate.build(answer.shape)
        gate.kernel.assign(given["gating_prob_weights"])
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            getattr(gate.norm, part).assign(given[f"gating_prob_bn/{part}"])
        answer = gate(answer)
    np.testing.assert_allclose(answer, golden["predictions"], atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_one_training_step(name):
    golden, step = golden_arrays(name), golden_arrays(f"train_{name}")
    model = golden_model(name, golden)
    batch = inputs_of(golden) | {"labels": step["labels"].astype(np.float32)}
    batch = {key: tf.constant(value) for key, value in batch.items()}
    step_function = tf.function(lambda batch: losses.loss_and_gradients(model, batch, 1.0))
    loss, penalty, predictions, gradients = step_function(batch)
    np.testing.assert_allclose(loss, step["label_loss"], rtol=1e-5)
    np.testing.assert_allclose(penalty, step["reg_loss"], rtol=1e-5)
    np.testing.assert_allclose(predictions, step["predictions_train"], atol=1e-5)
    compare_gradients(name, model, gradients, released_variables(step, "grad"))
    if "bidirect" in name:  # their kernels are clipped in two parts here, fused in the original
        return
    Adam(2e-4, 1.0).apply(gradients, model.trainable_variables)
    compare_update(name, model, step)


def compare_gradients(name, model, gradients, released):
    released.pop(NOISE[1] if name == NOISE[0] else "", None)
    expected = released_values(model, released, forget_bias=0.0)
    assert len(expected) >= len(model.trainable_variables) - (name == NOISE[0])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if id(variable) in expected:
            value = expected[id(variable)]
            error = np.abs(gradient - value).max()
            assert error <= 5e-4 * np.abs(value).max(), variable.path


def compare_update(name, model, step):
    """Adam divides by the gradient's own size, so where that is rounding, so is the update.

    Clipping scales a gradient as a whole, so the unclipped one shows which parts are rounding.
    """
    updated = released_values(model, released_variables(step, "new"))
    gradients = released_values(model, released_variables(step, "grad"))
    noise = id(model.encoder.input_norm.beta) if name == NOISE[0] else None
    assert len(updated) == len(model.variables)
    for variable in model.variables:
        if id(variable) == noise:
            continue
        counts = np.ones(variable.shape, bool)
        if id(variable) in gradients:
            gradient = np.abs(gradients[id(variable)])
            counts = gradient > 1e-5 * gradient.max()
        error = np.abs(variable.numpy() - updated[id(variable)])[counts].max()
        assert error <= 1e-5, variable.path


@pytest.mark.parametrize("case", ["random", "confident", "exact01"])
def test_losses(case):
    expected = json.loads(shared("golden", "losses.json").read_text())["values"][case]
    golden = golden_arrays("losses")
    labels = tf.constant(golden["labels"].astype(np.float32))
    teacher, predictions = golden["teacher"], golden[f"predictions_{case}"]
    loss = losses.cross_entropy(labels, predictions)
    np.testing.assert_allclose(loss, expected["CrossEntropyLoss"], rtol=1e-5)
    for share in ("0", "0.25", "0.5", "1"):  # theirs weights the teacher, ours the labels
        mixed = losses.mixed_cross_entropy(labels, teacher, predictions, 1.0 - float(share))
        wanted = expected[f"MixedCrossEntropyLoss_lambda_{share}"]
        np.testing.assert_allclose(mixed, wanted, rtol=1e-5)
