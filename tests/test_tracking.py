import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

from yt8m_lib import params
from yt8m_lib.experiment import changes, locks, tracking
from yt8m_lib.experiment import plan as plan_module
from yt8m_lib.experiment.changes import OutdatedError
from yt8m_lib.experiment.locks import LockedError
from yt8m_lib.experiment.tracking import Experiment, MissingRunError
from yt8m_lib.settings import PHASES, ROOT


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
    (run,) = again.runs("FINISHED")
    assert run.data.tags["phase"] == "data" and run.data.tags["pipeline"] == again.plan.pipeline


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


def test_a_model_is_measured_again_without_being_made_again(settings):
    finish(Experiment(settings, "data"), "data/data")
    step = Experiment(settings, "teachers").plan["teachers/NetVLAD-low"]
    finish(Experiment(settings, "teachers"), step.key)
    quantization = settings.quantization.model_copy(update={"more_than": 5})
    other = Experiment(settings.model_copy(update={"quantization": quantization}), "teachers")
    assert step.name in [s.name for s in other.todo()]
    with pytest.raises(RuntimeError), other.run(other.plan[step.key]) as run:
        assert run.is_made
        raise RuntimeError  # as when it is killed: the model is still there, and still unmeasured
    with other.run(other.plan[step.key]) as run:
        assert run.is_made and run.logged("shards.csv").exists()
        run.metrics(gap=0.7)
    found = other.find(step.key)
    assert found.metrics["gap"] == 0.7 and "seconds" in found.metrics
    assert len(other.finished()) == 1 and not other.runs("FAILED")


# --- What a change of code or data puts out of date ---


@pytest.fixture
def trained(settings, monkeypatch):
    """Data, a teacher and its average are finished; then the code that trains them changes."""
    for key in ("data/data", "teachers/DBoF-mid", "averaging/DBoF-mid"):
        finish(Experiment(settings, key.split("/")[0]), key)
    digests = plan_module.code_digests

    def edited(*roots: str) -> dict[str, str]:
        trains = any("phases.teachers:fit" in root for root in roots)
        return digests(*roots) | ({"methods.training": "edited"} if trains else {})

    def edit() -> None:
        monkeypatch.setattr(plan_module, "code_digests", edited)

    return edit


def check(settings, hours: float, **data) -> list[Experiment]:
    experiments = [Experiment(settings.model_copy(update={"remake_hours": hours} | data))]
    changes.check(experiments, PHASES, ())
    return experiments


def test_little_work_is_made_again_and_much_is_not_without_being_asked(settings, trained):
    check(settings, hours=0.0)  # nothing has changed
    trained()
    check(settings, hours=1.0)
    with pytest.raises(OutdatedError) as error:
        check(settings, hours=0.0)
    for words in ("teachers/DBoF-mid", "averaging/DBoF-mid", "methods.training", "--accept-code"):
        assert words in str(error.value)
    assert "data/data" not in str(error.value)


def test_settings_that_were_changed_on_purpose_need_no_leave(settings, trained):
    trained()
    training = settings.training.model_copy(update={"frames": 7})
    check(settings, hours=0.0, training=training)


def test_accepted_work_is_found_by_the_present_code_and_marked(settings, trained):
    trained()
    assert changes.accept([Experiment(settings)], PHASES, ()) == 2
    (experiment,) = check(settings, hours=0.0)
    for key in ("teachers/DBoF-mid", "averaging/DBoF-mid"):
        run = experiment.client.get_run(experiment.find(key).run_id)
        assert "made at" in run.data.tags["code_accepted"]
        assert "accepted at" in run.data.tags["code_accepted"]
    assert not Experiment(settings, "teachers", ["DBoF-mid"]).todo()


def test_changed_data_are_never_accepted(settings, trained):
    trained()
    (settings.folder / "data" / "train-00000.tfrecord").write_bytes(b"\0" * 50)
    with pytest.raises(OutdatedError, match="data: other shards"):
        check(settings, hours=0.0)
    with pytest.raises(OutdatedError, match="data changed, too"):
        changes.accept([Experiment(settings)], PHASES, ())


HOLDER = """
import sys, time
from yt8m_lib import params
from yt8m_lib.experiment import changes, locks, tracking
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
