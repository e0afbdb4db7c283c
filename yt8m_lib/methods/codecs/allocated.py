"""Bits where they matter: a finer step for the variables that the loss feels most.

Let one weight of variable l move by the rounding error of step d: the loss rises by about
``s_l d^2 / 24``, where s_l is the variable's sensitivity. Halving d costs one bit a weight in every
variable alike, so at the optimum ``s_l d_l^2`` is the same everywhere: ``d_l = c / sqrt(s_l)``. The
constant c is the only free number; it is chosen so that the bits are those asked for.
"""

import math
from collections.abc import Sequence

import numpy as np

from yt8m_lib.methods.codecs.entropy import Entropy, bits_at, encode_with, range_of_steps, sampled

ROUNDS = 24  # of halving the range of c


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
    samples = {i: sampled(weights[i]) for i in known}
    finest = {i: 1 / math.sqrt(sensitivities[i]) for i in known}  # the step at c = 1
    ranges = [(range_of_steps(samples[i]), math.log2(finest[i])) for i in known]
    low = min(least - unit for (least, _), unit in ranges)
    high = max(greatest - unit for (_, greatest), unit in ranges)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        taken = sum(
            bits_at(samples[i], 2.0**middle * finest[i], weights[i].shape) * weights[i].size
            for i in known
        )
        if taken > bits * sum(weights[i].size for i in known):
            low = middle
        else:
            high = middle
    for i in known:
        steps[i] = 2.0**high * finest[i]
    return steps


ALLOCATED_4, ALLOCATED_3_5, ALLOCATED_3 = Allocated(4), Allocated(3.5), Allocated(3)
