"""Evenly spaced values between the least and the greatest of each output channel, to compare with.

It is how most tools quantise weights; the published codec takes one range for a whole variable.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.methods.codecs import fixed_width
from yt8m_lib.methods.codecs.codec import Arrays, Codec, extremes
from yt8m_lib.methods.codecs.graph import DecodedOnce


class Channel(Codec):
    """A range for each index of a variable's last axis; a vector has one range.

    The arrays are ``packed``, the codes as ``fixed_width`` packs them; ``lows`` and ``steps``,
    float32 [channels]; and ``shape``, int64.

    Args:
        bits: of a code: 4, 6 or 8.
    """

    def __init__(self, bits: int):
        self.bits = bits

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Take the nearest of the evenly spaced values."""
        values = np.asarray(values, np.float32)
        extremes(values)
        rows = values.reshape(-1, _channels(values.shape))
        lows = rows.min(axis=0)
        steps = (rows.max(axis=0) - lows) / np.float32(2**self.bits - 1)
        codes = np.empty(rows.shape, np.uint8)
        for row in range(0, len(rows), 1024):  # no copy of the whole
            part = rows[row : row + 1024]
            distance = (part - lows) / np.where(steps > 0, steps, 1)
            codes[row : row + 1024] = np.clip(np.rint(distance), 0, 2**self.bits - 1)
        return {
            "packed": fixed_width.pack(codes, self.bits),
            "lows": lows,
            "steps": steps,
            "shape": np.array(values.shape, np.int64),
        }

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The least value of a channel and as many steps as the code says."""
        count = math.prod(arrays["shape"].tolist())
        codes = fixed_width.unpack(arrays["packed"], self.bits, count)
        rows = codes.reshape(-1, arrays["lows"].size).astype(np.float32)
        return (rows * arrays["steps"] + arrays["lows"]).reshape(arrays["shape"])

    def size(self, shape: Sequence[int]) -> int:
        """The packed codes, and 8 bytes a channel and an axis."""
        codes = fixed_width.bytes_of(math.prod(shape), self.bits)
        return codes + 8 * _channels(shape) + 8 * len(shape)

    def graph_weight(self, arrays: Arrays) -> DecodedOnce:
        """A weight that is decoded once."""
        shape = tuple(map(int, arrays["shape"]))

        def decode(stored: dict[str, tf.Variable]) -> tf.Tensor:
            codes = fixed_width.unpack_in_graph(stored["packed"], self.bits, math.prod(shape))
            rows = tf.cast(tf.reshape(codes, [-1, _channels(shape)]), tf.float32)
            return rows * stored["steps"] + stored["lows"]

        return DecodedOnce(arrays, decode, shape)


def _channels(shape: Sequence[int]) -> int:
    return shape[-1] if len(shape) > 1 else 1


CHANNEL_8, CHANNEL_6, CHANNEL_4 = Channel(8), Channel(6), Channel(4)
