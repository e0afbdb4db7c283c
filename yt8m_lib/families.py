"""The table of families: what the project needs to know of each, free of TensorFlow.

Parameters, the plan, released checkpoints, tables, figures and claims read these records. A
family's layers lie in a file of their own, which is imported when a model of it is built. To add a
family, write that file (``models/netvlad.py`` shows how) and one more record here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Rule = tuple[str, Callable[[Mapping[str, Any]], bool]]  # in words, and whether options keep it
# The same of options and the widths of a frame's streams.
StreamRule = tuple[str, Callable[[Mapping[str, Any], Sequence[int]], bool]]


@dataclass(frozen=True)
class Family:
    """One family of models (sec. 3 of the paper, and others that came after it).

    Attributes:
        name: as parameter files write it.
        title: as people write it.
        architectures: its variants, as parameter files write them.
        layers: the module with its layers; see ``models.build``.
        pools_frames: True where the order of the frames does not matter, as in NetVLAD. Such a
            model is trained on frames drawn at random; others read all frames in order (sec. 2).
        classifier: what follows the encoder.
        raw_frames: True where frames are dequantised and no more; else each is scaled to length 1.
        draws: True where the encoder draws random numbers in training, such as for dropout: its
            ``call`` then takes the step's ``seed`` as well.
        audio_share: the audio stream, like any after the first, has K // audio_share clusters.
        context_gating: whether the hidden layer is gated.
        label_gating: whether the predictions are gated.
        needs: the sizes that a model of it must give.
        hidden_multiple: ``hidden`` must be a multiple of this.
        options: further settings of its models, with their defaults.
        added: those among them that came later; where one has its default, a model is the one that
            it was before, so it is left out of its identity.
        rules: what the options must keep besides their types.
        stream_rules: what they must keep for the streams that a frame is made of.
        colour: in figures.
        released_scope: how the released code names its pooling's variables; "" where that code
            has no such pooling.
        teaches: False for a baseline, which is only shown beside the others.
    """

    name: str
    title: str
    architectures: tuple[str, ...]
    layers: str
    pools_frames: bool
    classifier: Literal["mixture_of_experts", "logistic", "penalised_logistic"]
    raw_frames: bool = False
    draws: bool = False
    audio_share: int = 1
    context_gating: bool = False
    label_gating: bool = False
    needs: tuple[str, ...] = ("clusters", "hidden")
    hidden_multiple: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    stream_rules: tuple[StreamRule, ...] = ()
    colour: str = "#7A7A7A"
    released_scope: str = ""
    teaches: bool = True

    @property
    def traits(self) -> dict[str, Any]:
        """What of this record decides a model's weights and answers."""
        names = ["pools_frames", "classifier", "audio_share", "context_gating", "label_gating"]
        # Named where they hold alone: work finished before there were such families stays valid.
        names += [name for name in ("raw_frames", "draws") if getattr(self, name)]
        return {name: getattr(self, name) for name in names}


FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Add a family to the table.

    Raises:
        ValueError: when its name, or one of its architectures, is taken.
    """
    taken = {name for other in FAMILIES.values() for name in (other.name, *other.architectures)}
    both = taken & {family.name, *family.architectures}
    if both:
        raise ValueError(f"family {family.name!r}: {', '.join(sorted(both))} is taken")
    FAMILIES[family.name] = family


def family_of(architecture: str) -> Family:
    """The family that an architecture belongs to.

    Raises:
        KeyError: when no family has it.
    """
    for family in FAMILIES.values():
        if architecture in family.architectures:
            return family
    raise KeyError(architecture)


def architectures() -> list[str]:
    """All architectures of all families."""
    return [name for family in FAMILIES.values() for name in family.architectures]


def teaching() -> tuple[str, ...]:
    """Names of the families that may teach, in the table's order."""
    return tuple(name for name, family in FAMILIES.items() if family.teaches)


register(
    Family(
        "netvlad",
        "NetVLAD",
        ("netvlad", "lightvlad"),
        "yt8m_lib.models.netvlad",
        pools_frames=True,
        classifier="mixture_of_experts",
        audio_share=2,
        context_gating=True,
        label_gating=True,
        options={"relu": False},
        colour="#0072B2",
        released_scope="VLAD",
    )
)
register(
    Family(
        "fvnet",
        "FVNet",
        ("fvnet",),
        "yt8m_lib.models.fvnet",
        pools_frames=True,
        classifier="mixture_of_experts",
        audio_share=2,
        context_gating=True,
        label_gating=True,
        options={"relu": False},
        colour="#D55E00",
        released_scope="FV",
    )
)
register(
    Family(
        "dbof",
        "DBoF",
        ("gated_dbof", "soft_dbof"),
        "yt8m_lib.models.dbof",
        pools_frames=True,
        classifier="mixture_of_experts",
        audio_share=8,
        options={"relu": False, "max_pool": False},
        colour="#009E73",
        released_scope="DBOF",
    )
)
register(
    Family(
        "rnn",
        "RNN",
        ("lstm", "gru"),
        "yt8m_lib.models.rnn",
        pools_frames=False,
        classifier="logistic",
        needs=("hidden",),
        hidden_multiple=2,  # split over two directions
        options={"reset_after": False, "input_scale": 1.0},
        added=("input_scale",),
        rules=(("`input_scale` must be above 0", lambda o: o["input_scale"] > 0),),
        colour="#CC79A7",
    )
)
register(
    Family(
        "nextvlad",
        "NeXtVLAD",
        ("nextvlad",),
        "yt8m_lib.models.nextvlad",
        pools_frames=False,
        classifier="penalised_logistic",
        raw_frames=True,
        draws=True,
        audio_share=2,
        options={
            "groups": 8,
            "expansion": 2.0,
            "reduction": 16,
            "dropout": 0.5,
            "input_norm": False,
            "eigenvalues": (),
        },
        rules=(
            ("`groups` must be an even number from 2", lambda o: o["groups"] > 1 > o["groups"] % 2),
            ("`expansion` must be above 0", lambda o: o["expansion"] > 0),
            ("`reduction` must be at least 1", lambda o: o["reduction"] >= 1),
            ("`dropout` must be at least 0 and below 1", lambda o: 0 <= o["dropout"] < 1),
            (
                "`eigenvalues` must be numbers, none below 0",
                lambda o: min(o["eigenvalues"], default=0) >= 0,
            ),
            (
                "`input_norm` stands in for `eigenvalues`: give one of them",
                lambda o: not (o["input_norm"] and o["eigenvalues"]),
            ),
        ),
        stream_rules=(
            (
                "`groups` must split the first stream's features x `expansion`, and half as many "
                "groups every other stream's, into equal parts",
                lambda o, widths: all(
                    width * o["expansion"] % (o["groups"] // 2 if place else o["groups"]) == 0
                    for place, width in enumerate(widths)
                ),
            ),
            (
                "`eigenvalues` must be as many as the first stream has features, or none at all",
                lambda o, widths: len(o["eigenvalues"]) in (0, widths[0]),
            ),
        ),
        colour="#56B4E9",
    )
)
register(
    Family(
        "baseline",
        "Baseline",
        ("logistic",),
        "yt8m_lib.models.baseline",
        pools_frames=False,
        classifier="logistic",
        needs=(),
        teaches=False,
    )
)
