"""What a codec is, and what a variable is once a codec has encoded it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yt8m_lib.catalogue import CODECS
from yt8m_lib.errors import UserError

if TYPE_CHECKING:  # the import takes seconds, and encoding and decoding need none of it
    from yt8m_lib.methods.codecs.graph import GraphWeight

Arrays = Mapping[str, np.ndarray]


class CodecError(UserError):
    """Weights that a codec cannot store, or a file that names a codec which is not there."""


class Codec(ABC):
    """One way to store a model's variables.

    To add one, write its class and its object in a file of this folder, and a line in
    ``catalogue.CODECS``. The object holds no state: what a variable needs lies in its arrays.
    """

    together = False  # whether a model's variables share the bits, by their sensitivities

    @abstractmethod
    def encode(self, values: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
        """Encode one variable.

        Args:
            values: float32 of any shape, not empty.
            seed: decides what the codec draws at random, if it draws anything.

        Returns:
            The arrays that stand for the variable, by name. No name has a slash.

        Raises:
            CodecError: when the codec cannot store such values.
        """

    @abstractmethod
    def decode(self, arrays: Arrays) -> np.ndarray:
        """The variable that some arrays stand for: float32, in the variable's own shape."""

    @abstractmethod
    def size(self, shape: Sequence[int]) -> int:
        """Bytes of the arrays of a variable of this shape.

        Codes that are packed take as many bytes as their values make them: then it is what
        normally distributed values take, about.
        """

    @abstractmethod
    def graph_weight(self, arrays: Arrays) -> GraphWeight:
        """The variable as a part of the exported graph, which gives the values of ``decode``."""


@dataclass(frozen=True, eq=False)
class StoredVariable:
    """A variable as a codec stores it.

    Attributes:
        codec: the codec's name.
        arrays: what the codec made of the variable.
    """

    codec: str
    arrays: dict[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def decode(self) -> np.ndarray:
        """The variable's values after storing: float32, in its own shape."""
        return CODECS[self.codec].decode(self.arrays)

    def graph_weight(self) -> GraphWeight:
        """The variable as a part of the exported graph."""
        return CODECS[self.codec].graph_weight(self.arrays)


def extremes(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value.

    Raises:
        CodecError: when a value is infinite or not a number.
    """
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise CodecError(
            f"weights of shape {values.shape} are not all finite and cannot be encoded; the "
            "model's training diverged: train it again at a lower `rate`"
        )
    return low, high
