"""What the data phase refuses, and which soft targets are kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib.data import records, soft_targets
from yt8m_lib.data.records import DataError, FrameVideo, MeanVideo
from yt8m_lib.data.video_ids import Repeated, VideoIds
from yt8m_lib.data.video_level import VIDEO_LEVEL
from yt8m_lib.methods import distillation
from yt8m_lib.phases.data import describe
from yt8m_lib.settings import Params

FRAMES = np.full((2, 1152), 9, np.uint8)


def shard(path, ids):
    records.write_frame_records(path, [FrameVideo(video, [1], FRAMES) for video in ids])
    return str(path)


def ids(prefix, count=4):
    return [f"{prefix}{i}".encode() for i in range(count)]


class Log:
    """A run's log that keeps what it is given."""

    def __init__(self, train, validation):
        data = {"classes": 4, "vocabulary": 4, "train": train, "validation": validation}
        self.params = Params.model_validate({"experiment": "x", "models": {}, "data": data})
        self.tables = {}

    def table(self, name, table):
        self.tables[name] = table

    def save(self, name, write):
        pass

    def metrics(self, **values):
        self.values = values


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        shard(tmp_path / f"t{i}.tfrecord", ids(f"t{i}-"))
    shard(tmp_path / "v0.tfrecord", ids("v0-"))
    return tmp_path


def log(folder, train="t*.tfrecord", validation="v*.tfrecord"):
    return Log(str(folder / train), str(folder / validation))


def test_good_data_is_counted(folder):
    run = log(folder)
    table = describe(run)
    assert run.values["train_videos"] == 12 and run.values["validation_videos"] == 4
    assert run.values["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert not (table["bad"] != "").any()


def test_videos_of_both_sides_are_refused_with_counts_ids_and_shards(folder):
    (folder / "v1.tfrecord").write_bytes((folder / "t1.tfrecord").read_bytes())  # another name
    shard(folder / "v2.tfrecord", [*ids("v2-"), b"t0-3"])
    with pytest.raises(DataError) as error:
        describe(log(folder))
    first, *lines = str(error.value).splitlines()
    assert first.startswith("5 videos stand in the data more than once, 5 of them in training and")
    assert [line.split("/")[-1].split(" (")[0] for line in lines] == ["v1.tfrecord", "v2.tfrecord"]
    assert "t1.tfrecord (training) and" in lines[0] and "(validation): 4 videos, such" in lines[0]
    assert "t0.tfrecord (training)" in lines[1] and "such as 't0-3'" in lines[1]


def test_videos_of_one_side_are_refused(folder):
    shard(folder / "t3.tfrecord", [b"a", b"t2-1", b"a"])
    with pytest.raises(DataError) as error:
        describe(log(folder))
    assert "2 videos stand in the data more than once, 0 of them" in str(error.value)
    assert "t3.tfrecord (training) twice: 1 videos, such as 'a'" in str(error.value)


def test_damaged_shards_and_other_levels_are_refused_on_both_sides(folder):
    mean = MeanVideo(b"m", [1], np.zeros(1152, np.float32))
    records.write_records(folder / "v1.tfrecord", [mean], VIDEO_LEVEL)
    (folder / "t1.tfrecord").write_bytes((folder / "t1.tfrecord").read_bytes()[:-3])
    run = log(folder)
    with pytest.raises(DataError, match=r"2 of 5 shards") as error:
        describe(run)
    assert "t1.tfrecord: damaged after 3 videos" in str(error.value)
    assert "v1.tfrecord: not of `data.level: frame`: video" in str(error.value)
    assert (run.tables["shards"]["bad"] != "").sum() == 2


def test_ids_are_compared_as_they_are():
    found = VideoIds()
    found.add([b"a", b"a\0", b"", b"\0", b"ab"])
    found.add([b"a\0\0", b"A", b"b"])
    assert found.repeated() == []
    found.add([b"a\0", b"", b"ab", b"ab"])
    assert found.repeated() == [
        Repeated(0, 2, 3, [b"", b"a\0", b"ab"]),
        Repeated(2, 2, 1, [b"ab"]),
    ]


def test_repeated_videos_equal_a_count_by_hand():
    random = np.random.default_rng(0)
    shards = [
        [b"%d" % i for i in random.integers(0, 3000, random.integers(0, 400))] for _ in range(12)
    ]
    found, seen, expected = VideoIds(), {}, {}
    for number, videos in enumerate(shards):
        found.add(videos)
        for video in videos:
            if video in seen:
                pair = (seen[video], number)
                expected[pair] = expected.get(pair, 0) + 1
            seen[video] = number
    repeated = found.repeated()
    assert {pair[:2]: pair.videos for pair in repeated} == expected
    assert [pair.videos for pair in repeated] == sorted(expected.values(), reverse=True)
    for pair in repeated:
        assert 1 <= len(pair.examples) <= 3
        assert all(video in shards[pair.first] for video in pair.examples)


# Sidecars that are kept


class Teacher:
    """Says the same of every video."""

    def __init__(self, *confidences):
        self.variables = [tf.Variable(confidences, dtype=tf.float32)]

    def __call__(self, batch, training):
        return tf.tile(self.variables[0][None], [tf.shape(batch["id"])[0], 1])


@pytest.fixture
def taught(folder, tmp_path):
    """Training shards, a teacher, settings, and a call that writes and says what it did."""
    settings = log(folder).params.model_copy(update={"inference": "valid_frames"})
    files = [str(folder / f"t{i}.tfrecord") for i in range(3)]
    said = []

    def write(teacher=(0.5, 0.25, 0.0, 1.0), settings=settings):
        said.clear()
        models = [Teacher(*teacher)]
        models[0].traits = SimpleNamespace(pools_frames=False)
        out = distillation.write_soft_targets(models, files, settings, tmp_path / "s", said.append)
        return out, [line for line in said if "again" in line]

    return write, settings


def confidences(sidecar):
    return soft_targets.read_soft_targets([sidecar], np.array(ids("t1-"))).confidences.numpy()


def test_sidecars_that_are_right_are_kept_byte_by_byte(taught):
    write, _ = taught
    sidecars, again = write()
    assert not again
    before = [(tf.io.gfile.stat(file).mtime_nsec, file) for file in sidecars]
    assert write()[1] == []
    assert [(tf.io.gfile.stat(file).mtime_nsec, file) for file in sidecars] == before
    assert sorted(confidences(sidecars[1])[0].tolist()) == [0.0, 0.25, 0.5, 1.0]


def rewritten(sidecar, ids, classes=2, value=0.5, teachers=None):
    columns = np.full((len(ids), 4), classes), np.full((len(ids), 4), value)
    soft_targets.write_soft_targets(sidecar, ids, *columns, teachers)


WRONG = {
    "empty": (lambda file, by: open(file, "wb").close(), "empty"),
    "cut": (lambda file, by: _cut(file), "damaged after"),
    "of other videos": (lambda file, by: rewritten(file, ids("x"), teachers=by), "other videos"),
    "of fewer": (lambda file, by: rewritten(file, ids("t1-", 3), teachers=by), "of 3 other videos"),
    "of other teachers": (lambda file, by: rewritten(file, ids("t1-"), teachers="x"), "teachers"),
    "of no teachers": (lambda file, by: rewritten(file, ids("t1-")), "teachers"),
    "of no class": (lambda file, by: rewritten(file, ids("t1-"), 9, teachers=by), "class 9"),
    "another shard": (lambda file, by: shard(file, ids("t1-")), "no soft targets"),
}


def _cut(file):
    with open(file, "rb+") as stream:
        stream.truncate(150)


@pytest.mark.parametrize("name", WRONG)
def test_a_sidecar_that_is_wrong_is_predicted_again(taught, name):
    write, settings = taught
    (_, sidecar, _), _ = write()
    expected = tf.io.gfile.GFile(sidecar, "rb").read()
    by = distillation.fingerprint([Teacher(0.5, 0.25, 0.0, 1.0)], settings)
    spoil, words = WRONG[name]
    spoil(sidecar, by)
    _, again = write()
    assert len(again) == 1 and sidecar in again[0] and words in again[0]
    assert tf.io.gfile.GFile(sidecar, "rb").read() == expected


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.5, np.inf])
def test_soft_targets_that_are_no_confidences_are_never_kept_nor_read(taught, value, monkeypatch):
    write, settings = taught
    sidecars, _ = write()
    with pytest.raises(ValueError, match="from 0 to 1"):
        rewritten(sidecars[1], ids("t1-"), value=value)
    by = distillation.fingerprint([Teacher(0.5, 0.25, 0.0, 1.0)], settings)
    with monkeypatch.context() as patch:
        patch.setattr(soft_targets, "_are_confidences", lambda values: True)
        rewritten(sidecars[1], ids("t1-"), value=value, teachers=by)
    files, _ = records.shards(settings)
    for cache in (False, True):
        data = settings.data.model_copy(update={"cache": cache})
        with pytest.raises(DataError, match=r"t1\.tfrecord.*not from 0 to 1"):
            list(records.Records(files, data, sidecars).batches(3))
    assert len(write()[1]) == 1


def test_other_teachers_and_settings_predict_again(taught):
    write, settings = taught
    write()
    assert len(write(teacher=(0.5, 0.25, 0.0, 0.9))[1]) == 3
    assert len(write(teacher=(0.5, 0.25, 0.0, 0.9))[1]) == 0
    assert len(write((0.5, 0.25, 0.0, 0.9), settings.model_copy(update={"seed": 9}))[1]) == 3
