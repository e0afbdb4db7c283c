import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

from yt8m_lib import params
from yt8m_lib.experiment import locks, tracking
from yt8m_lib.experiment.locks import LockedError
from yt8m_lib.experiment.tracking import Experiment, MissingRunError
from yt8m_lib.settings import ROOT


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")  # one store for all tests: making it takes seconds


@pytest.fixture
def settings(results, request):
    overrides = [f"results={results}", f"experiment=t{abs(hash(request.node.name))}"]
    loaded = params.load("params/smoke.yaml", overrides)
    folder = loaded.folder / "data"
    folder.mkdir(parents=True)
    for name in ("train-00000", "validation-00000"):
        (folder / f"{name}.tfrecord").write_bytes(b"\0" * 40)
    return loaded


def finish(experiment: Experiment, key: str) -> None:
    with experiment.run(experiment.plan[key]) as run:
        run.metrics(gap=0.5)
        run.table("shards", pd.DataFrame({"a": [1, 2]}))


def test_a_finished_run_is_found_and_not_done_again(settings):
    experiment = Experiment(settings, "data")
    assert [step.name for step in experiment.todo()] == ["data"]
    with pytest.raises(MissingRunError, match="--only data"):
        experiment.find("data/data")
    finish(experiment, "data/data")
    again = Experiment(settings, "data")
    assert again.todo() == []
    found = again.find("data/data")
    assert found.metrics["gap"] == 0.5
    assert list(found.table("shards")["a"]) == [1, 2]
    assert found.tags["phase"] == "data" and found.tags["pipeline"] == again.plan.pipeline


def test_a_failed_or_killed_run_is_not_reused(settings):
    experiment = Experiment(settings, "data")
    step = experiment.plan["data/data"]
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), experiment.run(step):
            raise error
    assert {run.info.status for s in ("FAILED", "KILLED") for run in experiment.runs(s)} == {
        "FAILED",
        "KILLED",
    }
    experiment._open(step)  # as a process leaves it that was killed here
    assert [s.name for s in experiment.todo()] == ["data"]
    assert experiment.bury_dead() == 1
    assert not experiment.runs("RUNNING")


def test_a_changed_setting_is_done_again_and_says_why(settings):
    experiment = Experiment(settings, "data")
    finish(experiment, "data/data")
    other = settings.model_copy(update={"data": settings.data.model_copy(update={"max_frames": 9})})
    changed = Experiment(other, "data")
    (step,) = changed.todo()
    assert changed.reason(step) == "parameters changed (data.max_frames)"
    assert not Experiment(settings, "data").todo()


def test_a_reason_names_what_changed_alone_and_in_the_same_repeat(settings):
    finish(Experiment(settings, "data"), "data/data")
    step = Experiment(settings, "teachers", ["NetVLAD-low"]).todo()[0]
    finish(Experiment(settings, "teachers"), step.key)  # its settings have a tuple: JSON has none
    training = settings.training.model_copy(update={"frames": 7})
    other = Experiment(settings.model_copy(update={"training": training}), "teachers")
    assert other.reason(step) == "parameters changed (training.frames)"
    second = settings.model_copy(update={"repeat": 1})
    assert Experiment(second, "teachers").reason(step) == "not run yet"


def test_forced_or_lost_results_are_made_again(settings):
    experiment = Experiment(settings, "data")
    finish(experiment, "data/data")
    experiment.supersede(["data"])
    assert experiment.todo()
    finish(experiment, "data/data")
    assert not experiment.todo()
    tracking.shutil.rmtree(settings.folder / "artifacts")
    assert experiment.todo()


def test_forgetting_an_experiment_lets_it_start_afresh(settings):
    finish(Experiment(settings, "data"), "data/data")
    tracking.forget(settings)
    assert not settings.folder.exists()
    assert not Experiment(settings).runs("FINISHED")


HOLDER = """
import sys, time
from yt8m_lib import params
from yt8m_lib.experiment import locks, tracking
loaded = params.load("params/smoke.yaml", sys.argv[2:])
if sys.argv[1] == "driver":
    with locks.lock(loaded, wait=False):
        print("held", flush=True)
        time.sleep(60)
else:
    locks.hold(loaded, "kernel.lock", locks.fcntl.LOCK_SH)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["driver", "kernel"])
def test_one_driver_an_experiment_until_it_and_its_kernels_are_gone(settings, results, kind):
    overrides = [f"results={results}", f"experiment={settings.experiment}"]
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), kind, *overrides]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert holder.stdout.readline() == "held\n"
        words = f"process {holder.pid}" if kind == "driver" else "kernel"
        with pytest.raises(LockedError, match=words), locks.lock(settings, wait=False):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locks.lock(settings, wait=False):
        assert str(os.getpid()) in (settings.folder / "lock").read_text()
