"""Every architecture and box: shapes, masks, gradients, saving, and plain NumPy beside them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import checkpoints, families, models, params
from yt8m_lib.families import Family
from yt8m_lib.methods import codecs, devices, export, losses, training
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.exported import ExportedModel
from yt8m_lib.methods.optimizer import Adam
from yt8m_lib.models import frames as reading
from yt8m_lib.models.assignment import SoftAssignment
from yt8m_lib.models.baseline import MeanFrame
from yt8m_lib.models.classifiers import Logistic, MixtureOfExperts
from yt8m_lib.models.dbof import GatedDBoF, SoftDBoF
from yt8m_lib.models.fvnet import FisherVector
from yt8m_lib.models.gating import Excitation, Gating, Hidden
from yt8m_lib.models.netvlad import LightVLAD, NetVLAD
from yt8m_lib.models.nextvlad import NeXtVLAD, NeXtVLADEncoder
from yt8m_lib.models.normalization import Affine, BatchNorm
from yt8m_lib.models.pooling import PoolingEncoder, make_pooling_encoder
from yt8m_lib.models.rnn import RecurrentEncoder
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.settings import Model, Training

CLASSES = 7
VARIANTS = {
    "netvlad": {"clusters": 4, "hidden": 6},
    "netvlad relu": {"clusters": 4, "hidden": 6, "relu": True},
    "lightvlad": {"clusters": 4, "hidden": 6},
    "fvnet": {"clusters": 4, "hidden": 6},
    "gated_dbof": {"clusters": 16, "hidden": 6},
    "soft_dbof": {"clusters": 16, "hidden": 6},
    "soft_dbof max": {"clusters": 16, "hidden": 6, "max_pool": True},
    "lstm": {"hidden": 6},
    "gru": {"hidden": 6},
    "gru fast": {"hidden": 6, "reset_after": True},
    "gru scaled": {"hidden": 6, "input_scale": 10.0},
    "nextvlad": {"clusters": 4, "hidden": 6, "groups": 4, "expansion": 0.125, "reduction": 2},
    "nextvlad scaled": {"clusters": 3, "hidden": 6, "eigenvalues": [2.0] * 1024, "reduction": 2},
    "nextvlad norm": {"clusters": 4, "hidden": 6, "expansion": 0.25, "input_norm": True},
    "logistic": {},
}
SEED = np.array([1, 2], np.int32)  # of what a training step draws
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def settings_of(variant: str) -> Model:
    return Model(architecture=variant.split()[0], **VARIANTS[variant])


def make(variant: str, seed: int = 3) -> VideoModel:
    """A model whose every variable is random: fresh biases and averages would hide mistakes."""
    model = models.build(settings_of(variant), CLASSES)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        noise = rng.uniform(-0.5, 0.5, variable.shape).astype(np.float32)
        variable.assign(variable * (1 + noise) + 0.1 * noise)
    return model


def videos(lengths=(5, 1, 3), frames: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (len(lengths), frames, 1152), np.uint8)
    return {"frames": values, "num_frames": np.array(lengths, np.int32)}


# ---------------------------------------------------------------- every architecture alike


@every_variant
def test_predictions_are_probabilities_and_gradients_reach_every_variable(variant):
    model = models.build(settings_of(variant), CLASSES)
    labels = np.eye(3, CLASSES, dtype=np.float32)
    batch = videos() | {"labels": labels, "seed": SEED}
    batch = {key: tf.constant(value) for key, value in batch.items()}
    _, penalty, predictions, gradients = losses.loss_and_gradients(model, batch)
    assert predictions.shape == (3, CLASSES)
    assert np.all((predictions.numpy() > 0) & (predictions.numpy() < 1))
    assert penalty > 0
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.all(np.isfinite(gradient)), variable.path


@every_variant
def test_padding_changes_nothing_and_the_number_of_frames_may_vary(variant):
    model, batch = make(variant), videos()
    wanted = model(batch)
    noise = videos(seed=1)["frames"]
    valid = np.arange(5) < batch["num_frames"][:, None]
    other = np.where(valid[..., None], batch["frames"], noise)
    longer = np.concatenate([other, noise[:, :4]], axis=1)
    for padded in (other, longer):
        answer = model({"frames": padded, "num_frames": batch["num_frames"]})
        np.testing.assert_allclose(answer, wanted, atol=1e-6)
    alone = {"frames": batch["frames"][2:, :3], "num_frames": batch["num_frames"][2:]}
    np.testing.assert_allclose(model(alone), wanted[2:], atol=1e-6)
    changed = {"frames": noise, "num_frames": batch["num_frames"]}
    assert np.abs(model(changed) - wanted).max() > 1e-4


@every_variant
def test_saved_and_loaded_models_are_equal(variant, tmp_path):
    model = make(variant)
    path = tmp_path / "kept" / "model.keras"
    models.save(make(variant, seed=4), path)
    models.save(model, path)  # over an existing one
    loaded = models.load(path)
    assert [p.name for p in path.parent.iterdir()] == ["model.keras"]
    assert [v.path for v in loaded.variables] == [v.path for v in model.variables]
    for before, after in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(before.numpy(), after.numpy())
    np.testing.assert_array_equal(loaded(videos()), model(videos()))
    assert len(loaded.losses) == len(model.losses)


@every_variant
def test_models_run_on_weights_handed_in(variant):
    model, other = make(variant), make(variant, seed=4)
    weights = [
        [tf.constant(variable.numpy()) for variable in variables]
        for variables in (other.trainable_variables, other.non_trainable_variables)
    ]
    answer, _ = model.stateless_call(*weights, videos(), training=False)
    np.testing.assert_allclose(answer, other(videos()), atol=1e-6)
    assert np.abs(answer - model(videos())).max() > 1e-3


@every_variant
def test_shapes_are_those_of_the_built_model(variant):
    settings = settings_of(variant)
    built = models.build(settings, CLASSES).variables
    expected = [(variable.path, tuple(variable.shape)) for variable in built]
    assert models.variable_shapes(settings, CLASSES) == expected


@pytest.mark.parametrize(
    "variant",
    ["netvlad", "fvnet", "gated_dbof", "soft_dbof max", "lstm", "gru", "nextvlad", "logistic"],
)
def test_trainings_with_one_seed_agree_bit_for_bit(variant):
    devices.prepare()  # asks every operation for its deterministic form; one without it raises
    batch = videos() | {"labels": np.eye(3, CLASSES, dtype=np.float32)}
    starts = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        model = models.build(settings_of(variant), CLASSES)
        starts.append(model.get_weights())
    optimizer = Adam(1e-3)
    optimizer.build(model.trainable_variables)
    fresh = [variable.numpy() for variable in optimizer.variables]

    @tf.function
    def step(seed):
        frames, counts = reading.sample_frames(batch["frames"], batch["num_frames"], 8, seed)
        sampled = batch | {"frames": frames, "num_frames": counts, "seed": seed}
        *_, gradients = losses.loss_and_gradients(model, sampled)
        optimizer.apply(gradients, model.trainable_variables)

    ends = []
    for start in starts:
        model.set_weights(start)
        for variable, value in zip(optimizer.variables, fresh, strict=True):
            variable.assign(value)
        for number in range(3):
            step(tf.constant([1, number]))
        ends.append(model.get_weights())
    for one, other, start in zip(*ends, starts[0], strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.any(one != start)


STREAMS = [1024, 128], ["video", "audio"]  # widths and names of YouTube-8M's


@pytest.mark.parametrize(
    "layer",
    [
        BatchNorm(0.9),
        SoftAssignment(3, 0.9),
        LightVLAD(3, 0.9),
        NetVLAD(3, 0.9),
        FisherVector(3, 0.9),
        SoftDBoF(3, 0.9, max_pool=True),
        GatedDBoF(3, 0.9),
        Hidden(4, 3, relu=True, decay=0.9),
        Gating(0.9),
        MixtureOfExperts(5),
        Logistic(5),
        RecurrentEncoder("gru", 4, reset_after=True),
        MeanFrame(),
        Excitation(2, 0.9),
        SoftAssignment(3, 0.9, groups=2, initializer="he_normal"),
        NeXtVLAD(3, 2, 0.5, 0.9),
        NeXtVLADEncoder([3, 2], 4, *STREAMS, 4, 0.125, 2, 0.1, eigenvalues=[2.0] * 1024, decay=0.9),
        NeXtVLADEncoder([3], 4, [64], ["own"], 4, 0.125, 2, 0.1, input_norm=True, decay=0.9),
        PoolingEncoder([LightVLAD(3), SoftDBoF(2)], [1024, 128], Hidden(4, 3), Gating(0.9), 0.9),
        PoolingEncoder([LightVLAD(3), SoftDBoF(2), FisherVector(2)], [7, 8, 9], Hidden(4, 3)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_boxes_are_made_again_from_their_settings(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert keras.saving.serialize_keras_object(again) == config
    for one in (layer, again):
        one.build((None, None, 6))
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]
    config = keras.saving.serialize_keras_object(layer)  # now that its variables are made
    again = keras.saving.deserialize_keras_object(config)
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]


@every_variant
def test_encoders_are_made_again_from_their_settings(variant):
    encoder = make(variant).encoder
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    again.set_weights(encoder.get_weights())
    inputs = reading.normalise(*videos().values())
    np.testing.assert_array_equal(again(*inputs), encoder(*inputs))


def test_a_recurrent_encoder_scales_its_frames():
    encoder = make("gru scaled").encoder
    plain = make("gru").encoder
    plain.set_weights(encoder.get_weights())
    video, audio, valid = reading.normalise(*videos().values())
    scaled = plain(10.0 * video, 10.0 * audio, valid)
    np.testing.assert_allclose(encoder(video, audio, valid), scaled, rtol=1e-6)
    assert np.abs(scaled - plain(video, audio, valid)).max() > 0.01


class Weighted(keras.layers.Layer):
    """A family of this file alone pools with it: the mean of a stream's frames, weighted."""

    def __init__(self, clusters: int, decay: float, **kwargs):
        super().__init__(**kwargs)

    def build(self, input_shape):
        self.width = input_shape[-1]
        self.weights_ = self.add_weight(shape=(self.width,), initializer="ones", name="weights")

    def call(self, frames, valid, affine, training=False):
        shares = tf.cast(valid, tf.float32)[..., None]  # [B, T, 1]
        mean = tf.reduce_sum(frames * shares, axis=1) / tf.reduce_sum(shares, axis=1)
        return self.weights_ * (mean * affine.scale + affine.shift)


def make_encoder(model: Model, batch_norm_decay: float, streams) -> PoolingEncoder:
    return make_pooling_encoder(model, batch_norm_decay, streams, first=Weighted, others=Weighted)


@pytest.fixture
def toy_family():
    toy = Family(
        "toy",
        "Toy",
        ("toy",),
        __name__,
        pools_frames=True,
        classifier="logistic",
        label_gating=True,
    )
    families.register(toy)
    yield toy
    del families.FAMILIES["toy"]


class Repeated:
    """One batch, several times an epoch."""

    def __init__(self, **batch):
        self.batch = batch

    def batches(self, size, seed=None, skip=0):
        return tf.data.Dataset.from_tensors(self.batch).repeat(10).skip(skip)


def test_a_family_is_one_file_and_one_record(toy_family, tmp_path):
    spec = Model(architecture="toy", clusters=2, hidden=6, batch=3, rate=0.01, rate_decay=1.0)
    model = models.build(spec, CLASSES)
    assert model.pools_frames and model.encoder.gate is None and model.label_gate is not None

    labels = np.eye(3, CLASSES, dtype=np.float32)
    trainer = training.Trainer(model, spec, Training(frames=4), seed=1, say=lambda line: None)
    history = trainer.fit(Repeated(**videos(), labels=labels), epochs=3)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]

    models.save(model, tmp_path / "model.keras")
    loaded, wanted = models.load(tmp_path / "model.keras"), model(videos())
    np.testing.assert_array_equal(loaded(videos()), wanted)

    stored = codecs.encode_weights((v.numpy() for v in loaded.variables), codec="float32")
    graph = EnsembleGraph([Member(loaded, stored)], [1.0])
    smoke = params.load("params/smoke.yaml")
    export.save(graph, tmp_path / "exported", smoke, {}, budget=None)
    tag = ExportedModel(tmp_path / "exported")
    answer = tag(**{name: tf.constant(value) for name, value in videos().items()})
    np.testing.assert_allclose(answer, wanted, atol=1e-6)

    with pytest.raises(checkpoints.CheckpointError, match="the released code has no Toy models"):
        checkpoints.assign(model, {})


def test_models_can_be_asked_for_without_tensorflow():
    code = "import sys, yt8m_lib.models; assert not {'tensorflow', 'keras'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_full_size_models_have_the_published_number_of_parameters():
    published = {
        321_541_224: Model(architecture="netvlad", clusters=256, hidden=1024),
        369_073_284: Model(architecture="fvnet", clusters=96, hidden=1540),
        32_998_372: Model(architecture="gated_dbof", clusters=3684, hidden=920),
        19_171_094: Model(architecture="lstm", hidden=1024),
        15_367_958: Model(architecture="gru", hidden=1024),
        78_714_274: Model(architecture="nextvlad", clusters=112, hidden=2048),
        88_970_274: Model(architecture="nextvlad", clusters=128, hidden=2048, reduction=8),
    }
    for parameters, model in published.items():
        shapes = [shape for _, shape in models.variable_shapes(model, 3862)]
        assert sum(int(np.prod(shape)) for shape in shapes) == parameters


# ---------------------------------------------------------------- frames


def test_dequantised_values_are_the_published_ones():
    values = reading.dequantise(tf.constant([0, 128, 255], tf.uint8)).numpy()
    expected = np.array([0, 128, 255]) * 4 / 255 + 4 / 512 - 2
    np.testing.assert_allclose(values, expected, atol=3e-7)


def test_frames_have_length_one_together_and_padding_is_exactly_zero():
    batch = videos()
    video, audio, valid = reading.normalise(batch["frames"], batch["num_frames"])
    assert (video.shape[2], audio.shape[2]) == (1024, 128)
    np.testing.assert_array_equal(valid, np.arange(5) < batch["num_frames"][:, None])
    both = np.concatenate([video, audio], axis=2)
    np.testing.assert_allclose(np.linalg.norm(both, axis=2), valid.numpy(), atol=1e-6)
    assert np.all(both[~valid.numpy()] == 0)
    first = reading.dequantise(batch["frames"][0, 0]).numpy()
    np.testing.assert_allclose(both[0, 0], first / np.linalg.norm(first), atol=1e-6)


def numbered(frames: int) -> np.ndarray:
    """Two videos whose frames hold their own number."""
    return np.tile(np.arange(frames, dtype=np.uint8)[:, None], (2, 1, 4))


def test_sampled_frames_are_valid_uniform_and_seeded():
    counts = tf.constant([10, 3])
    drawn, given = reading.sample_frames(numbered(12), counts, 6000, tf.constant([1, 2]))
    again, _ = reading.sample_frames(numbered(12), counts, 6000, tf.constant([1, 2]))
    other, _ = reading.sample_frames(numbered(12), counts, 6000, tf.constant([1, 3]))
    np.testing.assert_array_equal(drawn, again)
    assert not np.array_equal(drawn, other)
    assert drawn.dtype == tf.uint8
    np.testing.assert_array_equal(given, [6000, 6000])
    for video, count in ((0, 10), (1, 3)):
        shares = np.bincount(drawn[video, :, 0], minlength=12) / 6000
        np.testing.assert_allclose(shares[:count], 1 / count, atol=0.03)
        assert shares[count:].sum() == 0


def test_filling_keeps_the_valid_frames_in_order():
    counts = tf.constant([6, 3])
    filled, given = reading.fill_frames(numbered(6), counts, 5, tf.constant([1, 2]))
    np.testing.assert_array_equal(given, [5, 5])
    np.testing.assert_array_equal(filled[0, :, 0], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(filled[1, :3, 0], [0, 1, 2])
    assert np.all(filled[1, 3:, 0].numpy() < 3)
    filled, _ = reading.fill_frames(numbered(6), counts, 400, tf.constant([1, 2]))
    assert set(filled[1, 3:, 0].numpy()) == {0, 1, 2}


# ---------------------------------------------------------------- batch norm


def random_norm(width: int, decay: float = 0.9) -> BatchNorm:
    norm = BatchNorm(decay)
    norm.build((None, width))
    rng = np.random.default_rng(width)
    for variable in norm.variables:
        variable.assign(rng.uniform(0.5, 1.5, width))
    return norm


def plain_norm(norm: BatchNorm, x, mean=None, variance=None):
    mean = norm.moving_mean.numpy() if mean is None else mean
    variance = norm.moving_variance.numpy() if variance is None else variance
    return norm.gamma.numpy() * (x - mean) / np.sqrt(variance + 1e-3) + norm.beta.numpy()


def test_batch_norm_of_known_statistics():
    norm, x = random_norm(3), np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(norm(x), plain_norm(norm, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("folded", [False, True])
def test_batch_norm_of_a_batch_moves_towards_the_unbiased_variance(folded):
    norm, x = random_norm(3), np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    old_mean, old_variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    rows = x.reshape(8, 3)
    if folded:
        parts = norm.affine(x[..., :1], x[..., 1:], training=True)
        streams = (x[..., :1], x[..., 1:])
        pairs = zip(streams, parts, strict=True)
        answer = np.concatenate([s * f.scale + f.shift for s, f in pairs], axis=2)
    else:
        answer = norm(x, training=True)
    wanted = plain_norm(norm, x, rows.mean(axis=0), rows.var(axis=0))
    np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-5)
    moved = 0.9 * old_mean + 0.1 * rows.mean(axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), moved, rtol=1e-5)
    moved = 0.9 * old_variance + 0.1 * rows.var(axis=0, ddof=1)
    np.testing.assert_allclose(norm.moving_variance.numpy(), moved, rtol=1e-5)


# ---------------------------------------------------------------- boxes, beside plain NumPy

VALID = np.array([[True, True, True, True], [True, True, False, False]])


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def box_inputs(features: int = 5):
    """Frames whose padding is not zero, so that only the mask can keep it out."""
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(2, 4, features)).astype(np.float32)
    scale, shift = rng.uniform(0.5, 2, (2, features)).astype(np.float32)
    return frames, Affine(tf.constant(scale), tf.constant(shift))


def random_box(layer: keras.layers.Layer, features: int = 5) -> keras.layers.Layer:
    layer.build((None, None, features))
    rng = np.random.default_rng(2)
    for variable in layer.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return layer


def by_video(layer, frames, affine):
    """Each video's valid, normalised frames [n, D] and their assignments [n, K], in NumPy."""
    assignment = layer if isinstance(layer, SoftAssignment) else layer.assignment
    for video, valid in zip(frames, VALID, strict=True):
        x = video[valid] * affine.scale.numpy() + affine.shift.numpy()
        powers = np.exp(plain_norm(assignment.norm, x @ assignment.kernel.numpy()))
        yield x, powers / powers.sum(axis=1, keepdims=True)


def check_pool(layer, plain):
    frames, affine = box_inputs()
    answer = random_box(layer)(frames, VALID, affine)
    assert answer.shape[1] == layer.width
    wanted = [plain(x, a) for x, a in by_video(layer, frames, affine)]
    np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-5)


def test_soft_assignment():
    layer, (frames, affine) = random_box(SoftAssignment(3)), box_inputs()
    answer = layer(frames, VALID, affine).numpy()
    for video, valid, (_, shares) in zip(
        answer, VALID, by_video(layer, frames, affine), strict=True
    ):
        np.testing.assert_allclose(video[valid], shares, rtol=1e-4)
        assert np.all(video[~valid] == 0)


def residuals(x, a, centres):
    """sum_t a[t,k] (x[t,d] - c[d,k]), a frame, feature and cluster at a time."""
    sums = np.zeros(centres.shape)
    for t, d, k in np.ndindex(len(x), *centres.shape):
        sums[d, k] += a[t, k] * (x[t, d] - centres[d, k])
    return sums


def test_netvlad():
    layer = NetVLAD(3)

    def plain(x, a):
        v = residuals(x, a, layer.centres.numpy())
        return unit(np.stack([unit(column) for column in v.T], axis=1).ravel())

    check_pool(layer, plain)


def test_light_vlad():
    def plain(x, a):
        v = residuals(x, a, np.zeros((5, 3)))
        return unit(np.stack([unit(column) for column in v.T], axis=1).ravel())

    check_pool(LightVLAD(3), plain)


def test_fisher_vector():
    layer = FisherVector(3)

    def plain(x, a):
        c, s = layer.centres.numpy(), layer.covariance.numpy() ** 2 + 1e-6
        first = (x.T @ a - a.sum(axis=0) * c) / s
        second = (x.T**2 @ a - 2 * c * (x.T @ a) + a.sum(axis=0) * c**2) / s**2 - a.sum(axis=0)
        first = np.stack([unit(column) for column in first.T], axis=1)
        return np.concatenate([unit(first.ravel()), unit(second.ravel())])

    check_pool(layer, plain)


def test_soft_dbof():
    check_pool(SoftDBoF(3), lambda x, a: unit(a.sum(axis=0)))
    check_pool(
        SoftDBoF(3, max_pool=True),
        lambda x, a: np.concatenate([unit(a.sum(axis=0)), unit(a.max(axis=0))]),
    )


def test_gated_dbof():
    layer = GatedDBoF(3)

    def plain(x, a):
        logits = unit(a.max(axis=0)) @ layer.reduction.numpy() @ layer.expansion.numpy()
        gates = 1 / (1 + np.exp(-plain_norm(layer.gate_norm, logits)))
        return unit(gates * a.sum(axis=0))

    check_pool(layer, plain)


def test_hidden_layer_and_gating():
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    hidden = random_box(Hidden(3, clusters=4))
    plain = x @ hidden.kernel.numpy() + hidden.bias.numpy()
    np.testing.assert_allclose(hidden(x), plain, rtol=1e-5)
    hidden = random_box(Hidden(3, clusters=4, relu=True))
    plain = np.clip(plain_norm(hidden.norm, x @ hidden.kernel.numpy()), 0, 6)
    np.testing.assert_allclose(hidden(x), plain, rtol=1e-5, atol=1e-6)
    gate = random_box(Gating())
    plain = x / (1 + np.exp(-plain_norm(gate.norm, x @ gate.kernel.numpy())))
    np.testing.assert_allclose(gate(x), plain, rtol=1e-5, atol=1e-6)


def test_mixture_of_experts_and_its_penalty():
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    layer = random_box(MixtureOfExperts(4))
    gates, experts = layer.gates.numpy(), layer.experts.numpy()
    for c in range(4):
        powers = np.exp(x @ gates[:, 3 * c : 3 * c + 3])
        shares = powers / powers.sum(axis=1, keepdims=True)
        logits = x @ experts[:, 2 * c : 2 * c + 2] + layer.bias.numpy()[2 * c : 2 * c + 2]
        wanted = (shares[:, :2] / (1 + np.exp(-logits))).sum(axis=1)
        np.testing.assert_allclose(layer(x)[:, c], wanted, rtol=1e-5)
    half = 1e-6 * (np.sum(gates**2) + np.sum(experts**2)) / 2
    np.testing.assert_allclose(sum(layer.losses), half, rtol=1e-5)


def test_logistic_and_its_penalty():
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    layer = random_box(Logistic(4))
    plain = 1 / (1 + np.exp(-(x @ layer.kernel.numpy() + layer.bias.numpy())))
    np.testing.assert_allclose(layer(x), plain, rtol=1e-5)
    half = 1e-8 * np.sum(layer.kernel.numpy() ** 2) / 2
    np.testing.assert_allclose(sum(layer.losses), half, rtol=1e-5)


def test_the_baseline_averages_the_normalised_valid_frames():
    model, batch = make("logistic"), videos()
    raw = batch["frames"] * (4 / 255) + 4 / 512 - 2
    for place, count in enumerate(batch["num_frames"]):
        mean = np.mean([unit(frame) for frame in raw[place, :count]], axis=0)
        logits = mean @ model.classifier.kernel.numpy() + model.classifier.bias.numpy()
        np.testing.assert_allclose(model(batch)[place], 1 / (1 + np.exp(-logits)), rtol=1e-4)


# ---------------------------------------------------------------- recurrent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_states(cell, x):
    kernel, recurrent, bias = (v.numpy() for v in cell.variables)
    h = c = np.zeros(cell.units)
    outputs = []
    for frame in x:
        i, f, j, o = np.split(frame @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs), c


def gru_states(cell, x):
    kernel, recurrent, bias = (v.numpy() for v in cell.variables)
    units, h, outputs = cell.units, np.zeros(cell.units), []
    for frame in x:
        inputs = frame @ kernel + bias
        z, r = np.split(sigmoid(inputs[: 2 * units] + h @ recurrent[:, : 2 * units]), 2)
        candidate = np.tanh(inputs[2 * units :] + (r * h) @ recurrent[:, 2 * units :])
        h = z * h + (1 - z) * candidate
        outputs.append(h)
    return np.array(outputs), h


@pytest.mark.parametrize(("cell", "plain"), [("lstm", lstm_states), ("gru", gru_states)])
def test_recurrent_layers(cell, plain):
    frames, _ = box_inputs(6)
    layer = RecurrentEncoder(cell, 4)
    layer.build((None, None, 6))
    rng = np.random.default_rng(2)
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape))
    answer = layer(frames[..., :4], frames[..., 4:], VALID)
    for place, valid in enumerate(VALID):
        x = frames[place][valid]
        forward, _ = plain(layer.forward.cell, x)
        backward, _ = plain(layer.backward.cell, x[::-1])
        _, wanted = plain(layer.top.cell, np.concatenate([forward, backward[::-1]], axis=1))
        np.testing.assert_allclose(answer[place], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cell", "after"), [("lstm", False), ("gru", False), ("gru", True)])
def test_recurrences_and_their_own_gradients_are_those_of_keras(cell, after):
    layer = RecurrentEncoder(cell, 8, after)
    layer.build((None, None, 12))
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape) / 2)
    frames = tf.constant(rng.normal(size=(5, 7, 12)), tf.float32)
    valid = tf.sequence_mask([7, 3, 1, 5, 7], 7)
    factors = tf.constant(rng.normal(size=(5, 8)), tf.float32)

    def answers_and_gradients(call):
        with tf.GradientTape() as tape:
            tape.watch(frames)
            answers = call()
            total = tf.reduce_sum(answers * factors)
        weights = [variable.value for variable in layer.trainable_variables]
        return [answers, *tape.gradient(total, [frames, *weights])]

    ours = answers_and_gradients(lambda: layer(frames[..., :5], frames[..., 5:], valid))
    for one, other in zip(
        ours, answers_and_gradients(lambda: layer.by_keras(frames, valid)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=3e-6)


def test_recurrent_weights_start_as_published():
    lstm, gru, fast = (
        models.build(Model(architecture=kind, hidden=64, reset_after=after), CLASSES).encoder
        for kind, after in (("lstm", False), ("gru", False), ("gru", True))
    )
    one = [np.ones(32), np.zeros(32)]
    lstm_bias = np.concatenate([one[1], one[0], one[1], one[1]])
    np.testing.assert_array_equal(lstm.forward.cell.bias.numpy(), lstm_bias)
    gru_bias = np.concatenate([one[0], one[0], one[1]])
    np.testing.assert_array_equal(gru.forward.cell.bias.numpy(), gru_bias)
    np.testing.assert_array_equal(fast.forward.cell.bias.numpy(), [gru_bias, 0 * gru_bias])
    limits = {4: (6 / (1152 + 32 + 128)) ** 0.5, 2: (6 / (1184 + 64)) ** 0.5}
    limits[1] = (6 / (1184 + 32)) ** 0.5
    for part in (lstm.forward.cell.kernel, lstm.backward.cell.recurrent_kernel):
        np.testing.assert_allclose(np.abs(part.numpy()).max(), limits[4], rtol=0.01)
    for part in (gru.forward.cell.kernel.numpy(), gru.backward.cell.recurrent_kernel.numpy()):
        np.testing.assert_allclose(np.abs(part[:, :64]).max(), limits[2], rtol=0.01)
        np.testing.assert_allclose(np.abs(part[:, 64:]).max(), limits[1], rtol=0.01)


def test_other_weights_start_as_published():
    keras.utils.set_random_seed(1)
    model = models.build(Model(architecture="fvnet", clusters=16, hidden=128), 50)
    (pool, audio), hidden = model.encoder.poolings, model.encoder.hidden
    for variable, mean, spread in (
        (pool.assignment.kernel, 0, 1024**-0.5),
        (pool.centres, 0, 1024**-0.5),
        (pool.covariance, 1, 1024**-0.5),
        (audio.centres, 0, 128**-0.5),
        (hidden.kernel, 0, 16**-0.5),
        (hidden.bias, 0, 0.01),
        (model.encoder.gate.kernel, 0, 128**-0.5),
        (model.label_gate.kernel, 0, 50**-0.5),
        (model.classifier.gates, 0, (2 / (128 + 150)) ** 0.5),
        (model.classifier.experts, 0, (2 / (128 + 100)) ** 0.5),
    ):
        values = variable.numpy()
        np.testing.assert_allclose(values.std(), spread, rtol=0.2, err_msg=variable.path)
        np.testing.assert_allclose(values.mean(), mean, atol=0.3 * spread)
    assert not np.any(model.classifier.bias.numpy())
