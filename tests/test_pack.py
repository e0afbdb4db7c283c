"""``yt8m pack``: people's own features become shards, a vocabulary and an experiment that runs."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from yt8m_lib import params
from yt8m_lib.cli import main
from yt8m_lib.data.records import Records

VIDEOS = 24
NAMES = ("cat", "dog", "car, red")
RNG = np.random.default_rng(0)
SPREAD = {"clip": (12, 3.0), "sound": (5, 0.2)}  # width and spread of each stream


def features(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {
        name: (spread * rng.standard_normal((3 + number % 4, width))).astype(np.float32)
        for name, (width, spread) in SPREAD.items()
    }


def labels_of(number: int) -> list[str]:
    return [NAMES[number % 3]] if number % 2 else [NAMES[0], NAMES[1 + number % 2]]


def write_labels(path, rows=None):
    rows = rows or [(f"v{i:02d}", "|".join(labels_of(i))) for i in range(VIDEOS)]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("id", "labels"), *rows])


def as_folders(folder):
    for name in SPREAD:
        (folder / name).mkdir(parents=True)
    for i in range(VIDEOS):
        for name, array in features(i).items():
            np.save(folder / name / f"v{i:02d}.npy", array)


def as_archives(folder):
    folder.mkdir()
    for i in range(VIDEOS):
        np.savez(folder / f"v{i:02d}.npz", **features(i))


def as_table(folder):
    folder.mkdir()
    rows = [
        {"id": f"v{i:02d}"} | {k: v.tolist() for k, v in features(i).items()} for i in range(VIDEOS)
    ]
    pd.DataFrame(rows[:10]).to_parquet(folder / "a.parquet")
    pd.DataFrame(rows[10:]).to_parquet(folder / "b.parquet", row_group_size=5)


def as_mediapipe(folder):
    folder.mkdir()
    for i in range(VIDEOS):
        record = tf.train.SequenceExample()
        for name, array in features(i).items():
            key = f"{name.upper()}/feature/floats"
            for row in array:
                frame = record.feature_lists.feature_list[key].feature.add()
                frame.float_list.value.extend(row.tolist())
        (folder / f"v{i:02d}.pb").write_bytes(record.SerializeToString())


SOURCES = {"folders": as_folders, "archives": as_archives, "table": as_table, "pb": as_mediapipe}


@pytest.fixture
def source(tmp_path):
    as_folders(tmp_path / "in")
    write_labels(tmp_path / "labels.csv")
    return tmp_path


def pack(folder, *more) -> None:
    places = {"--labels": folder / "labels.csv", "--output": folder / "out"}
    options = [str(part) for pair in places.items() for part in pair]
    main(["pack", str(folder / "in"), *options, *more])


def read(folder) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Frames as floats and classes of each video, as the experiment's own reader has them."""
    data = params.load(folder / "out" / "params.yaml").data
    files = sorted(str(f) for f in (folder / "out").glob("*.tfrecord"))
    found = {}
    for batch in Records(files, data).batches(5):
        for i, video in enumerate(batch["id"].numpy()):
            frames = batch["frames"].numpy()[i, : batch["num_frames"].numpy()[i]]
            if frames.dtype == np.uint8:
                parts = np.split(frames, np.cumsum([s.width for s in data.streams])[:-1], axis=1)
                frames = np.concatenate(
                    [p * s.step + s.lowest for p, s in zip(parts, data.streams, strict=True)],
                    axis=1,
                )
            found[video.decode()] = (frames, batch["labels"].numpy()[i].nonzero()[0].tolist())
    return found


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_packed_is_what_was_there(kind, tmp_path, capsys):
    SOURCES[kind](tmp_path / "in")
    write_labels(tmp_path / "labels.csv")
    pack(tmp_path)
    names = pd.read_csv(tmp_path / "out" / "vocabulary.csv")["name"].tolist()
    assert sorted(names) == sorted(NAMES) and names[0] == "cat"  # the most frequent first
    found = read(tmp_path)
    assert len(found) == VIDEOS
    for i in range(VIDEOS):
        frames, classes = found[f"v{i:02d}"]
        assert [names[c] for c in classes] == sorted(labels_of(i), key=names.index)
        wanted = np.concatenate(list(features(i).values()), axis=1)
        bound = np.repeat([s / 30 for _, s in SPREAD.values()], [w for w, _ in SPREAD.values()])
        assert np.mean(np.abs(frames - wanted) < bound) > 0.98  # rare values are clipped
    assert "error" in capsys.readouterr().out


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_floats_stay_floats(storage, source):
    pack(source, "--storage", storage)
    frames, _ = read(source)["v03"]
    assert frames.dtype == storage
    wanted = np.concatenate(list(features(3).values()), axis=1)
    np.testing.assert_array_equal(frames, wanted.astype(storage))


def test_the_same_videos_are_split_the_same_and_none_is_lost(source):
    pack(source)
    first = {f.name: f.read_bytes() for f in (source / "out").glob("*.tfrecord")}
    assert {"train-00003.tfrecord", "validation-00000.tfrecord"} <= set(first)
    (source / "out" / "train-00001.tfrecord").unlink()  # as a killed call leaves it
    pack(source, "--workers", "3")
    assert {f.name: f.read_bytes() for f in (source / "out").glob("*.tfrecord")} == first


def test_shards_of_other_settings_are_not_mixed_in(source, capsys):
    pack(source)
    with pytest.raises(SystemExit):
        pack(source, "--seed", "2")
    assert "holds shards of other videos" in capsys.readouterr().err


def test_class_numbers_and_several_rows(source):
    rows = [(f"v{i:02d}", str(n)) for i in range(VIDEOS) for n in (i % 5, 7)]
    write_labels(source / "labels.csv", rows)
    pack(source)
    assert read(source)["v03"][1] == [3, 7]
    assert len(pd.read_csv(source / "out" / "vocabulary.csv")) == 8


def test_a_given_vocabulary_numbers_the_classes(source):
    pd.DataFrame({"index": [0, 1, 2, 3], "name": ["none", "dog", "cat", "car, red"]}).to_csv(
        source / "v.csv", index=False
    )
    pack(source, "--vocabulary", str(source / "v.csv"))
    assert read(source)["v01"][1] == [1]


def test_features_of_youtube_8m_are_stored_as_it_stores_them(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(VIDEOS):
        rng = np.random.default_rng(i)
        arrays = {"rgb": rng.uniform(-1.9, 1.9, (2, 1024)), "audio": rng.uniform(-1, 1, (2, 128))}
        np.savez(tmp_path / "in" / f"v{i:02d}.npz", **arrays)
    write_labels(tmp_path / "labels.csv")
    pack(tmp_path)
    assert "streams" not in (tmp_path / "out" / "params.yaml").read_text()
    assert json.loads((tmp_path / "out" / "pack.json").read_text())["streams"][0]["key"] == "rgb"


def test_inspect_reads_packed_shards_by_their_experiment(source, capsys):
    pack(source)
    shards = str(source / "out" / "*.tfrecord")
    with pytest.raises(SystemExit):
        main(["inspect", shards])
    assert "These settings of an experiment would read" in capsys.readouterr().out
    main(["inspect", shards, "--params", str(source / "out" / "params.yaml")])
    assert f"5 shards, {VIDEOS} videos, 0 damaged" in capsys.readouterr().out


def spoil(name, change):
    def apply(folder):
        path = folder / "in" / name
        change(path)

    return apply


def save(array):
    return lambda path: np.save(path, array)


def labels(text, encoding="utf-8"):
    return lambda folder: (folder / "labels.csv").write_bytes(text.encode(encoding))


ROWS = "\n".join(f"v{i:02d},cat" for i in range(VIDEOS))
BAD = {
    "another width": (
        spoil("clip/v05.npy", save(np.zeros([5, 13]))),
        ["v05", "13 features", "12"],
    ),
    "ragged streams": (
        spoil("sound/v05.npy", save(np.zeros([9, 5]))),
        ["v05", "lengths", "9 of sound"],
    ),
    "not a number": (
        spoil("clip/v05.npy", save(np.full([4, 12], np.nan))),
        ["v05.npy", "row 0", "not all numbers"],
    ),
    "no frames": (spoil("clip/v05.npy", save(np.zeros([0, 12]))), ["v05.npy", "no frames"]),
    "one dimension": (spoil("clip/v05.npy", save(np.zeros(12))), ["v05.npy", "a row a frame"]),
    "an empty file": (spoil("clip/v05.npy", lambda p: p.write_bytes(b"")), ["v05.npy", "NumPy"]),
    "a text file": (spoil("clip/v05.npy", lambda p: p.write_text("hello")), ["v05.npy", "NumPy"]),
    "text in it": (spoil("clip/v05.npy", save(np.array([["a"]]))), ["v05.npy", "numbers are"]),
    "a stream missing": (spoil("sound/v05.npy", lambda p: p.unlink()), ["v05", "streams"]),
    "arrays and folders": (
        spoil("v05.npz", lambda p: np.savez(p, clip=np.zeros([2, 12]))),
        ["both arrays and folders"],
    ),
    "no videos": (
        lambda folder: [f.unlink() for f in (folder / "in").rglob("*.npy")],
        ["holds no"],
    ),
    "no label": (labels("id,labels\nv00,cat\n"), ["v01", "no row with the id"]),
    "a comma": (labels(f"id,labels\nv00,cat,dog\n{ROWS}"), ["line 2", "3 fields", "|"]),
    "an empty label": (labels(f"id,labels\nv00,cat|\n{ROWS}"), ["line 2", "empty label"]),
    "an empty id": (labels(f"id,labels\n,cat\n{ROWS}"), ["line 2", "empty id"]),
    "other columns": (labels(f"video,tags\n{ROWS}"), ["labels.csv", "`id` and `labels`"]),
    "not UTF-8": (labels("id,labels\nv00,ch\xe2t\n", "latin-1"), ["labels.csv", "UTF-8"]),
    "no labels": (labels(""), ["labels.csv", "`id` and `labels`"]),
    "a huge class": (
        labels(f"id,labels\nv00,70000\n{ROWS.replace('cat', '1')}"),
        ["70000", "65,535"],
    ),
    "an open quote": (labels(f'id,labels\nv00,"cat\n{ROWS}'), ["labels.csv", "not a CSV"]),
    "no labels file": (
        lambda folder: (folder / "labels.csv").unlink(),
        ["labels.csv", "No such file"],
    ),
    "no source": (lambda folder: (folder / "in").rename(folder / "gone"), ["is not there"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_does_not_fit_is_one_clear_message(fault, source, capsys):
    change, words = BAD[fault]
    change(source)
    with pytest.raises(SystemExit):
        pack(source)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("yt8m: ") and all(word in said for word in words), said
    assert not list((source / "out").glob("*.tfrecord"))


def test_a_label_out_of_the_vocabulary_is_refused(source, capsys):
    (source / "v.csv").write_text("index,name\n0,cat\n1,dog\n")
    with pytest.raises(SystemExit):
        pack(source, "--vocabulary", str(source / "v.csv"))
    assert "'car, red' is not in the vocabulary" in capsys.readouterr().err


def test_a_table_without_ids_or_with_one_twice_is_refused(source, capsys):
    for rows, words in (
        ([{"name": "a", "clip": [[1.0]]}], "`id` is needed"),
        ([{"id": "a", "clip": [[1.0]]}] * 2, "two rows have the id 'a'"),
    ):
        pd.DataFrame(rows).to_parquet(source / "bad.parquet")
        with pytest.raises(SystemExit):
            main(["pack", str(source / "bad.parquet"), "--labels", str(source / "labels.csv"),
                  "--output", str(source / "out")])  # fmt: skip
        assert words in capsys.readouterr().err


def test_halves_that_overflow_are_refused(source, capsys):
    np.save(source / "in" / "clip" / "v05.npy", np.full([4, 12], 1e6, np.float32))
    with pytest.raises(SystemExit):
        pack(source, "--storage", "float16")
    assert "float16 cannot hold" in capsys.readouterr().err
