"""What a step is: one run of one phase, with typed settings and parents by role.

A step's settings are all that its result depends on besides its parents, the data and the code.
The kinds of steps, one or more a phase, are in ``steps``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from yt8m_lib.catalogue import CODECS, METRICS, RECORD_KINDS
from yt8m_lib.experiment.step_settings import DataSettings, MeasuringSettings
from yt8m_lib.settings import Phase, Settings

ANSWERING = "yt8m_lib.methods.inference:predict"  # what a model answers follows from here


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of one phase.

    Attributes:
        name: unique in its phase.
        settings: all parameters that its result depends on.
        parents: by role, the key or keys (``phase/name``) of the steps whose results it reads.
        twin: key of a step that it shares its random numbers with, to be compared with it; "" if
            it has random numbers of its own.
        measuring: how its model is measured, where that can be done again by itself.
        phase: which notebook makes it.
        about: what it is, in a sentence for those who look at its run.
        makes: the function whose code decides the result.
        measures: the function that measures the result; "" where that is part of making it.
        reads: what it takes from its parents: their weights alone, their answers as well, or
            everything that was measured of them.
        stands: the folder in the experiment's own in which a copy of what it made stands for
            people; "" for none.
    """

    name: str
    settings: Settings
    parents: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    twin: str = ""
    measuring: MeasuringSettings | None = None
    phase: ClassVar[Phase]
    about: ClassVar[str]
    makes: ClassVar[str]
    measures: ClassVar[str] = ""
    reads: ClassVar[Literal["weights", "answers", "everything"]] = "weights"
    stands: ClassVar[str] = ""

    @property
    def key(self) -> str:
        """``phase/name``."""
        return f"{self.phase}/{self.name}"

    @property
    def title(self) -> str:
        """What people call what it makes."""
        return self.name

    @property
    def family(self) -> str:
        """Name of the family that it belongs to; "" for none."""
        return ""

    @property
    def aliases(self) -> set[str]:
        """Names that narrow a phase down to this step."""
        return {self.name}

    @property
    def parent_keys(self) -> tuple[str, ...]:
        """Keys of all parents."""
        return tuple(
            key
            for keys in self.parents.values()
            for key in ((keys,) if isinstance(keys, str) else keys)
        )

    def code(self) -> tuple[str, ...]:
        """Where the code begins that decides the result; see ``sources.code_digests``."""
        return (self.makes, *self.modules())

    def measuring_code(self) -> tuple[str, ...]:
        """The same for the code that measures it; empty where that is part of making it."""
        if self.measuring is None:
            return ()
        codecs = (CODECS.module(name) for name in (self.measuring.codec, "float32"))
        metrics = (METRICS.module(name) for name in METRICS)
        return (self.measures, *self.modules(), *codecs, *metrics)

    def answering_code(self) -> tuple[str, ...]:
        """The part of it that decides what the model answers."""
        return (ANSWERING, *self.modules()) if self.measuring else ()

    def modules(self) -> Iterator[str]:
        """Modules that this step imports by the names in its settings."""
        if isinstance(self.settings, DataSettings):
            yield RECORD_KINDS.module(self.settings.data.level)

    def described(self) -> dict[str, str]:
        """Tags for people who look at the run in MLflow; nothing is decided by them."""
        return {"family": self.family} if self.family else {}
