"""Where notebooks run: every executor ends in the same results, and none loses what is done."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future

import psutil
import pytest
from smoke_runs import command, run, same, tables_of
from test_tracking import finish, results, settings  # noqa: F401 - two are fixtures

from yt8m_lib.experiment import executors, notebooks, processes, running
from yt8m_lib.experiment.executors import ExecutorError, Machines
from yt8m_lib.experiment.notebooks import NotebookTask, PhaseError, Resources
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import ROOT

MODELS = ("LSTM-mid", "logistic")
ELSEWHERE = {
    "processes": ["--executor", "processes", "--workers", "2"],
    "ray": ["--executor", "ray", "--workers", "2"],
    "slurm": ["--executor", "slurm", "--address", "local", "--workers", "2"],
}
NEEDS = {"ray": "ray", "slurm": "submitit"}


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request):
    module = NEEDS.get(request.param)
    if module and not importlib.util.find_spec(module):
        pytest.skip(f'{module} is not installed: pip install -e ".[{request.param}]"')
    return ELSEWHERE[request.param]


def test_every_executor_trains_the_same_models(smoke, tmp_path, elsewhere):
    shutil.copytree(smoke[0].results, tmp_path, dirs_exist_ok=True)
    printed = run(tmp_path, "--only", "teachers", "--models", *MODELS, "--force", *elsewhere)
    assert [f"teachers {name}: done in" in printed for name in MODELS] == [True, True]
    params = smoke[0].model_copy(update={"results": str(tmp_path)})
    here, there = (Experiment(one, "teachers").finished() for one in (smoke[0], params))
    for name in MODELS:
        assert there[name].has(f"teachers-{name}.ipynb")
        assert there[name].run_id != here[name].run_id
        for metric in ("gap", "perr", "loss"):
            assert there[name].metrics[metric] == here[name].metrics[metric]


def start(folder, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(folder, *more), cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` ignores it
    )  # fmt: skip


def wait_for(process: subprocess.Popen, words: str, times: int = 1) -> None:
    while times:
        line = process.stdout.readline()
        assert line, f"it ended before {words!r}"
        times -= words in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_driver_leaves_no_notebook_running_and_nothing_is_lost(smoke, tmp_path, number):
    shutil.copytree(smoke[0].results, tmp_path, dirs_exist_ok=True)
    only = ["--only", "teachers", "--models", "LSTM-mid", "GRU-mid"]
    driver = start(tmp_path, *only, "--force", "--executor", "processes", "--workers", "2")
    wait_for(driver, "starting", 2)
    family = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, number)
    printed = driver.communicate()[0]
    assert driver.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert "the same command goes on from there" in printed and "Traceback" not in printed
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    run(tmp_path, *only)
    params = smoke[0].model_copy(update={"results": str(tmp_path)})
    here, there = (Experiment(one, "teachers").finished() for one in (smoke[0], params))
    for name in ("LSTM-mid", "GRU-mid"):
        assert there[name].run_id != here[name].run_id
        assert there[name].metrics["gap"] == here[name].metrics["gap"]


@pytest.mark.slow
def test_every_executor_ends_in_the_same_tables(smoke, tmp_path, elsewhere):
    run(tmp_path, *elsewhere)
    same(tables_of(smoke[0].results), tables_of(tmp_path))


@pytest.mark.slow
def test_a_cluster_that_loses_a_machine_ends_in_the_same_tables(smoke, tmp_path):
    """Two machines of a Ray cluster, as far as Ray can tell; one is killed in its work."""
    pytest.importorskip("ray", reason='pip install -e ".[ray]"')
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        driver = start(tmp_path, "--executor", "ray", "--address", cluster.address)
        wait_for(driver, "[teachers", 8)
        cluster.remove_node(second, allow_graceful=False)
        printed = driver.communicate()[0]
        assert driver.returncode == 0, printed
    finally:
        cluster.shutdown()
    same(tables_of(smoke[0].results), tables_of(tmp_path))


class Fake(executors.Executor):
    """Finishes steps without notebooks; some fail, before or while they are worked on."""

    workers = 2

    def __init__(self, params, failing, whole_phases):
        self.params, self.failing, self.whole_phases = params, failing, whole_phases
        self.tasks: list[NotebookTask] = []

    def share(self, ready):
        return ready if self.whole_phases else 1

    def submit(self, task):
        self.tasks.append(task)
        future: Future = Future()
        experiment = Experiment(self.params, task.phase, task.models)
        for step in experiment.todo():
            if step.name in self.failing:
                with pytest.raises(RuntimeError), experiment.run(step):
                    raise RuntimeError
                future.set_exception(PhaseError(f"{step.name} broke"))
                return future
            finish(experiment, step.key)
        future.set_result(None)
        return future

    def stop(self):
        pass


@pytest.mark.parametrize("whole_phases", [True, False])
def test_one_failure_stops_no_neighbour_and_is_told_at_the_end(settings, whole_phases):  # noqa: F811
    executor = Fake(settings, {"FVNet-mid"}, whole_phases)
    driver = running.Driver(settings, settings.folder / "params.yaml", executor, lambda line: None)
    phases = ["data", "teachers", "averaging"]
    with pytest.raises(PhaseError) as told:
        driver.run(phases, ())
    lines = str(told.value).splitlines()
    assert lines[0] == "teachers/FVNet-mid: FVNet-mid broke"
    assert lines[1] == "Not run, since it depends on that: averaging/FVNet-mid"
    finished = Experiment(settings).finished
    assert len(finished("teachers")) == len(settings.models) - 1
    assert "LightVLAD-mid" in finished("averaging") and "FVNet-mid" not in finished("averaging")
    executor.failing = set()
    driver.run(phases, ())
    last = executor.tasks[-1]
    assert (last.phase, last.models, last.output.name) == ("averaging", (), "averaging.ipynb")
    left = {name for task in executor.tasks[-2:] for name in task.models}
    assert left <= {"FVNet-mid"}
    assert "FVNet-mid" in Experiment(settings).finished("averaging")


def task(tmp_path, memory: int) -> NotebookTask:
    return NotebookTask("teachers", "a.yaml", (), (), tmp_path / "a.ipynb", Resources(None, memory))


def test_notebooks_wait_for_memory_and_one_alone_always_starts(tmp_path, monkeypatch):
    total = psutil.virtual_memory().total
    executor = processes.Processes(Machines(workers=3))
    seen, together = [], []

    def pretend(worker, task):
        seen.append(task)
        together.append(len(seen))
        time.sleep(0.2)
        seen.remove(task)
        return ""

    monkeypatch.setattr(processes._Worker, "attempt", pretend)
    for memory in (total // 2 + 1, total // 2 + 1, 2 * total):
        executor.submit(task(tmp_path, memory))
    executor._threads.shutdown()
    assert together == [1, 1, 1]


def test_each_notebook_at_a_time_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a")
    executor = processes.Processes(Machines())
    assert executor.workers == 2
    held, seen = [], set()

    def pretend(worker, task):
        assert worker.gpu not in held
        held.append(worker.gpu)
        seen.add(worker.gpu)
        time.sleep(0.05)
        held.remove(worker.gpu)
        return ""

    monkeypatch.setattr(processes._Worker, "attempt", pretend)
    for future in [executor.submit(task(tmp_path, 1)) for _ in range(6)]:
        future.result()
    assert seen == {"3", "GPU-5a"}
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert processes.visible_gpus() == []


def test_cores_are_filled_with_notebooks_that_say_how_many_they_compute_on(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(processes, "cores", lambda: 8)
    of = {n: processes.Processes(Machines(threads=n)).workers for n in (0, 1, 3, 9)}
    assert of == {0: 1, 1: 8, 3: 2, 9: 1}
    assert processes.Processes(Machines(workers=3, threads=1)).workers == 3


def test_shares_shrink_towards_the_end():
    executor, left, shares = processes.Processes(Machines(workers=2)), 17, []
    while left:
        shares.append(executor.share(left))
        left -= shares[-1]
    assert shares == [5, 3, 3, 2, 1, 1, 1, 1]


def test_resources_are_the_most_that_any_of_the_models_is_given(settings):  # noqa: F811
    models = {
        name: model.model_copy(update={"gpus": 0, "memory": 3 if name == "FVNet-low" else None})
        for name, model in settings.models.items()
    }
    steps = [one for one in Experiment(settings).plan.of("teachers")]
    given = settings.model_copy(update={"models": models})
    assert running._resources(given, steps) == Resources(gpus=0, memory=3)
    assert running._resources(settings, steps) == Resources()


def test_what_a_machine_cannot_do_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExecutorError, match="--executor processes"):
        executors.Local(Machines(workers=2))
    with pytest.raises(ExecutorError, match="--address"):
        processes.Processes(Machines(address="somewhere:1"))
    if importlib.util.find_spec("submitit"):
        from yt8m_lib.experiment import slurm

        with pytest.raises(ExecutorError, match="no sbatch on the PATH"):
            slurm.Slurm(Machines())
    if importlib.util.find_spec("ray"):
        from yt8m_lib.experiment import ray_cluster

        with pytest.raises(ExecutorError, match="no Ray cluster there"):
            ray_cluster.Ray(Machines(address="127.0.0.1:1"))


def test_a_notebook_that_fails_elsewhere_says_why_in_one_piece(tmp_path, monkeypatch):
    def broken(task):
        raise PhaseError("teachers.ipynb, cell 9: no room")

    monkeypatch.setattr(notebooks, "execute", broken)
    assert notebooks.attempt(task(tmp_path, 1)) == "teachers.ipynb, cell 9: no room"
