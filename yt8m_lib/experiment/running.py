"""Runs an experiment: each phase's notebook in turn, where something is to do."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from yt8m_lib import params as params_files
from yt8m_lib.catalogue import EXECUTORS
from yt8m_lib.data import shards
from yt8m_lib.experiment import changes, locks, tracking
from yt8m_lib.experiment.executors import Executor, NotebookTask, PhaseError
from yt8m_lib.experiment.runs import STEP
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import PHASES, ROOT, Params

Say = Callable[[str], None]


def run(
    params_file: str,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    first: str | None = None,
    models: Sequence[str] = (),
    force: bool = False,
    rerun: bool = False,
    accept_code: bool = False,
    executor: str = "local",
    say: Say = print,
) -> Params:
    """Run an experiment's phases in order, once a repeat; what is finished already is reused.

    Args:
        params_file: the YAML file.
        overrides: ``KEY=VALUE`` settings.
        only: run these phases alone.
        first: begin with this phase.
        models: narrow every phase down to these models.
        force: run again what is finished.
        rerun: make again, however long it took, what a change of code or data put out of date.
        accept_code: take finished work as it is where code alone changed under it.
        executor: a name in ``catalogue.EXECUTORS``.
        say: receives progress, a line at a time.

    Raises:
        ParamsError, DataError, OutdatedError: before anything runs.
        PhaseError: when a notebook fails.
    """
    params = params_files.load(params_file, overrides)
    params_files.check_data(params)
    phases = [p for p in PHASES if p in only] or list(PHASES[PHASES.index(first or PHASES[0]) :])
    with locks.lock(params, wait=True, say=say):
        tracking.connect(params)
        if params.synthetic:
            synthesize(params, params_file, overrides)
        repeats = range(params.repeat, max(params.repeats, params.repeat + 1))
        experiments = [
            Experiment(params.model_copy(update={"repeat": repeat})) for repeat in repeats
        ]
        _prepare(experiments, phases, models, force, rerun, accept_code, say)
        for repeat in repeats:
            if repeats[-1]:
                say(f"repeat {repeat} (counted from 0, the last is {repeats[-1]})")
            settings = (*overrides, f"repeat={repeat}") if repeat else tuple(overrides)
            for phase in phases:
                task = _task(params_file, settings, phase, tuple(models))
                _phase(params_files.load(params_file, settings), task, EXECUTORS[executor](), say)
    return params


def _prepare(
    experiments: list[Experiment],
    phases: Sequence[str],
    models: Sequence[str],
    force: bool,
    rerun: bool,
    accept_code: bool,
    say: Say,
) -> None:
    """Put the record in order before anything runs."""
    dead = experiments[0].bury_dead()
    if dead:
        say(f"{dead} unfinished run(s) of a killed process will be made again")
    if force:
        for experiment in experiments:
            experiment.supersede(phases)
    elif accept_code:
        accepted = changes.accept(experiments, phases, models)
        say(f"{accepted} finished run(s) accepted as the present code would make them")
    elif not rerun:
        changes.check(experiments, phases, models)


def _task(
    params_file: str, overrides: tuple[str, ...], phase: str, models: tuple[str, ...]
) -> NotebookTask:
    params = params_files.load(params_file, overrides)
    repeat = (f"repeat-{params.repeat}",) if params.repeat else ()
    name = "-".join([phase, *models, *repeat])[:120]
    return NotebookTask(
        phase=phase,
        params_file=_from_root(params_files.find_file(params_file)),
        overrides=overrides,
        models=models,
        output=params.folder / "notebooks" / f"{name}.ipynb",
    )


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


def _phase(params: Params, task: NotebookTask, executor: Executor, say: Say) -> None:
    experiment = Experiment(params, task.phase, task.models)
    steps, todo = experiment.plan.of(task.phase, task.models), experiment.todo()
    if not todo:
        say(f"{task.phase}: {len(steps)} of {len(steps)} finished, nothing to do")
        return
    say(f"{task.phase}: {len(todo)} of {len(steps)} to do")
    started = time.time()
    try:
        executor.run([task])
    finally:
        _log_notebook(experiment, task, started)
    missing = [step.name for step in experiment.todo()]
    if missing:
        raise PhaseError(f"{task.output} ended, but left unfinished: {', '.join(missing)}")
    say(f"{task.phase}: done in {time.time() - started:.0f} s")


def _log_notebook(experiment: Experiment, task: NotebookTask, started: float) -> None:
    """Give the executed notebook to the runs that it made."""
    if not task.output.exists():
        return
    for status in ("FINISHED", "FAILED", "RUNNING"):
        for run in experiment.runs(status):
            own = run.data.tags.get(STEP, "").startswith(f"{task.phase}/")
            if own and run.info.start_time >= 1000 * started:
                experiment.client.log_artifact(run.info.run_id, str(task.output))
