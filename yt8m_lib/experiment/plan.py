"""What an experiment consists of: its steps, what each depends on, and when one must run again.

A step is one MLflow run: a phase and a name in it. Its fingerprint covers its settings, its
parents' fingerprints, the data, and the code it uses: a finished run with the same one is reused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from yt8m_lib.data import shards
from yt8m_lib.settings import FAMILIES, POOLED, ROOT, Params, Phase, Student
from yt8m_lib.sources import code_digests, digest_of


@dataclass(frozen=True)
class Step:
    """One run of one phase.

    Attributes:
        phase: which notebook makes it.
        name: unique in its phase.
        settings: all parameters that its result depends on.
        parents: keys (``phase/name``) of the steps whose results it reads.
        tags: family, model, round and the like, for MLflow.
        twin: key of a step that it shares its random numbers with, to be compared with it.
    """

    phase: Phase
    name: str
    settings: dict[str, Any]
    parents: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    twin: str = ""

    @property
    def key(self) -> str:
        """``phase/name``."""
        return f"{self.phase}/{self.name}"


class Plan:
    """The steps of an experiment, in an order in which they can run."""

    def __init__(self, params: Params):
        self.params = params
        self.steps = {step.key: step for step in _steps(params)}

    def __getitem__(self, key: str) -> Step:
        return self.steps[key]

    def of(self, phase: str, models: Iterable[str] = ()) -> list[Step]:
        """The steps of a phase; of these models alone, where some are named.

        Raises:
            ValueError: naming a model that the phase does not have.
        """
        steps = [step for step in self.steps.values() if step.phase == phase]
        wanted = set(models)
        known = {n for step in steps for n in (step.name, step.tags.get("model", step.name))}
        if wanted - known:
            raise ValueError(
                f"phase {phase} has no {', '.join(sorted(wanted - known))}; "
                f"it has {', '.join(step.name for step in steps)}"
            )
        return [s for s in steps if not wanted or {s.name, s.tags.get("model")} & wanted]

    @cached_property
    def data_digest(self) -> str:
        """Names, sizes and first records of all shards."""
        train, validation = shards.shards(self.params)
        return f"{shards.digest(train)}-{shards.digest(validation)}"

    @cached_property
    def pipeline(self) -> str:
        """The experiment's identity: ties the runs of one configuration on one data set."""
        ignored = {"results", "repeat", "repeats", "beside"}
        return digest_of([self.params.model_dump(mode="json", exclude=ignored), self.data_digest])

    def seed(self, step: Step) -> int:
        """The step's own seed, so that a result does not depend on what ran before it.

        The data are the same in every repeat.
        """
        repeat = 0 if step.phase == "data" else self.params.repeat
        return int(digest_of([self.params.seed, repeat, step.twin or step.key]), 16) % 2**31

    def fingerprint(self, key: str) -> str:
        """Hash of all that the step's result depends on."""
        return digest_of(self.ingredients(key))

    @cache  # noqa: B019 - a plan lives as long as its process
    def ingredients(self, key: str) -> dict[str, Any]:
        """All that the step's result depends on, in a form that can be compared."""
        step = self.steps[key]
        return {
            "parameters": step.settings | {"seed": self.seed(step)},
            "data": self.data_digest,
            "parents": {parent: self.fingerprint(parent) for parent in step.parents},
            "code": code_digests(ROOT / "notebooks" / f"{step.phase}.ipynb"),
        }


def what_changed(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Why a step must run again, in words: compares two runs' ingredients."""
    reasons = []
    for kind in ("data", "code", "parameters", "parents"):
        before, after = old.get(kind), new[kind]
        if before == after:
            continue
        if not isinstance(before, dict):
            reasons.append(f"{kind} changed")
            continue
        flat_before, flat_after = dict(flatten(before)), dict(flatten(after))
        names = [
            key
            for key in flat_before.keys() | flat_after.keys()
            if flat_before.get(key) != flat_after.get(key)
        ]
        reasons.append(f"{kind} changed ({', '.join(sorted(names)[:4])})")
    return "; ".join(reasons) or "forced"


def flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names and values."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# --- The steps of each phase ---


def _steps(params: Params) -> Iterator[Step]:
    yield from _data(params)
    yield from _teachers(params)
    yield from _averaging(params)
    yield from _distillation(params)
    yield from _quantization(params)
    yield from _ensembling(params)
    before = tuple(
        step.key
        for build in (_data, _teachers, _averaging, _distillation, _quantization, _ensembling)
        for step in build(params)
    )
    yield Step("report", "report", {"beside": params.beside}, before)


def _reading(params: Params) -> dict[str, Any]:
    """How videos become predictions, whichever the model."""
    data = params.data.model_dump(mode="json", exclude={"train", "validation", "files", "cache"})
    return {"data": data, "inference": params.inference, "top_k": params.distillation.top_k}


def _training(params: Params, model: str) -> dict[str, Any]:
    training = params.training.model_dump(mode="json", exclude={"checkpoint_minutes"})
    return _reading(params) | {
        "model": params.models[model].model_dump(mode="json", exclude={"published"}),
        "training": training,
    }


def _averaged(params: Params, model: str) -> dict[str, Any]:
    averaging = params.averaging
    family = params.models[model].family
    return {
        "time_constant": averaging.time_constant,
        "epochs": averaging.epochs,
        "rate_divisor": averaging.rate_divisor.get(family, 5.0),
    }


def _tags(params: Params, model: str, **more: str) -> dict[str, str]:
    return {"family": params.models[model].family, "model": model} | more


def _data(params: Params) -> Iterator[Step]:
    yield Step("data", "data", {"data": _reading(params)["data"]})


def _teachers(params: Params) -> Iterator[Step]:
    for name, model in params.models.items():
        settings = _training(params, name)
        if model.architecture in POOLED:
            settings |= {"compare_inference": params.compare_inference}
        tags, twin = _tags(params, name, round="0"), _other_batch(params, name)
        yield Step("teachers", name, settings, ("data/data",), tags, twin)


def _other_batch(params: Params, name: str) -> str:
    """The step of the first model listed before this one that differs from it in batch alone."""
    model = params.models[name]
    for other, settings in params.models.items():
        if other == name:
            break
        if (
            settings.batch != model.batch
            and settings.model_copy(update={"batch": model.batch}) == model
        ):
            return f"teachers/{other}"
    return ""


def _averaging(params: Params) -> Iterator[Step]:
    for name, model in params.models.items():
        if params.is_averaged(name) or name in params.averaging.shown:
            averaged = _averaged(params, name) | {"checkpoints": params.averaging.checkpoints}
            settings = _training(params, name) | {"averaging": averaged}
            kept = str(model.family in params.averaging.families).lower()
            tags = _tags(params, name, round="0", kept=kept)
            yield Step("averaging", name, settings, (f"teachers/{name}",), tags)


def _best(params: Params, model: str) -> str:
    """The step whose weights stand for a model as a teacher."""
    return f"{'averaging' if params.is_averaged(model) else 'teachers'}/{model}"


def _distillation(params: Params) -> Iterator[Step]:
    everyone = params.distillation.students | params.distillation.compare
    for teaching_round in (1, 2):
        students = {k: s for k, s in everyone.items() if s.round == teaching_round}
        for family in FAMILIES:
            taught = {k: s for k, s in students.items() if s.taught_by == family}
            if taught:
                yield _soft_targets(params, family, teaching_round, next(iter(taught.values())))
                for name, student in taught.items():
                    yield _student(params, name, student)


def soft_targets_name(family: str, teaching_round: int) -> str:
    """Name of the step that chooses a family's teachers and predicts with them."""
    return f"{family}-teachers" + ("-2" if teaching_round == 2 else "")


def _soft_targets(params: Params, family: str, teaching_round: int, student: Any) -> Step:
    candidates = params.teachers_of(student)
    if teaching_round == 1:
        parents = tuple(_best(params, name) for name in candidates)
    else:
        parents = tuple(f"distillation/{name}" for name in candidates)
    settings = _reading(params) | {"teachers": params.distillation.teachers}
    tags = {"family": family, "round": str(teaching_round), "kind": "soft targets"}
    name = soft_targets_name(family, teaching_round)
    return Step("distillation", name, settings, parents, tags)


def _student(params: Params, name: str, student: Student) -> Step:
    settings = _training(params, student.model)
    own = student.label_weight
    settings |= {"label_weight": params.distillation.label_weight if own is None else own}
    if params.is_averaged(student.model):
        settings |= {"averaging": _averaged(params, student.model)}
    parent = f"distillation/{soft_targets_name(student.taught_by, student.round)}"
    compared = name in params.distillation.compare
    tags = _tags(params, student.model, round=str(student.round), taught_by=student.taught_by)
    tags["kind"] = "compared student" if compared else "student"
    parents = (parent, _best(params, student.model))
    twin = _twin(params, student) if compared else ""
    return Step("distillation", name, settings, parents, tags, twin)


def _twin(params: Params, student: Student) -> str:
    """The step of the student that a compared one differs from by its lambda alone."""
    alike = student.model_copy(update={"label_weight": None})
    named = (n for n, other in params.distillation.students.items() if other == alike)
    return next((f"distillation/{name}" for name in named), "")


def _quantization(params: Params) -> Iterator[Step]:
    more_than = params.quantization.more_than
    for student, spec in params.distillation.students.items():
        for scheme in ("linear", *params.quantization.compare.get(student, ())):
            name = student if scheme == "linear" else f"{student}-{scheme}"
            settings = _reading(params) | {"scheme": scheme, "more_than": more_than}
            tags = _tags(params, spec.model, round=str(spec.round), scheme=scheme, student=student)
            yield Step("quantization", name, settings, (f"distillation/{student}",), tags)


def _ensembling(params: Params) -> Iterator[Step]:
    students = params.distillation.students
    if students:
        baselines = [f"teachers/{n}" for n, m in params.models.items() if m.family == "baseline"]
        teachers = dict.fromkeys(_best(params, student.model) for student in students.values())
        parents = ("data/data", *baselines, *teachers, *(f"quantization/{n}" for n in students))
        settings = _reading(params) | params.ensembling.model_dump(mode="json")
        yield Step("ensembling", "ensemble", settings, parents)
