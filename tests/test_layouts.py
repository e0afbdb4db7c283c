"""Records of other data sets: each layout is told, read as the settings found for it say, trained.

Every layout here is written by hand with ``tf.train``, as its data set writes it.
"""

import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.cli import main
from yt8m_lib.data.frame_level import FrameVideo
from yt8m_lib.data.layouts import settings_for
from yt8m_lib.data.record_kinds import kind_for, kind_of_shard
from yt8m_lib.data.records import DataError, Records, write_records
from yt8m_lib.data.segment_level import SEGMENT_LEVEL
from yt8m_lib.data.video_level import MeanVideo, VideoLevel
from yt8m_lib.methods import codecs, export
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.inference import among_rated
from yt8m_lib.methods.losses import cross_entropy, mixed_cross_entropy
from yt8m_lib.methods.training import Trainer
from yt8m_lib.model_settings import Model
from yt8m_lib.scoring.predictions import selection_half
from yt8m_lib.settings import Data, Training
from yt8m_lib.streams import Stream

RNG = np.random.default_rng(0)
CLASSES = 9
YT8M = {"rgb": (1024, "uint8"), "audio": (128, "uint8")}
MEDIAPIPE = {"RGB/feature/floats": (1024, "floats"), "AUDIO/feature/floats": (128, "floats")}


def value(width: int, storage: str) -> tf.train.Feature:
    if storage == "floats":
        return tf.train.Feature(float_list=tf.train.FloatList(value=RNG.normal(size=width)))
    numbers = RNG.integers(0, 256, width) if storage == "uint8" else RNG.normal(size=width)
    data = numbers.astype(storage).tobytes()
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


def record(number: int, lists: dict, id_key="id", labels_key="labels", frames=7, **context):
    made = tf.train.SequenceExample()
    feature = made.context.feature
    feature[id_key].bytes_list.value.append(b"v%03d" % number)
    feature[labels_key].int64_list.value.extend([number % CLASSES, 8])
    for name, values in context.items():
        kind = "float_list" if isinstance(values[0], float) else "int64_list"
        getattr(feature[name], kind).value.extend(values)
    for key, (width, storage) in lists.items():
        made.feature_lists.feature_list[key].feature.extend(
            value(width, storage) for _ in range(frames)
        )
    return made.SerializeToString()


def shard(path, records) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in records:
            writer.write(one)
    return str(path)


LAYOUTS = {
    "2018": (YT8M, {}),
    "2017": (YT8M, {"id_key": "video_id"}),
    "AudioSet": ({"audio_embedding": (128, "uint8")}, {"id_key": "video_id"}),
    "MediaPipe": (MEDIAPIPE, {"id_key": "clip/data_path", "labels_key": "clip/label/index"}),
    "512 wide": ({"clip": (512, "uint8")}, {}),
    "two of float16": ({"clip": (768, "float16"), "sound": (512, "float16")}, {}),
    "one of float32": ({"clip": (96, "float32")}, {}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_settings_that_are_found_read_and_train_it(layout, tmp_path):
    lists, keys = LAYOUTS[layout]
    records = [record(i, lists, **keys) for i in range(24)]
    path = shard(tmp_path / "a.tfrecord", records)
    found = settings_for(tf.train.SequenceExample.FromString(records[0]))
    data = Data(**found, classes=CLASSES, vocabulary=CLASSES)
    assert {k: v for k, v in found.items() if k.endswith("_key")} == keys
    assert [(s.key, s.width, s.storage) for s in data.streams] == [
        (key, *shape) for key, shape in lists.items()
    ]
    assert kind_of_shard(path, data).name == "frame"
    batch = next(iter(Records([path], data).batches(24)))
    assert batch["frames"].shape == (24, 7, sum(width for width, _ in lists.values()))
    assert batch["id"].numpy()[3] == b"v003" and batch["labels"].numpy()[3].nonzero()[
        0
    ].tolist() == [3, 8]
    train_an_epoch(Records([path], data), data)


def train_an_epoch(records: Records, data: Data) -> None:
    for architecture in ("netvlad", "lstm"):
        spec = Model(
            architecture=architecture, clusters=4, hidden=8, batch=8, rate=0.01, rate_decay=1.0
        )
        model = models.build(spec, CLASSES, 0.9, data.streams)
        before = [v.numpy() for v in model.trainable_variables]
        history = Trainer(model, spec, Training(frames=4), seed=1).fit(records, 1)
        assert 0 < history[0]["loss"] < 20
        assert all(
            np.any(v.numpy() != b) for v, b in zip(model.trainable_variables, before, strict=True)
        )


def test_float_frames_arrive_as_they_were_written(tmp_path):
    lists = {"clip": (6, "float16"), "sound": (4, "uint8")}
    one = record(0, lists, frames=3)
    path = shard(tmp_path / "a.tfrecord", [one])
    streams = [
        {"name": "clip", "width": 6, "storage": "float16"},
        {"name": "sound", "width": 4, "range": [0.0, 1.0]},
    ]
    batch = next(iter(Records([path], Data(streams=streams)).batches(1)))
    parsed = tf.train.SequenceExample.FromString(one).feature_lists.feature_list
    clip = [np.frombuffer(f.bytes_list.value[0], "f2") for f in parsed["clip"].feature]
    sound = [np.frombuffer(f.bytes_list.value[0], "u1") for f in parsed["sound"].feature]
    assert batch["frames"].dtype == tf.float32
    np.testing.assert_array_equal(batch["frames"][0, :, :6], np.stack(clip).astype("f4"))
    np.testing.assert_allclose(
        batch["frames"][0, :, 6:], np.stack(sound) / 255 + 1 / 512, atol=1e-6
    )


def test_means_of_other_streams_are_expanded_within_their_range(tmp_path):
    streams = [{"name": "clip", "width": 40, "range": [0.0, 8.0]}]
    data = Data(level="video", streams=streams, classes=9, vocabulary=9, frames=16)
    mean = RNG.uniform(2, 6, 40).astype(np.float32)
    kind = kind_for(data)
    assert isinstance(kind, VideoLevel)
    write_records(tmp_path / "a.tfrecord", [MeanVideo(b"a", [1], mean)], kind)
    batch = next(iter(Records([str(tmp_path / "a.tfrecord")], data).batches(1)))
    values = batch["frames"].numpy()[0] * (8 / 255) + 8 / 512
    np.testing.assert_allclose(values.mean(axis=0), mean, atol=0.05)


@pytest.fixture
def segments(tmp_path) -> str:
    ratings = {
        "segment_start_times": [5, 0, 5],
        "segment_end_times": [10, 5, 10],
        "segment_labels": [3, 2, 4],
        "segment_scores": [1.0, 0.0, 0.0],
    }
    rated = [record(i, YT8M, frames=12, **ratings) for i in range(12)]
    return shard(tmp_path / "a.tfrecord", [*rated, record(12, YT8M, frames=12)])


def test_segments_are_examples_of_which_rated_classes_alone_count(segments):
    assert kind_of_shard(segments).name == "segment"
    data = Data(level="segment", classes=CLASSES, vocabulary=CLASSES, cache=True)
    for records in (
        Records([segments], data),
        Records([segments], data.model_copy(update={"cache": False})),
    ):
        batch = next(iter(records.batches(64)))
        assert batch["id"].numpy()[:2].tolist() == [b"v000:0", b"v000:5"]
        assert len(batch["id"]) == 24  # the video without ratings has none
        assert batch["num_frames"].numpy().tolist() == [5] * 24
        assert batch["labels"].numpy()[:2].nonzero()[1].tolist() == [3]
        assert [row.nonzero()[0].tolist() for row in batch["rated"].numpy()[:2]] == [[2], [3, 4]]
    predicted = np.full([24, CLASSES], 0.5, np.float32)
    assert (among_rated(predicted, batch)[1] > 0).nonzero()[0].tolist() == [3, 4]
    train_an_epoch(records, data)
    skipped = next(iter(records.batches(5, skip=2)))
    np.testing.assert_array_equal(skipped["id"], batch["id"][10:15])


def test_a_videos_segments_fall_into_one_half():
    videos = [f"v{i:03d}" for i in range(64)]
    halves = selection_half(videos)
    for start in (0, 5, 195):
        np.testing.assert_array_equal(selection_half([f"{v}:{start}" for v in videos]), halves)
    assert 0 < halves.sum() < 64


def test_the_loss_looks_at_rated_classes_alone():
    labels, rated = np.float32([[1, 0, 0]]), np.float32([[1, 1, 0]])
    answers = np.float32([[0.9, 0.2, 0.7]])
    by_hand = -np.log(0.9 + 1e-5) - np.log(0.8 + 1e-5)
    np.testing.assert_allclose(cross_entropy(labels, answers, counts=rated), by_hand, rtol=1e-5)
    soft = np.float32([[0.5, 0.5, 0.5]])
    taught = cross_entropy(soft, answers).numpy()
    mixed = mixed_cross_entropy(labels, soft, answers, 0.25, rated=rated)
    np.testing.assert_allclose(mixed, 0.25 * by_hand + 0.75 * taught, rtol=1e-5)


def test_soft_targets_are_paired_with_segments(segments):
    from yt8m_lib.data.record_kinds import ids_of

    assert ids_of(segments, SEGMENT_LEVEL)[:3] == [b"v000:0", b"v000:5", b"v001:0"]


def test_inspect_prints_the_settings(tmp_path, capsys):
    lists, keys = LAYOUTS["AudioSet"]
    shard(tmp_path / "a.tfrecord", [record(i, lists, **keys) for i in range(3)])
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "*.tfrecord")])
    printed = capsys.readouterr().out
    assert "id_key: video_id" in printed and "key: audio_embedding, width: 128" in printed


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b'{"id": 1}', "JSON"),
        ("a.index", b"0 2314\n2314 900\n", "index of a TFRecord"),
        ("a.gz", b"\x1f\x8b\x08\x00" + bytes(64), "compressed (gzip)"),
    ],
)
def test_what_is_no_shard_is_said(name, content, words, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / name)])
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["width", "nan", "lengths"])
def test_a_bad_record_of_own_streams_is_named(wrong, tmp_path):
    lists = {"clip": (8, "float32"), "sound": (4, "float32")}
    good = record(0, lists)
    bad = tf.train.SequenceExample.FromString(record(1, lists))
    frames = bad.feature_lists.feature_list["clip"].feature
    if wrong == "width":
        frames[2].bytes_list.value[0] = b"1234"
    elif wrong == "nan":
        frames[2].bytes_list.value[0] = np.full(8, np.nan, "f4").tobytes()
    else:
        del frames[-1]
    path = shard(tmp_path / "a.tfrecord", [good, bad.SerializeToString()])
    streams = [{"name": n, "width": w, "storage": s} for n, (w, s) in lists.items()]
    with pytest.raises(DataError, match="v001"):
        list(Records([path], Data(streams=streams)).batches(2))


@pytest.mark.parametrize(
    "architecture",
    [
        "netvlad",
        "lightvlad",
        "fvnet",
        "gated_dbof",
        "soft_dbof",
        "lstm",
        "gru",
        "nextvlad",
        "logistic",
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_every_architecture_takes_any_streams(architecture, count, tmp_path):
    widths = (32, 16, 8)[:count]
    streams = [Stream(name=f"s{i}", width=w, storage="float32") for i, w in enumerate(widths)]
    spec = Model(architecture=architecture, clusters=4, hidden=8)
    model = models.build(spec, CLASSES, streams=streams)
    frames = RNG.normal(size=[3, 5, sum(widths)]).astype(np.float32)
    inputs = {"frames": tf.constant(frames), "num_frames": tf.constant([5, 2, 1])}
    answer = model(inputs).numpy()
    assert answer.shape == (3, CLASSES) and np.isfinite(answer).all()
    models.save(model, tmp_path / "model.keras")
    again = models.load(tmp_path / "model.keras")
    assert again.streams == tuple(streams)
    np.testing.assert_array_equal(again(inputs), answer)
    frames[0] = 0  # a frame of zeros, as float features may have, and padding that is not
    assert np.isfinite(model(inputs | {"frames": frames})).all()
    frames[1, 2:] = 7
    np.testing.assert_allclose(model(inputs | {"frames": frames})[1], answer[1], atol=1e-6)


def test_frames_keep_their_length_where_that_is_asked_for():
    streams = [Stream(name="a", width=6, storage="float32")]
    spec = Model(architecture="logistic")
    frames = tf.constant(RNG.normal(size=[1, 1, 6]), tf.float32)
    for l2_normalise in (True, False):
        model = models.build(spec, CLASSES, streams=streams, l2_normalise=l2_normalise)
        short, long = (
            model({"frames": frames * factor, "num_frames": tf.constant([1])}).numpy()
            for factor in (1, 5)
        )
        assert np.allclose(short, long, atol=1e-6) is l2_normalise


@pytest.mark.parametrize("storage", ["uint8", "float16"])
def test_an_exported_model_of_own_streams_answers_floats_and_records_alike(storage, tmp_path):
    streams = [
        {"name": "clip", "width": 20, "storage": storage, "range": [-1.0, 3.0]},
        {"name": "sound", "width": 12, "storage": storage},
    ]
    settings = {"synthetic": None, "data": {"streams": streams, "classes": 9, "vocabulary": 9}}
    own = params.check(params.read("params/smoke.yaml") | settings, "params/smoke.yaml")
    kind = kind_for(own.data)
    values = RNG.uniform(-0.9, 1.9, [4, 6, 32]).astype(np.float32)
    stored = values.astype(np.float16)
    if storage == "uint8":
        cut = zip(np.split(values, [20], axis=-1), own.data.streams, strict=True)
        stored = np.concatenate([s.bytes_of(part) for part, s in cut], axis=-1)
    videos = [FrameVideo(b"v%d" % i, [1], frames) for i, frames in enumerate(stored)]
    model = models.build(own.models["NetVLAD-low"], 9, streams=own.data.streams)
    weights = codecs.encode_weights([v.numpy() for v in model.variables], codec="float32")
    export.save(EnsembleGraph([Member(model, weights)], [1.0]), tmp_path / "m", own, {}, None)
    loaded = tf.saved_model.load(str(tmp_path / "m")).signatures
    assert set(loaded) == {"serving_default", "top_k", "features", "records"}
    counts = tf.fill([4], 6)
    wanted = loaded["serving_default"](frames=tf.constant(stored), num_frames=counts)["predictions"]
    floats = loaded["features"](features=tf.constant(values), num_frames=counts[:, None])
    np.testing.assert_allclose(floats["predictions"], wanted, atol=1e-6)
    records = loaded["records"](records=tf.constant([kind.serialise(v) for v in videos]))
    np.testing.assert_allclose(records["predictions"], wanted, atol=1e-6)
    write_records(tmp_path / "a.tfrecord", videos, kind)
    main(["predict", str(tmp_path / "m"), str(tmp_path / "a.tfrecord"), "--names",
          "--output", str(tmp_path / "tags.csv"), "--top-k", "1"])  # fmt: skip
    assert (tmp_path / "tags.csv").read_text().count("\n") == 5


def test_floats_around_a_video_level_mean_are_refused():
    streams = [{"name": "clip", "width": 40, "storage": "float32"}]
    with pytest.raises(ValueError, match="simulated in bytes, so `storage` of clip is uint8"):
        Data(level="video", streams=streams)
