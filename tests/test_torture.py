"""The torture harness in small: ``make torture`` runs all of it."""

import sys

import hypothesis
import pytest
from torture import faults, kills, metric_cases, mutated_shards, parameter_faults  # noqa: F401
from torture.mutations import IN_RECORDS, NAMES, Mutation, crc, framed, mutate, records_of, sound
from torture.state import State

from yt8m_lib.settings import PHASES

SEED = 20


def test_gap_is_its_definition():
    assert metric_cases.check(SEED, 0, 175) == []


def test_the_definition_by_hand():
    # Pooled: 0.9 hit, 0.8 miss, 0.5 hit; of three labels one is found by nobody.
    gap = metric_cases.definition([[0.9, 0.8], [0.5, 0.0]], [[1, 0], [1, 1]])
    assert gap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_inspect_and_reader_agree_on_mutated_shards(tmp_path):
    assert mutated_shards.run_examples(SEED, 8, tmp_path / "tried") == []


@pytest.mark.parametrize("name", NAMES)
def test_each_mutation_changes_a_shard(name):
    sounds = {level: b"".join(map(framed, sound(level))) for level in ("frame", "video")}
    assert any(mutate(level, [Mutation(name, 0.3, 7)]) != sounds[level] for level in sounds)


def test_the_harness_reads_shards_as_tensorflow_writes_them(tmp_path):
    import tensorflow as tf

    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in sound("frame"):
            writer.write(record)
    shard = (tmp_path / "a.tfrecord").read_bytes()
    assert records_of(shard) == ([*sound("frame")], True)
    assert records_of(shard[:-1]) == ([*sound("frame")][:-1], False)
    assert len(crc(b"")) == 4 and "two ids" in IN_RECORDS


CHEAP = [one for one in faults.FAULTS.values() if one.cheap]


@pytest.mark.parametrize("one", CHEAP, ids=lambda one: one.name)
def test_fault(one):
    assert faults.try_out(one) == "passed"


def test_a_fault_that_is_not_refused_fails():
    ended = faults.Ended(1, "Traceback (most recent call last):\nyt8m: no")
    with pytest.raises(AssertionError, match="traceback"):
        faults.refused(ended)
    with pytest.raises(AssertionError, match="does not say 'seed'"):
        faults.refused(faults.Ended(1, "yt8m: rate is wrong"), "seed")


def test_the_table_of_faults_names_a_test_for_each():
    table = faults.as_markdown({one.name: "passed" for one in CHEAP})
    assert table.count("\n") == len(CHEAP) + 2 and "parameter_faults.missing_file" in table


def test_what_is_done_is_not_done_again(tmp_path):
    state = State(tmp_path, seed=1)
    assert state.once("work", lambda: [1]) == [1]
    again = State(tmp_path, seed=1)
    assert again.once("work", lambda: pytest.fail("done again")) == [1]
    assert "work" not in State(tmp_path, seed=2)


# What a run looks like from outside: phases that are done once, each in a process of its own.
DRIVER = """
import pathlib, subprocess, sys
folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True)
def work(word, phase, message):
    child = [sys.executable, "-c", "import time; time.sleep(0.3)", word]
    if subprocess.run(child).returncode:
        sys.exit("yt8m: " + message)
    (folder / phase).touch()
if not (folder / "writer").exists():
    work("synthesize", "writer", "the stand-in data could not be written")
for phase in sys.argv[2:]:
    if not (folder / phase).exists():
        print(phase + ": 1 of 1 to do", flush=True)
        work("yt8m-kernel", phase, "its process died")
"""


def test_kills_go_on_to_the_wanted_number_and_are_counted(tmp_path, monkeypatch):
    command = lambda results: [sys.executable, "-c", DRIVER, str(results), *PHASES]  # noqa: E731
    monkeypatch.setattr(kills.experiment, "command", command)
    monkeypatch.setattr(kills.experiment, "differences", lambda one, other: [])
    state = State(tmp_path, seed=1)
    state.keep("unbroken", dict.fromkeys(kills.STAGES, 0.3))
    found = kills.check(state, 1, 9, lambda line: None)
    assert found["failures"] == [] and found["kills"] == 9
    assert sum(found["victims"].values()) == 9 and len(found["stages"]) > 3
    assert kills.check(State(tmp_path, seed=1), 1, 9, pytest.fail) == found


def test_hypothesis_is_the_pinned_one():
    from conftest import ROOT

    assert f"hypothesis=={hypothesis.__version__} " in (ROOT / "requirements.txt").read_text()
