"""``predict`` and ``evaluate``: odd ids, outputs and labels, and faults said in a line."""

import csv
import errno
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from yt8m_lib import models, params
from yt8m_lib.cli import main
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.data.shards import DataError
from yt8m_lib.files import FileError, check_writable, written_whole
from yt8m_lib.methods import codecs, export, inference
from yt8m_lib.methods.inference import ModelError
from yt8m_lib.settings import ROOT

CLASSES, VOCABULARY = 40, 60


@pytest.fixture(scope="module")
def settings():
    data = f"data={{classes: {CLASSES}, vocabulary: {VOCABULARY}}}"
    return params.load("params/smoke.yaml", [data, "synthetic=null"])


def exported(settings, folder, spoil=None):
    model = models.build(settings.models["logistic"], CLASSES)
    weights = codecs.encode_weights([v.numpy() for v in model.variables], codec="float32")
    if spoil is not None:
        weights[-1].arrays["values"] = np.full_like(weights[-1].arrays["values"], spoil)
    graph = export.EnsembleGraph([export.Member(model, weights)], [1.0])
    export.save(graph, folder, settings, {}, None)
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
    inference.predict_to_csv(model, file, tmp_path / "o.csv")
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
        inference.predict_to_csv(model, str(tmp_path / "*.tfrecord"), tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


# --- Outputs ---


def test_a_link_stays_one_and_its_file_is_replaced(model, videos, tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "far" / "o.csv")  # which is not there yet
    for _ in range(2):
        inference.predict_to_csv(model, videos, link)
        assert link.is_symlink()
        assert (tmp_path / "far" / "o.csv").read_text().count("\n") == 31
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["o.csv"]


def test_a_pipe_is_written_to(model, videos, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    inference.predict_to_csv(model, videos, pipe)
    reader.join()
    assert read[0].count("\n") == 31 and pipe.is_fifo()


def test_a_reader_that_goes_away_is_said_so(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: open(pipe).close())
    reader.start()
    with (
        pytest.raises(FileError, match="stopped before its end"),
        inference.challenge_csv.written(pipe) as write_row,
    ):
        reader.join()
        for _ in range(100_000):
            write_row("a", [1], [0.5])


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


# --- Values ---


def test_an_answer_that_is_no_number_is_refused_and_names_the_video(
    settings, videos, tmp_path, capsys
):
    broken = exported(settings, tmp_path / "broken", spoil=np.nan)
    with pytest.raises(ModelError, match=rf"{videos}: the model's answer for video v00 is not"):
        inference.predict_to_csv(broken, videos, tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()
    assert "v00" in refused(["evaluate", broken, videos, "--json"], capsys)


def test_every_label_counts_in_gap_and_those_beyond_the_classes_are_counted(
    model, tmp_path, capsys
):
    ids = [b"v%02d" % i for i in range(50)]
    file = shard(tmp_path / "a.tfrecord", ids, labels=(0, 3, CLASSES, VOCABULARY - 1))
    inference.predict_to_csv(model, file, tmp_path / "o.csv")
    main(["evaluate", model, file, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["labels"], found["labels_dropped"]) == (50, 200, 100)
    assert found["gap"] == pytest.approx(gap_of_csv(tmp_path / "o.csv", {0, 3}, 200), abs=1e-4)
    main(["evaluate", model, file])
    assert "100 of the 200 labels are of classes that the model does not" in capsys.readouterr().out


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
