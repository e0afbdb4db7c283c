"""The settings of one model: its architecture, its sizes, and how it is trained."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, field_serializer, model_validator

from yt8m_lib import families
from yt8m_lib.errors import nearest
from yt8m_lib.families import Family
from yt8m_lib.values import (
    Architecture,
    Bytes,
    Epochs,
    Positive,
    Settings,
    Size,
    Unidentified,
)

Option = bool | int | float | str | tuple[float, ...]
Epsilon = Annotated[float, Field(gt=0, lt=1)]
Gpus = Annotated[float, Field(ge=0, le=64)]
Hours = Annotated[float, Field(gt=0, le=10_000)]
T = TypeVar("T")
# A setting that is left out, where it is not given, when settings are written as values: finished
# work whose settings are older than it then stays valid.
Extra = Annotated[T | None, Field(exclude_if=lambda value: value is None)]


class FamilyDefaults(Settings):
    """Settings that a family's models share; a model may override each of them."""

    batch: Positive = 160
    rate: Annotated[float, Field(gt=0)] = 2.0e-4
    epochs: Epochs = 10
    rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    rate_decay_videos: Extra[Positive] = None  # as in `training`, where not given
    loss_epsilon: Extra[Epsilon] = None  # inside the loss's logarithms; 1e-5 where not given
    gpus: Unidentified[Gpus | None] = None  # that a notebook gets where executors hand them out
    memory: Unidentified[Bytes | None] = None  # bytes of the machine's that it is counted with
    hours: Unidentified[Hours | None] = None  # after which a batch system may end it


class Model(Settings):
    """One architecture (sec. 4 of the paper): a box of Table 1 to 4.

    A family's own options, such as ``relu`` or ``reset_after``, stand beside the others in a
    parameter file; here they are in ``options``.
    """

    architecture: Architecture
    clusters: Size = 0  # K; unused by RNN
    hidden: Size = 0  # H; for RNN the cells C
    options: dict[str, Option] = Field(default_factory=dict)
    published: Unidentified[bool] = False  # one of the nine released configurations
    batch: Positive | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    epochs: Epochs | None = None
    rate_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    rate_decay_videos: Extra[Positive] = None
    loss_epsilon: Extra[Epsilon] = None
    gpus: Unidentified[Gpus | None] = None
    memory: Unidentified[Bytes | None] = None
    hours: Unidentified[Hours | None] = None

    @property
    def family(self) -> str:
        """Name of the model's family."""
        return self.traits.name

    @property
    def traits(self) -> Family:
        """The family's record."""
        return families.family_of(self.architecture)

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, raw: Any) -> Any:
        """Complete the options of the model's family; a name it does not have is refused later."""
        if not isinstance(raw, dict) or raw.get("architecture") not in families.architectures():
            return raw
        known = families.family_of(raw["architecture"]).options
        own = {key: _fitting(value, known[key]) for key, value in raw.items() if key in known}
        rest = {key: value for key, value in raw.items() if key not in known}
        return rest | {"options": {**known, **raw.get("options", {}), **own}}

    @field_serializer("options")
    def _as_they_were(self, options: dict[str, Option]) -> dict[str, Option]:
        """Leave out options that came later and have their default; see ``Family.added``."""
        family = self.traits
        new = {n for n in family.added if options.get(n) == family.options[n]}
        return {name: value for name, value in options.items() if name not in new}

    @model_validator(mode="after")
    def _sizes_fit_the_family(self) -> Self:
        least = {"clusters": 2, "hidden": 1}
        for size in self.traits.needs:
            if getattr(self, size) < least[size]:
                raise ValueError(f"{self.architecture} needs `{size}` of at least {least[size]}")
        multiple = self.traits.hidden_multiple
        if self.hidden % multiple:
            raise ValueError(
                f"`hidden` of {self.architecture} is split: make it a multiple of {multiple}"
            )
        for name, value in self.options.items():
            if name not in self.traits.options:
                raise ValueError(f"options: no {name!r}{nearest(name, self.traits.options)}")
            if type(value) is not type(self.traits.options[name]):
                kind = type(self.traits.options[name]).__name__
                raise ValueError(f"`{name}` of {self.architecture} is a {kind}, got {value!r}")
        self._keep((words, keeps(self.options)) for words, keeps in self.traits.rules)
        return self

    def check_streams(self, widths: Sequence[int]) -> None:
        """Refuse options that do not suit streams of so many features.

        Raises:
            ValueError: naming the options.
        """
        rules = self.traits.stream_rules
        self._keep((words, keeps(self.options, widths)) for words, keeps in rules)

    def _keep(self, rules: Iterable[tuple[str, bool]]) -> None:
        for words, kept in rules:
            if not kept:
                named = (name for name in self.options if f"`{name}`" in words)
                given = ", ".join(f"{name} {self.options[name]!r:.40}" for name in named)
                raise ValueError(f"{self.architecture}: {words}, got {given}")


def _fitting(value: Any, default: Any) -> Any:
    """An option's value; a whole number where a float is wanted is that float."""
    return float(value) if type(default) is float and type(value) is int else value


def family_name(architecture: Any) -> str:
    """The family that an unchecked architecture belongs to, or ""."""
    known = isinstance(architecture, str) and architecture in families.architectures()
    return families.family_of(architecture).name if known else ""
