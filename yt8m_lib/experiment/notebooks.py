"""Executing one notebook for some steps: the one function that every executor calls."""

import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from yt8m_lib import params as params_files
from yt8m_lib.errors import UserError
from yt8m_lib.experiment import progress, tracking
from yt8m_lib.experiment.runs import STEP
from yt8m_lib.settings import ROOT

INTERRUPTED = "interrupted"


class PhaseError(UserError):
    """A phase's notebook failed; the message says where and why."""


@dataclass(frozen=True)
class Resources:
    """What a notebook wants of a machine; None where nobody says.

    Attributes:
        gpus: how many; a part of one where several notebooks share it.
        memory: bytes.
        hours: after which a batch system may end it.
    """

    gpus: float | None = None
    memory: int | None = None
    hours: float | None = None


ANYTHING = Resources()


@dataclass(frozen=True)
class NotebookTask:
    """One notebook to execute for some steps.

    Attributes:
        phase: whose notebook it is.
        params_file: the experiment's, as the notebook names it.
        overrides: ``KEY=VALUE`` settings.
        models: names that narrow the phase down; all when empty.
        output: where the executed notebook goes, a file of this task's own.
        resources: what it wants of a machine.
        asked: the phases that the driver was asked for, this one among them.
    """

    phase: str
    params_file: str
    overrides: tuple[str, ...]
    models: tuple[str, ...]
    output: Path
    resources: Resources = ANYTHING
    asked: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, str]:
        """What the notebook's parameters cell is given."""
        return {
            "params_file": self.params_file,
            "overrides": shlex.join(self.overrides),
            "models": " ".join(self.models),
        }


def execute(task: NotebookTask) -> None:
    """Execute a notebook with papermill, and log it with the runs that it made.

    Raises:
        PhaseError: when it fails.
    """
    from yt8m_lib.experiment import kernels  # papermill takes seconds to import

    task.output.parent.mkdir(parents=True, exist_ok=True)
    notebook = ROOT / "notebooks" / f"{task.phase}.ipynb"
    os.environ[tracking.DRIVER] = str(os.getpid())
    os.environ[progress.ASKED] = ",".join(task.asked or (task.phase,))
    started = time.time()
    try:
        kernels.run(notebook, task.output, task.parameters)
    finally:
        del os.environ[tracking.DRIVER], os.environ[progress.ASKED]
        _log(task, started)


def attempt(task: NotebookTask) -> str:
    """Execute a notebook elsewhere; returns what went wrong, in the words for the user, or ""."""
    try:
        execute(task)
    except UserError as error:
        return str(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return ""


def _log(task: NotebookTask, started: float) -> None:
    """Give the executed notebook to the runs that it made."""
    if not task.output.exists():
        return
    params = params_files.load(task.params_file, task.overrides)
    experiment = tracking.Experiment(params, task.phase, task.models)
    keys = {step.key for step in experiment.plan.of(task.phase, task.models)}
    for status in ("FINISHED", "FAILED", "RUNNING"):
        for run in experiment.runs(status):
            own = run.data.tags.get(STEP, "") in keys
            if own and run.info.start_time >= 1000 * started:
                experiment.keep(run.info.run_id, task.output)
