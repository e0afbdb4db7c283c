"""Mutated shards: ``inspect`` never crashes, never hangs, and agrees with the reader.

What must hold of every shard, whatever happened to it:

- ``inspect`` gives one row, and counts no more videos than there are whole records;
- what it calls good is read: as many videos, and the same ids in the same order;
- what it calls bad is refused by the reader with an error of its kind, except where ``MAY_READ``
  says why a reader of a single shard may pass over it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import tensorflow as tf

from torture.mutations import CLASSES, LEVELS, SHARDS, Mutation, mutate, records_of
from yt8m_lib.data.inspection import inspect
from yt8m_lib.data.records import Records
from yt8m_lib.errors import UserError
from yt8m_lib.settings import ROOT, Data

DATA = {name: Data(level=name, classes=CLASSES, vocabulary=CLASSES, frames=2) for name in LEVELS}
# What inspect may say of a shard that the reader reads all the same, and why that is right.
MAY_READ: dict[str, str] = {
    "twice|duplicate|more than once": "whether ids are unique is asked of all shards together",
    "UTF-8": "ids are bytes to the reader; only the CSV of predictions needs text",
}
SECONDS = 900  # after which a chunk of shards counts as hung


def problem_of(level: str, mutations: list[Mutation], folder: Path) -> str:
    """What is wrong with how this mutated shard is treated, or ""."""
    file = folder / "shard.tfrecord"
    shard = mutate(level, mutations)
    file.write_bytes(shard)
    (row,) = inspect([str(file)], CLASSES).to_dict("records")
    records, is_whole = records_of(shard)
    if row["videos"] > len(records):
        return f"inspect counts {row['videos']} videos, there are {len(records)}"
    read, refusal = _read(str(file), row["level"] if row["level"] in LEVELS else level)
    if row["bad"]:
        may = any(re.search(words, row["bad"]) for words in MAY_READ)
        return "" if refusal or may else f"the reader reads what inspect calls {row['bad']!r}"
    if refusal:
        return f"inspect finds nothing, the reader refuses: {refusal}"
    if not is_whole:
        return f"inspect finds nothing, but only {len(records)} records are whole"
    videos = [tf.train.SequenceExample.FromString(record) for record in records]
    ids = [video.context.feature["id"].bytes_list.value[0] for video in videos]
    if not row["videos"] == len(ids) == len(read):
        return f"inspect counts {row['videos']}, the reader reads {len(read)} of {len(ids)}"
    return "" if ids == read else f"the reader reads {read} of {ids}"


def _read(file: str, level: str) -> tuple[list[bytes], str]:
    """The ids that the reader gives, and why it stopped ("" where it came to the end)."""
    ids: list[bytes] = []
    try:
        for batch in Records([file], DATA[level]).batches(4):
            ids += batch["id"].numpy().tolist()
    except (UserError, tf.errors.OpError) as error:
        return ids, f"{type(error).__name__}: {str(error)[:300]}"
    return ids, ""


def run_examples(seed: int, count: int, tried: Path) -> list[str]:
    """Mutate ``count`` shards, hypothesis choosing how; returns what was treated wrong.

    Args:
        seed: of the choice.
        count: how many.
        tried: receives the mutations at hand, for whoever finds this process dead.
    """
    failures = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],  # one or two mutations: nothing to shrink
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(SHARDS)
    def every_shard(example: tuple[str, list[Mutation]]) -> None:
        tried.write_text(repr(example))
        try:
            problem = problem_of(*example, tried.parent)
        except Exception as error:  # what neither inspect nor the reader may raise
            problem = f"{type(error).__name__}: {error}"
        if problem:
            failures.append(
                f"mutated shard: {problem}. Again: mutated_shards.problem_of(*{example!r}, Path())"
            )

    every_shard()
    return failures


def check(seed: int, count: int) -> list[str]:
    """Mutate shards in a process of its own, so that a crash or a hang is found and named."""
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / "tried"
        command = [sys.executable, "-m", "torture.mutated_shards"]
        command += [f"--seed={seed}", f"--count={count}", f"--tried={tried}"]
        again = f"Again: python -m torture.mutated_shards --seed={seed} --count={count}"
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "tests"},
                capture_output=True, text=True, timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"mutated shard: hung at {_tried(tried)}. {again}"]
        if done.returncode < 0 or not done.stdout:
            return [f"mutated shard: crashed at {_tried(tried)}: {done.stderr[-600:]} {again}"]
        return json.loads(done.stdout.splitlines()[-1])


def _tried(path: Path) -> str:
    return path.read_text() if path.exists() else "the start"


def main() -> None:
    """Mutate shards in this process; prints a list of failures as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--tried", type=Path, default=Path(tempfile.gettempdir()) / "tried")
    options = parser.parse_args()
    print(json.dumps(run_examples(options.seed, options.count, options.tried)))


if __name__ == "__main__":
    main()
