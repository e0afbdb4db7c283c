"""The torture harness in small: ``make torture`` runs all of it."""

import hypothesis
import pytest
from torture import faults, metric_cases, mutated_shards, parameter_faults  # noqa: F401
from torture.mutations import IN_RECORDS, NAMES, Mutation, crc, framed, mutate, records_of, sound
from torture.state import State

SEED = 20


def test_gap_is_its_definition():
    assert metric_cases.check(SEED, 0, 175) == []


def test_the_definition_by_hand():
    # Pooled: 0.9 hit, 0.8 miss, 0.5 hit; of three labels one is found by nobody.
    gap = metric_cases.definition([[0.9, 0.8], [0.5, 0.0]], [[1, 0], [1, 1]])
    assert gap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_inspect_and_reader_agree_on_mutated_shards(tmp_path):
    assert mutated_shards.run_examples(SEED, 12, tmp_path / "tried") == []


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


def test_hypothesis_is_the_pinned_one():
    from conftest import ROOT

    assert f"hypothesis=={hypothesis.__version__} " in (ROOT / "requirements.txt").read_text()
