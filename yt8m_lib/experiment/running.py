"""Runs an experiment: each phase's notebook in turn, with papermill, where something is to do."""

import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from yt8m_lib import params as params_module
from yt8m_lib.data import shards
from yt8m_lib.experiment import locks, tracking
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import PHASES, ROOT, Params


class PhaseError(RuntimeError):
    """A phase's notebook failed; the message says where and why."""


class OwnKernelManager(AsyncKernelManager):
    """Starts notebooks on this very Python, whatever kernels are installed elsewhere."""

    transport_encryption = "required"  # else the kernel warns of other users of this machine

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of the running interpreter."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        curve = {"supported_encryption": ["curve"]}
        return KernelSpec(argv=argv, display_name="yt8m", language="python", metadata=curve)


def run(
    params_file: str,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    first: str | None = None,
    models: Sequence[str] = (),
    force: bool = False,
    say: Callable[[str], None] = print,
) -> Params:
    """Run an experiment's phases in order, once a repeat; what is finished already is reused.

    Args:
        params_file: the YAML file.
        overrides: ``KEY=VALUE`` settings.
        only: run these phases alone.
        first: begin with this phase.
        models: narrow every phase down to these models.
        force: run again what is finished.
        say: receives progress, a line at a time.

    Raises:
        ParamsError, DataError: before anything runs.
        PhaseError: when a notebook fails.
    """
    params = params_module.load(params_file, overrides)
    params_module.check_data(params)
    phases = [p for p in PHASES if p in only] or list(PHASES[PHASES.index(first or PHASES[0]) :])
    with locks.lock(params, wait=True, say=say):
        tracking.connect(params)
        if params.synthetic:
            synthesize(params, params_file, overrides)
        experiment = Experiment(params)
        dead = experiment.bury_dead()
        if dead:
            say(f"{dead} unfinished run(s) of a killed process will be made again")
        repeats = range(params.repeat, max(params.repeats, params.repeat + 1))
        if force:
            for repeat in repeats:
                Experiment(params.model_copy(update={"repeat": repeat})).supersede(phases)
        for repeat in repeats:
            settings = [*overrides, f"repeat={repeat}"] if repeat else list(overrides)
            arguments = {
                "params_file": _from_root(params_module.find_file(params_file)),
                "overrides": shlex.join(settings),
                "models": " ".join(models),
            }
            if repeats[-1]:
                say(f"repeat {repeat} (counted from 0, the last is {repeats[-1]})")
            for phase in phases:
                _phase(params_module.load(params_file, settings), phase, models, arguments, say)
    return params


def _from_root(path: Path) -> str:
    """How notebooks, which run in the project's root, name a file."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def synthesize(params: Params, params_file: str, overrides: Sequence[str]) -> None:
    """Write the stand-in data, in a process of its own: the driver stays free of TensorFlow."""
    if shards.is_written(params):
        return
    settings = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "yt8m_lib", "synthesize", str(params_file), *settings]
    if subprocess.run(command, check=False).returncode:
        raise PhaseError(f"the stand-in data could not be written to {params.folder / 'data'}")


def _phase(
    params: Params,
    phase: str,
    models: Sequence[str],
    arguments: dict[str, str],
    say: Callable[[str], None],
) -> None:
    experiment = Experiment(params, phase, models)
    steps, todo = experiment.plan.of(phase, models), experiment.todo()
    if not todo:
        say(f"{phase}: {len(steps)} of {len(steps)} finished, nothing to do")
        return
    say(f"{phase}: {len(todo)} of {len(steps)} to do")
    started = time.time()
    output = params.folder / "notebooks" / f"{phase}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        _execute(ROOT / "notebooks" / f"{phase}.ipynb", output, arguments)
    finally:
        _log_notebook(experiment, phase, output, started)
    missing = [step.name for step in experiment.todo()]
    if missing:
        raise PhaseError(f"{output} ended, but left unfinished: {', '.join(missing)}")
    say(f"{phase}: done in {time.time() - started:.0f} s")


def _execute(notebook: Path, output: Path, arguments: dict[str, str]) -> None:
    _pass_on_output()
    os.environ[tracking.DRIVER] = str(os.getpid())
    try:
        papermill.execute_notebook(
            notebook,
            output,
            parameters=arguments,
            cwd=ROOT,
            progress_bar=False,
            log_output=True,
            request_save_on_cell_execute=True,
            kernel_manager_class=OwnKernelManager,
        )
    except papermill.PapermillExecutionError as error:
        raise PhaseError(
            f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"The notebook with its traceback: {output}"
        ) from None
    except DeadKernelError:
        raise PhaseError(
            f"{notebook.name}: its process died (out of memory?). FinishedRun models are kept: "
            "the same command goes on from there."
        ) from None
    finally:
        del os.environ[tracking.DRIVER]


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


def _log_notebook(experiment: Experiment, phase: str, output: Path, started: float) -> None:
    """Give the executed notebook to the runs that it made."""
    if not output.exists():
        return
    for status in ("FINISHED", "FAILED", "RUNNING"):
        for run in experiment.runs(status):
            if run.data.tags.get("phase") == phase and run.info.start_time >= 1000 * started:
                experiment.client.log_artifact(run.info.run_id, str(output))
