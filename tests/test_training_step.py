"""One step in other ways: bfloat16 products, XLA, replicas; and what each leaves as it was.

Replicas need devices, so what is tested of them runs in a process whose CPU is made two.
"""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.methods import devices
from yt8m_lib.methods.averaging import CheckpointMean, Shadow
from yt8m_lib.methods.training import Trainer, TrainingError
from yt8m_lib.models.products import computed_in, product
from yt8m_lib.params import ParamsError
from yt8m_lib.settings import ROOT, Model, Training
from yt8m_lib.streams import Stream

tf.config.experimental.enable_op_determinism()

SIZES = {"clusters": 8, "hidden": 16}
FAMILIES = {
    "netvlad": SIZES,
    "fvnet": SIZES,
    "gated_dbof": SIZES,
    "lstm": {"hidden": 16},
    "gru": {"hidden": 16},
    "nextvlad": SIZES | {"reduction": 4, "dropout": 0.0},  # XLA draws other numbers
    "logistic": {},
}
STREAMS = (
    Stream(name="video", key="rgb", width=24),
    Stream(name="audio", key="audio", width=16),
)
CLASSES, BATCH, FRAMES = 20, 9, 6
# These have shifts without effect, whose gradients are rounding alone (see test_golden). Adam
# divides by a gradient's own size and an epsilon: a larger one keeps noise from being a full step.
STEADY, EPSILON = ("gated_dbof", "nextvlad"), 1e-3


def spec_of(architecture, **more):
    sizes = FAMILIES[architecture] | more
    trained = {"batch": BATCH, "rate": 2e-4, "epochs": 1, "rate_decay": 0.8}
    return Model(architecture=architecture, **trained, **sizes)


class Videos:
    """An epoch of random videos; the last batch has one alone, so one of two replicas has none."""

    def __init__(self, sizes=(BATCH, BATCH, 1)):
        self.sizes = sizes

    def batches(self, size, seed=None, skip=0):
        rng = np.random.default_rng(3)
        made = [self._batch(rng, videos) for videos in self.sizes]
        spec = {k: tf.TensorSpec([None, *v.shape[1:]], v.dtype) for k, v in made[0].items()}
        return tf.data.Dataset.from_generator(lambda: iter(made), output_signature=spec).skip(skip)

    def _batch(self, rng, videos):
        shape = (videos, FRAMES, sum(stream.width for stream in STREAMS))
        labels = (rng.random((videos, CLASSES)) < 0.15).astype(np.float32)
        return {
            "id": tf.constant([b"v"] * videos),
            "frames": tf.constant(rng.integers(0, 256, shape, dtype=np.uint8)),
            "num_frames": tf.constant(rng.integers(2, FRAMES + 1, videos), tf.int32),
            "labels": tf.constant(labels),
            "soft_targets": tf.constant((labels + rng.random(labels.shape)) / 2, tf.float32),
        }


def trainer_of(architecture, seed=1, label_weight=0.5, rate=2e-4, options=(), **more):
    """A trainer of a fresh model, with the settings in ``more``."""
    settings = Training(frames=FRAMES, batch_norm_decay=0.9, **more)
    spec = spec_of(architecture, **dict(options)).model_copy(update={"rate": rate})
    keras.utils.set_random_seed(seed)
    with devices.strategy_for(settings.replicas).scope():
        model = models.build(spec, CLASSES, 0.9, STREAMS)
    trainer = Trainer(model, spec, settings, 5, label_weight, say=lambda line: None)
    trainer.optimizer.epsilon = EPSILON if architecture in STEADY else trainer.optimizer.epsilon
    return trainer


def trained(architecture, sizes=(BATCH, BATCH, 1), epochs=1, **more):
    """The loss of each epoch, all variables by path, and the answers after a training."""
    trainer = trainer_of(architecture, **more)
    losses = [row["loss"] for row in trainer.fit(Videos(sizes), epochs)]
    model, batch = trainer.model, next(iter(Videos().batches(BATCH)))
    answers = model(batch, training=False).numpy()
    return losses, {v.path: np.array(v.numpy()) for v in model.variables}, answers


def compare(one, other, loss, weights, answers):
    np.testing.assert_allclose(one[0], other[0], atol=loss)
    for path, values in one[1].items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(other[1][path], values, atol=weights, err_msg=path)
    np.testing.assert_allclose(one[2], other[2], atol=answers)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_bfloat16_products_train_nearly_the_same_and_leave_float32(architecture):
    mixed = trained(architecture, (BATCH,), 6, precision="mixed_bfloat16", rate=4e-3)
    assert mixed[0][-1] < mixed[0][0]
    assert all(np.isfinite(values).all() for values in mixed[1].values())
    assert {values.dtype for values in mixed[1].values()} == {np.dtype(np.float32)}
    plain = trainer_of(architecture)
    plain._train_step(next(iter(Videos().batches(BATCH))), tf.constant([5, 0]))
    first = float(plain.loss_sum)
    assert first != mixed[0][0], "nothing was rounded"
    assert mixed[0][0] == pytest.approx(first, rel=5e-3)


def test_a_product_rounds_its_factors_and_nothing_else():
    one, other = tf.constant([[1.001, 3.0]]), tf.constant([[1.0], [2.0]])
    with computed_in("mixed_bfloat16"), tf.GradientTape() as tape:
        tape.watch(one)
        answer = product(one, other)
    assert answer.dtype == tf.float32 and answer.numpy() == 7.0  # 1.001 rounds to 1
    np.testing.assert_array_equal(tape.gradient(answer, one), [[1.0, 2.0]])
    assert product(one, other).numpy() == pytest.approx(7.001, abs=1e-6)


@pytest.mark.parametrize("architecture", ["netvlad", "lstm", "gru"])
def test_a_model_trained_in_bfloat16_answers_in_float32_once_saved(architecture, tmp_path):
    trainer = trainer_of(architecture, precision="mixed_bfloat16")
    trainer.fit(Videos((BATCH,)), 1)
    models.save(trainer.model, tmp_path / "model.keras")
    batch = next(iter(Videos().batches(BATCH)))
    loaded = models.load(tmp_path / "model.keras")
    fresh = trainer_of(architecture).model  # that never heard of bfloat16
    fresh.set_weights(trainer.model.get_weights())
    for model in (trainer.model, loaded):
        np.testing.assert_array_equal(model(batch), fresh(batch))


@pytest.mark.parametrize("architecture", [name for name in FAMILIES if name != "gru"])
def test_xla_computes_the_same_step(architecture):
    sizes = (BATCH,) * 2  # of one shape, as each is compiled anew, for seconds
    compiled = trained(architecture, sizes, xla=True)
    compare(trained(architecture, sizes), compiled, loss=1e-5, weights=7e-6, answers=1e-6)


def test_xla_trains_what_drops_out_and_notices_a_loss_that_is_no_number():
    trainer = trainer_of("nextvlad", options={"dropout": 0.5}, xla=True)
    losses = [row["loss"] for row in trainer.fit(Videos((BATCH,)), 2)]
    assert np.isfinite(losses).all()
    weights = trainer.model.classifier.variables[0]
    weights.assign(tf.fill(weights.shape, np.nan))
    before = trainer.model.trainable_variables[0].numpy()
    with pytest.raises(TrainingError, match=r"the loss is infinite or not a .* epoch 3, step 1"):
        trainer.fit(Videos((BATCH,)), 3)
    np.testing.assert_array_equal(trainer.model.trainable_variables[0].numpy(), before)


@pytest.fixture(scope="module")
def pair():
    """A process in which TensorFlow has two devices."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, devices.prepare, (True, 2)) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result()


def on_one_and_two(architecture, precision="float32"):
    return [trained(architecture, replicas=n, precision=precision) for n in (1, 2)]


@pytest.mark.parametrize("architecture", ["netvlad", "fvnet", "gated_dbof", "lstm", "logistic"])
def test_two_replicas_train_what_one_trains(pair, architecture):
    compare(*pair(on_one_and_two, architecture), loss=2e-6, weights=7e-6, answers=1e-6)


def test_two_replicas_round_as_one_does(pair):
    one, two = pair(on_one_and_two, "netvlad", "mixed_bfloat16")
    np.testing.assert_allclose(one[0], two[0], atol=1e-3)


class Killed(BaseException):
    pass


def replicas_killed_and_whole(folder):
    """What an unbroken training on two replicas ends in, and one that was killed and resumed."""
    ends = []
    for die_after in (None, 4):
        place, seed = folder / str(die_after), 1
        if die_after:
            with pytest.raises(Killed):
                dying(followed(place, seed), die_after).fit(Videos(), 2)
            seed = 99
        trainer = followed(place, seed)
        trainer.fit(Videos(), 2)
        averages = [v.numpy() for average in trainer.averages for v in average.averages]
        ends.append((trainer.history, trainer.model.get_weights(), averages))
        trainer.averages[0].swap(trainer.model)
        models.save(trainer.model, folder / f"{die_after}.keras")
        ends[-1] += (models.load(folder / f"{die_after}.keras").get_weights(),)
    return ends


def followed(folder, seed):
    trainer = trainer_of("netvlad", seed=seed, replicas=2, checkpoint_minutes=0.0)
    shadow = Shadow(trainer.model, 4)
    trainer.averages = [shadow, CheckpointMean(lambda: shadow.averages, 2)]
    trainer.checkpoints = trainer._manager(folder)
    return trainer


def dying(trainer, after):
    save, saved = trainer._save, []

    def save_then_die():
        save()
        saved.append(1)
        if len(saved) == after:
            raise Killed

    trainer._save = save_then_die
    return trainer


def test_a_killed_training_of_replicas_resumes_bit_for_bit_with_its_averages(pair, tmp_path):
    whole, resumed = pair(replicas_killed_and_whole, tmp_path)
    assert [row["loss"] for row in whole[0]] == [row["loss"] for row in resumed[0]]
    for part, again in zip(whole[1:], resumed[1:], strict=True):
        for one, other in zip(part, again, strict=True):
            np.testing.assert_array_equal(one, other)
    for shadow, saved in zip(whole[2], whole[3], strict=False):  # the shadow comes first
        np.testing.assert_array_equal(shadow, saved)


def statistics_of_replicas():
    """The largest and smallest difference of the two devices' own moving means, and their size."""
    trainer = trainer_of("netvlad", replicas=2)
    trainer.fit(Videos(), 1)
    found = [v.value for v in trainer.model.variables]
    apart = max(float(tf.reduce_max(tf.abs(v.values[0] - v.values[1]))) for v in found)
    return apart, len(found[0].values)


def test_both_replicas_hold_the_same_weights_and_statistics(pair):
    assert pair(statistics_of_replicas) == (0.0, 2)


def threads_taken() -> tuple[int, int]:
    import tensorflow as tf

    config = tf.config.threading
    return config.get_intra_op_parallelism_threads(), config.get_inter_op_parallelism_threads()


def test_a_process_computes_with_the_threads_that_it_is_asked_for_and_not_with_others_later():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, devices.prepare, (True, 1, 1)) as process:
        assert process.submit(threads_taken).result() == (1, 1)
        process.submit(devices.prepare, True, 1, 1).result()
        with pytest.raises(
            devices.DeviceError, match="threads is 2, and this process computes with 1"
        ):
            process.submit(devices.prepare, True, 1, 2).result()


def test_more_replicas_than_devices_are_refused(pair):
    with pytest.raises(devices.DeviceError, match="replicas is 3, and TensorFlow has 2 CPU"):
        pair(devices.strategy_for, 3)


def test_an_operation_without_a_deterministic_form_names_the_remedy(monkeypatch):
    trainer = trainer_of("logistic")

    def missing(batch, seed):
        words = "Deterministic GPU implementation of unsorted segment reduction op not available."
        raise tf.errors.UnimplementedError(None, None, words)

    monkeypatch.setattr(trainer, "step_function", lambda spec: missing)
    with pytest.raises(devices.DeviceError, match=r"unsorted segment.*training.deterministic=fal"):
        trainer.fit(Videos(), 1)


@pytest.mark.parametrize("deterministic", [True, False])
def test_determinism_is_asked_for_where_the_settings_say_so(deterministic):
    """With it, TensorFlow refuses what it could not do twice alike: numbers without a seed."""
    script = (
        "from yt8m_lib.methods import devices\n"
        f"devices.prepare(deterministic={deterministic})\n"
        "import tensorflow as tf\n"
        "tf.random.uniform([])"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode != 0) == deterministic
    assert ("require a seed to be set" in ended.stderr) == deterministic


def test_ways_to_run_a_step_are_identity_only_where_they_are_chosen():
    said = Training().model_dump(mode="json")
    assert not {"precision", "xla", "deterministic", "replicas"} & set(said)
    ways = {"precision": "mixed_bfloat16", "deterministic": False, "replicas": 2}
    assert ways.items() <= Training(**ways).model_dump(mode="json").items()
    assert Training(xla=True).model_dump(mode="json")["xla"] is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["training.precision=float16"], "training.precision: .*'float32' or 'mixed_bfloat16'"),
        (["training.xla=true", "training.replicas=2"], r"xla and replicas \(2\).*give one"),
        (
            ["training.replicas=2", "models.N={architecture: nextvlad, clusters: 8, hidden: 16}"],
            "models, N: nextvlad draws .*training.replicas=1",
        ),
    ],
)
def test_ways_that_do_not_go_are_refused(changes, words):
    with pytest.raises(ParamsError, match=words):
        params.load("params/smoke.yaml", changes)
