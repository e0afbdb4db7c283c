"""What several repeats of an experiment say together, each trained from other seeds.

All repeats are measured on the same videos, so an effect is unsure in two ways: another draw of the
videos would change it for all repeats alike, another seed for one repeat alone.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from yt8m_lib.report.claims import Claim
from yt8m_lib.scoring.intervals import Estimate

MOST = 1000  # times as many videos or seeds: nobody asks for more


def over_repeats(effects: Sequence[Estimate], seed: int = 0) -> Estimate:
    """Mean of an effect over repeats, as unsure as both videos and seeds make it.

    Videos are drawn alike for all repeats. Drawing the few seeds anew would give far too narrow an
    interval: of three, the 95 % interval is their range, which holds the true mean 3 times in 4.
    So their mean is drawn from Student's t about it, which knows how few they are.

    Args:
        effects: one of each repeat, on the same videos.
        seed: of the draws.
    """
    mean = Estimate.mean(effects)
    if len(effects) == 1:
        return mean
    drawn = np.repeat(mean.resamples, 20)  # t of few seeds has wide tails: they need many draws
    noise = np.random.default_rng([seed, 1]).standard_t(len(effects) - 1, len(drawn))
    resamples = drawn + spread_of_mean(effects) * noise
    return Estimate(mean.value, resamples, mean.videos, mean.digest)


def of_another_repeat(effects: Sequence[Estimate]) -> tuple[float, float]:
    """Where 95 % of further repeats' effects lie on the same videos, by Student's t over seeds.

    More seeds make the interval of the mean narrower, but not this one: it is what a repeat made
    anew is compared with.

    Returns:
        Lower and upper end; not a number where there is one repeat only.
    """
    count = len(effects)
    if count == 1:
        return np.nan, np.nan
    mean = float(np.mean([effect.value for effect in effects]))
    reach = _student(count) * spread_of_mean(effects) * np.sqrt(count + 1)
    return mean - reach, mean + reach


def spread_of_mean(effects: Sequence[Estimate]) -> float:
    """Standard error of the mean of several repeats' effects."""
    return float(np.std([e.value for e in effects], ddof=1) / np.sqrt(len(effects)))


def needs(claim: Claim, effects: Sequence[Estimate]) -> str:
    """About how many videos, or seeds, or both would decide a claim, were the effect as it seems.

    Doubt by videos shrinks with the root of their number, doubt by seeds as Student's t says. Seeds
    alone are asked for where doubt by videos leaves them room; else each may take half of it.

    Args:
        claim: one that is undecided.
        effects: one of each repeat.

    Returns:
        Words such as "361 videos" or "2,888 videos and 18 seeds".
    """
    mean, count = Estimate.mean(effects), len(effects)
    room = _room(claim, mean.value)
    low, high = mean.interval()
    share = ((high - low) / 2 / room) ** 2  # of the room's square that doubt by videos takes
    if count == 1:
        return _number(mean.videos or 1, share, "videos" if mean.videos else "seeds")
    wanted, share = [], share if mean.videos else 0.0
    if share >= 1:
        wanted.append(_number(mean.videos, 2 * share, "videos"))
        share = 0.5
    spread = spread_of_mean(effects) * np.sqrt(count)
    for seeds in range(2, MOST * count):
        if (_student(seeds) * spread) ** 2 / seeds <= (1 - share) * room**2:
            break
    return " and ".join([*wanted, _number(seeds, 1, "seeds")])


def _room(claim: Claim, effect: float) -> float:
    """Half the width that an interval about an effect may have to decide the claim."""
    margin, size = claim.margin, abs(effect)
    rooms = {"none": abs(size - margin), "no gain": abs(effect - margin)}
    return max(rooms.get(claim.direction, max(size, margin - size)), 1e-9)


def _student(seeds: int) -> float:
    """How many standard errors Student's t of this many seeds reaches to either side, at 95 %."""
    return float(stdtrit(seeds - 1, 0.975))


def _number(count: int, times: float, unit: str) -> str:
    """``count`` times ``times`` in words; beyond ``MOST`` times, how many would not be told."""
    if times > MOST:
        return f"over {MOST:,} times the {unit}"
    return f"{np.ceil(count * times):,.0f} {unit}"
