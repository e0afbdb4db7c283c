"""Executing one notebook for some steps: the one function that every executor calls."""

import logging
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from yt8m_lib import params as params_files
from yt8m_lib.errors import UserError
from yt8m_lib.experiment import tracking
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
    """

    phase: str
    params_file: str
    overrides: tuple[str, ...]
    models: tuple[str, ...]
    output: Path
    resources: Resources = field(default=Resources())

    @property
    def parameters(self) -> dict[str, str]:
        """What the notebook's parameters cell is given."""
        return {
            "params_file": self.params_file,
            "overrides": shlex.join(self.overrides),
            "models": " ".join(self.models),
        }


class OwnKernelManager(AsyncKernelManager):
    """Starts notebooks on this very Python, whatever kernels are installed elsewhere."""

    transport_encryption = "required"  # else the kernel warns of other users of this machine

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of the running interpreter."""
        # Else it complains of the interrupt that ends it.
        quiet = "--log-level=CRITICAL"
        argv = [sys.executable, "-m", "ipykernel_launcher", quiet, "-f", "{connection_file}"]
        curve = {"supported_encryption": ["curve"]}
        return KernelSpec(argv=argv, display_name="yt8m", language="python", metadata=curve)


def execute(task: NotebookTask) -> None:
    """Execute a notebook with papermill, and log it with the runs that it made.

    Raises:
        PhaseError: when it fails.
    """
    _pass_on_output()
    task.output.parent.mkdir(parents=True, exist_ok=True)
    notebook = ROOT / "notebooks" / f"{task.phase}.ipynb"
    _check_parameters(notebook, task.parameters)
    os.environ[tracking.DRIVER] = str(os.getpid())
    started = time.time()
    try:
        papermill.execute_notebook(
            notebook,
            task.output,
            parameters=task.parameters,
            cwd=ROOT,
            progress_bar=False,
            log_output=True,
            request_save_on_cell_execute=True,
            kernel_manager_class=OwnKernelManager,
        )
    except papermill.PapermillExecutionError as error:
        raise PhaseError(
            f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"The notebook with its traceback: {task.output}"
        ) from None
    except DeadKernelError:
        raise PhaseError(
            f"{notebook.name}: its process died (out of memory?). Finished models are kept: "
            "the same command goes on from there."
        ) from None
    finally:
        del os.environ[tracking.DRIVER]
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


def _check_parameters(notebook: Path, given: dict[str, str]) -> None:
    """Refuse what the notebook does not ask for: papermill would paste it into a cell as it is.

    Raises:
        PhaseError: naming the parameters that differ by name or type.
    """
    asked = papermill.inspect_notebook(str(notebook))
    names = {name: about["inferred_type_name"] for name, about in asked.items()}
    if names != {name: type(value).__name__ for name, value in given.items()}:
        listed = ", ".join(f"{name}: {kind}" for name, kind in names.items()) or "none"
        raise PhaseError(
            f"{notebook}: its cell tagged `parameters` has {listed}; it is to have "
            f"{', '.join(f'{name}: str' for name in given)}"
        )


def _pass_on_output() -> None:
    """Print what notebooks print, and nothing else of papermill's own messages."""
    logger = logging.getLogger("papermill")
    if logger.handlers:
        return
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_is_progress)
    logger.addHandler(handler)


def _is_progress(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().strip(), ()  # lines come with and without end
    return record.msg.startswith("[")
