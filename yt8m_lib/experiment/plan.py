"""What an experiment consists of: its steps in an order in which they can run, and their identity.

A step's fingerprint covers its settings, its seed, its parents' fingerprints, the data, and the
code that decides its result: a finished run with the same one is reused.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from yt8m_lib.data import shards
from yt8m_lib.errors import UserError
from yt8m_lib.experiment.planning import steps_of
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.steps import SoftTargetsStep, StudentStep
from yt8m_lib.settings import Params
from yt8m_lib.sources import code_digests, digest_of


class PlanError(UserError):
    """A model is named that a phase does not have; the message lists those that it has."""


class Plan:
    """The steps of an experiment."""

    def __init__(self, params: Params):
        self.params = params
        self.steps = {step.key: step for step in steps_of(params)}
        self._ingredients: dict[str, dict[str, Any]] = {}

    def __getitem__(self, key: str) -> Step:
        return self.steps[key]

    def of(self, phase: str, models: Iterable[str] = ()) -> list[Step]:
        """The steps of a phase; those of some models alone, where any are named.

        Raises:
            PlanError: naming a model that the phase does not have.
        """
        steps = [step for step in self.steps.values() if step.phase == phase]
        wanted = set(models)
        unknown = wanted - {alias for step in steps for alias in step.aliases}
        if unknown:
            raise PlanError(
                f"phase {phase} has no {', '.join(sorted(unknown))}; "
                f"it has {', '.join(step.name for step in steps)}"
            )
        return [step for step in steps if not wanted or step.aliases & wanted]

    def students(self, compared: bool = False) -> list[StudentStep]:
        """The students, or those that are only compared with them."""
        steps = (step for step in self.steps.values() if isinstance(step, StudentStep))
        return [step for step in steps if step.compared == compared]

    def soft_targets(self) -> list[SoftTargetsStep]:
        """The steps that choose teachers and predict with them."""
        return [step for step in self.steps.values() if isinstance(step, SoftTargetsStep)]

    @cached_property
    def data_digest(self) -> str:
        """Names, sizes and first records of all shards."""
        train, validation = shards.shards(self.params)
        return f"{shards.digest(train)}-{shards.digest(validation)}"

    @cached_property
    def pipeline(self) -> str:
        """The experiment's identity: ties the runs of one configuration on one data set."""
        return digest_of([self.params.model_dump(mode="json"), self.data_digest])

    def seed(self, step: Step) -> int:
        """The step's own seed, so that a result does not depend on what ran before it.

        The data are the same in every repeat.
        """
        repeat = 0 if step.phase == "data" else self.params.repeat
        return int(digest_of([self.params.seed, repeat, step.twin or step.key]), 16) % 2**31

    def fingerprint(self, key: str) -> str:
        """Hash of all that the step's result depends on."""
        return digest_of(self.ingredients(key))

    def measuring(self, key: str) -> str:
        """Hash of all that a model's measurements depend on besides the model; "" for none."""
        step = self.steps[key]
        if step.measuring is None:
            return ""
        settings = step.measuring.model_dump(mode="json")
        return digest_of([settings, code_digests(*step.measuring_code())])

    def ingredients(self, key: str) -> dict[str, Any]:
        """All that the step's result depends on, in a form that can be compared."""
        if key not in self._ingredients:
            step = self.steps[key]
            self._ingredients[key] = {
                "parameters": step.settings.model_dump(mode="json") | {"seed": self.seed(step)},
                "data": self.data_digest,
                "parents": {parent: self._read_of(parent, step) for parent in step.parent_keys},
                "code": code_digests(*step.code()),
            }
        return self._ingredients[key]

    def _read_of(self, parent: str, step: Step) -> str:
        """The fingerprint of a parent, with how it was measured where the step reads that."""
        measured = ""
        if step.reads == "answers":  # how models answer is among the step's own settings
            measured = digest_of(code_digests(*self.steps[parent].answering_code()))
        elif step.reads == "everything":
            measured = self.measuring(parent)
        return f"{self.fingerprint(parent)} {measured}".strip()


def what_changed(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Why a step must run again, in words: compares two runs' ingredients."""
    reasons = []
    for kind in ("data", "code", "parameters", "parents"):
        names = changed_names(old.get(kind), new[kind])
        if names:
            reasons.append(f"{kind} changed ({', '.join(names[:4])})")
        elif old.get(kind) != new[kind]:
            reasons.append(f"{kind} changed")
    return "; ".join(reasons) or "forced"


def changed_names(old: Any, new: Any) -> list[str]:
    """Dotted names of the values that differ between two nested groups; none where not groups."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return []
    before, after = dict(flatten(old)), dict(flatten(new))
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


def flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names and values."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
