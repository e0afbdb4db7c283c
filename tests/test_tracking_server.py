"""Runs recorded with a real server of MLflow on a real PostgreSQL, started here on loopback."""

import dataclasses
import http.server
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import mlflow
import pandas as pd
import pytest
import requests
from smoke_runs import TIMINGS, run, with_blank_shards
from tracking_server import PASSWORD, running

from yt8m_lib import params
from yt8m_lib.cli import main
from yt8m_lib.experiment import forgetting, locks, registry, servers, shared_lock, store
from yt8m_lib.experiment import running as running_module
from yt8m_lib.experiment.locks import LockedError
from yt8m_lib.experiment.servers import StoreError
from yt8m_lib.experiment.shared_lock import SharedLock
from yt8m_lib.experiment.tracking import Experiment, MissingRunError
from yt8m_lib.settings import ROOT

STEPS = (("--only", "data"), ("--only", "teachers", "--models", "LSTM-mid"))
SMALL = ("synthetic.train_videos=96", "synthetic.validation_videos=96")


@pytest.fixture(scope="module")
def served():
    with running() as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv(servers.VARIABLE, found.server)
        yield found


@pytest.fixture(scope="module")
def trained(served, tmp_path_factory):
    """Data and one teacher of smoke.yaml, made on the server twice; what was printed."""
    results = tmp_path_factory.mktemp("server")
    overrides = [f"results={results}", *SMALL]
    first = "".join(run(results, *step, *set_(*SMALL)) for step in STEPS)
    second = []
    for _, phase, *models in STEPS:
        running_module.run(
            "params/smoke.yaml", overrides, [phase], models=models[1:], say=second.append
        )
    return params.load("params/smoke.yaml", overrides), (first, "\n".join(second))


def set_(*overrides):
    return [part for one in overrides for part in ("--set", one)]


def elsewhere(settings, folder):
    """The same experiment as another machine sees it that has the same data."""
    other = settings.model_copy(update={"results": str(folder)})
    if not (other.folder / "data").exists():
        shutil.copytree(settings.folder / "data", other.folder / "data")
    return other


@pytest.fixture
def settings(served, tmp_path, request):
    """An experiment of the test's own, whose data are there and which has no run."""
    where = [f"results={tmp_path / 'results'}", f"experiment=t{abs(hash(request.node.name))}"]
    return with_blank_shards(params.load("params/smoke.yaml", where))


def finish(experiment, key, value):
    with experiment.run(experiment.plan[key]) as log:
        log.metrics(gap=value)
        log.table("shards", pd.DataFrame({"a": [value]}))


def test_runs_are_on_the_server_alone_and_reused(trained, served):
    settings, (first, second) = trained
    assert "teachers: done in" in first and second.count("nothing to do") == len(STEPS)
    left = {path.name for path in settings.folder.iterdir()}
    assert "artifacts" not in left and not (settings.folder.parent / "mlflow.db").exists()
    logged = {path.name for path in served.files.rglob("*") if path.is_file()}
    assert {"shards.csv", "model.keras", "predictions.npz", "teachers-LSTM-mid.ipynb"} <= logged
    assert not Experiment(settings).runs("RUNNING")
    assert not experiment_locks(settings)


def experiment_locks(settings):
    found = Experiment(settings).client.search_registered_models()
    return [model.name for model in found if model.name.startswith("yt8m-lock-")]


def test_another_machine_finds_and_fetches_them(trained, tmp_path, served):
    settings = elsewhere(trained[0], tmp_path)
    experiment = Experiment(settings, "teachers", ["LSTM-mid"])
    assert not experiment.todo()
    teacher = experiment.find("teachers/LSTM-mid")
    fetched = teacher.file("model.keras")
    assert fetched.is_relative_to(settings.folder / "fetched")
    (made,) = [path for path in served.files.rglob("model.keras") if teacher.run_id in path.parts]
    assert fetched.read_bytes() == made.read_bytes()
    assert teacher.gap().value == pytest.approx(teacher.metrics["gap"])
    assert len(teacher.table("history")) == 2 and not teacher.has("nothing")
    with pytest.raises(FileNotFoundError, match="has no artifact nothing"):
        teacher.file("nothing")
    with pytest.raises(MissingRunError):
        experiment.find("teachers/GRU-mid")


def test_a_run_is_listed_once_and_a_file_fetched_once(trained, tmp_path, monkeypatch):
    settings, asked = elsewhere(trained[0], tmp_path), []
    request = requests.Session.request

    def noted(self, method, url, **more):
        asked.extend([url] if "artifacts" in url else [])
        return request(self, method, url, **more)

    monkeypatch.setattr(requests.Session, "request", noted)
    # What the run logged; and of each of two files that it is none of a folder's, and its content.
    for most in (5, 0):
        asked.clear()
        experiment = Experiment(settings, "teachers", ["LSTM-mid"])
        assert not experiment.todo()
        teacher = experiment.find("teachers/LSTM-mid")
        assert teacher.has("model.keras") and teacher.gap() and len(teacher.table("history"))
        assert len(asked) <= most, asked


def test_the_cache_stays_within_its_bound(trained, tmp_path):
    limit = 40_000
    where = trained[0].tracking.model_copy(update={"cache_bytes": limit})
    settings = elsewhere(trained[0], tmp_path).model_copy(update={"tracking": where})
    teacher = Experiment(settings).find("teachers/LSTM-mid")
    sizes = {}
    for name in teacher.files.names():
        sizes[name] = teacher.file(name).stat().st_size
        left = [p for p in (settings.folder / "fetched").glob("[!.]*/*/*") if p.name != name]
        assert sum(path.stat().st_size for path in left) <= limit
    assert max(sizes.values()) > limit > min(sizes.values())


def test_what_is_measured_again_is_read_anew(settings, tmp_path):
    key = "teachers/NetVLAD-low"
    finish(Experiment(settings, "data"), "data/data", 0.5)
    finish(Experiment(settings, "teachers"), key, 1)
    more = settings.quantization.model_copy(update={"more_than": 5})
    changed = settings.model_copy(update={"quantization": more})
    experiment = Experiment(changed, "teachers")
    step = experiment.plan[key]
    seen = Experiment(elsewhere(changed, tmp_path / "other"), "teachers")
    assert seen.last_run(step).table("shards")["a"][0] == 1  # and kept in that machine's cache
    with pytest.raises(RuntimeError), experiment.run(step):
        raise RuntimeError
    with experiment.run(step) as log:
        assert log.is_made and log.logged("shards.csv").exists()
        log.table("shards", pd.DataFrame({"a": [2]}))
    assert seen.find(key).table("shards")["a"][0] == 2
    assert seen.find(key).revision == 2


def test_lost_files_make_a_run_again(settings, served):
    experiment = Experiment(settings, "data")
    finish(experiment, "data/data", 0.5)
    run_id = experiment.find("data/data").run_id
    for folder in served.files.rglob(run_id):
        shutil.rmtree(folder)
    script = (
        "import sys\nfrom yt8m_lib import params\n"
        "from yt8m_lib.experiment.tracking import Experiment\n"
        "print(len(Experiment(params.load('params/smoke.yaml', sys.argv[1:]), 'data').todo()))"
    )
    overrides = [f"results={settings.results}", f"experiment={settings.experiment}"]
    asked = subprocess.run(
        [sys.executable, "-c", script, *overrides], capture_output=True, text=True, cwd=ROOT
    )
    assert asked.stdout == "1\n", asked.stderr  # what another process finds


def test_figures_and_notebooks_go_to_finished_runs(settings, tmp_path):
    from matplotlib.figure import Figure

    experiment = Experiment(settings, "data")
    finish(experiment, "data/data", 0.5)
    made = experiment.find("data/data")
    (tmp_path / "data.ipynb").write_text("{}")
    experiment.keep(made.run_id, tmp_path / "data.ipynb")
    experiment.attach("curve", Figure())
    assert made.has("data.ipynb") and made.file("curve.png").stat().st_size


def test_the_model_that_stands_comes_from_the_server(settings, tmp_path):
    experiment = Experiment(settings, "data")
    (tmp_path / "made" / "variables").mkdir(parents=True)
    (tmp_path / "made" / "variables" / "data").write_text("weights")
    with experiment.run(experiment.plan["data/data"]) as log:
        log.metrics(gap_selection=0.5)
        log.file(tmp_path / "made", "model")
        log.save("averaging.csv", lambda path: path.write_text("a\n1\n"))
        registry.register(log)
    made = experiment.find("data/data")
    step = dataclasses.replace(experiment.plan["data/data"])
    for stands, file in (("model", "variables/data"), ("tables", "averaging.csv")):
        object.__setattr__(step, "stands", stands)
        assert experiment.put_out([step]) == [stands] and not experiment.put_out([step])
        standing = settings.folder / stands / file
        assert (
            standing.read_text()
            == made.file(stands if stands == "model" else file)
            .joinpath(*([file] if stands == "model" else []))
            .read_text()
        )
        standing.write_text("an edit")
        assert experiment.put_out([step]) == [stands]
    (version,) = registry.versions(experiment.client, settings.experiment)
    place = mlflow.artifacts.download_artifacts(f"models:/{registry.NAME}/{version.version}")
    assert sorted(os.listdir(place)) == ["variables"]


def test_cleaning_takes_an_experiment_off_the_server(settings, served):
    finish(Experiment(settings, "data"), "data/data", 0.5)
    words = forgetting.forget(settings)
    assert not settings.folder.exists() or os.listdir(settings.folder) == ["data"]
    assert f"its runs at {served.server}" in words and "mlflow gc" in words
    again = Experiment(settings)
    assert not again.runs("FINISHED")
    again.client.delete_experiment(again.id)
    with pytest.raises(StoreError, match="was deleted there"):
        Experiment(settings)


def test_a_database_without_a_server_needs_a_place_for_files(settings, served, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    where = settings.tracking.model_copy(update={"uri": served.database})
    direct = settings.model_copy(update={"tracking": where})
    with pytest.raises(StoreError, match=r"give a place for them .* `tracking.artifacts`"):
        Experiment(direct)
    place = settings.folder.parent / "shared artifacts"
    both = where.model_copy(update={"artifacts": str(place)})
    experiment = Experiment(settings.model_copy(update={"tracking": both}), "data")
    finish(experiment, "data/data", 0.5)
    assert experiment.find("data/data").table("shards")["a"][0] == 0.5
    assert [path.name for path in place.rglob("*.csv")] == ["shards.csv"]
    seen = Experiment(settings, "data").client.search_experiments()  # by way of the server
    assert settings.experiment in [one.name for one in seen]


# --- One driver across machines ---

HOLDER = """
import sys
from yt8m_lib import params
from yt8m_lib.experiment import locks
loaded = params.load("params/smoke.yaml", sys.argv[1:])
with locks.lock(loaded, wait=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(settings, results):
    """Another driver, whose results are in a folder of its own, as on another machine."""
    overrides = [f"results={results}", f"experiment={settings.experiment}"]
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), *overrides]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, cwd=ROOT, **pipes)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_second_driver_is_refused_or_waits_and_is_told_who_holds_it(settings, tmp_path):
    said = []
    with holder(settings, tmp_path / "other") as process:
        name, pid = settings.experiment, process.pid
        words = rf"{name} at http://127.0.0.1:\d+ is in use by process {pid}"
        with (
            pytest.raises(LockedError, match=f"{words} on .* since"),
            locks.lock(settings, wait=False),
        ):
            pass
        with pytest.raises(LockedError, match=words):
            forgetting.forget(settings)

        def say(line):
            said.append(line)
            process.stdin.close()  # now it ends

        with locks.lock(settings, wait=True, say=say):
            assert process.wait() == 0
    (line,) = said
    assert "waiting until it ends" in line and str(process.pid) in line
    assert not experiment_locks(settings)


@pytest.mark.parametrize("same", [True, False], ids=["same folder", "another machine"])
def test_the_lock_of_a_killed_driver_is_taken_over(settings, tmp_path, monkeypatch, same):
    said = []
    with holder(settings, settings.results if same else tmp_path / "other") as process:
        process.kill()
        process.wait()
        if not same:  # where the same folder is locked, nobody has to wait
            monkeypatch.setattr(shared_lock, "STALE", 1.0)
            monkeypatch.setattr(shared_lock, "POLL", 0.1)
        with locks.lock(settings, wait=True, say=said.append):
            assert experiment_locks(settings)
        assert f"process {process.pid} on" in said[-1] and "is taken over" in said[-1]
    assert not experiment_locks(settings)


def lock_of(settings, say):
    client = mlflow.MlflowClient(tracking_uri=store.connect(settings))
    return SharedLock(client, settings.experiment, "the server", say=say)


def test_of_many_who_find_a_dead_holder_one_takes_over_at_a_time(settings, monkeypatch):
    for name, seconds in (("STALE", 8.0), ("BEAT", 0.5), ("POLL", 0.05)):
        monkeypatch.setattr(shared_lock, name, seconds)
    client = mlflow.MlflowClient(tracking_uri=store.connect(settings))
    dead = {"token": "t", "holder": "process 1", "place": "", "seen": "1.0"}
    client.create_registered_model(f"yt8m-lock-{settings.experiment}", dead)
    at_once, most, said = [], [], []

    def work():
        with lock_of(settings, said.append).held(wait=True):
            at_once.append(1)
            most.append(len(at_once))
            time.sleep(0.2)
            at_once.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1, 1, 1, 1]
    assert [line for line in said if "taken over" in line] == [
        "process 1 gives no sign any more: its lock is taken over"
    ]
    assert not experiment_locks(settings)


def test_a_driver_whose_lock_is_gone_stops(settings, monkeypatch, capsys):
    monkeypatch.setattr(shared_lock, "BEAT", 0.2)
    client = Experiment(settings).client
    with (
        pytest.raises(LockedError, match="somebody deleted it"),
        lock_of(settings, print).held(wait=False),
    ):
        client.delete_registered_model(f"yt8m-lock-{settings.experiment}")
        time.sleep(60)
        raise AssertionError("it was not stopped")
    assert "somebody deleted it" in capsys.readouterr().err


def test_a_driver_gives_signs_of_life(settings, monkeypatch):
    monkeypatch.setattr(shared_lock, "BEAT", 0.1)
    watch = lock_of(settings, print)
    with lock_of(settings, print).held(wait=False):
        first = watch._holder()
        while watch._holder() == first:
            time.sleep(0.1)
        assert watch._holder().token == first.token


# --- What is said when it does not work ---


@contextmanager
def answering(status: int, body: bytes):
    """A server that answers everything with this."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.delenv(servers.VARIABLE, raising=False)
    return lambda *more: params.load("params/smoke.yaml", [f"results={tmp_path}", *more])


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"who are you", "does not let us in .401.* MLFLOW_TRACKING_USERNAME"),
        (403, b"{}", "MLFLOW_TRACKING_TOKEN"),
        (404, b"not here", "is no server of MLflow"),
        (200, b"<html>", "is no server of MLflow"),
        (503, b"later", "answered 503"),
    ],
)
def test_a_server_that_refuses_is_one_clear_error(offline, status, body, words):
    with answering(status, body) as address:
        where = offline(f"tracking.uri={address}")
        with pytest.raises(StoreError, match=f"^{address} .*{words}"):
            Experiment(where)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_server_that_does_not_answer_is_one_clear_error(offline, address, capsys):
    with pytest.raises(StoreError, match=rf"^{address} does not answer .* Is the server running"):
        Experiment(offline(f"tracking.uri={address}"))
    with pytest.raises(SystemExit):
        where = f"results={offline().results}"
        command = ["run", "params/smoke.yaml", "--only", "data", "--set", where]
        main([*command, "--set", f"tracking.uri={address}"])
    assert capsys.readouterr().err.startswith(f"yt8m: {address} does not answer")


def test_a_wrong_password_of_a_database_is_not_printed(settings, served, monkeypatch):
    address = served.database.replace("@", ":wrong-one@")
    monkeypatch.setenv(servers.VARIABLE, address)
    with pytest.raises(StoreError, match="PGPASSWORD") as error:
        Experiment(settings)
    assert "password authentication failed" in str(error.value)
    assert "wrong-one" not in str(error.value)


def test_a_variable_that_is_no_store_says_so(offline, monkeypatch):
    monkeypatch.setenv(servers.VARIABLE, "mlruns")
    with pytest.raises(StoreError, match="MLFLOW_TRACKING_URI: 'mlruns' is no address"):
        Experiment(offline())


def test_a_place_for_files_wants_a_server(offline, tmp_path):
    with pytest.raises(StoreError, match=r"give `tracking.uri`"):
        Experiment(offline(f"tracking.artifacts={tmp_path}"))


def test_settings_come_before_the_variable_and_the_folder_last(offline, monkeypatch):
    assert servers.address(offline()) is None
    assert servers.where_to_compare(offline()) == "make ui"
    store.connect(offline())  # MLflow notes its own choice in the variable
    assert servers.address(offline()) is None
    monkeypatch.setenv(servers.VARIABLE, "http://one:1/")
    assert servers.address(offline()) == "http://one:1"
    assert servers.where_to_compare(offline("tracking.uri=http://two:2")) == "http://two:2"
    monkeypatch.setenv(servers.VARIABLE, "postgresql://me:secret@db/runs?sslmode=require")
    assert servers.where_to_compare(offline()).endswith("=postgresql://me@db/runs make ui")


# --- The whole of it ---


@pytest.mark.slow
def test_smoke_on_a_server_ends_in_the_same_tables(smoke, served, tmp_path):
    from yt8m_lib.report import tables

    run(tmp_path)
    settings = params.load("params/smoke.yaml", [f"results={tmp_path}"])
    assert not (settings.folder / "artifacts").exists()
    expected = dict(tables.read(smoke[0]))
    for name, table in tables.read(settings):
        left_out = [column for column in TIMINGS if column in table]
        pd.testing.assert_frame_equal(
            table.drop(columns=left_out), expected[name].drop(columns=left_out)
        )
    model = mlflow.pyfunc.load_model(f"models:/{registry.NAME}@{registry.CHAMPION}")
    assert model.input_example["frames"].shape == (1, 1, 1152)
    main(["ensemble", "params/smoke.yaml", "--set", f"results={tmp_path}"])
    assert run(tmp_path).count("nothing to do") == 7
