"""Weights of the released code, in every form that it writes."""

import numpy as np
import pytest
import tensorflow as tf
from golden_models import SETTINGS, golden_arrays, golden_model, released_variables

from yt8m_lib import checkpoints, models, params
from yt8m_lib.catalogue import CODECS
from yt8m_lib.checkpoints import CheckpointError
from yt8m_lib.cli import main
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.settings import Model


def small_model(architecture: str = "logistic", **settings) -> VideoModel:
    return models.build(Model(architecture=architecture, **settings), 5)


def released(model: VideoModel, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for every released variable that fits a model."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for group in checkpoints._groups(model)
        for name, shape in zip(group.names, group.shapes, strict=True)
    }


def write(path, variables) -> str:
    """A TensorFlow 1 checkpoint (format V2) with exactly these names."""
    names, values = list(variables), [tf.constant(value) for value in variables.values()]
    tf.raw_ops.SaveV2(
        prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )
    return str(path)


@pytest.mark.parametrize("name", SETTINGS)
def test_golden_variables_go_through_a_checkpoint(name, tmp_path):
    golden = golden_arrays(name)
    variables = released_variables(golden) | {"global_step": np.int64(7)}
    prefix = write(tmp_path / "inference_model", variables)
    model = golden_model(name, golden)
    wanted = [variable.numpy() for variable in model.variables]
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    checkpoints.import_checkpoint(prefix, model)
    for variable, value in zip(model.variables, wanted, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "netvlad", "clusters": 4, "hidden": 6, "relu": True},
        {"architecture": "soft_dbof", "clusters": 8, "hidden": 6, "max_pool": True},
        {"architecture": "gated_dbof", "clusters": 8, "hidden": 6},
        {"architecture": "fvnet", "clusters": 4, "hidden": 6},
        {"architecture": "lstm", "hidden": 6},
        {"architecture": "gru", "hidden": 6},
        {"architecture": "logistic"},
    ],
    ids=lambda settings: settings["architecture"],
)
def test_every_variable_is_set_from_distinct_released_ones(settings):
    model = small_model(**settings)
    given = released(model)
    assert sum(v.size for v in given.values()) == sum(np.prod(v.shape) for v in model.variables)
    before = [variable.numpy() for variable in model.variables]
    checkpoints.assign(model, given)
    for variable, old in zip(model.variables, before, strict=True):
        assert np.all(variable.numpy() != old), variable.path
    # Nothing is lost or doubled: all values arrive, but the forget bias has 1 added.
    together = np.sort(np.concatenate([v.numpy().ravel() for v in model.variables]))
    wanted = np.sort(np.concatenate([v.ravel() for v in given.values()]))
    changed = 4 * 6 // 2 if settings["architecture"] == "lstm" else 0
    assert np.isin(wanted, together).sum() == wanted.size - changed


def test_averaged_weights_are_preferred_when_asked_for(tmp_path):
    model = small_model()
    last, averaged = released(model, 1), released(model, 2)
    moments = {f"{name}/Adam": value for name, value in last.items()}
    shadows = {f"{name}/ExponentialMovingAverage": value for name, value in averaged.items()}
    prefix = write(tmp_path / "model.ckpt-1", last | moments | shadows)
    for choice, values in ((False, last), (True, averaged)):
        checkpoints.import_checkpoint(prefix, model, averaged=choice)
        kernel = values["tower/fully_connected/weights"]
        np.testing.assert_array_equal(model.classifier.kernel.numpy(), kernel)


def test_asking_for_averages_that_are_not_there(tmp_path):
    model = small_model()
    prefix = write(tmp_path / "model.ckpt-1", released(model))
    with pytest.raises(CheckpointError, match="no averaged weights"):
        checkpoints.import_checkpoint(prefix, model, averaged=True)


def test_quantised_and_half_width_variables(tmp_path):
    model = small_model()
    given = released(model)
    kernel = given.pop("tower/fully_connected/weights")
    bias = given.pop("tower/fully_connected/biases")
    coded = CODECS["linear"].encode(kernel)
    forms = {
        "tower/fully_connected/weights_quants": coded["codes"],
        "tower/fully_connected/weights_space": coded["centroids"],
        "tower/fully_connected/biasesfloat16": bias.astype(np.float16),
    }
    checkpoints.import_checkpoint(write(tmp_path / "quantised", forms), model)
    np.testing.assert_array_equal(model.classifier.kernel.numpy(), CODECS["linear"].decode(coded))
    np.testing.assert_allclose(model.classifier.bias.numpy(), bias, rtol=1e-3)


def test_one_error_lists_all_that_does_not_fit():
    model = small_model("lstm", hidden=4)
    given = released(model)
    given.pop("tower/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/bias")
    given["tower/fully_connected/weights"] = np.zeros((4, 6), np.float32)
    given["tower/gating_weights_2"] = np.zeros((4, 4), np.float32)
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(CheckpointError) as error:
        checkpoints.assign(model, given)
    for line in (
        "missing: tower/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/bias (16,)",
        "superfluous: tower/gating_weights_2 (4, 4)",
        "wrong shape: tower/fully_connected/weights is (4, 6), the model's is (4, 5)",
    ):
        assert line in str(error.value)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)  # nothing was half done


def test_what_is_no_checkpoint_is_said_so(tmp_path):
    with pytest.raises(CheckpointError, match="not a TensorFlow checkpoint"):
        checkpoints.import_checkpoint(str(tmp_path / "nothing"), small_model())
    other = write(tmp_path / "other-1", {"a": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match="other-1' is no checkpoint of the released code"):
        checkpoints.import_checkpoint(f"{other}.index", small_model())


@pytest.mark.parametrize("suffix", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_any_of_a_checkpoints_files_names_it(tmp_path, suffix):
    model = small_model()
    given = released(model)
    checkpoints.import_checkpoint(write(tmp_path / "ck-7", given) + suffix, model)
    kernel = given["tower/fully_connected/weights"]
    np.testing.assert_array_equal(model.classifier.kernel.numpy(), kernel)


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    given = released(small_model())
    given["tower/fully_connected/biases"][1] = np.nan
    prefix = write(tmp_path / "ck-1", given)
    with pytest.raises(CheckpointError, match="not a number: tower/fully_connected/biases"):
        checkpoints.import_checkpoint(prefix, small_model())


def test_the_unpublished_gru_has_no_released_weights():
    with pytest.raises(CheckpointError, match="resets after"):
        checkpoints.assign(small_model("gru", hidden=4, reset_after=True), {})


@pytest.mark.parametrize("name", ["NetVLADModelLF", "GRUbidirect"])
def test_imported_weights_predict_the_golden_classes_through_the_command_line(name, tmp_path):
    golden = golden_arrays(name)
    prefix = write(tmp_path / "model.ckpt", released_variables(golden))
    settings = ", ".join(f"{key}: {value}" for key, value in SETTINGS[name].items())
    overrides = ["data={classes: 40, vocabulary: 40}", f"models={{M: {{{settings}, hidden: 24}}}}"]
    overrides += ["averaging={}", "distillation={}", "quantization={}"]
    sets = [part for override in overrides for part in ("--set", override)]
    folder = str(tmp_path / "model")
    main(
        [
            "import-checkpoint",
            prefix,
            "params/smoke.yaml",
            *sets,
            "--model",
            "M",
            "--output",
            folder,
        ]
    )
    shard = tmp_path / "videos.tfrecord"
    videos = [
        FrameVideo(f"v{i}".encode(), None, frames[:count])
        for i, (frames, count) in enumerate(
            zip(golden["input_bytes"], golden["num_frames"], strict=True)
        )
    ]
    write_frame_records(shard, videos)
    output = tmp_path / "predictions.csv"
    main(["predict", folder, str(shard), "--output", str(output)])
    for line, expected in zip(
        output.read_text().splitlines()[1:], golden["predictions"], strict=True
    ):
        pairs = line.split(",")[1].split()
        classes, confidences = np.array(pairs[::2], int), np.array(pairs[1::2], float)
        np.testing.assert_allclose(confidences, expected[classes], atol=2e-6)
        np.testing.assert_allclose(confidences, np.sort(expected)[::-1][:20], atol=2e-6)


def test_an_unknown_model_name_names_the_nearest(tmp_path):
    settings = params.load("params/paper.yaml")
    with pytest.raises(CheckpointError, match="did you mean 'FVNet'"):
        checkpoints.export_imported("nowhere", settings, "FVNt", tmp_path)
