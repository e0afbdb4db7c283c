"""Runs an experiment: each phase's notebook in turn, where something is to do."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yt8m_lib import params as params_files
from yt8m_lib.catalogue import EXECUTORS
from yt8m_lib.data import shards
from yt8m_lib.experiment import changes, folders, locks, tracking
from yt8m_lib.experiment.executors import Executor, NotebookTask, PhaseError
from yt8m_lib.experiment.plan import Plan
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
        ParamsError, PlanError, DataError, OutdatedError: before anything runs.
        PhaseError: when a notebook fails.
    """
    settings = params_files.read(params_file, overrides)
    params = params_files.check(settings, params_file)
    params_files.check_data(params)
    phases = [p for p in PHASES if p in only] or list(PHASES[PHASES.index(first or PHASES[0]) :])
    for phase in phases:
        Plan(params).of(phase, models)
    with locks.lock(params, wait=True, say=say):
        tracking.connect(params)
        kept = _keep_settings(params, settings, params_file, overrides)
        if params.synthetic:
            synthesize(params, kept)
        repeats = range(params.repeat, max(params.repeats, params.repeat + 1))
        each = [params.model_copy(update={"repeat": repeat}) for repeat in repeats]
        _prepare([Experiment(one) for one in each], phases, models, force, rerun, accept_code, say)
        for one in each:
            if repeats[-1]:
                say(f"repeat {one.repeat} (counted from 0, the last is {repeats[-1]})")
            for phase in phases:
                task = _task(one, kept, phase, tuple(models))
                _phase(one, task, EXECUTORS[executor](), say)
        _put_out(each[-1], say)
    return params


def _keep_settings(
    params: Params, settings: dict[str, Any], file: str, overrides: Sequence[str]
) -> Path:
    """Write down what this run was asked for: an edit of the file meanwhile does not reach it."""
    kept = params.folder / "params.yaml"
    asked = shlex.join([str(file), *(part for one in overrides for part in ("--set", one))])
    params_files.write(settings, kept, f"What the last run was asked for: yt8m run {asked}")
    return kept


def _put_out(params: Params, say: Say) -> None:
    """Let the tables and the model of these settings stand, where they are finished."""
    experiment = Experiment(params)
    for name in experiment.put_out(experiment.plan.steps.values()):
        say(f"{params.folder / name} is that of these settings again")


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
            experiment.supersede(phases, models)
    elif accept_code:
        accepted = changes.accept(experiments, phases, models)
        say(f"{accepted} finished run(s) accepted as the present code would make them")
    elif not rerun:
        changes.check(experiments, phases, models)


def _task(params: Params, kept: Path, phase: str, models: tuple[str, ...]) -> NotebookTask:
    repeat = (f"repeat-{params.repeat}",) if params.repeat else ()
    name = "-".join([phase, *models, *repeat])[:120]
    return NotebookTask(
        phase=phase,
        params_file=_from_root(kept),
        overrides=(f"repeat={params.repeat}",) if params.repeat else (),
        models=models,
        output=params.folder / "notebooks" / f"{name}.ipynb",
    )


def _from_root(path: Path) -> str:
    """How notebooks, which run in the project's root, name a file."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def synthesize(params: Params, kept: Path) -> None:
    """Write the stand-in data, in a process of its own: the driver stays free of TensorFlow."""
    if shards.is_written(params):
        return
    if "data" in folders.found_there(params.folder) and any(
        (params.folder / "data").glob("*.tfrecord")
    ):
        raise PhaseError(
            f"{params.folder / 'data'} holds shards that this program did not write, and stand-in "
            "data would replace them: choose another `experiment` or `results`."
        )
    command = [sys.executable, "-m", "yt8m_lib", "synthesize", str(kept)]
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
                experiment.keep(run.info.run_id, task.output)
