import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.cli import main
from yt8m_lib.data import synthetic
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.methods import export, inference, quantization
from yt8m_lib.methods.export import BudgetError, EnsembleGraph, Member
from yt8m_lib.methods.inference import ModelError

NAMES = ("NetVLAD-high", "FVNet-mid", "DBoF-mid", "DBoF-soft", "LSTM-mid", "GRU-mid")


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
    for name, weight in zip(NAMES, weights, strict=True):
        tf.keras.utils.set_random_seed(len(name))
        model = models.build(settings.models[name], settings.data.classes)
        stored = quantization.quantize_weights([v.numpy() for v in model.variables], 1000)
        members.append(Member(model, stored))
        for variable, value in zip(
            model.variables, quantization.dequantize_weights(stored), strict=True
        ):
            variable.assign(value)
        answer = model({"frames": batch[0], "num_frames": batch[1]}, training=False)
        expected = expected + weight / sum(weights) * answer.numpy()
    folder = tmp_path_factory.mktemp("exported") / "model"
    tagger = EnsembleGraph(members, weights)
    tagger.serve(*batch)  # a used tagger must not save its decoded weights
    export.save(tagger, folder, settings, {"members": dict(zip(NAMES, weights, strict=True))}, None)
    return folder, expected, tagger


def test_the_file_answers_as_its_quantised_members_do(exported, batch):
    folder, expected, _ = exported
    function, about = inference.load_exported(folder)
    for _ in range(2):  # the first call decodes, the second uses what it left
        answer = function(frames=batch[0], num_frames=batch[1])
        np.testing.assert_allclose(answer["predictions"], expected, atol=2e-6)
    best = np.argsort(-answer["predictions"].numpy(), kind="stable")[:, :20]
    np.testing.assert_array_equal(answer["classes"], best)
    assert list(about["members"]) == list(NAMES)


def test_its_large_weights_lie_in_it_as_codes(exported):
    folder, _, tagger = exported
    stored = sum(
        w.codes.shape[0] + 1024 if hasattr(w, "codes") else 4 * w.values.numpy().size
        for member in tagger.members
        for w in member.weights
    )
    variables = sum(p.stat().st_size for p in (folder / "variables").iterdir())
    assert stored < variables < stored + 40_000
    as_floats = 4 * sum(w.codes.shape[0] for m in tagger.members for w in m.stored)
    assert variables < 0.6 * as_floats


def test_it_loads_without_this_project(exported):
    script = (
        "import sys, tensorflow as tf\n"
        "tagger = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "answer = tagger(frames=tf.zeros([2, 3, 1152], tf.uint8), num_frames=tf.constant([3, 1]))\n"
        "assert answer['classes'].shape == (2, 20)\n"
        "assert 'yt8m_lib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(exported[0])], check=True, cwd="/")


def test_a_model_over_the_budget_is_refused_and_nothing_is_left(exported, settings, tmp_path):
    with pytest.raises(BudgetError, match="the budget is 1,000"):
        export.save(exported[2], tmp_path / "model", settings, {}, budget=1000)
    assert not list(tmp_path.iterdir())


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
    with pytest.raises((SystemExit, tf.errors.InvalidArgumentError)):
        main(["evaluate", str(exported[0]), str(shard)])


def test_evaluate_prints_the_metrics(exported, shards, capsys):
    main(["evaluate", str(exported[0]), shards[0], "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["videos"] == 24
    assert 0 < figures["gap"] < 1 and set(figures) == {"videos", "gap", "hit_at_1", "perr", "map"}


def test_a_folder_without_a_model_is_an_error(tmp_path, capsys):
    with pytest.raises(ModelError, match="holds no exported model"):
        inference.load_exported(tmp_path)
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path), "nothing"])
    assert "holds no exported model" in capsys.readouterr().err
