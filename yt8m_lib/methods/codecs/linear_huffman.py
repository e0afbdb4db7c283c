"""The published codec with its codes packed without loss: the same weights in fewer bytes."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy.stats import norm

from yt8m_lib.methods.codecs.codec import Arrays, Codec
from yt8m_lib.methods.codecs.linear import LINEAR
from yt8m_lib.methods.codecs.lossless import UnpackedOnce, bytes_around, pack, unpack
from yt8m_lib.methods.codecs.table import CENTROIDS, TABLE_BYTES

ENTROPY_OF_NORMAL = math.log2(math.sqrt(2 * math.pi * math.e))  # bits, in steps of its deviation
PACKING = 0.05  # bits a code that packing adds to the entropy


class LinearHuffman(Codec):
    """What ``linear`` stores, its codes packed as in ``lossless``."""

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Encode as ``linear`` does, then pack the codes."""
        arrays = LINEAR.encode(values, seed)
        return pack(arrays["codes"]) | {"centroids": arrays["centroids"]}

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The centroid of every code: to the bit what ``linear`` gives."""
        return arrays["centroids"][unpack(arrays)]

    def size(self, shape: Sequence[int]) -> int:
        """About as many bytes: how well codes pack depends on the values."""
        elements = math.prod(shape)
        spread = 2 * norm.isf(1 / (elements + 1))  # of so many normally distributed values
        bits = ENTROPY_OF_NORMAL + math.log2((CENTROIDS - 1) / spread) + PACKING
        return math.ceil(bits * elements / 8) + TABLE_BYTES + bytes_around(shape)

    def graph_weight(self, arrays: Arrays) -> UnpackedOnce:
        """A weight that the graph's first call unpacks."""
        return UnpackedOnce(
            arrays, lambda codes, own: tf.gather(own["centroids"], tf.cast(codes, tf.int32))
        )


LINEAR_HUFFMAN = LinearHuffman()
