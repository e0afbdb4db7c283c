"""One step a variable, its codes packed: the least squared error that so many bits can buy.

A value's code is the nearest whole multiple of the step. Frequent codes take few bits once they are
packed, rare ones many, so the step can be finer than that of any code of fixed length. Within
0.25 bits this is the best that can be done to independent values (the rate-distortion bound).
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.methods.codecs.codec import Arrays, Codec, extremes
from yt8m_lib.methods.codecs.lossless import BLOCK, UnpackedOnce, bytes_around, pack, unpack

FARTHEST = 127  # steps from zero of what has a code; values beyond are kept as they are
SAMPLED, RUNS = 1 << 20, 16  # elements, in so many runs, that a step is chosen on at most
ROUNDS = 24  # of halving the range of steps
FINEST = 10  # how often the smallest step tried is halved from a middling weight


class Entropy(Codec):
    """A codec of as many bits a weight as asked for, whatever is stored for it counted.

    The arrays are those of ``lossless.pack``; ``centroids``, float32, the mean of the values that
    took each code, from the lowest code to the highest; and ``places`` int64 and ``values`` float32
    of the weights that are too far from zero to have a code.

    Args:
        bits: a weight.
    """

    def __init__(self, bits: float):
        self.bits = bits

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Encode with the smallest step whose codes take no more than the bits asked for."""
        values = np.asarray(values, np.float32)
        extremes(values)
        return encode_within(values, self.bits)

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The mean of every code, and the values that were kept."""
        decoded = arrays["centroids"][unpack(arrays)]
        decoded.reshape(-1)[arrays["places"]] = arrays["values"]
        return decoded

    def size(self, shape: Sequence[int]) -> int:
        """As many bytes as were asked for; a very small variable's tables may take more."""
        return math.ceil(self.bits * math.prod(shape) / 8)

    def graph_weight(self, arrays: Arrays) -> UnpackedOnce:
        """A weight that the graph's first call unpacks."""
        return UnpackedOnce(
            arrays, lambda codes, own: tf.gather(own["centroids"], tf.cast(codes, tf.int32))
        )


def encode_within(values: np.ndarray, bits: float) -> dict[str, np.ndarray]:
    """Encode a variable with the smallest step at which it takes at most so many bits a weight."""
    step = step_for(values, bits)
    while True:
        arrays = encode_with(values, step)
        if 8 * sum(array.nbytes for array in arrays.values()) <= bits * values.size:
            return arrays
        if arrays["centroids"].size <= 1:  # a variable so small that its tables take more
            return arrays
        step *= 1.002  # the sample that the step was chosen on was a little kinder than the whole


def encode_with(values: np.ndarray, step: float) -> dict[str, np.ndarray]:
    """Encode a variable with a given step.

    Args:
        values: float32 of any shape, finite.
        step: above 0.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    codes, places = np.empty(flat.size, np.uint8), []
    sums, counts = np.zeros(2 * FARTHEST + 1), np.zeros(2 * FARTHEST + 1, np.int64)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        multiples = np.rint(block.astype(np.float64) / step)
        far = np.abs(multiples) > FARTHEST
        places.append(start + np.flatnonzero(far))
        coded = np.where(far, 0, multiples).astype(np.int64) + FARTHEST
        codes[start : start + BLOCK] = coded
        near = coded[~far]
        sums += np.bincount(near, block[~far], sums.size)
        counts += np.bincount(near, minlength=sums.size)
    return _of_codes(codes.reshape(values.shape), np.concatenate(places), flat, sums, counts)


def _of_codes(
    codes: np.ndarray, places: np.ndarray, flat: np.ndarray, sums: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of a variable, its codes counted from the lowest one that is in use."""
    used = np.flatnonzero(counts)
    low, high = (used[0], used[-1]) if used.size else (FARTHEST, FARTHEST)
    if places.size:  # their codes count for nothing; the lowest one is as good as any
        codes.reshape(-1)[places] = low
    means = sums[low : high + 1] / np.maximum(counts[low : high + 1], 1)
    return pack(codes - np.uint8(low)) | {
        "centroids": means.astype(np.float32),
        "places": places.astype(np.int64),
        "values": flat[places],
    }


def step_for(values: np.ndarray, bits: float) -> float:
    """The smallest step at which a variable takes at most so many bits a weight, tables included.

    It is found by halving, on a sample of runs of neighbours where the variable is large.
    """
    sample = sampled(values)
    low, high = range_of_steps(sample)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        if bits_at(sample, 2.0**middle, values.shape) > bits:
            low = middle
        else:
            high = middle
    return 2.0**high


def bits_at(sample: np.ndarray, step: float, shape: Sequence[int]) -> float:
    """Bits a weight of a variable of this shape, judged by a sample of its values."""
    arrays, elements = encode_with(sample, step), math.prod(shape)
    grows = sum(arrays[name].nbytes for name in ("packed", "places", "values"))
    fixed = arrays["centroids"].nbytes + bytes_around(shape)
    return 8 * (grows / sample.size + fixed / elements)


def range_of_steps(sample: np.ndarray) -> tuple[float, float]:
    """Base-2 logarithms of the smallest step worth trying, and of one at which codes are alike."""
    sizes = np.abs(sample[sample != 0])
    if not sizes.size:
        return 0.0, 1.0
    return math.log2(np.median(sizes)) - FINEST, math.log2(sizes.max()) + 1


def sampled(values: np.ndarray) -> np.ndarray:
    """Some of a variable's values, in runs of neighbours: such codes are packed together."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size <= SAMPLED:
        return flat
    length = SAMPLED // RUNS
    starts = np.linspace(0, flat.size - length, RUNS).astype(np.int64)
    return np.concatenate([flat[start : start + length] for start in starts])


ENTROPY_6, ENTROPY_5, ENTROPY_4 = Entropy(6), Entropy(5), Entropy(4)
ENTROPY_3_5, ENTROPY_3 = Entropy(3.5), Entropy(3)
