"""Faults of what runs leave: tables of another variant, folders moved, databases and sidecars."""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from torture import experiment
from torture.faults import ROOT, Workshop, experiment_folder, fault, refused, works
from torture.mutations import framed, records_of
from yt8m_lib.settings import PHASES


def digests(folder: Path) -> dict[str, str]:
    """A hash of every file below a folder, databases and locks left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if "mlflow.db" not in path.name and not path.name.endswith("lock")
    }


def nothing_to_do(workshop: Workshop, results: Path) -> None:
    """Assert that a run finds all phases finished, and the finished run's tables."""
    ended = workshop.run(results)
    works(ended)
    done = [phase for phase in PHASES if f"{phase}: " in ended.printed]
    again = [phase for phase in done if f"{phase}: done in" in ended.printed]
    assert not again, f"made again: {again}"
    assert not (found := experiment.differences(results, workshop.finished)), found


# --- What stands in results/<experiment> is what was asked for ---


@fault(
    "tables of a variant", "A, then A with `ensembling.trials=2`, then A", "A's tables and model"
)
def tables_of_a_variant(workshop: Workshop) -> None:
    results = workshop.results()
    model = digests(experiment_folder(results) / "model")
    works(workshop.run(results, "--set", "ensembling.trials=2", "--set", "seed=1"))
    works(workshop.run(results))
    assert not (found := experiment.differences(results, workshop.finished)), found
    assert digests(experiment_folder(results) / "model") == model, "the variant's model is there"


@fault("tables and model deleted", "`tables/` and `model/` deleted, then run", "they are restored")
def tables_deleted(workshop: Workshop) -> None:
    results = workshop.results()
    model = digests(experiment_folder(results) / "model")
    for name in ("tables", "model"):
        shutil.rmtree(experiment_folder(results) / name)
    works(workshop.run(results))
    assert not (found := experiment.differences(results, workshop.finished)), found
    assert digests(experiment_folder(results) / "model") == model


@fault("force on a wrong name", "`--force --models nosuch`", "one line; nothing is made again")
def force_on_a_wrong_name(workshop: Workshop) -> None:
    results = workshop.results()
    forced = workshop.run(results, "--only", "teachers", "--models", "nosuch", "--force")
    refused(forced, "nosuch")
    nothing_to_do(workshop, results)


# --- Moved, copied, cleaned ---


@fault("results moved", "the results folder moved and renamed", "nothing is done again")
def results_moved(workshop: Workshop) -> None:
    first = workshop.results("first")
    (workshop.folder / "below").mkdir()
    nothing_to_do(workshop, Path(shutil.move(first, workshop.folder / "below" / "second")))


@fault("results copied", "a copy run with `--force`", "the original stays as it is")
def results_copied(workshop: Workshop) -> None:
    original, copy = workshop.results("original"), workshop.results("copy")
    before = digests(original)
    works(workshop.run(copy, "--only", "averaging", "--models", "DBoF-low", "--force"))
    assert digests(original) == before, "the copy wrote into the original"


@fault("clean of a user's folder", "`clean` where `results` holds a user's files", "they survive")
def clean_of_a_users_folder(workshop: Workshop) -> None:
    kept = workshop.file(f"mine/{experiment.NAME}/notes.txt", "mine")
    workshop.yt8m("clean", experiment.FILE, "--set", f"results={workshop.folder / 'mine'}")
    assert kept.read_text() == "mine"


# --- The database ---


def _database(name: str, change: Callable[[Path], None]) -> None:
    @fault(f"database {name}", f"mlflow.db {name}, then run", "one line that names it, or it works")
    def check(workshop: Workshop) -> None:
        results = workshop.results()
        kept = digests(experiment_folder(results) / "artifacts")
        change(results / "mlflow.db")
        ended = workshop.run(results, "--only", "data")
        if ended.status:
            refused(ended, "mlflow.db")
        now = digests(experiment_folder(results) / "artifacts")
        assert kept.items() <= now.items(), "artifacts were lost"

    check.__name__ = f"database {name}"


_database("deleted", lambda path: path.unlink())
_database("emptied", lambda path: path.write_bytes(b""))
_database("truncated", lambda path: path.write_bytes(path.read_bytes()[: 5 * 4096]))
_database("overwritten with noise", lambda path: path.write_bytes(np.random.bytes(50_000)))


@fault("two experiments at once", "two started on a fresh results folder", "both end well")
def two_at_once(workshop: Workshop) -> None:
    results = workshop.folder / "results"
    commands = [
        experiment.command(results, "--only", "data", "--set", f"experiment={name}")
        for name in ("one", "two")
    ]
    started = [
        subprocess.Popen(one, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for one in commands
    ]
    for one in started:
        printed = one.communicate()[0]
        assert one.returncode == 0, printed[-600:]


@fault("parameters edited while a run works", "the YAML broken meanwhile", "the run keeps its own")
def edited_meanwhile(workshop: Workshop) -> None:
    base = "based_on: params/smoke.yaml"
    own = experiment.FILE.read_text().replace(base, f"based_on: {ROOT / 'params' / 'smoke.yaml'}")
    assert str(ROOT) in own
    file = workshop.file("torture.yaml", own)
    command = experiment.command(workshop.folder / "results", "--only", "data", file=file)
    started = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    for line in started.stdout:
        lines.append(line)
        if line.startswith("data: 1 of 1 to do"):
            file.write_text("seed: [")
    assert started.wait() == 0, "".join(lines)[-600:]


@fault("loss that is no number", "a teacher at rate 1e30", "one line at once: model, epoch, step")
def loss_is_nan(workshop: Workshop) -> None:
    results, started = workshop.results(), time.monotonic()
    rate = ("--set", "models.NetVLAD-high.rate=1.0e+30")
    ended = workshop.run(results, "--only", "teachers", "--models", "NetVLAD-high", *rate)
    refused(ended, "NetVLAD-high", "step")
    assert time.monotonic() - started < 300


# --- Sidecars of soft targets ---


def _sidecar(name: str, change: Callable[[list], bytes]) -> None:
    done = f"a sidecar {name}, then `--force` of its teachers"

    @fault(f"sidecar {name}", done, "it is predicted again: the soft targets are as they were")
    def check(workshop: Workshop) -> None:
        results = workshop.results()
        kept = _soft_targets(results)
        file = next(iter(kept))
        file.write_bytes(change(records_of(kept[file])[0]))
        teachers = file.parent.name.rpartition("-")[0]
        works(workshop.run(results, "--only", "distillation", "--models", teachers, "--force"))
        now = _soft_targets(results)
        assert [records_of(one)[0] for one in now.values()] == [
            records_of(one)[0] for one in kept.values()
        ], "the faulty sidecar was kept"

    check.__name__ = f"sidecar {name}"


def _soft_targets(results: Path) -> dict[Path, bytes]:
    files = sorted((experiment_folder(results) / "soft_targets").rglob("*.tfrecord"))
    assert files, "no soft targets"
    return {file: file.read_bytes() for file in files}


def _changed(change: Callable[[Any], None]) -> Callable[[list], bytes]:
    """Change the features of every video in a sidecar."""
    import tensorflow as tf

    def of_records(records: list[bytes]) -> bytes:
        written = []
        for record in records:
            video = tf.train.Example.FromString(record)
            change(video.features.feature)
            written.append(framed(video.SerializeToString(deterministic=True)))
        return b"".join(written)

    return of_records


def _confidence(value: float) -> Callable[[list], bytes]:
    def change(features: Any) -> None:
        column = features["confidences"].bytes_list
        confidences = np.frombuffer(column.value[0], "<f2").copy()
        confidences[0] = value
        column.value[:] = [confidences.tobytes()]

    return _changed(change)


def _older(features: Any) -> None:
    features["teachers"].bytes_list.value[:] = [b"others"]


_sidecar("with NaN", _confidence(np.nan))
_sidecar("above 1", _confidence(3.0))
_sidecar("of older teachers", _changed(_older))
_sidecar("of other videos", lambda records: b"".join(framed(one) for one in reversed(records)))
_sidecar("short of a video", lambda records: b"".join(framed(one) for one in records[1:]))
_sidecar("emptied", lambda records: b"")
