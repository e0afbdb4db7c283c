"""NeXtVLAD beside its definition in plain loops, and what it alone needs of the project."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_models import videos

from yt8m_lib import checkpoints, models, params
from yt8m_lib.families import FAMILIES
from yt8m_lib.methods.losses import cross_entropy, loss_and_gradients
from yt8m_lib.methods.optimizer import Adam
from yt8m_lib.methods.training import Trainer, rate_schedule
from yt8m_lib.models.frames import dequantised
from yt8m_lib.models.gating import Excitation
from yt8m_lib.models.nextvlad import NeXtVLAD
from yt8m_lib.models.normalization import Affine, BatchNorm
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.params import ParamsError
from yt8m_lib.settings import Model, Training

SIZES = {"clusters": 4, "hidden": 6, "groups": 4, "expansion": 0.125, "reduction": 2}
CLASSES = 7
VALID = np.array(
    [[True, True, True, True], [True, True, False, False], [True, False, False, False]]
)
SEED, OTHER_SEED = tf.constant([1, 2]), tf.constant([1, 3])


def randomised(layer, seed: int = 2):
    """The layer or model with every variable random: fresh ones would hide mistakes."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        low, high = (0.5, 1.5) if "variance" in variable.name else (-0.7, 0.7)
        variable.assign(rng.uniform(low, high, variable.shape))
    return layer


def make(**more) -> VideoModel:
    keras.utils.set_random_seed(3)
    model = models.build(Model(architecture="nextvlad", **SIZES | more), CLASSES)
    for variable in model.variables:  # the image features are many: keep what they add up to small
        noise = np.random.default_rng(variable.shape[-1]).uniform(-0.5, 0.5, variable.shape)
        variable.assign(variable * (1 + noise) + 0.1 * noise)
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_norm(norm: BatchNorm, x, rows=None):
    """A batch norm in NumPy: by the moments of some rows, or by the moving ones."""
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    if rows is not None:
        mean, variance = rows.mean(axis=0), rows.var(axis=0)
    return norm.gamma.numpy() * (x - mean) / np.sqrt(variance + 1e-3) + norm.beta.numpy()


def plain_residuals(layer: NeXtVLAD, x, valid, rows=None):
    """v of one video, [F, K]: a frame, group, cluster and feature at a time.

    ``rows`` are the frames whose moments the assignment's batch norm takes.
    """
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    logits = layer.assignment.kernel.numpy()
    rows = rows if rows is None else (rows @ kernel + bias) @ logits
    centres, (part, clusters) = layer.centres.numpy(), layer.centres.shape
    v = np.zeros((part, clusters))
    for t in np.flatnonzero(valid):
        e = x[t] @ kernel + bias
        attention = sigmoid(e @ layer.attention.numpy() + layer.attention_bias.numpy())
        scores = plain_norm(layer.assignment.norm, e @ logits, rows)
        for g in range(layer.groups):
            powers = np.exp(scores[g * clusters : (g + 1) * clusters])
            for k in range(clusters):
                a = attention[g] * powers[k] / powers.sum()
                for f in range(part):
                    v[f, k] += a * (e[g * part + f] - centres[f, k])
    return v


def plain_pool(layer, x, valid, rows=None):
    """The pooled vectors of a batch [B, T, D] before their batch norm, [B, F K]."""
    found = [plain_residuals(layer, *video, rows) for video in zip(x, valid, strict=True)]
    # A cluster that next to nothing is assigned to is left short, by the released code as well.
    return np.array([(v / np.maximum(np.linalg.norm(v, axis=0), 1e-6)).ravel() for v in found])


def inputs(features: int = 6):
    """Frames, 0 in padding as models hand them over, and what they are scaled and shifted by."""
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(*VALID.shape, features)) * VALID[..., None]
    scale, shift = rng.uniform(0.5, 2, features), rng.normal(size=features)
    return frames.astype(np.float32), Affine(*(tf.constant(v, tf.float32) for v in (scale, shift)))


def pooling(decay: float = 0.999) -> NeXtVLAD:
    layer = NeXtVLAD(clusters=3, groups=2, expansion=2.0, decay=decay)
    layer.build((None, None, 6))
    assert layer.width == 6 * 3  # F = 2 * 6 / 2
    return randomised(layer)


# ---------------------------------------------------------------- beside plain NumPy


def test_pooling_is_its_definition():
    layer, (frames, affine) = pooling(), inputs()
    x = frames * affine.scale.numpy() + affine.shift.numpy()
    wanted = plain_norm(layer.norm, plain_pool(layer, x, VALID))
    np.testing.assert_allclose(layer(frames, VALID, affine), wanted, rtol=1e-4, atol=1e-5)
    lengths = np.linalg.norm(plain_pool(layer, x, VALID), axis=1)
    np.testing.assert_allclose(lengths, 3**0.5)  # 1 a cluster, not 1 together


def test_moments_in_training_are_those_of_all_rows_padding_included():
    layer, (frames, affine) = pooling(), inputs()
    x = frames * affine.scale.numpy() + affine.shift.numpy()
    pooled = plain_pool(layer, x, VALID, rows=x.reshape(-1, 6))
    wanted = plain_norm(layer.norm, pooled, rows=pooled)
    answer = layer(frames, VALID, affine, training=True)
    np.testing.assert_allclose(answer, wanted, rtol=1e-3, atol=1e-4)
    pooled = plain_pool(layer, x, VALID, rows=x[VALID])
    without = plain_norm(layer.norm, pooled, rows=pooled)
    assert np.abs(answer - without).max() > 0.01


def test_padding_counts_for_nothing_but_the_moments():
    layer, (frames, affine) = pooling(), inputs()
    wanted = layer(frames, VALID, affine)
    noise = np.random.default_rng(3).normal(size=frames.shape).astype(np.float32)
    other = np.where(VALID[..., None], frames, noise)
    np.testing.assert_allclose(layer(other, VALID, affine), wanted, atol=1e-5)
    longer = np.concatenate([frames, noise], axis=1)
    valid = np.concatenate([VALID, np.zeros_like(VALID)], axis=1)
    np.testing.assert_allclose(layer(longer, valid, affine), wanted, atol=1e-5)
    nothing = layer(frames, np.zeros_like(VALID), affine, training=True)
    assert np.all(np.isfinite(nothing))


def test_bytes_in_padding_change_nothing_in_training_either():
    batch = videos() | {"seed": SEED}
    valid = np.arange(5) < batch["num_frames"][:, None]
    other = np.where(valid[..., None], batch["frames"], videos(seed=1)["frames"])
    answers = [make()(batch | {"frames": f}, training=True) for f in (batch["frames"], other)]
    np.testing.assert_array_equal(*answers)
    longer = np.concatenate([other, other], axis=1)  # but how much padding there is does count
    assert np.abs(make()(batch | {"frames": longer}, training=True) - answers[0]).max() > 1e-4


def test_the_gate_is_its_definition():
    gate = Excitation(reduction=2)
    gate.build((None, 6))
    randomised(gate)
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    inner = np.maximum(plain_norm(gate.norm, x @ gate.squeeze.numpy()), 0)
    np.testing.assert_allclose(gate(x), x * sigmoid(inner @ gate.excite.numpy()), rtol=1e-4)
    assert gate.squeeze.shape == (6, 3)


EIGENVALUES = np.linspace(14.74, 0.0154, 1024).tolist()


@pytest.mark.parametrize(
    "variant", [{}, {"eigenvalues": EIGENVALUES}, {"input_norm": True}], ids=["", "scaled", "norm"]
)
def test_the_whole_model_is_its_definition(variant):
    model, batch = make(**variant), videos()
    x = batch["frames"] * (4 / 255) + 4 / 512 - 2  # not scaled to length 1
    valid = np.arange(5) < batch["num_frames"][:, None]
    if "eigenvalues" in variant:
        x[..., :1024] *= np.sqrt(EIGENVALUES) + 1e-4
    if "input_norm" in variant:
        x = plain_norm(model.encoder.input_norm, x)
    encoder = model.encoder
    streams = [
        plain_norm(layer.norm, plain_pool(layer, part, valid))
        for layer, part in zip(encoder.poolings, (x[..., :1024], x[..., 1024:]), strict=True)
    ]
    h = plain_norm(encoder.norm, np.concatenate(streams, axis=1) @ encoder.kernel.numpy())
    inner = np.maximum(plain_norm(encoder.gate.norm, h @ encoder.gate.squeeze.numpy()), 0)
    h *= sigmoid(inner @ encoder.gate.excite.numpy())
    wanted = sigmoid(h @ model.classifier.kernel.numpy() + model.classifier.bias.numpy())
    np.testing.assert_allclose(model(batch), wanted, rtol=1e-3, atol=1e-5)


def test_frames_are_dequantised_and_padding_is_zero():
    batch = videos()
    video, audio, valid = dequantised(batch["frames"], batch["num_frames"])
    wanted = (batch["frames"] * (4 / 255) + 4 / 512 - 2) * valid.numpy()[..., None]
    np.testing.assert_allclose(np.concatenate([video, audio], axis=2), wanted, atol=1e-6)
    assert (video.shape[2], audio.shape[2]) == (1024, 128)


def test_the_penalty_is_half_the_squared_norm_of_kernel_and_bias():
    model = make()
    squares = [np.sum(v.numpy() ** 2) for v in (model.classifier.kernel, model.classifier.bias)]
    np.testing.assert_allclose(sum(model.losses), 1e-5 * sum(squares) / 2, rtol=1e-5)


def test_weights_start_as_published():
    keras.utils.set_random_seed(1)
    model = models.build(Model(architecture="nextvlad", clusters=16, hidden=64, groups=8), 50)
    encoder, pool = model.encoder, model.encoder.poolings[0]
    for variable, inputs_of_a_unit in (
        (pool.kernel, 1024),
        (pool.attention, 2048),
        (pool.assignment.kernel, 2048),
        (pool.centres, 256),  # F
        (encoder.poolings[1].centres, 64),
        (encoder.kernel, 256 * 16 + 64 * 8),
        (encoder.gate.squeeze, 64),
        (encoder.gate.excite, 4),
        (model.classifier.kernel, 64),
    ):
        values, spread = variable.numpy(), (2 / inputs_of_a_unit) ** 0.5
        np.testing.assert_allclose(values.std(), spread, rtol=0.2, err_msg=variable.path)
        assert np.abs(values).max() < 2.3 * spread, variable.path  # the tails are cut off
    for bias in (pool.bias, pool.attention_bias, model.classifier.bias):
        assert not np.any(bias.numpy())
    paths = {variable.path for variable in model.trainable_variables}
    assert not any("moving" in path or "seed" in path for path in paths)


# ---------------------------------------------------------------- dropout


def test_dropout_is_drawn_from_the_steps_seed_and_only_in_training():
    model, batch = make(), videos()
    first, again, other = (
        model(batch | {"seed": seed}, training=True).numpy() for seed in (SEED, SEED, OTHER_SEED)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_array_equal(model(batch), model(batch | {"seed": OTHER_SEED}))
    with pytest.raises(KeyError, match="seed"):  # never the same units by oversight
        model(batch, training=True)


def test_dropout_drops_its_share_and_keeps_the_mean():
    streams = dequantised(*videos().values())
    seen = []
    for rate in (0.0, 0.5):
        encoder = make(
            hidden=144, dropout=rate
        ).encoder  # as many units as there are inputs to them
        encoder.kernel.assign(np.eye(144))
        encoder.norm = encoder.gate = lambda x, training: x  # so that these inputs are the answer
        seen.append(encoder(*streams, training=True, seed=SEED).numpy())
    whole, dropped = seen
    gone = dropped == 0
    assert 0.4 < gone.mean() < 0.6 and np.all(whole != 0)
    np.testing.assert_allclose(dropped[~gone], 2 * whole[~gone], rtol=1e-5)


class OneBatch:
    """A batch, three times an epoch."""

    def __init__(self):
        labels = np.eye(3, CLASSES, dtype=np.float32)
        self.batch = videos() | {"labels": labels}

    def batches(self, size, seed=None, skip=0):
        return tf.data.Dataset.from_tensors(self.batch).repeat(3).skip(skip)


def trainer(folder=None, **more) -> Trainer:
    keras.utils.set_random_seed(1)
    spec = Model(architecture="nextvlad", **SIZES, batch=3, rate=0.01, rate_decay=1.0, **more)
    settings = Training(checkpoint_minutes=0.0)
    model = models.build(spec, CLASSES)
    return Trainer(model, spec, settings, 5, checkpoints=folder, say=lambda line: None)


def test_a_resumed_training_drops_what_an_unbroken_one_drops(tmp_path):
    whole = trainer()
    whole.fit(OneBatch(), epochs=2)
    trainer(tmp_path).fit(OneBatch(), epochs=1)
    resumed = trainer(tmp_path)
    resumed.fit(OneBatch(), epochs=2)
    for one, other in zip(whole.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("groups=3", ["groups", "even", "got groups 3"]),
        ("groups=0", ["groups", "even"]),
        ("groups=48", ["groups", "equal parts", "expansion 0.0625"]),
        ("expansion=0.0", ["above 0", "expansion 0.0"]),
        ("expansion=wide", ["expansion", "is a float", "got 'wide'"]),
        ("dropout=1.0", ["dropout", "below 1"]),
        ("reduction=0", ["reduction", "at least 1"]),
        ("eigenvalues=[1.0, 2.0]", ["eigenvalues", "first stream"]),
        ("eigenvalues=pca.npy", ["eigenvalues", "pca.npy"]),
        ("relu=true", ["relu", "unknown key"]),
        ("hidden=0", ["nextvlad needs `hidden`"]),
    ],
)
def test_a_bad_size_is_refused(setting, words):
    with pytest.raises(ParamsError) as error:
        params.load("params/beyond.yaml", [f"models.NeXtVLAD-low.{setting}"])
    for word in words:
        assert word in str(error.value)


def test_other_families_have_none_of_its_settings():
    for name, value in FAMILIES["nextvlad"].options.items():
        with pytest.raises(ParamsError, match=f"{name}: unknown key"):
            params.load("params/demo.yaml", [f"models.NetVLAD-low.{name}={value!r}"])


def test_a_whole_number_is_a_float_where_one_is_wanted():
    whole = Model(architecture="nextvlad", clusters=4, hidden=6, expansion=2, dropout=0)
    assert whole == Model(architecture="nextvlad", clusters=4, hidden=6, dropout=0.0)


def test_eigenvalues_and_input_norm_exclude_each_other():
    with pytest.raises(ValueError, match="stands in for `eigenvalues`"):
        Model(architecture="nextvlad", **SIZES, input_norm=True, eigenvalues=EIGENVALUES)


def test_the_identity_of_other_models_is_what_it_was():
    model = params.load("params/demo.yaml").models["NetVLAD-low"]
    assert set(model.model_dump()) == {
        "architecture", "clusters", "hidden", "options", "batch", "rate", "epochs", "rate_decay",
    }  # fmt: skip
    assert len(model.traits.traits) == 5
    later = model.model_copy(update={"rate_decay_videos": 7, "loss_epsilon": 1e-8})
    assert {"rate_decay_videos", "loss_epsilon"} <= set(later.model_dump())


def test_the_published_training_can_be_asked_for():
    published = params.load("params/beyond_paper.yaml")
    model = published.models["NeXtVLAD1"]
    schedule = rate_schedule(model, published.training.rate_decay_videos)
    for videos_seen, rate in ((0, 2e-4), (1_999_840, 2e-4), (2_000_160, 1.6e-4), (4e6, 1.28e-4)):
        np.testing.assert_allclose(schedule(videos_seen // 160), rate, rtol=1e-6)
    optimizer = Adam(schedule, published.training.clip_norm)
    clipped = optimizer.clipped([tf.constant([3.0, 4.0]), tf.constant([0.3, 0.4])])
    np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.3, 0.4]])  # each tensor by itself
    assert model.loss_epsilon == 1e-8 and published.models["NetVLAD1"].loss_epsilon is None


def test_the_epsilon_of_the_loss_is_a_setting():
    missed = cross_entropy(tf.ones([1, 1]), tf.zeros([1, 1]), 1e-8)
    np.testing.assert_allclose(missed, -np.log(1e-8), rtol=1e-5)
    batch = OneBatch().batch | {"seed": SEED}
    wanted, *_ = loss_and_gradients(make(), batch, epsilon=0.5)
    usual, *_ = loss_and_gradients(make(), batch)
    assert wanted < usual - 0.1
    history = [
        trainer(**more).fit(OneBatch(), 1)[0]["loss"] for more in ({}, {"loss_epsilon": 0.5})
    ]
    assert history[1] < history[0] - 0.1


def test_the_released_code_of_the_winners_has_no_such_model():
    with pytest.raises(checkpoints.CheckpointError, match="no NeXtVLAD models"):
        checkpoints.assign(make(), {})
