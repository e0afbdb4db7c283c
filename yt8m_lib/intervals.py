"""How sure a difference of GAPs is: the paired bootstrap over videos, and a verdict from it.

Models are compared on the same resampled videos, so what makes a video hard for both cancels out.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from yt8m_lib.metrics import POOL
from yt8m_lib.predictions import Predictions, check_same_videos
from yt8m_lib.ranking import descending

Direction = Literal["gain", "loss", "none"]
Verdict = Literal["reproduced", "no effect", "opposite", "undecided"]


def bootstrap_gap(
    models: Sequence[Predictions], resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """GAP of each model on videos drawn with replacement, the same ones for every model.

    Args:
        models: M models' predictions of the same N videos.
        resamples: R, how often N of the N videos are drawn.
        seed: of the draws; the same seed and N draw the same videos.

    Returns:
        float64 [M, R]. Each value is the GAP of the drawn videos, one drawn n times counting as n
        videos. Copies of a pair stand together in the pool: where two classes of one video have
        the very same confidence, the copies are not interleaved.

    Raises:
        ValueError: where the models did not see the same videos in the same order, or none.
    """
    check_same_videos(models)
    videos = len(models[0])
    if not videos:
        raise ValueError("no videos to draw from")
    pools = [_Pool(model) for model in models]
    labels = models[0].positives
    gaps = np.zeros((len(models), resamples))
    rng = np.random.default_rng(seed)
    for resample in range(resamples):
        times = np.bincount(rng.integers(0, videos, videos), minlength=videos).astype(np.int32)
        positives = int(times @ labels)
        if positives:
            gaps[:, resample] = [pool.precisions(times) / positives for pool in pools]
    return gaps


def interval(differences: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrapped differences.

    Args:
        differences: of two rows of ``bootstrap_gap``, or their mean over seeds, [R].
        level: share of them inside; the rest is split evenly between the two sides.
    """
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def verdict(effect: float, low: float, high: float, direction: Direction, margin: float) -> Verdict:
    """Judge a claim by the interval of its effect; the first rule that holds decides.

    ======================  ==============================  =====================================
    verdict                 a gain (or loss) was claimed     "none" was claimed
    ======================  ==============================  =====================================
    reproduced              wholly beyond 0 on that side     wholly inside [-margin, margin]
    no effect               wholly inside [-margin, margin]  (never)
    opposite                wholly beyond 0 on the other     wholly above margin or below -margin
    undecided               else                             else
    ======================  ==============================  =====================================

    Args:
        effect: the measured difference, in the unit of the margin.
        low: lower end of its interval.
        high: upper end of its interval.
        direction: what was claimed.
        margin: the smallest effect of interest, fixed before measuring.

    Raises:
        ValueError: for numbers that are none, ends in the wrong order, an unknown direction.
    """
    if direction not in Direction.__args__:
        raise ValueError(f"direction must be one of {Direction.__args__}, got {direction!r}")
    if not np.isfinite([effect, low, high, margin]).all() or low > high or margin < 0:
        raise ValueError(f"no interval: {effect} in [{low}, {high}], margin {margin}")
    inside = -margin <= low and high <= margin
    if direction == "none":
        outside = low > margin or high < -margin
        return "reproduced" if inside else "opposite" if outside else "undecided"
    claimed, other = (low > 0, high < 0) if direction == "gain" else (high < 0, low > 0)
    if claimed:
        return "reproduced"
    return "no effect" if inside else "opposite" if other else "undecided"


class _Pool:
    """A model's pooled pairs, sorted once; each resample only weighs them."""

    def __init__(self, model: Predictions):
        confidences = model.confidences[:, :POOL]
        order = descending(confidences.ravel())
        self.video = (order // confidences.shape[1]).astype(np.int32)  # of each pair, [P]
        self.hits = np.flatnonzero(model.hits(POOL).ravel()[order])  # places of the hits, [H]

    def precisions(self, times: np.ndarray) -> float:
        """Sum of the precisions at all hits, each video counting ``times[video]`` times."""
        weights = times[self.video]  # [P]
        copies = weights[self.hits]  # [H]
        ranks = np.cumsum(weights)[self.hits] - copies  # pairs before a hit's first copy
        found = np.cumsum(copies) - copies  # hits before it
        total = 0.0
        for copy in range(1, int(copies.max(initial=0)) + 1):
            more = copies >= copy
            total += ((found[more] + copy) / (ranks[more] + copy)).sum()
        return float(total)
