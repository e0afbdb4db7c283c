import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import Future

import pandas as pd
import pytest
from smoke_runs import with_blank_shards

from yt8m_lib import params
from yt8m_lib.catalogue import EXECUTORS
from yt8m_lib.experiment import (
    changes,
    executors,
    folders,
    forgetting,
    kernels,
    locks,
    registry,
    running,
    standing,
    store,
    tracking,
)
from yt8m_lib.experiment import plan as plan_module
from yt8m_lib.experiment.changes import OutdatedError
from yt8m_lib.experiment.folders import FolderError
from yt8m_lib.experiment.locks import LockedError
from yt8m_lib.experiment.notebooks import PhaseError
from yt8m_lib.experiment.plan import PlanError
from yt8m_lib.experiment.runs import FinishedRun
from yt8m_lib.experiment.store import StoreError
from yt8m_lib.experiment.tracking import Experiment, MissingRunError
from yt8m_lib.report import ReportError, figures, tables
from yt8m_lib.settings import PHASES, ROOT


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")  # one store for all tests: making it takes seconds


@pytest.fixture
def settings(results, request):
    overrides = [f"results={results}", f"experiment=t{abs(hash(request.node.name))}"]
    return with_blank_shards(params.load("params/smoke.yaml", overrides))


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


def test_soft_targets_alone_are_shown_before_there_is_a_student(settings):
    table = tables.distillation_table(Experiment(settings, "distillation", ["netvlad-teachers"]))
    assert table.empty and {"model", "family", "round", "gain", "paper", "verdict"} <= {*table}
    figures.draw_distillation(table).canvas.draw()


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
    with pytest.raises(PlanError, match="teachers has no data"):
        experiment.supersede(["data", "teachers"], ["data"])
    assert not experiment.todo()
    experiment.supersede(["data"])
    assert experiment.todo()
    finish(experiment, "data/data")
    assert not experiment.todo()
    tracking.shutil.rmtree(settings.folder / "artifacts")
    assert experiment.todo()


def test_forgetting_an_experiment_lets_it_start_afresh(settings):
    finish(Experiment(settings, "data"), "data/data")
    forgetting.forget(settings)
    assert not settings.folder.exists()
    assert not Experiment(settings).runs("FINISHED")


def test_the_champion_is_the_best_finished_version_of_the_experiment_that_ran_last(settings):
    experiment = Experiment(settings, "data")

    def champion():
        return experiment.client.get_model_version_by_alias(registry.NAME, registry.CHAMPION)

    for gap, best in ((0.5, 0.5), (0.7, 0.7), (0.6, 0.7)):
        experiment.supersede(["data"])
        with experiment.run(experiment.plan["data/data"]) as run:
            run.metrics(gap_selection=gap)
            registry.register(run)
        assert experiment.client.get_run(champion().run_id).data.metrics["gap_selection"] == best
    experiment.supersede(["data"])
    with pytest.raises(RuntimeError), experiment.run(experiment.plan["data/data"]) as run:
        run.metrics(gap_selection=0.9)
        registry.register(run)
        raise RuntimeError("behind the registration")
    with experiment.run(experiment.plan["data/data"]) as run:
        run.metrics(gap_selection=0.1)
        registry.register(run)
    assert experiment.client.get_run(champion().run_id).data.metrics["gap_selection"] == 0.7
    assert len(registry.versions(experiment.client, settings.experiment)) == 5
    forgetting.forget(settings)
    assert not registry.versions(experiment.client, settings.experiment)


def test_forcing_one_model_leaves_the_others(settings):
    finish(Experiment(settings, "data"), "data/data")
    for name in ("NetVLAD-low", "LSTM-mid"):
        finish(Experiment(settings, "teachers"), f"teachers/{name}")
    Experiment(settings).supersede(["teachers"], ["LSTM-mid"])
    assert set(Experiment(settings, "teachers").finished()) == {"NetVLAD-low"}


# --- Nothing is deleted or replaced that this program did not make ---


def test_cleaning_leaves_what_was_there_before_and_what_links_lead_to(settings, tmp_path):
    own = settings.model_copy(update={"results": str(tmp_path), "experiment": "own"})
    elsewhere = tmp_path / "elsewhere"
    for path in (own.folder / "data" / "train.tfrecord", elsewhere / "kept.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    with pytest.raises(FolderError, match="was not made by this program"):
        forgetting.forget(own)
    folders.prepare(own.folder)
    (own.folder / "notes.txt").write_text("mine")
    (own.folder / "tables").mkdir()
    (own.folder / "model").symlink_to(elsewhere)
    words = forgetting.forget(own)
    assert "deleted lock, model, tables" in words.replace("kernel.lock, ", "")
    assert words.endswith("left what it did not make: data, notes.txt")
    assert (own.folder / "data" / "train.tfrecord").exists() and (elsewhere / "kept.txt").exists()
    with pytest.raises(FolderError):
        forgetting.forget(own)


def test_what_killed_processes_were_about_to_write_goes_with_the_next_run(settings):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folders.prepare(settings.folder)
    stale = [f".{gone.pid}-model-x/new/part", f"data/.{gone.pid}-a.tfrecord"]
    kept = [f"data/.{os.getpid()}-b.tfrecord", "data/c.tfrecord", ".hidden"]
    for name in stale + kept:
        (settings.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.folder / name).write_text("")
    with locks.lock(settings, wait=False):
        left = {str(p.relative_to(settings.folder)) for p in settings.folder.rglob("*")}
        assert {*kept} <= left and not {*stale} & left


def test_a_folder_with_somebody_elses_model_is_not_worked_in(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(FolderError, match="holds model, which this program did not make"):
        folders.prepare(tmp_path)
    with pytest.raises(FolderError):
        folders.found_there(ROOT / "results" / "reference")


# --- What stands in the folder is that of the settings asked for last ---


def test_tables_are_those_of_the_settings_asked_for(settings):
    step = Experiment(settings).plan["report/report"]
    trials = settings.ensembling.model_copy(update={"trials": 2})
    variant = settings.model_copy(update={"ensembling": trials})
    runs = {}
    for one, text in ((settings, "first"), (variant, "variant")):
        experiment = Experiment(one)
        run_id = experiment.client.create_run(experiment.id).info.run_id
        artifacts = store.artifacts(one, run_id)
        artifacts.mkdir(parents=True)
        (artifacts / "averaging.csv").write_text(text)
        runs[text] = FinishedRun(experiment.client.get_run(run_id), one)
    csv = settings.folder / step.stands / "averaging.csv"
    assert standing.put_out(settings, step.stands, runs["first"])
    assert not standing.put_out(settings, step.stands, runs["first"])
    assert standing.put_out(variant, step.stands, runs["variant"]) and csv.read_text() == "variant"
    with pytest.raises(ReportError, match="other settings"):
        next(tables.read(settings))
    (csv.parent / "stale.csv").write_text("of neither")
    assert standing.put_out(settings, step.stands, runs["first"]) and csv.read_text() == "first"
    assert not (csv.parent / "stale.csv").exists()
    for spoil in (csv.unlink, lambda: csv.write_text("edits"), lambda: shutil.rmtree(csv.parent)):
        spoil()
        assert standing.put_out(settings, step.stands, runs["first"]), spoil
        assert csv.read_text() == "first"


# --- Results that are moved or copied, in folders of any name, by several processes ---


def test_a_copy_of_results_is_read_and_written_in_the_copy(tmp_path, settings):
    first = settings.model_copy(update={"results": str(tmp_path / "a %20b? #[1]")})
    shutil.copytree(settings.folder / "data", first.folder / "data")
    finish(Experiment(first, "data"), "data/data")
    before = {path for path in (tmp_path / first.results).rglob("*")}
    shutil.copytree(first.results, tmp_path / "copy")
    copy = first.model_copy(update={"results": str(tmp_path / "copy")})
    experiment = Experiment(copy, "data")
    assert not experiment.todo()
    made = experiment.find("data/data")
    folder = made.file("shards.csv").parent
    assert folder.is_relative_to(tmp_path / "copy")
    uri = experiment.client.get_run(made.run_id).info.artifact_uri
    assert uri == folder.as_uri()
    assert "shards.csv" in [file.path for file in experiment.client.list_artifacts(made.run_id)]
    experiment.supersede(["data"])
    finish(experiment, "data/data")
    assert {path for path in (tmp_path / first.results).rglob("*")} == before
    assert not Experiment(first, "data").todo()


OPENER = """
import sys
from yt8m_lib import params
from yt8m_lib.experiment.tracking import Experiment
Experiment(params.load("params/smoke.yaml", sys.argv[1:]))
"""


def test_two_processes_open_a_fresh_store_at_once(tmp_path):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, f"results={tmp_path}", f"experiment={name}"], cwd=ROOT
        )
        for name in ("same", "same")
    ]
    assert [process.wait() for process in both] == [0, 0]


def test_a_damaged_store_is_one_clear_error(tmp_path, settings):
    broken = settings.model_copy(update={"results": str(tmp_path)})
    path = tmp_path / "mlflow.db"
    whole = store.database(settings)
    Experiment(settings)
    for content in (b"", b"nonsense" * 999, whole.read_bytes()[: whole.stat().st_size // 2]):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        store._check.cache_clear()
        with pytest.raises(StoreError, match=r"mlflow.db is damaged"):
            Experiment(broken)


# --- What a driver hands to its notebooks ---


def test_a_run_keeps_the_parameters_that_it_started_with(settings, tmp_path, monkeypatch):
    file, read = tmp_path / "edited.yaml", []
    file.write_text("based_on: params/smoke.yaml\nseed: 1\nrepeats: 2\n")

    class Editor(executors.Local):
        def submit(self, task):
            read.append(params.load(task.params_file, task.overrides))
            file.write_text("seed: [nonsense")
            future = Future()
            future.set_result(None)
            return future

    Editor.__module__ = __name__
    EXECUTORS.register("editor", Editor)
    monkeypatch.setattr(running, "synthesize", lambda *_: None)
    monkeypatch.setattr(Experiment, "unfinished", lambda self, steps: [] if read else list(steps))
    overrides = [f"results={settings.results}", f"experiment={settings.experiment}", "seed=5"]
    try:
        asked = running.run(str(file), overrides, only=["data"], executor="editor")
    finally:
        EXECUTORS.remove("editor")
    assert read == [asked] and asked.seed == 5
    assert "edited.yaml" in (settings.folder / "params.yaml").read_text().splitlines()[0]


def test_a_wrong_model_is_refused_before_anything_is_superseded(settings, monkeypatch):
    finish(Experiment(settings, "data"), "data/data")
    overrides = [f"results={settings.results}", f"experiment={settings.experiment}"]
    with pytest.raises(PlanError, match="data has no LSTM"):
        running.run("params/smoke.yaml", overrides, only=["data"], models=["LSTM"], force=True)
    assert not Experiment(settings, "data").todo()


def test_parameters_that_a_notebook_does_not_ask_for_are_refused():
    notebook = ROOT / "notebooks" / "data.ipynb"
    good = {"params_file": "a", "overrides": "", "models": ""}
    kernels._check_parameters(notebook, good)
    for bad in ({"x=1; import os": "a"} | good, {**good, "models": 3}, {"models": ""}):
        with pytest.raises(PhaseError, match="tagged `parameters`"):
            kernels._check_parameters(notebook, bad)


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
from yt8m_lib.data import shards
from yt8m_lib.catalogue import EXECUTORS
from yt8m_lib.experiment import (
    changes,
    executors,
    folders,
    locks,
    running,
    standing,
    store,
    tracking,
)
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
