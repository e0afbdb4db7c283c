"""Bits where they matter: a finer step for the variables that the loss feels most.

Let one weight of variable l move by the rounding error of step d: the loss rises by about
``s_l d^2 / 24``, where s_l is the variable's sensitivity. Halving d costs one bit a weight in every
variable alike, so at the optimum ``s_l d_l^2`` is the same everywhere: ``d_l = c / sqrt(s_l)``. The
constant c is the only free number; it is chosen so that the bits are those asked for.

That is true of small errors alone. So no step is more than ``FARTHEST`` times the one that gives
its variable those bits by itself: the loss of what is nearly rounded away is no parabola.
"""

import math
from collections.abc import Sequence

import numpy as np

from yt8m_lib.methods.codecs.entropy import Entropy, bits_at, encode_with, sampled, step_for

ROUNDS = 24  # of halving the range of c
FARTHEST = 2.0  # one bit a weight


class Allocated(Entropy):
    """``Entropy``, but the bits asked for are those of all variables of a model on average."""

    together = True

    def encode_together(
        self, weights: Sequence[np.ndarray], sensitivities: Sequence[float]
    ) -> list[dict[str, np.ndarray]]:
        """Encode the variables of a model.

        Args:
            weights: float32 of any shapes, finite.
            sensitivities: of each: the mean squared gradient of the loss with respect to one of
                its weights. Where it is 0, nothing is known: the variable takes the bits asked for.
        """
        steps = steps_for(weights, sensitivities, self.bits)
        return [
            self.encode(values) if step is None else encode_with(values, step)
            for values, step in zip(weights, steps, strict=True)
        ]


def steps_for(
    weights: Sequence[np.ndarray], sensitivities: Sequence[float], bits: float
) -> list[float | None]:
    """A step for each variable, so that they take so many bits a weight on average.

    Returns:
        The steps; None for a variable of sensitivity 0.
    """
    known = [i for i, s in enumerate(sensitivities) if s > 0 and np.any(weights[i])]
    steps: list[float | None] = [None] * len(weights)
    if not known:
        return steps
    samples = [sampled(weights[i]) for i in known]
    alone = np.array([step_for(weights[i], bits) for i in known])  # at those bits by itself
    unit = 1 / np.sqrt([sensitivities[i] for i in known])  # the steps at c = 1
    low, high = (
        math.log2((alone / unit).min() / FARTHEST),
        math.log2((alone / unit).max() * FARTHEST),
    )
    elements = [weights[i].size for i in known]
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tried = _within_reach(2.0**middle * unit, alone)
        taken = [
            bits_at(sample, step, weights[i].shape)
            for i, sample, step in zip(known, samples, tried, strict=True)
        ]
        if np.dot(taken, elements) > bits * sum(elements):
            low = middle
        else:
            high = middle
    for i, step in zip(known, _within_reach(2.0**high * unit, alone), strict=True):
        steps[i] = float(step)
    return steps


def _within_reach(steps: np.ndarray, alone: np.ndarray) -> np.ndarray:
    return np.clip(steps, alone / FARTHEST, alone * FARTHEST)


ALLOCATED_4, ALLOCATED_3_5, ALLOCATED_3 = Allocated(4), Allocated(3.5), Allocated(3)
