"""The experiment on MLflow: what is finished, what is still to do, and one run a step.

A notebook opens its phase with ``phases.start``, works through ``todo()`` and logs each step inside
``run(step)``. It finds what earlier phases made with ``find``: never by a path.
"""

import getpass
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Param, Run

from yt8m_lib.errors import UserError
from yt8m_lib.experiment import locks, progress, standing
from yt8m_lib.experiment.answers import SOFT_TARGETS
from yt8m_lib.experiment.plan import Plan, flatten, what_changed
from yt8m_lib.experiment.run_files import files_of
from yt8m_lib.experiment.runs import (
    MADE,
    MEASURED,
    REPEAT,
    REVISION,
    STEP,
    SUPERSEDED,
    FinishedRun,
    RunLog,
    runs,
)
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.store import connect, create_experiment
from yt8m_lib.files import exists, seen_from
from yt8m_lib.settings import ROOT, Params

NEVER = "not run yet"
DRIVER = "YT8M_DRIVER"  # process id of the driver, in the environment of its kernels
INGREDIENTS = "ingredients.json"  # all that a run's result depended on, logged with it


class MissingRunError(UserError):
    """A step's result is asked for before it exists; the message says which phase makes it."""


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
        self.id = create_experiment(self.client, params)
        self._known: dict[str, list[FinishedRun]] = {}  # by fingerprint, as last read

    def runs(self, status: str) -> list[Run]:
        """All runs of this experiment with a status such as FINISHED, the newest first."""
        return runs(self.client, self.id, status)

    def finished_runs(self) -> list[FinishedRun]:
        """All finished runs, the newest first."""
        return [FinishedRun(run, self.params) for run in self.runs("FINISHED")]

    def finished(self, phase: str | None = None) -> dict[str, FinishedRun]:
        """The finished runs of a phase (this one, when not given) that are up to date, by name."""
        self._read()
        found = ((s.name, self._up_to_date(s)) for s in self.plan.of(phase or self.phase))
        return {name: run for name, run in found if run}

    def repeats(self, phase: str) -> list[int]:
        """Which repeats have a finished run of a phase, in order; it may be out of date."""
        tags = [run.data.tags for run in self.runs("FINISHED")]
        begun = (t[REPEAT] for t in tags if t.get(STEP, "").startswith(f"{phase}/"))
        return sorted(set(map(int, begun)))

    def is_complete(self, but: str) -> bool:
        """Whether every step of every other phase is finished."""
        self._read()
        return all(map(self._up_to_date, (s for s in self.plan.steps.values() if s.phase != but)))

    def find(self, key: str) -> FinishedRun:
        """The finished run of a step, by its key ``phase/name``.

        Raises:
            MissingRunError: when it has not been run with the present settings, data and code.
        """
        step = self.plan[key]
        if not self._up_to_date(step):
            self._read()
        found = self._up_to_date(step)
        if not found:
            raise MissingRunError(
                f"{key} is not finished for {self.params.experiment}. Run that phase first: "
                f"yt8m run params/{self.params.experiment}.yaml --only {step.phase}"
            )
        return found

    def ended(self, steps: Iterable[Step]) -> Iterator[tuple[Step, FinishedRun]]:
        """Those of some steps that are finished and up to date, as last read, with their runs."""
        for step in steps:
            if run := self._up_to_date(step):
                yield step, run

    def todo(self) -> list[Step]:
        """The steps of this phase that are to be made, or measured again."""
        finished = self.finished()
        return [s for s in self.plan.of(self.phase, self.models) if s.name not in finished]

    def unfinished(self, steps: Iterable[Step]) -> list[Step]:
        """Those of some steps that are to be made, or measured again."""
        self._read()
        return [step for step in steps if not self._up_to_date(step)]

    def begun(self, step: Step, since: float) -> bool:
        """Whether a run of a step that did not end well was begun since then, in Unix seconds."""
        bad = (run for status in ("FAILED", "KILLED", "RUNNING") for run in self.runs(status))
        wanted = {STEP: step.key, REPEAT: str(self.params.repeat)}.items()
        return any(
            wanted <= run.data.tags.items() and run.info.start_time >= 1000 * since for run in bad
        )

    def last_run(self, step: Step) -> FinishedRun | None:
        """The newest finished run of a step in this repeat, whatever it was made with."""
        wanted = {STEP: step.key, REPEAT: str(self.params.repeat)}
        for run in self.runs("FINISHED"):
            tags, found = run.data.tags, FinishedRun(run, self.params)
            if wanted.items() <= tags.items() and found.has(INGREDIENTS):
                return None if SUPERSEDED in tags else found
        return None

    def reason(self, step: Step) -> str:
        """Why a step must run: what changed since it was last finished in this repeat."""
        last = self.last_run(step)
        if last is None:
            return NEVER
        return what_changed(ingredients_of(last), self.ingredients(step))

    def ingredients(self, step: Step) -> dict[str, Any]:
        """All that the step's result depends on, as it is read back from a run."""
        return json.loads(json.dumps(self.plan.ingredients(step.key)))  # tuples become lists

    @contextmanager
    def run(self, step: Step) -> Iterator[RunLog]:
        """An MLflow run for a step: finished when the block ends, failed when it raises.

        A result that is there and only to be measured again keeps its run.
        """
        with _working(self.params):
            self._read()
            made = self._made(step)
            log = self._reopen(step, made) if made else self._open(step)
            try:
                yield log
            except BaseException as error:
                if not made:
                    killed = isinstance(error, KeyboardInterrupt)
                    self.client.set_terminated(log.run_id, "KILLED" if killed else "FAILED")
                raise
            log.metrics(**log.seconds)
            shutil.rmtree(log.scratch, ignore_errors=True)
            self.client.set_tag(log.run_id, MEASURED, self.plan.measuring(step.key))
            self.client.set_terminated(log.run_id, "FINISHED")
            self.put_out([step])
            seconds = next(iter(log.seconds.values()))
            measured = self.client.get_run(log.run_id).data.metrics
            print(progress.line(self, step, measured, seconds), flush=True)

    def attach(self, name: str, figure: Any) -> None:
        """Log a figure of the whole phase as ``<name>.png``, with the phase's newest run."""
        finished = self.finished().values()
        if finished:
            newest = max(finished, key=lambda run: run.started)
            with newest.files.writing(f"{name}.png") as path:
                figure.savefig(path)

    def keep(self, run_id: str, path: Path) -> None:
        """Log a file with a run that may be finished."""
        files_of(self.params, run_id).add(path)

    def put_out(self, steps: Iterable[Step]) -> list[str]:
        """Let what these steps made stand in the experiment's folder, where it is up to date.

        Returns:
            Names of the folders in which something else stood, or nothing.
        """
        self._read()
        found = ((step.stands, self._up_to_date(step)) for step in steps if step.stands)
        return [n for n, run in found if run and standing.put_out(self.params, n, run)]

    def supersede(self, phases: Iterable[str], models: Iterable[str] = ()) -> None:
        """Mark the finished runs of these phases and models as not to be reused (``--force``).

        Raises:
            PlanError: for a model that a phase does not have; then none is marked.
        """
        steps = [step for phase in phases for step in self.plan.of(phase, models)]
        self._read()
        for run in filter(None, map(self._up_to_date, steps)):
            self.client.set_tag(run.run_id, SUPERSEDED, "true")
        self._known = {}

    def bury_dead(self) -> int:
        """Mark runs that a killed process left open; call it under the lock. Returns how many."""
        dead = self.runs("RUNNING")
        for run in dead:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return len(dead)

    def _read(self) -> None:
        """Look up the usable finished runs by fingerprint anew."""
        self._known = {}
        for run in self.runs("FINISHED"):
            finished = FinishedRun(run, self.params)
            if SUPERSEDED not in run.data.tags:
                for fingerprint in finished.fingerprints:
                    self._known.setdefault(fingerprint, []).append(finished)

    def folder_of(self, name: str) -> str:
        """A folder that a run names: one within the results is seen from there."""
        return seen_from(ROOT / self.params.results, name)

    def _made(self, step: Step) -> FinishedRun | None:
        """The finished run whose result is the one that this step would make."""
        known = self._known.get(self.plan.fingerprint(step.key), [])
        found = next((run for run in known if run.files.are_there()), None)
        if found and found.has(f"{SOFT_TARGETS}.json"):
            folder = self.folder_of(found.json(SOFT_TARGETS)["folder"])
            return found if exists(folder) else None
        return found

    def _up_to_date(self, step: Step) -> FinishedRun | None:
        made = self._made(step)
        return made if made and made.measured == self.plan.measuring(step.key) else None

    def _reopen(self, step: Step, made: FinishedRun) -> RunLog:
        # Until it is measured again, a killed process leaves a finished run without measurements.
        self.client.set_tag(made.run_id, MEASURED, "")
        self.client.set_tag(made.run_id, REVISION, made.revision + 1)
        log = RunLog(self, step, made.run_id, is_made=True, revision=made.revision + 1)
        log.say("measuring again: how it is measured has changed, the model has not")
        return log

    def _open(self, step: Step) -> RunLog:
        reason = self.reason(step)
        parents = [self.find(parent).run_id for parent in step.parent_keys]
        tags = self._tags(step) | {"parents": ",".join(parents)}
        run_id = self.client.create_run(self.id, tags=tags).info.run_id
        settings = dict(flatten(step.settings.model_dump(mode="json")))
        shown = settings | {"phase": step.phase, "name": step.name} | step.described()
        self.client.log_batch(run_id, params=[Param(k, str(v)) for k, v in shown.items()])
        log = RunLog(self, step, run_id, is_made=False)
        log.json(INGREDIENTS.removesuffix(".json"), self.plan.ingredients(step.key))
        log.say("starting" if reason == NEVER else f"starting ({reason})")
        return log

    def _tags(self, step: Step) -> dict[str, str]:
        people = step.described() | {
            "mlflow.runName": step.title,
            "mlflow.note.content": step.about,
            "mlflow.user": getpass.getuser(),
            "mlflow.source.type": "NOTEBOOK",
            "mlflow.source.name": f"notebooks/{step.phase}.ipynb",
            "mlflow.source.git.commit": code_version(),
            "phase": step.phase,
            "step": step.name,
            "seed": str(self.params.seed),
            "repeat": str(self.params.repeat),
            "data": self.plan.data_digest,
            "code_version": code_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "pipeline": self.plan.pipeline,
        }
        own = {STEP: step.key, REPEAT: str(self.params.repeat)}
        return people | own | {MADE: self.plan.fingerprint(step.key)}


def ingredients_of(run: FinishedRun) -> dict[str, Any]:
    """All that a finished run's result depended on."""
    return run.json(INGREDIENTS.removesuffix(".json"))


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
