"""NF4: 16 values at quantiles of the normal distribution, in groups of 64, to compare with.

From "QLoRA" (Dettmers et al. 2023): each group is divided by its largest size, which is kept as
float16, and each value takes the nearest of the 16.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy.stats import norm

from yt8m_lib.methods.codecs import fixed_width
from yt8m_lib.methods.codecs.codec import Arrays, Codec, CodecError, extremes
from yt8m_lib.methods.codecs.graph import DecodedOnce

GROUP = 64
OUTERMOST = 0.9677083  # the quantile of the largest value, as the paper's code has it


def _values() -> np.ndarray:
    """The 16 values, float32, ascending from -1 to 1: seven below zero, zero, eight above."""
    below = norm.ppf(np.linspace(1 - OUTERMOST, 0.5, 8)[:-1])
    above = norm.ppf(np.linspace(0.5, OUTERMOST, 9)[1:])
    values = np.concatenate([below / -below[0], [0.0], above / above[-1]])
    return values.astype(np.float32)


VALUES = _values()


class NF4(Codec):
    """Four bits a weight, and a float16 for every 64 of them.

    The arrays are ``packed``, the codes as ``fixed_width`` packs them; ``scales``, float16
    [groups]; and ``shape``, int64.
    """

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Divide each group by its scale, and take the nearest of the 16 values.

        Raises:
            CodecError: when a value is not finite, or beyond float16's 65,504.
        """
        values = np.asarray(values, np.float32)
        low, high = extremes(values)
        if max(-low, high) > np.finfo(np.float16).max:
            raise CodecError(
                f"a weight of size {max(-low, high):g} is beyond what a float16 scale can say; "
                "choose another `quantization.codec`"
            )
        flat = np.ascontiguousarray(values).reshape(-1)
        groups = np.pad(flat, (0, -flat.size % GROUP)).reshape(-1, GROUP)
        scales = np.abs(groups).max(axis=1).astype(np.float16)
        codes = np.empty(groups.shape, np.uint8)
        middles = (VALUES[:-1] + VALUES[1:]) / 2
        for row in range(0, len(groups), 4096):  # no copy of the whole
            part = scales[row : row + 4096, None].astype(np.float32)
            scaled = groups[row : row + 4096] / np.where(part > 0, part, 1)
            codes[row : row + 4096] = np.searchsorted(middles, scaled)
        return {
            "packed": fixed_width.pack(codes, 4),
            "scales": scales,
            "shape": np.array(values.shape, np.int64),
        }

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The value of each code, times the scale of its group."""
        count = math.prod(arrays["shape"].tolist())
        codes = fixed_width.unpack(arrays["packed"], 4, arrays["scales"].size * GROUP)
        groups = VALUES[codes].reshape(-1, GROUP) * arrays["scales"].astype(np.float32)[:, None]
        return groups.reshape(-1)[:count].reshape(arrays["shape"])

    def size(self, shape: Sequence[int]) -> int:
        """The packed codes, 2 bytes a group and 8 an axis."""
        groups = -(-math.prod(shape) // GROUP)
        return fixed_width.bytes_of(groups * GROUP, 4) + 2 * groups + 8 * len(shape)

    def graph_weight(self, arrays: Arrays) -> DecodedOnce:
        """A weight that is decoded once."""
        shape, groups = tuple(map(int, arrays["shape"])), arrays["scales"].size

        def decode(stored: dict[str, tf.Variable]) -> tf.Tensor:
            codes = fixed_width.unpack_in_graph(stored["packed"], 4, groups * GROUP)
            values = tf.reshape(tf.gather(VALUES, codes), [-1, GROUP])
            scaled = values * tf.cast(stored["scales"], tf.float32)[:, None]
            return tf.reshape(scaled, [-1])[: math.prod(shape)]

        return DecodedOnce(arrays, decode, shape)


NF4_64 = NF4()
