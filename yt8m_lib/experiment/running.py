"""Runs an experiment: its stage graph, a notebook at a time or several, on an executor."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yt8m_lib import params as params_files
from yt8m_lib.catalogue import EXECUTORS
from yt8m_lib.data import shards
from yt8m_lib.experiment import changes, folders, locks, servers, tracking, views
from yt8m_lib.experiment.executors import THIS_MACHINE, Executor, Machines
from yt8m_lib.experiment.notebooks import ANYTHING, NotebookTask, PhaseError, Resources
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.experiment.stages import Stages
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import PHASES, ROOT, Params
from yt8m_lib.sources import digest_of
from yt8m_lib.values import check_no_secret

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
    executor: str | None = None,
    machines: Machines = THIS_MACHINE,
    say: Say = print,
) -> Params:
    """Run an experiment's phases, once a repeat; what is finished already is reused.

    Args:
        params_file: the YAML file.
        overrides: ``KEY=VALUE`` settings.
        only: run these phases alone.
        first: begin with this phase.
        models: narrow every phase down to these models.
        force: run again what is finished.
        rerun: make again, however long it took, what a change of code or data put out of date.
        accept_code: take finished work as it is where code alone changed under it.
        executor: a name in ``catalogue.EXECUTORS``; None takes ``local``, or ``processes`` where
            the settings say how many cores a model computes on.
        machines: where and how many notebooks it runs at a time.
        say: receives progress, a line at a time.

    Raises:
        ParamsError, PlanError, DataError, OutdatedError: before anything runs.
        ExecutorError: when it cannot run here; also before anything runs.
        PhaseError: when notebooks failed, after all has run that does not depend on them.
    """
    settings = params_files.read(params_file, overrides)
    params = params_files.check(settings, params_file)
    params_files.check_data(params)
    phases = [p for p in PHASES if p in only] or list(PHASES[PHASES.index(first or PHASES[0]) :])
    for phase in phases:
        Plan(params).of(phase, models)
    threads = params.training.threads
    executor = executor or ("processes" if threads else "local")
    place = EXECUTORS[executor](replace(machines, threads=threads))
    try:
        with locks.lock(params, wait=True, say=say):
            tracking.connect(params)
            kept = _keep_settings(params, settings, params_file, overrides)
            if params.synthetic:
                synthesize(params, kept)
            repeats = range(params.repeat, max(params.repeats, params.repeat + 1))
            each = [params.model_copy(update={"repeat": repeat}) for repeat in repeats]
            before = [Experiment(one) for one in each]
            views.put_up(before[0].client, before[0].id, params)
            _prepare(before, phases, models, force, rerun, accept_code, say)
            for one in each:
                if repeats[-1]:
                    say(f"repeat {one.repeat} (counted from 0, the last is {repeats[-1]})")
                Driver(one, kept, place, say).run(phases, models)
            _put_out(each[-1], say)
    finally:
        place.stop()
    return params


def _keep_settings(
    params: Params, settings: dict[str, Any], file: str, overrides: Sequence[str]
) -> Path:
    """Write down what this run was asked for: an edit of the file meanwhile does not reach it.

    Nor does another machine, on which a notebook may run, have to know of this one's variables.
    """
    address = servers.address(params)
    with suppress(ValueError):  # one that holds a password is not written down
        check_no_secret(servers.VARIABLE, address or "")
        tracked = {"uri": address} if address else {}
        settings = settings | {"tracking": (settings.get("tracking") or {}) | tracked}
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


@dataclass(frozen=True)
class _Taken:
    """Steps that one notebook works on, and since when; none where it only shows its phase."""

    steps: list[Step]
    task: NotebookTask
    started: float

    @property
    def names(self) -> str:
        return f"{self.task.phase} {', '.join(step.name for step in self.steps) or '(all of it)'}"


class Driver:
    """Takes one repeat's steps through their stage graph.

    Args:
        params: its settings.
        kept: the file with these settings that notebooks read.
        executor: where notebooks run.
        say: receives progress, a line at a time.
    """

    def __init__(self, params: Params, kept: Path, executor: Executor, say: Say):
        self.params, self.kept, self.executor, self.say = params, kept, executor, say
        self.experiment = Experiment(params)
        self._asked: tuple[str, ...] = ()
        self._in_parts: list[str] = []  # phases that several notebooks share out

    def run(self, phases: Sequence[str], models: Sequence[str]) -> None:
        """Run what is to do of these phases and models.

        Raises:
            PhaseError: naming what failed and what was not run for it.
        """
        self._asked = tuple(phases)
        stages = Stages(self._todo(phases, models))
        running: dict[Future[None], _Taken] = {}
        while self._start(stages, running, models):
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                self._end(stages, running.pop(future), future.exception())
        self.experiment.bury_dead()  # of processes that were killed, and their work done by others
        if stages.failures:
            raise PhaseError(_failures(stages))

    def _todo(self, phases: Sequence[str], models: Sequence[str]) -> list[Step]:
        todo: list[Step] = []
        for phase in phases:
            steps = self.experiment.plan.of(phase, models)
            own = self.experiment.unfinished(steps)
            if not own:
                self.say(f"{phase}: {len(steps)} of {len(steps)} finished, nothing to do")
            todo += own
        return todo

    def _start(self, stages: Stages, running: dict, models: Sequence[str]) -> bool:
        """Give the executor what can run now; returns whether anything runs."""
        while len(running) < self.executor.workers:
            steps = stages.take(self.executor.share, self.executor.whole_phases)
            task = self._task(steps, models) if steps else self._whole_phase()
            if not task:
                break
            taken = _Taken(steps, task, time.time())
            of = len(self.experiment.plan.of(task.phase, models))
            whole = f"{task.phase}: {len(steps)} of {of} to do"
            self.say(whole if self.executor.whole_phases else f"{taken.names}: started")
            running[self.executor.submit(task)] = taken
        return bool(running)

    def _whole_phase(self) -> NotebookTask | None:
        """The notebook, with nothing left to do, of a phase that others have shared out.

        Its tables and figures show all of the phase, where theirs show what there was by then.
        """
        for phase in self._in_parts:
            if not self.experiment.unfinished(self.experiment.plan.of(phase)):
                self._in_parts.remove(phase)
                return self._notebook(phase, ())
        return None

    def _task(self, steps: Sequence[Step], models: Sequence[str]) -> NotebookTask:
        phase = steps[0].phase
        names = tuple(step.name for step in steps)
        of_phase = self.experiment.plan.of(phase, models)
        left = self.experiment.unfinished(of_phase) if self.executor.whole_phases else of_phase
        if len(left) == len(steps):
            names = tuple(models)
        elif phase not in self._in_parts:
            self._in_parts.append(phase)
        return self._notebook(phase, names, _resources(self.params, steps))

    def _notebook(
        self, phase: str, names: Sequence[str], resources: Resources = ANYTHING
    ) -> NotebookTask:
        repeat = self.params.repeat
        suffix = (f"repeat-{repeat}",) if repeat else ()
        return NotebookTask(
            phase=phase,
            params_file=_from_root(self.kept),
            overrides=(f"repeat={repeat}",) if repeat else (),
            models=tuple(names),
            output=self.params.folder / "notebooks" / f"{_file_name(phase, *names, *suffix)}.ipynb",
            resources=resources,
            asked=self._asked,
        )

    def _end(self, stages: Stages, taken: _Taken, error: BaseException | None) -> None:
        """Note what a notebook has left; only what is no error of a notebook goes further."""
        if error is not None and not isinstance(error, PhaseError):
            raise error
        unfinished = self.experiment.unfinished(taken.steps)
        why = str(error) if error else ""
        if unfinished and not why:
            names = ", ".join(step.name for step in unfinished)
            why = f"{taken.task.output} ended, but left unfinished: {names}"
        begun = bool(unfinished) and self.experiment.begun(unfinished[0], taken.started)
        stages.end(taken.steps, unfinished, begun, why)
        if why and not taken.steps:
            stages.failures[taken.task.phase] = why
        name = taken.task.phase if self.executor.whole_phases else taken.names
        ended = f"done in {time.time() - taken.started:.0f} s" if not why else "failed"
        self.say(f"{name}: {ended}")


def _file_name(*parts: str) -> str:
    """A file name of the parts, with a digest of them where it would be too long."""
    name = "-".join(parts)
    return name if len(name) <= 120 else f"{name[:100]}-{digest_of(parts)}"


def _resources(params: Params, steps: Sequence[Step]) -> Resources:
    """The most that any model of these steps is given."""
    models = [params.models[step.model] for step in steps if hasattr(step, "model")]

    def most(kind: str) -> Any:
        given = (getattr(model, kind) for model in models)
        return max((one for one in given if one is not None), default=None)

    return Resources(gpus=most("gpus"), memory=most("memory"), hours=most("hours"))


def _failures(stages: Stages) -> str:
    """What failed, each reason once, and what was not run."""
    reasons: dict[str, list[str]] = {}
    for key, why in stages.failures.items():
        reasons.setdefault(why, []).append(key)
    lines = [f"{', '.join(keys)}: {why}" for why, keys in reasons.items()]
    if stages.waiting:
        lines.append(f"Not run, since it depends on that: {', '.join(stages.waiting)}")
    return "\n".join(lines)
