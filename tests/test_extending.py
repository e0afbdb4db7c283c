"""A family, a codec, a record kind and a metric that are defined in this file alone.

Each is registered, named in a parameter file, and goes through training, quantising, export and
``predict``: what a newcomer adds needs a file and a line, and nothing else.
"""

import csv
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import families, params
from yt8m_lib.catalogue import CODECS, METRICS, RECORD_KINDS
from yt8m_lib.cli import main
from yt8m_lib.data.record_kinds import ParsedVideos, RecordKind
from yt8m_lib.data.records import FrameVideo, check_kind, write_records
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.families import Family
from yt8m_lib.methods import codecs
from yt8m_lib.methods.codecs import Codec
from yt8m_lib.methods.codecs.graph import DecodedOnce
from yt8m_lib.phases import (
    averaging,
    data,
    distillation,
    ensembling,
    quantization,
    report,
    teachers,
    training,
)
from yt8m_lib.report import tables
from yt8m_lib.settings import PHASES, Data

CLASSES, TRAIN, HELD_OUT = 12, 96, 120


@keras.saving.register_keras_serializable(package="toy")
class LoudestFrame(keras.layers.Layer):
    """Projects the mean and the maximum over a video's frames to H numbers."""

    def __init__(self, hidden: int, bend: float, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.bend = hidden, bend

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(2 * input_shape[-1], self.hidden), name="kernel")

    @property
    def width(self):
        return self.hidden

    def call(self, video, audio, valid, training=False):
        frames = tf.concat([video, audio], axis=2)  # zero where not valid
        count = tf.reduce_sum(tf.cast(valid, tf.float32), axis=1, keepdims=True)
        both = [tf.reduce_sum(frames, axis=1) / count, tf.reduce_max(frames, axis=1)]
        return tf.tanh(self.bend * tf.concat(both, axis=1) @ self.kernel)


def make_encoder(model, batch_norm_decay, streams):
    return LoudestFrame(model.hidden, model.options["bend"], name="encoder")


class Steps(Codec):
    """Each value as a number of steps of 1/1024, in two bytes."""

    def encode(self, values, seed=0):
        return {"steps": np.round(np.asarray(values) * 1024).astype(np.int16)}

    def decode(self, arrays):
        return arrays["steps"].astype(np.float32) / 1024

    def size(self, shape):
        return 2 * math.prod(shape)

    def graph_weight(self, arrays):
        return DecodedOnce(
            arrays, lambda a: tf.cast(a["steps"], tf.float32) / 1024, arrays["steps"].shape
        )


class OneString(RecordKind):
    """All frames of a video in one string, and labels under another name."""

    name = "one_string"
    id_feature, labels_feature = "name", "tags"

    def recognises(self, record):
        return {"pixels", "name"} <= set(record.context.feature)

    def parse(self, records, data):
        pixels = {"pixels": tf.io.FixedLenFeature([], tf.string)}
        parsed = tf.io.parse_example(records, self.context_features | pixels)
        count = tf.strings.length(parsed["pixels"]) // 1152
        length = 1152 * tf.reduce_max(count)
        frames = tf.io.decode_raw(parsed["pixels"], tf.uint8, fixed_length=length)
        frames = tf.reshape(frames, [tf.shape(records)[0], -1, 1152])
        return ParsedVideos(parsed["name"], parsed["tags"], frames, count)

    def seconds(self, record):
        return len(record.context.feature["pixels"].bytes_list.value[0]) // 1152

    def problems(self, record):
        if len(record.context.feature["pixels"].bytes_list.value[0]) % 1152:
            yield "a frame is cut"

    def serialise(self, video):
        feature = {
            "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[video.id])),
            "tags": tf.train.Feature(int64_list=tf.train.Int64List(value=video.labels)),
            "pixels": tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[video.frames.tobytes()])
            ),
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def recall_at_5(answers, hits):
    return float(hits[:, :5].sum() / len(answers.label_classes))


WORK = {
    "data": lambda run, train, validation: data.describe(run),
    "teachers": teachers.train,
    "averaging": averaging.average,
    "distillation": distillation.distil,
    "quantization": quantization.quantize,
    "ensembling": lambda run, train, validation: ensembling.build(run, validation),
    "report": lambda run, train, validation: report.write(run),
}

PARAMS = """
experiment: toys
results: {results}
data: {{level: one_string, classes: 12, vocabulary: 12, train: {train}, validation: {held_out}}}
training: {{frames: 4, batch_norm_decay: 0.9, rate_decay_videos: 96}}
families:
  loudest: {{batch: 16, rate: 1.0e-2, epochs: 3}}
models:
  Loud-high: {{architecture: loud, hidden: 24, bend: 2.0}}
  Loud-low: {{architecture: loud, hidden: 16}}
averaging: {{families: [loudest], time_constant: 5, epochs: 1}}
distillation:
  teachers: 2
  top_k: 12
  students:
    Loud-low-S1: {{model: Loud-low, taught_by: loudest}}
    Loud-high-S1: {{model: Loud-high, taught_by: loudest}}
quantization: {{codec: steps, more_than: 200, compare: {{Loud-low-S1: [float16]}}}}
ensembling: {{trials: 5}}
"""


@pytest.fixture(scope="module", autouse=True)
def registered():
    """All four, for this file's tests alone."""
    families.register(
        Family(
            "loudest", "Loudest frame", ("loud",), __name__, pools_frames=True,
            classifier="logistic", needs=("hidden",), options={"bend": 1.0}, colour="#444444",
        )
    )  # fmt: skip
    CODECS.register("steps", Steps())
    RECORD_KINDS.register("one_string", OneString())
    METRICS.register("recall_at_5", recall_at_5)
    yield
    del families.FAMILIES["loudest"]
    for catalogue, name in ((CODECS, "steps"), (RECORD_KINDS, "one_string")):
        catalogue.remove(name)
    METRICS.remove("recall_at_5")


def videos(prefix: str, count: int, seed: int):
    """Videos whose labels show in their first features."""
    random = np.random.default_rng(seed)
    for i in range(count):
        labels = random.choice(CLASSES, size=2, replace=False)
        frames = random.integers(0, 256, (random.integers(2, 7), 1152), dtype=np.uint8)
        frames[:, 40 * labels[0] : 40 * labels[0] + 40] = 255
        frames[:, 40 * labels[1] : 40 * labels[1] + 40] = 255
        yield FrameVideo(f"{prefix}{i:03d}".encode(), labels, frames)


@pytest.fixture(scope="module")
def finished(registered, tmp_path_factory):
    """The experiment of a parameter file that names all four, from records to the report."""
    folder = tmp_path_factory.mktemp("toys")
    kind = RECORD_KINDS["one_string"]
    for name, count in {"train": TRAIN, "held_out": HELD_OUT}.items():
        write_records(folder / f"{name}.tfrecord", videos(name[0], count, count), kind)
    places = {name: folder / f"{name}.tfrecord" for name in ("train", "held_out")}
    file = folder / "toys.yaml"
    file.write_text(PARAMS.format(results=folder / "results", **places))
    settings = params.load(file)
    train, validation = training.open_videos(Experiment(settings))
    for phase in PHASES:
        experiment = Experiment(settings, phase)
        for step in experiment.todo():
            with experiment.run(step) as run:
                WORK[phase](run, train, validation)
    return Experiment(settings), folder


def test_the_family_trains_teaches_and_is_averaged(finished):
    experiment, _ = finished
    for name in ("teachers/Loud-high", "averaging/Loud-low", "distillation/Loud-low-S1"):
        assert experiment.find(name).metrics["gap"] > 0.4  # of pure chance 0.17
    assert experiment.plan["teachers/Loud-low"].family == "loudest"
    assert set(dict(tables.read(experiment.params))["averaging"]["family"]) == {"loudest"}


def test_the_codec_is_the_one_that_is_shipped(finished):
    experiment, _ = finished
    run = experiment.find("quantization/Loud-low-S1")
    stored = codecs.load(run.file("weights.npz"))
    assert "steps" in {variable.codec for variable in stored}
    assert run.metrics["size_bytes"] < 0.6 * run.metrics["size_bytes_float32"]
    assert experiment.find("teachers/Loud-low").metrics["size_bytes"] == run.metrics["size_bytes"]
    table = dict(tables.read(experiment.params))["quantization"]
    assert list(table["codec"]) == ["steps", "float16", "steps"]


def test_the_record_kind_is_told_from_the_others(finished):
    _, folder = finished
    check_kind(str(folder / "train.tfrecord"), Data(level="one_string"))
    main(["inspect", str(folder / "*.tfrecord")])


def test_the_metric_is_logged_and_printed(finished, capsys):
    experiment, folder = finished
    measured = experiment.find("ensembling/ensemble").metrics["recall_at_5"]
    assert 0.3 < measured <= 1
    model = str(folder / "results" / "toys" / "model")
    main(["evaluate", model, str(folder / "held_out.tfrecord"), "--json"])
    assert 0.3 < json.loads(capsys.readouterr().out)["recall_at_5"] <= 1


def test_the_exported_model_tags_videos_of_the_new_kind(finished):
    _, folder = finished
    model, output = folder / "results" / "toys" / "model", folder / "tags.csv"
    main(["predict", str(model), str(folder / "held_out.tfrecord"), "--output", str(output)])
    rows = list(csv.reader(output.open()))
    assert len(rows) == HELD_OUT + 1
    expected = {video.id.decode(): set(video.labels) for video in videos("h", HELD_OUT, HELD_OUT)}
    first = {name: int(pairs.split()[0]) for name, pairs in rows[1:]}
    right = np.mean([first[name] in labels for name, labels in expected.items()])
    assert right > 0.5


def test_a_name_that_is_taken_or_unknown_is_refused(tmp_path):
    with pytest.raises(ValueError, match="taken"):
        families.register(Family("other", "", ("lstm",), "", True, "logistic"))
    with pytest.raises(ValueError, match="already"):
        CODECS.register("linear", Steps())
    with pytest.raises(params.ParamsError, match="did you mean 'steps'"):
        params.load("params/smoke.yaml", ["quantization.codec=step"])
