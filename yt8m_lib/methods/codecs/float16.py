"""Values at half width."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.methods.codecs.codec import Arrays, Codec, CodecError, extremes
from yt8m_lib.methods.codecs.graph import GraphWeight


class Float16(Codec):
    """The nearest float16 of each value, in the array ``values``."""

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Round to float16.

        Raises:
            CodecError: when a value is not finite, or beyond float16's 65,504.
        """
        values = np.asarray(values, np.float32)
        low, high = extremes(values)
        largest, limit = max(-low, high), float(np.finfo(np.float16).max)
        if largest > limit:
            raise CodecError(
                f"a weight of size {largest:g} is beyond float16's {limit:g}; "
                "choose another `quantization.codec`"
            )
        return {"values": values.astype(np.float16)}

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The same values in float32."""
        return arrays["values"].astype(np.float32)

    def size(self, shape: Sequence[int]) -> int:
        """Two bytes an element."""
        return 2 * math.prod(shape)

    def graph_weight(self, arrays: Arrays) -> GraphWeight:
        """A weight that every call widens."""
        return GraphWeight(arrays, lambda stored: tf.cast(stored["values"], tf.float32))


FLOAT16 = Float16()
