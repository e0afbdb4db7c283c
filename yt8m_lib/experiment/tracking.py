"""The experiment on MLflow: what is finished, what is still to do, and one run a step.

A notebook opens its phase with ``start``, works through ``todo()`` and logs each step inside
``run(step)``. It finds what earlier phases made with ``find``: never by a path.
"""

import fcntl
import json
import os
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Metric, Param, Run, RunTag

from yt8m_lib import params as params_module
from yt8m_lib.experiment import locks
from yt8m_lib.experiment.plan import Plan, Step, flatten, what_changed
from yt8m_lib.methods import devices
from yt8m_lib.settings import ROOT, Params
from yt8m_lib.scoring.intervals import Estimate

DRIVER = "YT8M_DRIVER"  # process id of the driver, in the environment of its kernels


class MissingRunError(LookupError):
    """A step's result is asked for before it exists; the message says which phase makes it."""


class FinishedRun:
    """A finished run, to read from.

    Attributes:
        run_id, metrics, tags: as MLflow has them.
    """

    def __init__(self, run: Run):
        self.run_id, self.metrics, self.tags = run.info.run_id, run.data.metrics, run.data.tags
        self.folder, self.started = _folder(run), run.info.start_time

    def file(self, name: str) -> Path:
        """Path of an artifact.

        Raises:
            FileNotFoundError: when the run did not log it, or it was deleted since.
        """
        if not self.has(name):
            raise FileNotFoundError(f"run {self.run_id} has no artifact {name} in {self.folder}")
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether the run logged such an artifact."""
        return (self.folder / name).exists()

    def table(self, name: str) -> pd.DataFrame:
        """A table that ``RunLog.table`` logged."""
        return pd.read_csv(self.file(f"{name}.csv"))

    def gap(self, answers: str = "predictions") -> Estimate:
        """GAP of the run's answers on the report half, with its resamples."""
        return Estimate.load(self.file(f"{answers}_gap.npz"))


class RunLog:
    """An open run, to write to."""

    def __init__(
        self, client: mlflow.MlflowClient, run_id: str, step: Step, scratch: Path, place: str
    ):
        self.run_id, self.step, self.scratch, self._place = run_id, step, scratch, place
        self._client = client

    def say(self, line: str) -> None:
        """Print a line of progress, marked with the step it belongs to."""
        print(f"[{self._place}] {line}", flush=True)

    def metrics(self, **values: float) -> None:
        """Log final metrics."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id, metrics=[Metric(k, float(v), now, 0) for k, v in values.items()]
        )

    def epoch(self, row: dict[str, float], prefix: str = "") -> None:
        """Log an epoch's figures, for a curve that grows while training goes on."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(prefix + key, value, now, int(row["epoch"]))
            for key, value in row.items()
            if key != "epoch"
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def tags(self, **values: str) -> None:
        """Set tags."""
        self._client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in values.items()])

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all that is in it."""
        log = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
        log(self.run_id, str(path), folder)

    def save(self, name: str, write: Callable[[Path], Any]) -> None:
        """Log the file that ``write(path)`` makes."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        path = self.scratch / name
        write(path)
        self.file(path)
        path.unlink()

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Log a table as ``<name>.csv``."""
        self.save(f"{name}.csv", lambda path: table.to_csv(path, index=False))

    def figure(self, name: str, figure: Any) -> None:
        """Log a matplotlib figure as ``<name>.png``."""
        self.save(f"{name}.png", lambda path: figure.savefig(path, dpi=120, bbox_inches="tight"))


class Experiment:
    """One parameter file's experiment, as MLflow knows it.

    Args:
        params: the checked parameters.
        phase: the phase that this process works on; "" to read only.
        models: names that narrow the phase down; all when empty.
    """

    def __init__(self, params: Params, phase: str = "", models: Iterable[str] = ()):
        self.params, self.phase, self.models = params, phase, tuple(models)
        self.plan = Plan(params)
        self.client = mlflow.MlflowClient(tracking_uri=connect(params))
        found = self.client.get_experiment_by_name(params.experiment)
        self.id = found.experiment_id if found else _create(self.client, params)
        self._known: dict[str, FinishedRun] = {}  # by fingerprint, as last read

    def runs(self, status: str) -> list[Run]:
        """All runs of this experiment with a status such as FINISHED, the newest first."""
        runs: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self.client.search_runs(
                [self.id], f"attributes.status = '{status}'", page_token=token or None
            )
            runs, token = runs + list(page), page.token or None
        return runs  # MLflow orders by start, the newest first

    def finished(self, phase: str | None = None) -> dict[str, FinishedRun]:
        """The valid finished runs of a phase (this one, when not given) by name."""
        steps = self.plan.of(phase or self.phase)
        by_fingerprint = self._read()
        prints = {step.name: self.plan.fingerprint(step.key) for step in steps}
        return {
            n: by_fingerprint[print_] for n, print_ in prints.items() if print_ in by_fingerprint
        }

    def repeats(self, phase: str) -> list[int]:
        """Which repeats have a finished run of a phase, in order; it may be out of date."""
        tags = [run.data.tags for run in self.runs("FINISHED")]
        return sorted({int(t["repeat"]) for t in tags if t.get("phase") == phase and "repeat" in t})

    def is_complete(self, but: str) -> bool:
        """Whether every step of every other phase is finished."""
        known = self._read()
        steps = (step for step in self.plan.steps.values() if step.phase != but)
        return all(self.plan.fingerprint(step.key) in known for step in steps)

    def _read(self) -> dict[str, FinishedRun]:
        """The valid finished runs by fingerprint, read anew."""
        found: dict[str, FinishedRun] = {}
        for run in self.runs("FINISHED"):
            tags = run.data.tags
            usable = "superseded" not in tags and Path(tags.get("folder", ROOT)).exists()
            if usable and "fingerprint" in tags and _folder(run).exists():
                found.setdefault(tags["fingerprint"], FinishedRun(run))
        self._known = found
        return found

    def find(self, key: str) -> FinishedRun:
        """The finished run of a step, by its key ``phase/name``.

        Raises:
            MissingRunError: when it has not been run with the present settings, data and code.
        """
        fingerprint = self.plan.fingerprint(key)
        if fingerprint not in self._known and fingerprint not in self._read():
            raise MissingRunError(
                f"{key} is not finished for {self.params.experiment}. Run that phase first: "
                f"yt8m run params/{self.params.experiment}.yaml --only {key.split('/', 1)[0]}"
            )
        return self._known[fingerprint]

    def todo(self) -> list[Step]:
        """The steps of this phase that have no valid finished run."""
        finished = self.finished()
        return [s for s in self.plan.of(self.phase, self.models) if s.name not in finished]

    def reason(self, step: Step) -> str:
        """Why a step must run: what changed since it was last finished in this repeat."""
        wanted = {"phase": step.phase, "step": step.name, "repeat": str(self.params.repeat)}
        for run in self.runs("FINISHED"):
            path = _folder(run) / "ingredients.json"
            if wanted.items() <= run.data.tags.items() and path.exists():
                new = json.loads(json.dumps(self.plan.ingredients(step.key)))  # tuples are lists
                return what_changed(json.loads(path.read_text()), new)
        return "not run yet"

    @contextmanager
    def run(self, step: Step) -> Iterator[RunLog]:
        """An MLflow run for a step: finished when the block ends, failed when it raises."""
        with _working(self.params):
            steps = self.plan.of(self.phase, self.models)
            place = f"{step.phase} {steps.index(step) + 1}/{len(steps)} {step.name}"
            run_id = self._open(step)
            scratch = self.params.folder / "scratch" / self.plan.fingerprint(step.key)
            log = RunLog(self.client, run_id, step, scratch, place)
            log.say(f"starting ({self.reason(step)})")
            started = time.monotonic()
            try:
                yield log
            except BaseException as error:
                killed = isinstance(error, KeyboardInterrupt)
                self.client.set_terminated(run_id, "KILLED" if killed else "FAILED")
                raise
            log.metrics(seconds=time.monotonic() - started)
            shutil.rmtree(scratch, ignore_errors=True)
            self.client.set_terminated(run_id, "FINISHED")
            log.say(f"done in {time.monotonic() - started:.1f} s")

    def _open(self, step: Step) -> str:
        ingredients = self.plan.ingredients(step.key)
        parents = [self.find(parent).run_id for parent in step.parents]
        tags = step.tags | {
            "mlflow.runName": f"{step.phase} {step.name}",
            "phase": step.phase,
            "step": step.name,
            "seed": str(self.params.seed),
            "repeat": str(self.params.repeat),
            "data": self.plan.data_digest,
            "code_version": code_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "pipeline": self.plan.pipeline,
            "parents": ",".join(parents),
            "fingerprint": self.plan.fingerprint(step.key),
        }
        run_id = self.client.create_run(self.id, tags=tags).info.run_id
        flat = dict(flatten(step.settings)) | {"phase": step.phase, "name": step.name} | step.tags
        self.client.log_batch(run_id, params=[Param(k, str(v)) for k, v in flat.items()])
        self.client.log_dict(run_id, ingredients, "ingredients.json")
        return run_id

    def attach(self, name: str, figure: Any) -> None:
        """Log a figure of the whole phase as ``<name>.png``, with the phase's newest run."""
        finished = self.finished().values()
        if finished:
            newest = max(finished, key=lambda run: run.started)
            self.client.log_figure(newest.run_id, figure, f"{name}.png")

    def supersede(self, phases: Iterable[str]) -> None:
        """Mark the finished runs of these phases as not to be reused (``--force``)."""
        for phase in phases:
            for run in self.finished(phase).values():
                self.client.set_tag(run.run_id, "superseded", "true")
        self._known = {}

    def bury_dead(self) -> int:
        """Mark runs that a killed process left open; call it under the lock. Returns how many."""
        dead = self.runs("RUNNING")
        for run in dead:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return len(dead)


def start(phase: str, params_file: str, overrides: str = "", models: str = "") -> Experiment:
    """Open a phase from its notebook.

    Args:
        phase: the phase's name.
        params_file: such as ``params/demo.yaml``; relative paths are seen from the project's root.
        overrides: ``KEY=VALUE`` settings, separated by blanks, quoted as in a shell.
        models: names that narrow the phase down, separated by blanks or commas.
    """
    params = params_module.load(params_file, shlex.split(overrides))
    params_module.check_data(params)
    if phase != "report":  # which only draws what was logged
        devices.prepare()
    if os.environ.get(DRIVER):
        locks.hold(params, "kernel.lock", fcntl.LOCK_SH)
    return Experiment(params, phase, models.replace(",", " ").split())


def connect(params: Params) -> str:
    """Point MLflow at the store under ``results/``; returns its address."""
    store = ROOT / params.results / "mlflow.db"
    store.parent.mkdir(parents=True, exist_ok=True)
    address = f"sqlite:///{store}"
    mlflow.set_tracking_uri(address)
    return address


def _create(client: mlflow.MlflowClient, params: Params) -> str:
    return client.create_experiment(
        params.experiment, artifact_location=str(params.folder / "artifacts")
    )


def forget(params: Params) -> None:
    """Delete all that an experiment left: its runs, artifacts, data and tables."""
    with locks.lock(params, wait=False):
        client = mlflow.MlflowClient(tracking_uri=connect(params))
        found = client.get_experiment_by_name(params.experiment)
        if found:  # MLflow keeps a deleted experiment's name taken
            client.rename_experiment(found.experiment_id, f"{found.name}-deleted-{time.time():.0f}")
            client.delete_experiment(found.experiment_id)
        shutil.rmtree(params.folder, ignore_errors=True)


def _folder(run: Run) -> Path:
    """Where a run's artifacts lie: the artifact store is a local folder, by construction."""
    return Path(run.info.artifact_uri.removeprefix("file://"))


@cache
def code_version() -> str:
    """The checkout's commit, marked when files differ from it; "unknown" outside git."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@contextmanager
def _working(params: Params) -> Iterator[None]:
    """What a run holds while it works: nothing more under a driver, else the lock itself."""
    if os.environ.get(DRIVER):
        yield
    else:
        with locks.lock(params, wait=False):
            yield
