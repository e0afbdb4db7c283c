"""Values as they are: how small variables are stored, whichever codec the large ones have."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.methods.codecs.codec import Arrays, Codec, extremes
from yt8m_lib.methods.codecs.graph import GraphWeight


class Float32(Codec):
    """The variable itself, in the array ``values``."""

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """The values; an array of float32 is not copied.

        Raises:
            CodecError: when a value is not finite.
        """
        values = np.asarray(values, np.float32)
        extremes(values)
        return {"values": values}

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The same array."""
        return arrays["values"]

    def size(self, shape: Sequence[int]) -> int:
        """Four bytes an element."""
        return 4 * math.prod(shape)

    def graph_weight(self, arrays: Arrays) -> GraphWeight:
        """A weight that needs no decoding."""
        return GraphWeight(arrays, lambda stored: tf.convert_to_tensor(stored["values"]))


FLOAT32 = Float32()
