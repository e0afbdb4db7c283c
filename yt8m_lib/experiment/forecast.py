"""A plan before the bill: what an experiment's steps will take, and what is finished of it.

Everything is counted from the parameters: nothing is run, and nothing is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from yt8m_lib.experiment import schedule
from yt8m_lib.experiment.machine import Machine
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.workload import Workload
from yt8m_lib.settings import PHASES, Params


@dataclass(frozen=True)
class Task:
    """One step of one repeat.

    Attributes:
        key: the step's, with the repeat after the first.
        phase: whose step it is.
        model: what it trains, "" for other steps.
        parents: keys of the tasks that it waits for.
        videos: that models see.
        read: bytes of records.
        flops: operations.
        memory: bytes at its peak.
        kept: bytes that stay on the disk.
        checkpoint: bytes of its checkpoints while it runs.
        seconds: planned, without a notebook's start.
        took: measured seconds, where it is finished; None where it is not.
    """

    key: str
    phase: str
    model: str
    parents: tuple[str, ...]
    videos: int
    read: float
    flops: int
    memory: float
    kept: float
    checkpoint: int
    seconds: float
    took: float | None

    @property
    def is_finished(self) -> bool:
        """Whether it is finished and up to date."""
        return self.took is not None


@dataclass(frozen=True)
class Forecast:
    """The plan of an experiment.

    Attributes:
        tasks: all of them, each after its parents.
        notebook: seconds of a notebook besides its steps.
        machine: where the seconds come from, in words.
        videos: where the numbers of videos come from, in words.
    """

    tasks: tuple[Task, ...]
    notebook: float
    machine: str
    videos: str

    @cached_property
    def by_phase(self) -> dict[str, list[Task]]:
        """The tasks of each phase that has any."""
        found = {name: [task for task in self.tasks if task.phase == name] for name in PHASES}
        return {name: tasks for name, tasks in found.items() if tasks}

    @property
    def left(self) -> list[Task]:
        """What is not finished."""
        return [task for task in self.tasks if not task.is_finished]

    def seconds_of(self, tasks: Sequence[Task]) -> float:
        """Planned seconds of tasks one after the other, a notebook a phase."""
        notebooks = len({(task.phase, task.key.partition("@")[2]) for task in tasks})
        return sum(task.seconds for task in tasks) + self.notebook * notebooks

    def durations(self, finished: bool) -> dict[str, float]:
        """Seconds of each task in a notebook of its own.

        Args:
            finished: False leaves finished tasks no time; True takes what they took.
        """
        seconds = {}
        for task in self.tasks:
            if not task.is_finished:
                seconds[task.key] = task.seconds + self.notebook
            else:
                seconds[task.key] = task.took + self.notebook if finished else 0.0
        return seconds

    @property
    def in_sequence(self) -> float:
        """Seconds of all tasks on one machine, a notebook a phase; finished ones as they took."""
        took = [task for task in self.tasks if task.is_finished]
        return self.seconds_of(self.tasks) + sum(task.took - task.seconds for task in took)

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """What each task waits for."""
        return {task.key: task.parents for task in self.tasks}

    def wall(self, workers: int, finished: bool = False) -> float:
        """Seconds until all is done by so many workers, each with a machine of its own.

        One worker goes through a phase in one notebook; several take a notebook a task.
        """
        if workers == 1 and not finished:
            return self.seconds_of(self.left)
        ends = schedule.finish_times(self.durations(finished), self.parents, workers)
        return max(ends.values(), default=0.0)

    def critical_path(self, finished: bool = False) -> list[tuple[str, float]]:
        """The longest chain of tasks, with the seconds of each; those without any are left out."""
        durations = self.durations(finished)
        path = schedule.critical_path(durations, self.parents)
        return [(key, durations[key]) for key in path if durations[key]]


def forecast(
    repeats: Mapping[int, Mapping[str, float]], workload: Workload, machine: Machine
) -> Forecast:
    """Plan an experiment.

    Args:
        repeats: for each repeat, the seconds that its finished steps took, by key.
        workload: of one repeat.
        machine: that it runs on.
    """
    first, tasks = min(repeats), []
    for repeat, took in repeats.items():
        for step in workload.steps.values():
            if step.phase == "data" and repeat != first:
                continue  # all repeats read the same videos
            tasks.append(_task(step, repeat - first, took.get(step.key), workload, machine))
    return Forecast(tuple(tasks), machine.notebook, machine.words, workload.videos.source)


def _task(
    step: Step, repeat: int, took: float | None, workload: Workload, machine: Machine
) -> Task:
    work, read, params = workload.of(step), workload.read(step), workload.params
    families = {name: model.family for name, model in params.models.items()}
    return Task(
        key=_key(step.key, repeat),
        phase=step.phase,
        model=getattr(step, "model", ""),
        parents=tuple(_key(parent, repeat) for parent in dict.fromkeys(step.parent_keys)),
        videos=work.seen,
        read=read,
        flops=sum(one.flops(workload.costs) for one in work.passes),
        memory=workload.memory(step),
        kept=work.kept,
        checkpoint=work.checkpoint,
        seconds=machine.seconds(work, families, workload.costs, read),
        took=took,
    )


def _key(key: str, repeat: int) -> str:
    return f"{key}@{repeat}" if repeat and not key.startswith("data/") else key


def training_days(tasks: Iterable[Task], params: Params) -> list[float]:
    """Planned days of each published model's training, the shortest first."""
    published = {name for name, model in params.models.items() if model.published}
    trained = [t for t in tasks if t.phase == "teachers" and t.model in published]
    return sorted(task.seconds / 86400 for task in trained)
