"""Data on an object store: every phase, soft targets in parts, copies on the local disk.

TensorFlow's ``ram://`` is a store of its own that lives as long as the process; paths on it look
like ``gs://``.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from yt8m_lib import params, phases
from yt8m_lib.data import nearby, records, shards, synthetic
from yt8m_lib.experiment.answers import SOFT_TARGETS
from yt8m_lib.phases import data, distillation, teachers, training

STORE = "ram://bucket/of videos"
SETTINGS = {
    "synthetic": {"train_videos": 60, "validation_videos": 40, "shards": 3, "frames": [4, 6]},
    "data": {"classes": 20, "vocabulary": 20},
    "training": {"frames": 4, "batch_norm_decay": 0.9},
    "families": {"dbof": {"batch": 16, "rate": 4.0e-3, "epochs": 1, "rate_decay": 0.5}},
    "models": {
        "A": {"architecture": "soft_dbof", "clusters": 8, "hidden": 8},
        "B": {"architecture": "soft_dbof", "clusters": 4, "hidden": 8},
    },
    "averaging": {"families": []},
    "distillation": {
        "teachers": 2,
        "top_k": 5,
        "students": {"A-S1": {"model": "A", "taught_by": "dbof"}},
    },
}


def written(path: Path, changes: dict) -> str:
    path.write_text(yaml.safe_dump(SETTINGS | changes))
    return str(path)


def put(files, place):
    """Copy local files onto the store; returns a glob of them there."""
    tf.io.gfile.makedirs(place)
    for file in files:
        tf.io.gfile.copy(file, f"{place}/{Path(file).name}", overwrite=True)
    return f"{place}/*.tfrecord"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Settings whose data lies on the local disk, and the glob of the same data on the store."""
    folder = tmp_path_factory.mktemp("local")
    settings = params.load(written(folder / "local.yaml", {}), [f"results={folder}"])
    sides = zip(("train", "validation"), synthetic.write(settings), strict=True)
    globs = {name: put(files, f"{STORE}/{name}") for name, files in sides}
    return settings, globs


@pytest.fixture(scope="module")
def remote(local, tmp_path_factory):
    """An experiment on the store, as far as its teachers, phase by phase as its notebooks go."""
    folder = tmp_path_factory.mktemp("remote")
    distillation = SETTINGS["distillation"] | {"soft_targets": "ram://bucket/soft targets"}
    changes = {"data": SETTINGS["data"] | local[1], "synthetic": None, "distillation": distillation}
    file, overrides = written(folder / "remote.yaml", changes), f"results={folder}"
    done_in(phases.start("data", file, overrides), lambda run, *_: data.describe(run))
    done_in(phases.start("teachers", file, overrides), teachers.train)
    return file, overrides


def done_in(experiment, work):
    train, validation = training.open_videos(experiment)
    for step in experiment.todo():
        with experiment.run(step) as run:
            work(run, train, validation)
    assert not experiment.todo()


def test_data_on_a_store_is_found_told_apart_checked_and_read_as_on_a_disk(local):
    settings, globs = local
    files, there = shards.shards(settings)[0], shards.find(globs["train"])
    assert [file.split("/")[-1] for file in files] == [file.split("/")[-1] for file in there]
    assert shards.digest(files) == shards.digest(there)
    drop = {"path"}
    tables = [records.inspect(f, 20).drop(columns=drop) for f in (files, there)]
    assert tables[0].equals(tables[1]) and not tables[1]["bad"].any()
    for one, other in zip(*(batches_of(f, settings.data) for f in (files, there)), strict=True):
        assert_same(one, other)


def batches_of(files, reading):
    return list(records.Records(files, reading).batches(16, seed=(1, 0)))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


def bytes_in(folder):
    names = sorted(tf.io.gfile.listdir(folder))
    return {name: tf.io.gfile.GFile(f"{folder}/{name}", "rb").read() for name in names}


def test_soft_targets_in_parts_are_those_of_one_task_and_a_student_learns_from_them(remote):
    """The last step of the same experiment, on the store from its data to its soft targets."""
    experiment = phases.start("distillation", *remote)
    step = experiment.todo()[0]
    folder = distillation.soft_targets_folder(experiment, step)
    assert folder.startswith("ram://bucket/soft targets/dbof-teachers-")
    said = []
    for part in (2, 1):
        assert distillation.write_part(experiment, part, 2, said.append) == ["dbof-teachers"]
    assert experiment.todo()[0] == step, "a part finishes no step"
    counts = [line.split()[1:4] for line in said if "shards, part" in line]
    assert sorted(counts) == [["1", "of", "3"], ["2", "of", "3"]]
    parts = bytes_in(folder)
    tf.io.gfile.rmtree(folder)
    assert distillation.write_part(experiment, 1, 1, said.append) == ["dbof-teachers"]
    assert bytes_in(folder) == parts and len(parts) == 3
    done_in(experiment, distillation.distil)
    assert bytes_in(folder) == parts, "what was there was predicted again"
    assert experiment.find(step.key).json(SOFT_TARGETS)["folder"] == folder
    tf.io.gfile.rmtree(folder)  # without its sidecars the step is to do again
    assert step in phases.start("distillation", *remote).todo()


def test_parts_of_shards_are_every_shard_once_and_about_equal(tmp_path):
    sizes = [70, 10, 10, 40, 30, 20, 20, 5]
    files = [str(tmp_path / f"{number}.tfrecord") for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        Path(file).write_bytes(b"x" * size)
    for parts in (1, 2, 3, 8, 20):
        split = [shards.part_of(files, part, parts) for part in range(1, parts + 1)]
        assert sorted(file for part in split for file in part) == files
        assert all(part == sorted(part) for part in split)
        assert split == [shards.part_of(files, part, parts) for part in range(1, parts + 1)]
    by_bytes = [sum(sizes[files.index(f)] for f in shards.part_of(files, n, 3)) for n in (1, 2, 3)]
    assert max(by_bytes) - min(by_bytes) <= 5
    elsewhere = [str(shutil.copy(f, tmp_path / f"again-{Path(f).name}")) for f in files]
    assert [Path(f).name[6:] for f in shards.part_of(elsewhere, 2, 3)] == [
        Path(f).name for f in shards.part_of(files, 2, 3)
    ]


@pytest.fixture
def copied(monkeypatch):
    """What is copied to the local disk, as often as it is."""
    made = []
    copy = nearby._copy
    monkeypatch.setattr(nearby, "_copy", lambda path, to: made.append(path) or copy(path, to))
    return made


def bytes_of_copies(folder):
    return sum(path.stat().st_size for path in folder.glob("[!.]*/*/*"))


def with_copies(settings, folder, nbytes):
    return settings.data.model_copy(update={"cache_folder": str(folder), "cache_bytes": nbytes})


def test_shards_are_copied_when_first_read_and_read_from_there_in_later_epochs(
    local, copied, tmp_path
):
    settings, globs = local
    there = shards.find(globs["train"])
    near = with_copies(settings, tmp_path / "near", 10**7)
    for _ in range(2):
        pairs = zip(batches_of(there, settings.data), batches_of(there, near), strict=True)
        for one, other in pairs:
            assert_same(one, other)
    assert sorted(copied) == there
    assert bytes_of_copies(tmp_path / "near") == sum(map(shards.size_of, there))
    with tf.io.gfile.GFile(there[0], "rb") as file:
        whole = file.read()
    put_again = f"{STORE}/changed/{there[0].split('/')[-1]}"
    tf.io.gfile.makedirs(f"{STORE}/changed")
    for _ in range(2):  # the same name with other bytes is another shard
        with tf.io.gfile.GFile(put_again, "wb") as file:
            file.write(whole)
        batches_of([put_again], near)
        whole += whole
    assert copied.count(put_again) == 2


def test_a_shard_larger_than_the_bound_is_read_in_place(local, copied, tmp_path):
    settings, globs = local
    there = shards.find(globs["train"])
    largest = max(map(shards.size_of, there))
    near = with_copies(settings, tmp_path, largest - 1)
    for one, other in zip(batches_of(there, settings.data), batches_of(there, near), strict=True):
        assert_same(one, other)
    assert copied and all(shards.size_of(file) < largest for file in copied)


def test_local_shards_are_not_copied_and_a_damaged_one_is_named_by_its_own_path(
    local, copied, tmp_path
):
    settings, globs = local
    near = with_copies(settings, tmp_path, 10**7)
    batches_of(shards.shards(settings)[0], near)
    assert not copied
    damaged = f"{STORE}/damaged.tfrecord"
    with tf.io.gfile.GFile(shards.find(globs["train"])[0], "rb") as file:
        whole = file.read()
    with tf.io.gfile.GFile(damaged, "wb") as file:
        file.write(whole[:-40] + b"?" + whole[-39:])
    with pytest.raises(records.DataError, match=damaged):
        batches_of([damaged], near)


def test_where_copies_lie_is_no_part_of_what_is_made(local):
    settings, _ = local
    assert with_copies(settings, "x", 5).model_dump() == settings.data.model_dump()
