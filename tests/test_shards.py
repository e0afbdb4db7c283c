"""Shards by name, files that are no shards, and faults that are named while videos are read."""

import gzip
import os
import re
import zlib

import numpy as np
import pytest
import tensorflow as tf
from torture.mutations import framed

from yt8m_lib.data import listing, records, shards
from yt8m_lib.data.frame_level import FRAME_LEVEL
from yt8m_lib.data.inspection import inspect
from yt8m_lib.data.record_kinds import example, kind_of_shard, write_serialised
from yt8m_lib.data.records import DataError, FrameVideo, MeanVideo, Records
from yt8m_lib.data.shards import find, hold_out, write_list
from yt8m_lib.data.video_level import VIDEO_LEVEL
from yt8m_lib.settings import Data, Params

FRAMES = Data(classes=10, vocabulary=12)
MEANS = FRAMES.model_copy(update={"level": "video", "frames": 2})


def frame_shard(path, count=4, prefix="v"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    frames = np.full((2, 1152), 7, np.uint8)
    videos = [FrameVideo(f"{prefix}{i}".encode(), [i], frames) for i in range(count)]
    records.write_frame_records(path, videos)
    return str(path)


def mean_shard(path, *means):
    videos = [MeanVideo(f"m{i}".encode(), [1], mean) for i, mean in enumerate(means)]
    records.write_records(path, videos, VIDEO_LEVEL)
    return str(path)


def mean_record(**features):
    whole = {"id": b"m", "labels": [1], "mean_rgb": np.zeros(1024), "mean_audio": np.zeros(128)}
    return example(**(whole | features)).SerializeToString()


def sequence(context, **lists):
    record = tf.train.SequenceExample()
    for name, value in context.items():
        record.context.feature[name].bytes_list.value.append(value)
    for name, size in lists.items():
        for _ in range(3):
            step = record.feature_lists.feature_list[name].feature.add()
            step.float_list.value.extend([0.5] * size)
    return record.SerializeToString()


def read(files, data=FRAMES, labels=True, **order):
    return sum(
        len(batch["id"]) for batch in Records(files, data, labels=labels).batches(3, **order)
    )


# Paths, globs and lists


@pytest.mark.parametrize("folder", ["[2018] yt8m", "a?b", "100%20", "My Videos", "~", "ä*", "#1"])
def test_what_exists_is_a_path_as_it_is_written(tmp_path, folder, monkeypatch):
    one, two = (frame_shard(tmp_path / folder / f"{n} [1].tfrecord") for n in "ab")
    assert find(one) == [one]
    assert find(f"{tmp_path / folder}/*.tfrecord") == [one, two]
    assert find(f"{folder}/*.tfrecord", start=tmp_path) == [one, two]
    assert find(str(tmp_path / "**" / "a*.tfrecord")) == [one]
    path = write_list([two, one], tmp_path / folder, "list")
    assert find(str(path)) == [one, two]
    assert read([one, two]) == 8
    monkeypatch.chdir(tmp_path)
    assert find(f"{folder}/b*") == [f"{folder}/b [1].tfrecord"]
    assert shards.digest([one]) == shards.digest([f"{folder}/a [1].tfrecord"])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    file = frame_shard(tmp_path / "home [x]" / "a.tfrecord")
    monkeypatch.setenv("HOME", os.path.dirname(file))
    (tmp_path / "list.txt").write_text("~/a.tfrecord\n")
    for pattern in ("~/a.tfrecord", "~/*.tfrecord", str(tmp_path / "list.txt")):
        assert find(pattern) == [file]
        assert find(pattern, start="/nowhere") == [file]


def test_a_list_holds_one_name_a_line(tmp_path):
    names = ("a b.tfrecord", "sub/c.tfrecord", "d.tfrecord ")
    files = [frame_shard(tmp_path / name) for name in names]
    path = tmp_path / "list.txt"
    text = f"# of 2018\r\na b.tfrecord\r\n\r\n  \nsub/c.tfrecord \n{files[2]}"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert find(str(path)) == sorted(files)
    path.write_text("a b.tfrecord\nsub/../a b.tfrecord\n")
    with pytest.raises(DataError, match=r"lines 1 and 2 name the same shard"):
        find(str(path))
    (tmp_path / "link.tfrecord").symlink_to(files[0])
    path.write_text("a b.tfrecord\nlink.tfrecord\n")
    with pytest.raises(DataError, match=r"lines 1 and 2"):
        find(str(path))
    for line, words in (
        ("gone.tfrecord", "line 2: .*gone.tfrecord is not there"),
        ("sub", "folder"),
    ):
        path.write_text(f"a b.tfrecord\n{line}\n")
        with pytest.raises(DataError, match=words):
            find(str(path))
    path.write_bytes("a b.tfrecord".encode("utf-16"))
    with pytest.raises(DataError, match="UTF-8"):
        find(str(path))
    with pytest.raises(DataError, match="line end"):
        write_list([str(tmp_path / "a\nb.tfrecord")], tmp_path, "list")


def test_folders_and_addresses_are_refused_in_a_line(tmp_path):
    frame_shard(tmp_path / "data" / "a.tfrecord")
    with pytest.raises(DataError, match=r"is a folder: give the shards in it, as '.*\*\.tfrecord'"):
        find(str(tmp_path / "data"))
    with pytest.raises(DataError, match="folders alone"):
        find(str(tmp_path / "d*"))
    for address in ("http://data.yt8m.org/a.tfrecord", "https://x/*.tfrecord", "nosuch://x/a"):
        with pytest.raises(DataError, match="fetch them first"):
            find(address)
    assert len(find(f"file://{tmp_path}/data/*.tfrecord")) == 1
    with pytest.raises(DataError, match="nothing matches"):
        find(str(tmp_path / "nowhere.txt"))


def test_exclude_takes_names_and_paths(tmp_path):
    a, b = (frame_shard(tmp_path / folder / "x [1].tfrecord") for folder in "ab")
    pattern = str(tmp_path / "*" / "x*")
    assert find(pattern, [a]) == [b] and find("*/x*", ["b/x [1].tfrecord"], tmp_path) == [a]
    with pytest.raises(DataError, match="every match is excluded"):
        find(pattern, ["x [1].tfrecord"])


# Training and validation apart


def test_a_held_out_shard_is_never_trained_on_and_none_is_listed_twice(tmp_path):
    files = [frame_shard(tmp_path / f"v{i}.tfrecord", prefix=f"s{i}-") for i in range(6)]
    for i in (1, 4):
        (tmp_path / f"w{i}.tfrecord").symlink_to(files[i])
    for train in (None, str(tmp_path / "*.tfrecord"), str(tmp_path / "w*.tfrecord")):
        trained, held = hold_out(str(tmp_path / "v*.tfrecord"), 2, 1, train)
        real = [os.path.realpath(file) for file in trained]
        assert len(held) == 2 and len(real) == len(set(real)) == 4
        assert not {os.path.realpath(file) for file in held} & set(real)
    trained, held = hold_out(str(tmp_path / "*.tfrecord"), 2, 3)
    assert len(trained) == 4 and not {os.path.realpath(f) for f in held} & {*trained}


def experiment(**data):
    return Params.model_validate({"experiment": "x", "models": {}, "data": data})


def test_shards_on_both_sides_or_of_one_name_are_refused_when_they_are_listed(tmp_path):
    a, b = (frame_shard(tmp_path / folder / "x.tfrecord") for folder in "ab")
    c = frame_shard(tmp_path / "c.tfrecord")
    (tmp_path / "d.tfrecord").symlink_to(c)
    with pytest.raises(
        DataError, match=r"c\.tfrecord \(training\) and .*c\.tfrecord \(validation\)"
    ):
        shards.shards(experiment(train=str(tmp_path / "**/*.tfrecord"), validation=c))
    with pytest.raises(
        DataError, match=r"c\.tfrecord \(training\) and .*d\.tfrecord \(validation\)"
    ):
        shards.shards(experiment(train=c, validation=str(tmp_path / "d.tfrecord")))
    with pytest.raises(DataError, match=r"c\.tfrecord \(training\) and .*d\.tfrecord \(training\)"):
        shards.shards(experiment(train=str(tmp_path / "?.tfrecord"), validation=a))
    with pytest.raises(DataError, match=r"share the name 'x\.tfrecord'"):
        shards.shards(experiment(train=str(tmp_path / "*/x.tfrecord"), validation=c))
    assert shards.shards(experiment(train=a, validation=b)) == ([a], [b])


def test_stand_in_data_is_found_whatever_its_folder_is_called(tmp_path):
    synthetic = {"train_videos": 4, "validation_videos": 2, "shards": 2}
    named = {"experiment": "x", "models": {}, "results": str(tmp_path / "runs [1] *")}
    settings = Params.model_validate(named | {"synthetic": synthetic})
    with pytest.raises(DataError, match="no stand-in data"):
        shards.shards(settings)
    for files in shards.stand_in_shards(settings).values():
        for file in files:
            frame_shard(file)
    train, validation = shards.shards(settings)
    assert [listing.base_name(f) for f in train] == ["train-00000.tfrecord", "train-00001.tfrecord"]
    assert len(validation) == 2


# Files that are no shards


def bare(path):
    return FRAME_LEVEL.serialise(FrameVideo(b"abcd", [1], np.zeros((2, 1152), np.uint8)))


NO_SHARDS = {
    "gzip": (lambda path: gzip.compress(path.read_bytes()), r"compressed \(gzip\): decompress it"),
    "zlib": (lambda path: zlib.compress(path.read_bytes()), r"compressed \(zlib\)"),
    "a bare record": (bare, "without the framing"),
    "text": (lambda path: b"<html>\n404 not found</html>\n" * 9, "text, which begins with '<html>"),
    "a pointer": (lambda path: b"version https://git-lfs", "text, which begins with 'version"),
    "empty": (lambda path: b"", "no record"),
    "noise": (lambda path: bytes(range(1, 255)), "damaged after 0 videos"),
}


@pytest.mark.parametrize("name", NO_SHARDS)
def test_a_file_that_is_no_shard_is_named_with_what_it_is(tmp_path, name):
    good, bad = (tmp_path / f"{n}.tfrecord" for n in ("good", "no-shard"))
    frame_shard(good)
    contents, words = NO_SHARDS[name]
    bad.write_bytes(contents(good))
    row = inspect([str(bad)]).loc[0]
    assert row.videos == 0
    found = [row.bad]
    for use in (
        lambda: kind_of_shard(str(bad)),
        lambda: read([str(bad)]),
        lambda: read([str(good), str(bad)]),
        lambda: read([str(good), str(bad)], seed=(1, 2)),
    ):
        with pytest.raises(DataError, match=r"no-shard\.tfrecord") as error:
            use()
        found.append(str(error.value))
    for message in found:
        assert re.search(words, message) and "\n" not in message
    assert len(shards.digest([str(bad)])) == 16


def test_a_folder_is_no_shard(tmp_path):
    for use in (kind_of_shard, lambda file: Records([file], FRAMES)):
        with pytest.raises(DataError, match="a folder"):
            use(str(tmp_path))
    assert "a folder" in inspect([str(tmp_path)])["bad"][0]


@pytest.mark.parametrize("extra", [1, 8, 11, 12, 13])
def test_a_shard_that_is_cut_in_a_header_is_refused(tmp_path, extra):
    good = frame_shard(tmp_path / "good.tfrecord", prefix="g")
    cut = tmp_path / "cut.tfrecord"
    with open(good, "rb") as file:
        whole = file.read()
    cut.write_bytes(whole + whole[:extra])
    row = inspect([str(cut)], 12).loc[0]
    assert row.videos == 4 and row.bad.startswith("damaged after 4 videos")
    for order in ({}, {"seed": (1, 2)}):
        with pytest.raises(DataError, match=r"cut\.tfrecord: damaged after 4 videos"):
            read([good, str(cut)], **order)
    with pytest.raises(DataError, match=r"cut\.tfrecord"):
        read([good, str(cut)], FRAMES.model_copy(update={"cache": True}))


@pytest.mark.parametrize("length", [10**6, 2**31, 2**62 + 328, 2**64 - 1])
def test_a_length_beyond_the_shards_end_is_refused_before_tensorflow_believes_it(tmp_path, length):
    good, bad = frame_shard(tmp_path / "good.tfrecord", prefix="g"), tmp_path / "bad.tfrecord"
    with open(good, "rb") as file:
        whole = file.read()
    bad.write_bytes(whole + framed(b"record", length) + whole)  # in its header, CRCs are right
    row = inspect([str(bad)], 12).loc[0]
    assert row.videos == 4 and "after 4 videos (a record longer than the rest" in row.bad
    with pytest.raises(DataError, match=r"bad\.tfrecord: damaged after 4 videos"):
        read([good, str(bad)])
    bad.write_bytes(framed(b"record", length))
    with pytest.raises(DataError, match="after 0 videos"):
        kind_of_shard(str(bad))


# Records that cannot be used

ZERO = np.zeros(1152, np.float32)
BAD_RECORDS = {
    "NaN": (mean_record(id=b"odd", mean_rgb=np.full(1024, np.nan)), MEANS, "odd: .*not numbers"),
    "infinity": (mean_record(id=b"odd", mean_audio=np.full(128, -np.inf)), MEANS, "odd: .*not num"),
    "large": (mean_record(id=b"odd", mean_rgb=np.full(1024, 1e6)), MEANS, r"odd: .*\[-2, 2\.01\]"),
    "not dequantised": (mean_record(id=b"odd", mean_audio=np.arange(128.0)), MEANS, r"odd: .*\[-2"),
    "labels as floats": (mean_record(id=b"odd", labels=[1.0, 2.0]), MEANS, "odd: .*are floats"),
    "labels as text": (mean_record(id=b"odd", labels=b"1 2"), MEANS, "odd: labels are text"),
    "of 2017": (mean_record(id=None, video_id=b"odd"), MEANS, r"record of 2017 \(video_id"),
    "no id": (mean_record(id=None), MEANS, "feature id missing"),
    "no labels": (mean_record(id=b"odd", labels=None), MEANS, "odd: .*predicted only"),
    "floats": (sequence({"id": b"odd"}, rgb=1024, audio=128), FRAMES, "odd: .*floats"),
    "MediaPipe's": (
        sequence({"clip/data_path": b"a.mp4"}, **{"RGB/feature/floats": 1024}), FRAMES, "MediaPipe",
    ),
    "of another level": (mean_record(), FRAMES, "holds video-level ones"),
    "unknown": (example(id=b"odd", pixels=b"").SerializeToString(), FRAMES, r"\(id, pixels\)"),
    "no record": (b"\xff\xff\xff", FRAMES, "none of the formats"),
    "cut": (mean_record(mean_rgb=np.full(1024, -0.05))[:-3], MEANS, "none of the formats"),
    "of no bytes": (b"", FRAMES, "no features"),
}  # fmt: skip


def with_two_ids():
    record = tf.train.Example.FromString(mean_record(id=b"odd"))
    record.features.feature["id"].bytes_list.value.append(b"even")
    return record.SerializeToString()


@pytest.mark.parametrize("name", [*BAD_RECORDS, "two ids"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_bad_record_is_named_with_its_shard_by_inspection_and_by_the_reader(
    tmp_path, name, alone
):
    record, data, words = BAD_RECORDS.get(name, (None, MEANS, "odd: 2 ids"))
    good, bad = str(tmp_path / "good.tfrecord"), str(tmp_path / "bad.tfrecord")
    if data is FRAMES:
        frame_shard(good)
    else:
        mean_shard(good, ZERO, ZERO)
    before = [] if alone else list(tf.data.TFRecordDataset(good).as_numpy_iterator())
    write_serialised(bad, [*before, record if record is not None else with_two_ids()])
    found = inspect([bad], 12).loc[0]
    assert found.bad or found.level != data.level
    with pytest.raises(DataError, match=r"bad\.tfrecord") as error:
        read([good, bad], data)
    if not (name == "of another level" and not alone):  # then they are mixed
        assert re.search(words, str(error.value))
    assert "\n" not in str(error.value)


def test_real_means_lie_far_within_what_is_accepted():
    ends = np.float32([-1.9921875, 2.0078125])  # of 20,252 real videos
    for end in ends:
        assert not list(VIDEO_LEVEL.problems(tf.train.SequenceExample.FromString(
            mean_record(mean_rgb=np.full(1024, end))
        )))  # fmt: skip


def test_prediction_alone_asks_for_no_labels_and_no_vocabulary(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    write_serialised(path, [mean_record(labels=None), mean_record(labels=[4000])])
    assert read([path], MEANS, labels=False) == 2
    assert inspect([path], 4716, labels=False)["bad"][0] == ""


def test_a_fault_of_the_program_keeps_its_own_error(tmp_path):
    videos = Records([frame_shard(tmp_path / "a.tfrecord")], FRAMES)
    broken = tf.data.Dataset.range(3).map(lambda x: tf.raw_ops.CheckNumerics(
        tensor=tf.cast(x, tf.float32) / 0.0, message="ours"
    ))  # fmt: skip
    videos._read = lambda *_: broken
    with pytest.raises(tf.errors.InvalidArgumentError, match="ours"):
        list(videos.batches(2))


def test_batches_can_do_what_a_dataset_can(tmp_path):
    batches = Records([frame_shard(tmp_path / "a.tfrecord")], FRAMES).batches(3)
    assert set(batches.element_spec) == {"id", "frames", "num_frames", "labels"}
    assert len(list(batches.take(1))) == 1 and len(list(batches)) == len(list(batches)) == 2
    assert next(iter(batches.map(lambda batch: batch["id"]))).shape == (3,)
