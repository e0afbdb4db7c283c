"""The exported model: it answers as its members do, at their size, without this project."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.catalogue import CODECS
from yt8m_lib.cli import main
from yt8m_lib.data import synthetic
from yt8m_lib.data.frame_level import FRAME_LEVEL
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.files import FileError
from yt8m_lib.methods import codecs, export, tagging
from yt8m_lib.methods.codecs import Codec
from yt8m_lib.methods.codecs.graph import DecodedOnce
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.export import BudgetError
from yt8m_lib.methods.exported import ExportedModel, ModelError
from yt8m_lib.models.frames import dequantise

NAMES = ("NetVLAD-high", "FVNet-mid", "DBoF-mid", "DBoF-soft", "LSTM-mid", "GRU-mid")

SHIPPED = ("linear", "linear_huffman", "entropy_4", "channel_6", "nf4", "float16")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    sizes = ["synthetic.train_videos=24", "synthetic.validation_videos=24", "synthetic.shards=1"]
    soft = "models.DBoF-soft={architecture: soft_dbof, clusters: 16, hidden: 16}"
    return params.load("params/smoke.yaml", [f"results={results}", soft, *sizes])


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 9, 1152), dtype=np.uint8)
    return tf.constant(frames), tf.constant([9, 4, 1, 6, 9])


@pytest.fixture(scope="module")
def exported(settings, batch, tmp_path_factory):
    """An ensemble of every architecture, and what its members answer by themselves."""
    members, expected, weights = [], 0.0, [1.0, 2.0, 3.0, 1.0, 1.0, 2.0]
    for name, weight, codec in zip(NAMES, weights, SHIPPED, strict=True):
        tf.keras.utils.set_random_seed(len(name))
        model = models.build(settings.models[name], settings.data.classes)
        stored = codecs.encode_weights([v.numpy() for v in model.variables], 1000, codec)
        members.append(Member(model, stored))
        answer = answer_of_decoded(model, stored, batch)
        expected = expected + weight / sum(weights) * answer
    folder = tmp_path_factory.mktemp("exported") / "model"
    ensemble = EnsembleGraph(members, weights)
    ensemble.serve(*batch)  # a used one must not save its decoded weights
    about = {"members": dict(zip(NAMES, weights, strict=True))}
    export.save(ensemble, folder, settings, about, None)
    return folder, expected, ensemble


def answer_of_decoded(model, stored, batch):
    """What a model answers once its weights have gone through a codec."""
    for variable, value in zip(model.variables, codecs.decode_weights(stored), strict=True):
        variable.assign(value)
    return model({"frames": batch[0], "num_frames": batch[1]}, training=False).numpy()


def test_the_file_answers_as_its_quantised_members_do(exported, batch):
    folder, expected, _ = exported
    about = ExportedModel(folder).about
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    for _ in range(2):  # the first call decodes, the second uses what it left
        answer = function(frames=batch[0], num_frames=batch[1])
        np.testing.assert_allclose(answer["predictions"], expected, atol=2e-6)
    best = np.argsort(-answer["predictions"].numpy(), kind="stable")[:, :20]
    np.testing.assert_array_equal(answer["classes"], best)
    assert list(about["members"]) == list(NAMES)


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported[0]))
    return loaded.signatures


def test_it_gives_any_number_of_classes(exported, batch, signatures):
    for k in (1, 25, 40, 500):
        answer = signatures["top_k"](frames=batch[0], num_frames=batch[1], k=tf.constant(k))
        best = np.argsort(-exported[1], kind="stable")[:, :k]
        assert answer["classes"].shape == (5, min(k, 40))
        found = np.take_along_axis(exported[1], answer["classes"].numpy(), axis=1)
        np.testing.assert_allclose(found, np.take_along_axis(exported[1], best, axis=1), atol=2e-6)
        np.testing.assert_allclose(answer["confidences"], found, atol=2e-6)


def test_floats_as_mediapipe_gives_them_answer_as_the_bytes_they_came_from(batch, signatures):
    wanted = signatures["serving_default"](frames=batch[0], num_frames=batch[1])["predictions"]
    call = {"rgb_and_audio": dequantise(batch[0]), "num_frames": batch[1][:, tf.newaxis]}
    answer = signatures["rgb_and_audio"](**call)
    assert list(answer) == ["predictions"]
    np.testing.assert_array_equal(answer["predictions"], wanted)
    beyond = call | {"rgb_and_audio": tf.where(batch[0] == 255, 1e6, call["rgb_and_audio"])}
    np.testing.assert_array_equal(signatures["rgb_and_audio"](**beyond)["predictions"], wanted)
    spoilt = call | {"rgb_and_audio": call["rgb_and_audio"] * np.float32("nan")}
    with pytest.raises(tf.errors.InvalidArgumentError, match="rgb_and_audio must be numbers"):
        signatures["rgb_and_audio"](**spoilt)


def test_serialised_records_answer_as_their_frames(signatures, tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (3, 7, 1152), dtype=np.uint8)
    videos = [FrameVideo(b"v%d" % i, [i], f[: i + 2]) for i, f in enumerate(frames)]
    records = tf.constant([FRAME_LEVEL.serialise(video) for video in videos])
    answer = signatures["records"](records=records)
    counts = tf.constant([2, 3, 4])
    wanted = signatures["serving_default"](frames=tf.constant(frames), num_frames=counts)
    assert answer["ids"].numpy().tolist() == [b"v0", b"v1", b"v2"]
    np.testing.assert_allclose(answer["predictions"], wanted["predictions"], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["records"](records=tf.constant([b"no record"]))


@pytest.mark.parametrize("count", [0, -1, 10])
def test_a_number_of_frames_that_cannot_be_is_refused(batch, signatures, count):
    counts = tf.constant([9, 9, count, 9, 9])
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_frames must be from 1 to"):
        signatures["serving_default"](frames=batch[0], num_frames=counts)


def test_features_of_another_width_are_refused(batch, signatures):
    words = r"\[5,9,1024\] is not compatible with expected shape \[\?,\?,1152\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        signatures["serving_default"](frames=batch[0][:, :, :1024], num_frames=batch[1])
    floats = dequantise(batch[0][:, :, :1024])
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        signatures["rgb_and_audio"](rgb_and_audio=floats, num_frames=batch[1][:, tf.newaxis])


def test_more_frames_than_in_training_are_read_as_they_are(exported, batch, signatures):
    frames = tf.tile(batch[0], [1, 40, 1])  # 360
    answer = signatures["serving_default"](frames=frames, num_frames=batch[1])
    np.testing.assert_allclose(answer["predictions"], exported[1], atol=2e-6)


def test_its_weights_lie_in_it_as_they_are_stored(exported, settings):
    folder, _, ensemble = exported
    stored = sum(member.nbytes for member in ensemble.members)
    variables = bytes_of_variables(folder)
    assert stored < variables < stored + 50_000
    shapes = [shape for name in NAMES for shape in shapes_of(settings, name)]
    assert variables < 0.5 * codecs.bytes_of_shapes(shapes)[0]


def shapes_of(settings, name):
    return [s for _, s in models.variable_shapes(settings.models[name], settings.data.classes)]


def bytes_of_variables(folder):
    return sum(path.stat().st_size for path in (folder / "variables").iterdir())


def test_it_loads_without_this_project(exported):
    script = (
        "import sys, tensorflow as tf\n"
        "function = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "frames, num_frames = tf.zeros([2, 3, 1152], tf.uint8), tf.constant([3, 1])\n"
        "answer = function(frames=frames, num_frames=num_frames)\n"
        "assert answer['classes'].shape == (2, 20)\n"
        "assert 'yt8m_lib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(exported[0])], check=True, cwd="/")


@pytest.fixture(scope="module")
def decoding_each_call(settings, batch, tmp_path_factory):
    """Two members of each packing, in a graph that keeps no decoded weight; and their answer."""
    parts, expected = [], 0.0
    for name, codec in (("FVNet-mid", "linear"), ("NetVLAD-high", "entropy_4"), *EACH_CALL):
        tf.keras.utils.set_random_seed(len(name))
        model = models.build(settings.models[name], settings.data.classes)
        stored = codecs.encode_weights([v.numpy() for v in model.variables], 1000, codec)
        parts.append(Member(model, stored, "call"))
        expected = expected + answer_of_decoded(model, stored, batch) / 5
    folder = tmp_path_factory.mktemp("each_call") / "model"
    export.save(EnsembleGraph(parts, [1.0] * 5), folder, settings, {}, None)
    return folder, expected


EACH_CALL = (("DBoF-mid", "linear_huffman"), ("DBoF-soft", "nf4"), ("LSTM-mid", "quantile"))


def test_weights_decoded_on_each_call_answer_the_same_and_stay_as_stored(decoding_each_call, batch):
    folder, expected = decoding_each_call
    loaded = tf.saved_model.load(str(folder))
    for _ in range(2):
        answer = loaded.signatures["serving_default"](frames=batch[0], num_frames=batch[1])
        np.testing.assert_allclose(answer["predictions"], expected, atol=2e-6)
    kept = [w.decoded for m in loaded.members for w in m.weights if hasattr(w, "decoded")]
    assert kept and all(tf.size(weight) == 0 for weight in kept)


def test_without_a_recurrent_member_litert_runs_it(settings, batch, tmp_path):
    """Of weights decoded on each call, ``LiteRT`` alone makes a file: no flex operations."""
    parts = []
    for name in ("NetVLAD-high", "FVNet-mid", "DBoF-mid"):
        model = models.build(settings.models[name], settings.data.classes)
        stored = codecs.encode_weights([v.numpy() for v in model.variables], 1000)
        parts.append(Member(model, stored, "call"))
    export.save(EnsembleGraph(parts, [1.0] * 3), tmp_path / "model", settings, {}, None)
    wanted = ExportedModel(tmp_path / "model")(batch[0][:1], batch[1][:1])
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(tmp_path / "model"), signature_keys=["serving_default"]
    )
    converted = converter.convert()
    run = tf.lite.Interpreter(model_content=converted).get_signature_runner("serving_default")
    answer = run(frames=batch[0][:1].numpy(), num_frames=batch[1][:1].numpy())
    np.testing.assert_allclose(answer["predictions"], wanted, atol=1e-5)
    assert len(converted) < 1.5 * export.bytes_on_disk(tmp_path / "model")


def test_a_model_over_the_budget_is_refused_and_nothing_is_left(exported, settings, tmp_path):
    with pytest.raises(BudgetError, match="the budget is 1,000"):
        export.save(exported[2], tmp_path / "model", settings, {}, budget=1000)
    assert not list(tmp_path.iterdir())


def test_only_an_exported_model_is_replaced_and_what_lies_beside_it_stays(
    exported, settings, tmp_path
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place, words in (("mine", "something else"), ("file", "is a file"), ("file/in", "is none")):
        with pytest.raises(FileError, match=words):
            export.save(exported[2], tmp_path / place, settings, {}, None)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "far")
    for version in (1, 2):
        export.save(exported[2], link, settings, {"version": version}, None)
        assert ExportedModel(link).about["version"] == version
        (tmp_path / "far" / "notes.txt").write_text("mine")
    export.save(exported[2], link, settings, {}, None)
    assert link.is_symlink() and (tmp_path / "far" / "notes.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "file", "link", "far"}


def test_weights_must_make_sense(exported):
    with pytest.raises(ValueError, match="cannot be weighted"):
        EnsembleGraph(exported[2].members, [0.0] * len(NAMES))


@pytest.fixture(scope="module")
def shards(settings):
    return synthetic.write(settings)[1]


def test_predict_writes_the_challenges_csv(exported, shards, tmp_path, capsys):
    output = tmp_path / "predictions.csv"
    main(["predict", str(exported[0]), shards[0], "--output", str(output)])
    lines = output.read_text().splitlines()
    assert lines[0] == "VideoId,LabelConfidencePairs" and len(lines) == 25
    for line in lines[1:]:
        pairs = line.split(",")[1].split()
        confidences = [float(value) for value in pairs[1::2]]
        assert len(pairs) == 40 and confidences == sorted(confidences, reverse=True)
        assert len(set(pairs[::2])) == 20
    assert "24 videos" in capsys.readouterr().out


def test_predict_takes_records_without_labels_and_evaluate_does_not(exported, tmp_path, capsys):
    frames = np.zeros((3, 1152), np.uint8)
    shard = tmp_path / "test.tfrecord"
    write_frame_records(shard, [FrameVideo(b"abcd", None, frames)])
    output = tmp_path / "predictions.csv"
    main(["predict", str(exported[0]), str(shard), "--output", str(output)])
    assert output.read_text().splitlines()[1].startswith("abcd,")
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(exported[0]), str(shard)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert exit_.value.code == 1 and str(shard) in error and "labels" in error


def test_evaluate_prints_the_metrics(exported, shards, capsys):
    main(["evaluate", str(exported[0]), shards[0], "--json"])
    values = json.loads(capsys.readouterr().out)
    assert values["videos"] == 24
    counts, measured = {"videos", "labels", "labels_dropped"}, {"gap", "hit_at_1", "perr", "map"}
    assert values.pop("by_frequency") == {}  # an ensemble without its training's counts
    assert 0 < values["gap"] < 1 and set(values) == counts | measured
    assert values["labels"] > 0 == values["labels_dropped"]


def test_a_folder_without_a_model_is_an_error(tmp_path, capsys):
    with pytest.raises(ModelError, match="holds no exported model"):
        ExportedModel(tmp_path)
    with pytest.raises(ModelError, match="read from a local folder; copy it"):
        ExportedModel("http://example.org/model")
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path), "nothing"])
    assert "holds no exported model" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["saved_model.pb", "yt8m.json", "variables/variables.index"])
def test_a_damaged_model_is_one_line(exported, tmp_path, part):
    folder = shutil.copytree(exported[0], tmp_path / "model")
    (folder / part).write_bytes((folder / part).read_bytes()[:40])
    with pytest.raises(ModelError, match=f"model in {folder} is damaged"):
        ExportedModel(folder)


# --- A codec that is defined here alone ---


class Sevenths(Codec):
    """Whole multiples, up to 127, of a seventh of the variable's mean size, as int8."""

    def encode(self, values, seed=0):
        step = np.float32(np.abs(values).mean() / 7)
        return {"steps": np.clip(np.rint(values / step), -127, 127).astype(np.int8), "step": step}

    def decode(self, arrays):
        return arrays["steps"] * arrays["step"]

    def size(self, shape):
        return math.prod(shape) + 4

    def graph_weight(self, arrays):
        def decode(stored):
            return tf.cast(stored["steps"], tf.float32) * stored["step"]

        return DecodedOnce(arrays, decode, arrays["steps"].shape)


@pytest.fixture
def sevenths(monkeypatch, tmp_path):
    """An experiment whose parameter file chooses a codec that this test has registered."""
    for name in ("places", "_loaded"):  # put back when the test ends
        monkeypatch.setattr(CODECS, name, dict(getattr(CODECS, name)))
    CODECS.register("sevenths", Sevenths())
    path = tmp_path / "sevenths.yaml"
    path.write_text(
        "based_on: params/smoke.yaml\nquantization: {codec: sevenths, more_than: 1000}\n"
    )
    return params.load(path)


def test_a_new_codec_goes_from_a_parameter_file_to_predictions(sevenths, batch, shards, tmp_path):
    chosen = sevenths.quantization
    model = models.build(sevenths.models["LSTM-mid"], sevenths.data.classes)
    weights = codecs.encode_weights(
        [v.numpy() for v in model.variables], chosen.more_than, chosen.codec
    )
    codecs.save(weights, tmp_path / "weights.npz")
    stored = codecs.load(tmp_path / "weights.npz")
    assert {variable.codec for variable in stored} == {"sevenths", "float32"}
    planned = codecs.bytes_of_shapes(
        shapes_of(sevenths, "LSTM-mid"), chosen.more_than, chosen.codec
    )
    assert codecs.nbytes(stored) == planned[1] < planned[0] / 3
    folder = tmp_path / "model"
    export.save(EnsembleGraph([Member(model, stored)], [1.0]), folder, sevenths, {}, None)
    assert bytes_of_variables(folder) < planned[0] / 2
    answer = ExportedModel(folder)(*batch)
    expected = answer_of_decoded(model, stored, batch)
    np.testing.assert_allclose(answer, expected, atol=2e-6)
    assert tagging.predict_to_file(folder, shards[0], tmp_path / "predictions.csv") == 24
