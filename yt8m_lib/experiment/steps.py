"""The kinds of steps: what each phase makes of which settings and parents; see ``step.Step``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from typing_extensions import override

from yt8m_lib import families, settings
from yt8m_lib.catalogue import CODECS, METRICS
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.step_settings import (
    DataSettings,
    EnsembleSettings,
    MeasuringSettings,
    QuantizationSettings,
    ReportSettings,
    SoftTargetSettings,
    TrainingSettings,
)
from yt8m_lib.settings import Model, Student


@dataclass(frozen=True, kw_only=True)
class DataStep(Step):
    """Check and count the records."""

    phase = "data"
    about = "The records, checked and counted."
    makes = "yt8m_lib.phases.data:describe"
    settings: DataSettings


@dataclass(frozen=True, kw_only=True)
class ModelStep(Step):
    """A step that trains a model, then measures it.

    Attributes:
        model: the name that the experiment gives this architecture.
    """

    model: str
    settings: TrainingSettings
    measuring: MeasuringSettings

    @property
    @override
    def family(self) -> str:
        return self.settings.model.family

    @property
    @override
    def aliases(self) -> set[str]:
        return {self.name, self.model}

    @override
    def modules(self) -> Iterator[str]:
        yield from super().modules()
        yield self.settings.model.traits.layers

    @override
    def described(self) -> dict[str, str]:
        return super().described() | {"model": self.model, "round": "0"}


@dataclass(frozen=True, kw_only=True)
class TeacherStep(ModelStep):
    """Train an architecture on labels."""

    phase = "teachers"
    about = "An architecture trained on labels alone (sec. 5)."
    makes = "yt8m_lib.phases.teachers:fit"
    measures = "yt8m_lib.phases.teachers:measure"


@dataclass(frozen=True, kw_only=True)
class AveragingStep(ModelStep):
    """Go on from a teacher while an average follows; parent ``teacher``.

    Attributes:
        teaches: whether the averaged model is the one that teaches from here on.
    """

    phase = "averaging"
    about = "Trained on at a lower rate while an average of its weights followed (sec. 4.1)."
    makes = "yt8m_lib.phases.averaging:fit"
    measures = "yt8m_lib.phases.averaging:measure"
    teaches: bool

    @property
    @override
    def title(self) -> str:
        return f"{self.name} averaged"

    @override
    def described(self) -> dict[str, str]:
        return super().described() | {"teaches": str(self.teaches).lower()}


@dataclass(frozen=True, kw_only=True)
class SoftTargetsStep(Step):
    """Choose a family's teachers and predict with them; parents ``candidates``.

    Attributes:
        teaching_family: whose teachers they are.
        round: 1 or 2, the teaching round.
    """

    phase = "distillation"
    about = "The best combination of a family's models, and what it says of every training video."
    makes = "yt8m_lib.phases.distillation:choose_teachers"
    reads = "answers"
    settings: SoftTargetSettings
    teaching_family: str
    round: int
    layers: tuple[str, ...]

    @property
    @override
    def family(self) -> str:
        return self.teaching_family

    @override
    def modules(self) -> Iterator[str]:
        yield from super().modules()
        yield from self.layers
        yield from (METRICS.module(name) for name in METRICS)

    @override
    def described(self) -> dict[str, str]:
        return super().described() | {"round": str(self.round), "kind": "soft targets"}


@dataclass(frozen=True, kw_only=True)
class StudentStep(ModelStep):
    """Train an architecture on labels and soft targets.

    Parents: ``soft_targets``, and ``before``, the same architecture trained on labels alone.

    Attributes:
        round: 1 or 2, the teaching round.
        taught_by: the family whose teachers predicted the soft targets.
        compared: True for one that is only compared with the students and goes no further.
        how_taught: as the experiment says it.
    """

    phase = "distillation"
    about = "An architecture trained on labels and on its teachers' soft targets (sec. 3.1)."
    makes = "yt8m_lib.phases.distillation:fit"
    measures = "yt8m_lib.phases.distillation:measure"
    round: int
    taught_by: str
    compared: bool
    how_taught: Student

    @override
    def code(self) -> tuple[str, ...]:
        begin = f"{self.makes}_averaged" if self.settings.averaging else self.makes
        return (begin, *self.modules())

    @override
    def described(self) -> dict[str, str]:
        kind = "compared student" if self.compared else "student"
        own = {"round": str(self.round), "taught_by": self.taught_by, "kind": kind}
        return super().described() | own


@dataclass(frozen=True, kw_only=True)
class QuantizationStep(Step):
    """Store a student's weights with a codec; parent ``student``."""

    phase = "quantization"
    about = "A student's large weights as a codec stores them (sec. 3.2)."
    makes = "yt8m_lib.phases.quantization:quantize"
    settings: QuantizationSettings
    student: str
    model: str
    model_settings: Model
    round: int

    @property
    @override
    def family(self) -> str:
        return self.model_settings.family

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self.settings.codec

    @property
    @override
    def title(self) -> str:
        return f"{self.student} as {self.codec} codes"

    @property
    @override
    def aliases(self) -> set[str]:
        return {self.name, self.model}

    @override
    def modules(self) -> Iterator[str]:
        yield from super().modules()
        yield self.model_settings.traits.layers
        yield from (CODECS.module(name) for name in (self.codec, "float32"))
        yield from (METRICS.module(name) for name in METRICS)

    @override
    def described(self) -> dict[str, str]:
        own = {"model": self.model, "round": str(self.round), "student": self.student}
        return super().described() | own | {"codec": self.codec}


@dataclass(frozen=True, kw_only=True)
class EnsembleStep(Step):
    """Search the weights, export one model, measure it.

    Parents: ``members`` (quantised students), ``students`` and ``before`` (the same architectures
    trained on labels) in the same order, ``data``, and all ``teachers`` and ``averaged`` models.
    """

    phase = "ensembling"
    about = "The model to ship: members with tuned weights in one SavedModel (sec. 4.3)."
    makes = "yt8m_lib.phases.ensembling:build"
    reads = "everything"
    stands = "model"
    settings: EnsembleSettings
    layers: tuple[str, ...]

    @override
    def modules(self) -> Iterator[str]:
        yield from super().modules()
        yield from self.layers
        yield from (CODECS.module(name) for name in (self.settings.codec, "float32"))
        yield from (METRICS.module(name) for name in METRICS)


@dataclass(frozen=True, kw_only=True)
class ReportStep(Step):
    """Make the tables and findings from every other step."""

    phase = "report"
    about = "The paper's four tables, and the verdict on each of its claims."
    makes = "yt8m_lib.phases.report:write"
    reads = "everything"
    stands = "tables"
    settings: ReportSettings

    @override
    def modules(self) -> Iterator[str]:
        # Named here, since for every other step the room that shows results decides nothing.
        yield from (f"yt8m_lib.report.{name}" for name in ("tables", "figures", "findings"))


def layers_of(models: Mapping[str, settings.Model], names: list[str]) -> tuple[str, ...]:
    """The modules with the layers of these models."""
    return tuple(sorted({families.family_of(models[n].architecture).layers for n in names}))
