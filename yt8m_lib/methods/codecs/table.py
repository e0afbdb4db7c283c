"""What the table codecs share: one byte an element, the code of one of 256 centroids."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.methods.codecs.codec import Arrays, Codec, extremes
from yt8m_lib.methods.codecs.graph import DecodedOnce

CENTROIDS = 256
TABLE_BYTES = 4 * CENTROIDS
BLOCK = 1 << 16  # elements coded at a time: what a core's cache holds
SAMPLE = 1 << 20  # elements that centroids are fitted to at most


class TableCodec(Codec):
    """A codec that stores the code of each value's centroid, and the table of centroids.

    Each value takes its nearest centroid and, exactly between two, the lower one. The arrays are
    ``codes``, uint8 in the variable's shape, and ``centroids``, float32 [256] in ascending order.
    A subclass says where the centroids lie.
    """

    @abstractmethod
    def centroids(self, even: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
        """Where the centroids of a variable lie.

        Args:
            even: float64 [256], evenly spaced from the least to the greatest value.
            values: float32 of any shape.
            seed: decides which sample of the values is looked at.

        Returns:
            float64 [256], ascending.
        """

    def nearest(self, values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        """Codes of some values: the number of midpoints between centroids that each lies above.

        Args:
            values: float64 [n].
            centroids: float64 [256], ascending.

        Returns:
            Integers [n] from 0 to 255.
        """
        return np.searchsorted((centroids[:-1] + centroids[1:]) / 2, values, side="left")

    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Choose the centroids in float64, code every value, and keep the table in float32."""
        values = np.asarray(values, np.float32)
        centroids = self.centroids(np.linspace(*extremes(values), CENTROIDS), values, seed)
        return {
            "codes": self._codes(values, centroids),
            "centroids": centroids.astype(np.float32),
        }

    def _codes(self, values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        """Codes of all values, a block at a time: no float64 copy of a gigabyte is ever made."""
        flat = np.ascontiguousarray(values).reshape(-1)
        codes = np.empty(flat.shape, np.uint8)
        for start in range(0, flat.size, BLOCK):
            block = slice(start, start + BLOCK)
            codes[block] = self.nearest(flat[block].astype(np.float64), centroids)
        return codes.reshape(values.shape)

    def decode(self, arrays: Arrays) -> np.ndarray:
        """The centroid of every code."""
        return arrays["centroids"][arrays["codes"]]

    def size(self, shape: Sequence[int]) -> int:
        """A byte an element, and 1,024 for the table."""
        return math.prod(shape) + TABLE_BYTES

    def graph_weight(self, arrays: Arrays) -> DecodedOnce:
        """A weight that is decoded once: looking up every code on each call is slow."""
        return DecodedOnce(arrays, looked_up, arrays["codes"].shape, self.decode_now)

    def decode_now(self, stored: dict[str, tf.Variable]) -> tf.Tensor:
        """What every call does where nothing is kept in memory: look up every code."""
        return looked_up(stored)


def looked_up(stored: dict[str, tf.Variable]) -> tf.Tensor:
    """The centroid of every code, as a part of a graph."""
    return tf.gather(stored["centroids"], tf.cast(stored["codes"], tf.int32))


def sample(values: np.ndarray, seed: int) -> np.ndarray:
    """The values in ascending order, float64 [n]; of more than 2^20, a sample with replacement."""
    flat = values.reshape(-1)
    if flat.size > SAMPLE:
        flat = flat[np.random.default_rng(seed).integers(flat.size, size=SAMPLE)]
    return np.sort(flat).astype(np.float64)
