"""How sure an effect is: the paired bootstrap over videos.

Models are compared on the same resampled videos, so what makes a video hard for both cancels out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from yt8m_lib.files import written_whole
from yt8m_lib.scoring.metrics import POOL, gap
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.scoring.ranking import descending

RESAMPLES = 1000  # behind every interval


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value measured on some videos, and what it is on each resample of these videos.

    Resample r of two values measured on the same videos is of the same draw. So estimates subtract
    resample by resample, and what is left is the paired bootstrap of their difference.

    Attributes:
        value: measured on the videos as they are.
        resamples: the value on each resample, float64 [R].
        videos: how many videos it was measured on; 0 for what was not measured on videos.
        digest: of the videos' ids; "" for what was not measured on videos.
    """

    value: float
    resamples: np.ndarray
    videos: int = 0
    digest: str = ""

    def __sub__(self, other: Self) -> Self:
        self._check(other)
        return type(self)(
            self.value - other.value, self.resamples - other.resamples, self.videos, self.digest
        )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The percentile interval (low, high) of the resamples; see ``interval``."""
        return interval(self.resamples, level)

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` file."""
        with written_whole(path) as beside, open(beside, "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                float(file["value"]), file["resamples"], int(file["videos"]), str(file["digest"])
            )

    @classmethod
    def mean(cls, estimates: Sequence[Self]) -> Self:
        """The mean of several values measured on the same videos.

        Raises:
            ValueError: for other videos, or another number of resamples.
        """
        first, *others = estimates
        for other in others:
            first._check(other)
        resamples = np.mean([estimate.resamples for estimate in estimates], axis=0)
        value = float(np.mean([estimate.value for estimate in estimates]))
        return cls(value, resamples, first.videos, first.digest)

    def is_paired_with(self, other: Self) -> bool:
        """Whether both were measured on the same videos and resampled alike."""
        return (self.digest, len(self.resamples)) == (other.digest, len(other.resamples))

    def _check(self, other: Self) -> None:
        if not self.is_paired_with(other):
            raise ValueError(
                f"estimates of other videos or resamples cannot be paired: {self.videos} videos, "
                f"{len(self.resamples)} resamples, and {other.videos}, {len(other.resamples)}"
            )


def gap_estimate(model: Predictions, resamples: int = RESAMPLES) -> Estimate:
    """GAP of a model, measured on its videos and on each resample of them."""
    digest = hashlib.sha256(model.ids.tobytes()).hexdigest()[:16]
    return Estimate(gap(model), bootstrap_gap(model, resamples), len(model), digest)


def mean_estimate(values: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Mean of measurements that are not made on videos (sizes, times).

    Here a resample draws as many of the measurements with replacement, instead of videos.
    """
    values = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    return Estimate(float(values.mean()), values[draws].mean(axis=1))


def bootstrap_gap(model: Predictions, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """GAP of a model on videos drawn with replacement.

    Args:
        model: predictions of N videos.
        resamples: R, how often N of the N videos are drawn.
        seed: of the draws; the same seed and N draw the same videos, whichever the model.

    Returns:
        float64 [R]. Each value is the GAP of the drawn videos, one drawn n times counting as n
        videos. Copies of a pair stand together in the pool: where two classes of one video have
        the very same confidence, the copies are not interleaved.

    Raises:
        ValueError: where there are no videos.
    """
    videos = len(model)
    if not videos:
        raise ValueError("no videos to draw from")
    pool = _Pool(model)
    gaps = np.zeros(resamples)
    rng = np.random.default_rng(seed)
    for resample in range(resamples):
        times = np.bincount(rng.integers(0, videos, videos), minlength=videos).astype(np.int32)
        positives = int(times @ model.positives)
        if positives:
            gaps[resample] = pool.precisions(times) / positives
    return gaps


def interval(differences: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval (low, high) of bootstrapped differences.

    Args:
        differences: of two models' ``bootstrap_gap``, or their mean over seeds, [R].
        level: share of them inside; the rest is split evenly between the two sides.
    """
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class _Pool:
    """A model's pooled pairs, sorted once; each resample only weighs them."""

    def __init__(self, model: Predictions):
        confidences = model.confidences[:, :POOL]
        order = descending(confidences.ravel())
        self.video = order // confidences.shape[1]  # of each pair, [P]
        self.hits = np.flatnonzero(model.hits(POOL).ravel()[order])  # places of the hits, [H]
        # A drawn video brings all its pairs, so no resample has more of them than there are here.
        self.harmonic = np.cumsum(np.concatenate([[0.0], 1.0 / np.arange(1, len(order) + 1)]))

    def precisions(self, times: np.ndarray) -> float:
        """Sum of the precisions at all hits, each video counting ``times[video]`` times.

        The c-th of a hit's n copies has the precision ``(f + c) / (r + c)``, after r pairs with f
        hits among them; with ``h(m) = 1 + 1/2 + ... + 1/m`` all n together come to
        ``n - (r - f) (h(r + n) - h(r))``.
        """
        weights = times[self.video]  # [P]
        copies = weights[self.hits]  # n, [H]
        last = np.cumsum(weights, dtype=np.int32)[self.hits]  # r + n
        misses = last - np.cumsum(copies)  # r - f
        inverses = self.harmonic[last] - self.harmonic[last - copies]
        return float(copies.sum() - misses @ inverses)
