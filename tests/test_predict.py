"""``predict`` and ``evaluate``: odd ids, outputs and labels, and faults said in a line."""

import csv
import errno
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.cli import main
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.data.shards import DataError
from yt8m_lib.files import FileError, check_writable, written_whole
from yt8m_lib.methods import challenge_csv, codecs, export, tagging
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.exported import ExportedModel, ModelError
from yt8m_lib.scoring import metrics
from yt8m_lib.settings import ROOT

CLASSES, VOCABULARY = 40, 60


@pytest.fixture(scope="module")
def settings():
    data = f"data={{classes: {CLASSES}, vocabulary: {VOCABULARY}}}"
    return params.load("params/smoke.yaml", [data, "synthetic=null"])


def exported(settings, folder, spoil=None, counts=None):
    model = models.build(settings.models["logistic"], CLASSES)
    weights = codecs.encode_weights([v.numpy() for v in model.variables], codec="float32")
    if spoil is not None:
        weights[-1].arrays["values"] = np.full_like(weights[-1].arrays["values"], spoil)
    graph = EnsembleGraph([Member(model, weights)], [1.0])
    export.save(graph, folder, settings, {}, None, counts)
    return str(folder)


@pytest.fixture(scope="module")
def model(settings, tmp_path_factory):
    return exported(settings, tmp_path_factory.mktemp("exported") / "model")


def shard(path, ids, labels=(1, 2), seed=0):
    rng = np.random.default_rng(seed)
    videos = [FrameVideo(i, labels, rng.integers(0, 256, (3, 1152), dtype=np.uint8)) for i in ids]
    write_frame_records(path, videos)
    return str(path)


@pytest.fixture
def videos(tmp_path):
    return shard(tmp_path / "a.tfrecord", [b"v%02d" % i for i in range(30)])


def refused(arguments, capsys):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 1 and "Traceback" not in error
    return error.strip().splitlines()[-1]


# --- Ids ---


def test_odd_ids_are_quoted_and_all_others_are_not(model, tmp_path):
    ids = ["cats, dogs", "two\nlines", "cr\rlf", 'say "x"', "=1+1", "-dash", "plain", "Übung"]
    file = shard(tmp_path / "a.tfrecord", [i.encode() for i in ids])
    tagging.predict_to_file(model, file, tmp_path / "o.csv")
    with open(tmp_path / "o.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert [row[0] for row in rows[1:]] == ids and {len(row) for row in rows} == {2}
    text = (tmp_path / "o.csv").read_bytes().decode()
    assert '"say ""x""",' in text and '"=1+1",' in text
    for plain in ("-dash", "plain", "Übung"):
        assert f"\n{plain}," in text


def test_an_id_that_is_no_text_names_video_and_shard(model, videos, tmp_path):
    bad = shard(tmp_path / "b.tfrecord", [b"good", "Übung".encode("latin-1")])
    with pytest.raises(DataError, match=rf"{bad}: the id \\xdcbung is no UTF-8 text"):
        tagging.predict_to_file(model, str(tmp_path / "*.tfrecord"), tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


# --- Outputs ---


def test_a_link_stays_one_and_its_file_is_replaced(model, videos, tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "far" / "o.csv")  # which is not there yet
    for _ in range(2):
        tagging.predict_to_file(model, videos, link)
        assert link.is_symlink()
        assert (tmp_path / "far" / "o.csv").read_text().count("\n") == 31
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["o.csv"]


def test_a_pipe_is_written_to(model, videos, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    tagging.predict_to_file(model, videos, pipe)
    reader.join()
    assert read[0].count("\n") == 31 and pipe.is_fifo()


def test_a_reader_that_goes_away_is_said_so(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: open(pipe).close())
    reader.start()
    with (
        pytest.raises(FileError, match="stopped before its end"),
        challenge_csv.written(pipe) as write,
    ):
        reader.join()
        for _ in range(100_000):
            write(["a"], [[1]], [[0.5]], [[0, 1]])


def test_standard_output_holds_the_csv_alone_and_what_was_in_its_file(model, videos, tmp_path):
    script = "import sys; from yt8m_lib.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "predict", model, videos, "--output", "/dev/stdout"]
    (tmp_path / "all.csv").write_text("before\n")
    with open(tmp_path / "all.csv", "a") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert done.returncode == 0 and len(lines) == 32 and lines[0] == "before"
    assert lines[1].startswith("VideoId") and "30 videos in /dev/stdout" in done.stderr


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("folder", "is a folder: name a file"),
        ("a.tfrecord/o.csv", "cannot be a folder"),
        ("http://host/o.csv", "nothing can be written to http://"),
    ],
)
def test_an_impossible_output_is_refused_before_the_model_is_read(
    output, words, videos, tmp_path, capsys
):
    (tmp_path / "folder").mkdir()
    place = output if "://" in output else str(tmp_path / output)
    assert words in refused(["predict", "no model", videos, "--output", place], capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tfrecord", "folder"}


def test_a_place_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as root, rights are not asked for
    with pytest.raises(FileError, match="may not be written to"):
        check_writable(tmp_path / "new" / "o.csv")


def test_a_full_disk_leaves_nothing_and_names_the_file(tmp_path):
    with (
        pytest.raises(FileError, match=r"o\.csv cannot be written: No space left"),
        written_whole(tmp_path / "o.csv") as beside,
        open(beside, "w") as file,
    ):
        file.write("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(FileError, match="No space left"),
        written_whole("/dev/full") as device,
        open(device, "w") as file,
    ):
        file.write("x" * 100_000)


def test_faults_of_the_program_are_not_taken_for_the_disks(tmp_path):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "o.csv"):
        (tmp_path / "a file that the program forgot to make").read_text()


def test_a_tilde_is_the_home_folder(model, videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    main(["predict", model, "~/*.tfrecord", "--output", "~/o.csv"])
    assert (tmp_path / "o.csv").exists()


# --- Many shards ---


@pytest.fixture
def three_shards(tmp_path):
    for number in range(3):
        ids = [b"s%dv%02d" % (number, i) for i in range(5)]
        shard(tmp_path / f"{number}.tfrecord", ids, seed=number)
    return str(tmp_path / "?.tfrecord")


def predict_killed_behind(shards, model, pattern, output):
    """Predict, and be interrupted as soon as so many shards are finished."""

    class Killed(tagging.Parts):
        def keep(self, file, tags):
            super().keep(file, tags)
            if len([*self._folder.glob("*.npz")]) == shards:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tagging, "Parts", Killed)
        tagging.predict_to_file(model, pattern, output)


def test_a_killed_call_goes_on_behind_its_last_shard(model, three_shards, tmp_path, monkeypatch):
    tagging.predict_to_file(model, three_shards, tmp_path / "whole.csv")
    output = tmp_path / "o.csv"
    predict_killed_behind(2, model, three_shards, output)
    assert not output.exists() and (tmp_path / "o.csv.parts").is_dir()
    asked = []
    real = ExportedModel.videos
    monkeypatch.setattr(
        ExportedModel, "videos", lambda *a, **k: asked.append(a[1]) or real(*a, **k)
    )
    assert tagging.predict_to_file(model, three_shards, output) == 15
    assert asked == [[str(tmp_path / "2.tfrecord")]]
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "o.csv.parts").exists()


def test_what_is_kept_of_other_settings_or_of_a_changed_shard_is_not_used(
    model, three_shards, tmp_path
):
    output = tmp_path / "o.csv"
    predict_killed_behind(2, model, three_shards, output)
    shard(tmp_path / "0.tfrecord", [b"new%d" % i for i in range(4)], seed=7)
    assert tagging.predict_to_file(model, three_shards, output) == 14
    assert output.read_text().splitlines()[1].startswith("new0,")
    predict_killed_behind(2, model, three_shards, output)
    tagging.predict_to_file(model, three_shards, output, k=3)
    assert {line.count(" ") for line in output.read_text().splitlines()[1:]} == {5}
    (tmp_path / "mine.csv.parts").mkdir()
    with pytest.raises(FileError, match=r"mine\.csv\.parts is in the way"):
        tagging.predict_to_file(model, three_shards, tmp_path / "mine.csv")


def test_an_empty_shard_among_others_is_named_and_the_finished_ones_are_kept(
    model, three_shards, tmp_path, capsys
):
    (tmp_path / "1.tfrecord").write_bytes(b"")
    said = refused(["predict", model, three_shards, "--output", str(tmp_path / "o.csv")], capsys)
    assert f"{tmp_path}/1.tfrecord: holds no record" in said
    assert not (tmp_path / "o.csv").exists()
    assert len([*(tmp_path / "o.csv.parts").glob("*.npz")]) == 1


def test_ctrl_c_says_that_the_same_command_goes_on(model, videos, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tagging, "predict_to_file", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main(["predict", model, videos, "--output", str(tmp_path / "o.csv")])
    assert exit_.value.code == 130 and "finished shards are kept" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (7, 7), (1000, CLASSES)])
def test_as_many_classes_as_are_asked_for(model, videos, tmp_path, asked, given):
    output = str(tmp_path / "o.csv")
    main(["predict", model, videos, "--output", output, "--top-k", str(asked)])
    with open(output) as file:
        assert {len(row["LabelConfidencePairs"].split()) for row in csv.DictReader(file)} == {
            2 * given
        }


def test_a_parquet_table_has_the_names_and_the_same_answers(settings, videos, tmp_path):
    (tmp_path / "names.csv").write_text(
        "Index,Name\n" + "".join(f"{i},class {i}\n" for i in reversed(range(CLASSES)))
    )
    data = settings.data.model_copy(update={"vocabulary_file": str(tmp_path / "names.csv")})
    named = exported(settings.model_copy(update={"data": data}), tmp_path / "named")
    main(["predict", named, videos, "--output", str(tmp_path / "o.parquet"), "--top-k", "4"])
    main(["predict", named, videos, "--output", str(tmp_path / "o.csv"), "--top-k", "4"])
    table = pd.read_parquet(tmp_path / "o.parquet")
    rows = pd.read_csv(tmp_path / "o.csv")
    assert list(table.columns) == ["id", "classes", "confidences", "names"] and len(table) == 30
    for row, plain in zip(table.itertuples(), rows.itertuples(), strict=True):
        pairs = plain.LabelConfidencePairs.split()
        assert row.id == plain.VideoId and [str(c) for c in row.classes] == pairs[::2]
        assert list(row.names) == [f"class {c}" for c in row.classes]
        assert np.allclose(row.confidences, [float(p) for p in pairs[1::2]], atol=1e-6)


# --- Values ---


def test_an_answer_that_is_no_number_is_refused_and_names_the_video(
    settings, videos, tmp_path, capsys
):
    broken = exported(settings, tmp_path / "broken", spoil=np.nan)
    with pytest.raises(ModelError, match=rf"{videos}: the model's answer for video v00 is not"):
        tagging.predict_to_file(broken, videos, tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()
    assert "v00" in refused(["evaluate", broken, videos, "--json"], capsys)


def test_every_label_counts_in_gap_and_those_beyond_the_classes_are_counted(
    model, tmp_path, capsys
):
    ids = [b"v%02d" % i for i in range(50)]
    file = shard(tmp_path / "a.tfrecord", ids, labels=(0, 3, CLASSES, VOCABULARY - 1))
    tagging.predict_to_file(model, file, tmp_path / "o.csv")
    main(["evaluate", model, file, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["labels"], found["labels_dropped"]) == (50, 200, 100)
    assert found["gap"] == pytest.approx(gap_of_csv(tmp_path / "o.csv", {0, 3}, 200), abs=1e-4)
    main(["evaluate", model, file])
    assert "100 of the 200 labels are of classes that the model does not" in capsys.readouterr().out


def test_metrics_by_frequency_are_those_of_the_classes_alone(settings, tmp_path, capsys):
    counts = np.arange(CLASSES)[::-1]  # so the thirds are 0..13, 14..26, 27..39
    model = exported(settings, tmp_path / "model", counts=counts)
    rng = np.random.default_rng(0)
    labels = [rng.choice(VOCABULARY, 3, replace=False) for _ in range(40)]
    frames = [rng.integers(0, 256, (3, 1152), dtype=np.uint8) for _ in labels]
    file = tmp_path / "a.tfrecord"
    videos = [
        FrameVideo(b"%d" % i, v, f) for i, (v, f) in enumerate(zip(labels, frames, strict=True))
    ]
    write_frame_records(file, videos)
    main(["evaluate", model, str(file), "--json"])
    thirds = json.loads(capsys.readouterr().out)["by_frequency"]
    assert list(thirds) == ["frequent", "middle", "rare"]
    asked = ExportedModel(model)
    predictions = asked(tf.constant(np.stack(frames)), tf.fill([40], 3)).numpy()
    hot = np.zeros((40, VOCABULARY))
    for row, own in zip(hot, labels, strict=True):
        row[own] = 1
    for third, classes in zip(thirds.values(), np.array_split(np.arange(CLASSES), 3), strict=True):
        own = hot[:, classes].any(axis=1)
        wanted = metrics.evaluate(predictions[own][:, classes], hot[own][:, classes])
        assert (third["classes"], third["videos"]) == (len(classes), own.sum())
        assert third["labels"] == hot[:, classes].sum()
        assert {name: third[name] for name in wanted} == pytest.approx(wanted)
    main(["evaluate", model, str(file)])
    assert "Thirds of the classes" in capsys.readouterr().out


def gap_of_csv(path, findable, labels):
    """The challenge's formula, pair by pair."""
    pairs = []
    with open(path, newline="") as file:
        for row in list(csv.reader(file))[1:]:
            values = row[1].split()
            pairs += [(float(p), int(c)) for c, p in zip(values[::2], values[1::2], strict=True)]
    pairs.sort(key=lambda pair: -pair[0])
    gap, hits = 0.0, 0
    for rank, (_, label) in enumerate(pairs, 1):
        if label in findable:
            hits += 1
            gap += hits / rank / labels
    return gap


# --- Names and stretches ---


def test_names_have_a_row_a_tag(model, videos, tmp_path):
    output = tmp_path / "tags.csv"
    main(["predict", model, videos, "--names", "--top-k", "3", "--output", str(output)])
    rows = pd.read_csv(output, dtype={"tag": str})
    assert list(rows) == ["id", "start", "end", "tag", "confidence"] and len(rows) == 90
    plain = tmp_path / "plain.csv"
    main(["predict", model, videos, "--top-k", "3", "--output", str(plain)])
    first = plain.read_text().splitlines()[1].split(",")[1].split()
    assert rows["tag"][:3].tolist() == first[::2]  # classes without a name go by their numbers
    assert rows["start"].eq(0).all() and rows["end"].eq(3).all()


@pytest.mark.parametrize(
    ("frames", "window", "expected"),
    [
        (9, (4, 4), [(0, 4), (4, 8), (8, 9)]),
        (9, (4, 2), [(0, 4), (2, 6), (4, 8), (6, 9)]),
        (8, (4, 4), [(0, 4), (4, 8)]),
        (3, (4, 1), [(0, 3)]),
        (6, (4, 1), [(0, 4), (1, 5), (2, 6)]),
        (13, (5, 7), [(0, 5), (7, 12)]),
    ],
)
def test_stretches_are_tagged_as_if_each_were_a_video(model, frames, window, expected, tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (frames, 1152), dtype=np.uint8)
    other = rng.integers(0, 256, (2, 1152), dtype=np.uint8)
    path = tmp_path / "a.tfrecord"
    write_frame_records(path, [FrameVideo(b"a", [1], whole), FrameVideo(b"b", [1], other)])
    output = tmp_path / "tags.json"
    options = ["--window", str(window[0]), "--stride", str(window[1]), "--output", str(output)]
    main(["predict", model, str(path), *options, "--top-k", "2"])
    found = json.loads(output.read_text())
    assert [(s["start"], s["end"]) for s in found if s["id"] == "a"] == expected
    assert [(s["start"], s["end"]) for s in found if s["id"] == "b"] == [(0, 2)]
    parts = [FrameVideo(b"%d" % i, [1], whole[a:b]) for i, (a, b) in enumerate(expected)]
    write_frame_records(path, parts)
    main(["predict", model, str(path), "--output", str(output), "--top-k", "2"])
    for one, alone in zip(found, json.loads(output.read_text()), strict=False):
        assert [tag["tag"] for tag in one["tags"]] == [tag["tag"] for tag in alone["tags"]]
        for tag, same in zip(one["tags"], alone["tags"], strict=True):
            assert tag["confidence"] == pytest.approx(same["confidence"], abs=2e-6)


def test_a_stride_without_a_window_is_refused(model, videos, tmp_path, capsys):
    options = ["--stride", "2", "--output", str(tmp_path / "a.csv")]
    assert "give --window" in refused(["predict", model, videos, *options], capsys)


def test_each_class_is_measured(model, videos, tmp_path, capsys):
    main(["evaluate", model, videos, "--per-class", str(tmp_path / "classes.csv"), "--json"])
    table = pd.read_csv(tmp_path / "classes.csv")
    assert len(table) == CLASSES and table["videos"].tolist()[:4] == [0, 30, 30, 0]
    measured = json.loads(capsys.readouterr().out)
    assert measured["map_of_classes"] == pytest.approx(1.0)  # every video has classes 1 and 2
