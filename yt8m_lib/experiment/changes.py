"""Finished work under which code or data have changed: what it would cost to make it again.

A change of settings is asked for, so its steps are simply made. A change of code or of data may
come unasked, with a pull or a new download: where more than ``remake_hours`` of finished work hang
on it, a run stops before it starts and says what changed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from yt8m_lib.errors import UserError
from yt8m_lib.experiment.plan import changed_names
from yt8m_lib.experiment.runs import ACCEPTED, FinishedRun
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.tracking import INGREDIENTS, Experiment, code_version, ingredients_of

SHOWN = 12  # steps listed in a message; the others are counted
Causes = dict[str, frozenset[str]]  # "code" or "data": the names of what differs


class OutdatedError(UserError):
    """Much finished work is out of date; the message lists it and says how to go on."""


@dataclass(frozen=True)
class Outdated:
    """A finished run that no setting, but a change of code or data has put out of date.

    Attributes:
        step: what would be made again.
        run: the finished run.
        causes: what changed: for this step itself, or for one that it depends on.
    """

    step: Step
    run: FinishedRun
    causes: Causes

    @property
    def hours(self) -> float:
        """How long the run took."""
        return self.run.metrics.get("seconds", 0.0) / 3600

    def __str__(self) -> str:
        what = "; ".join(
            f"{cause}: {', '.join(sorted(names)) or 'other shards'}"
            for cause, names in sorted(self.causes.items())
        )
        return f"{self.step.key}, {self.hours:.2g} h, made at {self.run.version} ({what})"


def check(experiments: Iterable[Experiment], phases: Iterable[str], models: Iterable[str]) -> None:
    """Stop where too much finished work is out of date.

    Args:
        experiments: one a repeat.
        phases: those that are about to run.
        models: names that narrow these phases down.

    Raises:
        OutdatedError: when the outdated runs took more than ``remake_hours`` together.
    """
    found = list(_outdated(experiments, phases, models))
    hours = sum(one.hours for _, one in found)
    if found and hours > found[0][0].params.remake_hours:
        raise OutdatedError(
            f"{hours:.2g} hours of finished work are out of date, more than `remake_hours` "
            f"({found[0][0].params.remake_hours:g}) lets go unasked. What has changed until now "
            f"({code_version()}):\n{_listed([one for _, one in found])}\n"
            "--rerun makes it again; --accept-code takes it as it is, where code alone changed."
        )


def accept(experiments: Iterable[Experiment], phases: Iterable[str], models: Iterable[str]) -> int:
    """Take finished runs for what the present code would make, and mark them so in MLflow.

    How they are measured is not accepted: that is done again, and trains nothing.

    Returns:
        How many runs were accepted.

    Raises:
        OutdatedError: when data changed under some of them, too; then none is accepted.
    """
    found = list(_outdated(experiments, phases, models))
    by_data = [one for _, one in found if "data" in one.causes]
    if by_data:
        raise OutdatedError(
            "--accept-code takes finished work as it is where code alone changed, but here the "
            f"data changed, too:\n{_listed(by_data)}\nUse the data that it was made from, or "
            "--rerun to make it again."
        )
    for experiment, one in found:
        fingerprints = one.run.fingerprints | {experiment.plan.fingerprint(one.step.key)}
        words = f"made at {one.run.version}, accepted at {code_version()}: {one}"
        experiment.client.set_tag(one.run.run_id, ACCEPTED, " ".join(sorted(fingerprints)))
        experiment.client.set_tag(one.run.run_id, "code_accepted", words)
    return len(found)


def _outdated(
    experiments: Iterable[Experiment], phases: Iterable[str], models: Iterable[str]
) -> Iterator[tuple[Experiment, Outdated]]:
    for experiment in experiments:
        record = _Record(experiment)
        for phase in phases:
            for step in experiment.plan.of(phase, models):
                run = record.outdated_run(step)
                causes = run and record.causes(step, run)
                if causes:
                    yield experiment, Outdated(step, run, causes)


class _Record:
    """An experiment's finished runs, each read once."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        runs = experiment.finished_runs()
        self.by_fingerprint: dict[str, FinishedRun] = {}
        for run in runs:
            for fingerprint in run.fingerprints if run.has(INGREDIENTS) else ():
                self.by_fingerprint.setdefault(fingerprint, run)
        self._causes: dict[tuple[str, str], Causes | None] = {}

    def outdated_run(self, step: Step) -> FinishedRun | None:
        """The newest run of a step in this repeat, unless its result is up to date."""
        if self.experiment.plan.fingerprint(step.key) in self.by_fingerprint:
            return None
        return self.experiment.last_run(step)

    def causes(self, step: Step, run: FinishedRun) -> Causes | None:
        """What changed since a run was made; None where settings did, or where it is unclear."""
        place = (step.key, run.run_id)
        if place not in self._causes:
            self._causes[place] = self._find_causes(step, run)
        return self._causes[place]

    def _find_causes(self, step: Step, run: FinishedRun) -> Causes | None:
        old, new = ingredients_of(run), self.experiment.ingredients(step)
        same_parents = old["parents"].keys() == new["parents"].keys()
        if step.reads == "everything" or old["parameters"] != new["parameters"] or not same_parents:
            return None  # a report is made anew in no time
        found: Causes = {}
        for kind in ("code", "data"):
            if old[kind] != new[kind]:
                found[kind] = frozenset(changed_names(old[kind], new[kind]))
        for key, made in old["parents"].items():
            inner = {} if made == new["parents"][key] else self._of_parent(key, made)
            if inner is None:
                return None
            for kind, names in inner.items():
                found[kind] = found.get(kind, frozenset()) | names
        return found

    def _of_parent(self, key: str, made: str) -> Causes | None:
        """What changed in a parent since a run read it, by what the run's ingredients say of it."""
        run = self.by_fingerprint.get(made.split()[0])
        inner = run and self.causes(self.experiment.plan[key], run)
        if inner == {}:
            return {"code": frozenset({"how its parents are measured"})}
        return inner


def _listed(found: list[Outdated]) -> str:
    lines = [f"  {one}" for one in sorted(found, key=lambda one: -one.hours)[:SHOWN]]
    rest = len(found) - len(lines)
    return "\n".join([*lines, *([f"  and {rest} more"] if rest > 0 else [])])
