"""What the paper and its authors' write-up claim, part by part, and the rule that judges a claim.

Directions and margins stand here before any run, and no run changes them: a margin is half the
paper's effect, or 0.0005 GAP where the claim is "none" or gives no value.

One amendment, of 2026-11-27: claims that say of something that it is *not better* (2, 7 and a model
in 8) are judged as "no gain". They had been "none", under which a clear loss counted as "opposite"
although it agrees with the paper. Margins stayed, and the verdict of the first direction is shown
beside the amended one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from yt8m_lib.families import FAMILIES
from yt8m_lib.scoring.intervals import Estimate

Direction = Literal["gain", "loss", "none", "no gain"]
Verdict = Literal["reproduced", "no effect", "opposite", "undecided"]

AMENDED = "2026-11-27"
SMALLEST = 0.0005  # GAP: the smallest effect of interest where the paper names none


@dataclass(frozen=True)
class Claim:
    """One part of a claim.

    Attributes:
        text: what is claimed, in a few words.
        direction: of the effect: a gain, a loss, none either way, or no gain.
        published: the effect's range as published, (0, 0) for none; empty where no value is given.
            In GAP, or in bytes or seconds as a share of float32's.
        families: names of the families that it is about; empty where it is about all models.
        first_direction: what it was judged by before the amendment that touches it.
    """

    text: str
    direction: Direction
    published: tuple[float, float] | tuple[()] = ()
    families: tuple[str, ...] = ()
    first_direction: Direction | None = None

    @property
    def margin(self) -> float:
        """Half the smaller end of the published range, or the smallest effect of interest."""
        return min(map(abs, self.published), default=0.0) / 2 or SMALLEST

    def judge(self, effect: Estimate) -> Verdict:
        """The verdict on this claim by the effect's 95 % interval."""
        return verdict(effect.value, *effect.interval(), self.direction, self.margin)

    def judge_at_first(self, effect: Estimate) -> Verdict | Literal[""]:
        """The verdict before the amendment; "" for a claim that it does not touch."""
        first = self.first_direction
        return verdict(effect.value, *effect.interval(), first, self.margin) if first else ""

    @property
    def paper(self) -> str:
        """What the paper found, in words."""
        if not self.published:
            return {"gain": "better", "loss": "worse"}.get(self.direction, self.direction)
        if self.direction in ("none", "no gain"):
            return self.direction
        low, high = self.published
        return f"{low:+.5g}" if low == high else f"{low:+.5g} to {high:+.5g}"


_NONE = (0.0, 0.0)


def _each(
    families: str,
    part: str,
    text: str,
    direction: Direction,
    published: tuple[float, float] | tuple[()] = (),
    first_direction: Direction | None = None,
) -> dict[str, Claim]:
    """The same claim of several families, by part.

    Args:
        families: their names, with spaces between.
        part: name of the part, where ``{}`` stands for a family's name.
        text: as ``Claim`` has it, where ``{}`` stands for a family's title.
        direction: as ``Claim`` has it.
        published: as ``Claim`` has it.
        first_direction: as ``Claim`` has it.
    """
    return {
        part.format(name): Claim(
            text.format(FAMILIES[name].title), direction, published, (name,), first_direction
        )
        for name in families.split()
    }


def _no_gain(text: str) -> Claim:
    """A claim that something is not better, which was first judged as "none"."""
    return Claim(text, "no gain", _NONE, first_direction="none")


CLAIMS: dict[str, Claim] = {
    **_each("dbof rnn", "1-{}", "averaging helps {}", "gain", (0.002, 0.003)),
    **_each("netvlad fvnet", "1-{}", "averaging does not help {}", "none", _NONE),
    **_each(
        "dbof rnn",
        "1-{}-control",
        "... {}: over the same training without it",
        "gain",
        (0.002, 0.003),
    ),
    **_each(
        "dbof rnn", "2-{}", "equal-weight checkpoints do the same for {}", "no gain", _NONE, "none"
    ),
    **_each("dbof rnn", "2-{}-both", "... {}: both together add nothing", "no gain", _NONE, "none"),
    "3-gap": Claim("8 bits cost no GAP", "none", _NONE),
    "3-size": Claim("... at a quarter of the bytes", "loss", (-0.75, -0.75)),
    "4": Claim("8 bits, decoded on each call, are a little slower", "gain", (0.065, 0.065)),
    "5": Claim("quantile centroids do worse than uniform ones", "loss"),
    **_each("netvlad fvnet", "6-{}", "students help {}", "gain", (0.00409, 0.0129)),
    **_each("dbof", "6-{}", "students help {}", "gain", (0.00409, 0.00409)),
    **_each("rnn", "6-{}", "students help {}", "gain", (0.0129, 0.0129)),
    "6-model": Claim("... one architecture, all families", "gain", (0.001, 0.002)),
    "6-together": Claim("... a family's average over its teachers'", "gain", (0.00409, 0.0129)),
    "7-0.4": _no_gain("lambda 0.4 is no better than 0.5"),
    "7-0.6": _no_gain("lambda 0.6 is no better than 0.5"),
    "8-model": _no_gain("a second round adds nothing to a model"),
    "8-ensemble": Claim("... but to the ensemble", "gain", (0.001, 0.001)),
    **_each("dbof rnn", "9-{}", "another family teaches {} as well", "none", _NONE),
    **_each(
        "netvlad fvnet dbof", "10-{}", "all frames beat random ones for {}", "gain", (0.001, 0.0014)
    ),
    "11": Claim("tuned ensemble weights beat flat ones", "gain", (0.0005, 0.005)),
    "12-small": Claim("a smaller batch does not matter", "none", _NONE),
    "12-large": Claim("a larger batch does not matter", "none", _NONE),
    **_each("netvlad fvnet dbof rnn", "13-{}", "larger is better for {}", "gain"),
    "14": Claim(
        "four families beat the best one", "gain", families=("netvlad", "fvnet", "dbof", "rnn")
    ),
}
NUMBERS = tuple(dict.fromkeys(int(part.split("-")[0]) for part in CLAIMS))


def by_family(number: int) -> dict[str, Claim]:
    """The parts of a claim that are about one family each, by the family's name."""
    parts = {name: CLAIMS.get(f"{number}-{name}") for name in FAMILIES}
    return {name: claim for name, claim in parts.items() if claim}


def verdict(effect: float, low: float, high: float, direction: Direction, margin: float) -> Verdict:
    """Judge a claim by the interval of its effect; the first rule that holds decides.

    ===========  ===============================  ===============================  ===============
    verdict      a gain (or loss) was claimed     "none" was claimed               "no gain" was
    ===========  ===============================  ===============================  ===============
    reproduced   wholly beyond 0 on that side     wholly inside [-margin, margin]  up to margin
    no effect    wholly inside [-margin, margin]  (never)                          (never)
    opposite     wholly beyond 0 on the other     wholly outside of that           wholly above it
    undecided    else                             else                             else
    ===========  ===============================  ===============================  ===============

    Args:
        effect: the measured difference, in the unit of the margin.
        low: lower end of its interval.
        high: upper end of its interval.
        direction: what was claimed.
        margin: the smallest effect of interest, fixed before measuring.

    Raises:
        ValueError: for an unknown direction, a value that is not finite, a margin below 0, or where
            the lower end is above the upper one.
    """
    if direction not in Direction.__args__:
        raise ValueError(f"direction must be one of {Direction.__args__}, got {direction!r}")
    if not np.isfinite([effect, low, high, margin]).all() or low > high or margin < 0:
        raise ValueError(f"no interval: {effect} in [{low}, {high}], margin {margin}")
    inside = -margin <= low and high <= margin
    if direction == "no gain":
        return "reproduced" if high <= margin else "opposite" if low > margin else "undecided"
    if direction == "none":
        outside = low > margin or high < -margin
        return "reproduced" if inside else "opposite" if outside else "undecided"
    claimed, other = (low > 0, high < 0) if direction == "gain" else (high < 0, low > 0)
    if claimed:
        return "reproduced"
    return "no effect" if inside else "opposite" if other else "undecided"
