"""Partial weight quantisation (sec. 3.2, Table 2; published system, sec. 7).

A variable with more than 17,000 elements is stored by a codec, as published as 8-bit codes into a
table of 256 centroids; every other one stays float32. ``catalogue.CODECS`` lists the codecs.
"""

import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from yt8m_lib.catalogue import CODECS
from yt8m_lib.errors import nearest
from yt8m_lib.files import written_whole
from yt8m_lib.methods.codecs.codec import Codec, CodecError, StoredVariable

__all__ = [
    "Codec", "CodecError", "StoredVariable", "bytes_of_shapes", "decode_weights", "encode_weights",
    "load", "nbytes", "save",
]  # fmt: skip

MORE_THAN = 17_000  # elements that a variable may have and stay float32
PLAIN = "float32"  # the codec of variables that are not quantised


def encode_weights(
    weights: Iterable[np.ndarray],
    more_than: int = MORE_THAN,
    codec: str = "linear",
    seed: int = 0,
    sensitivities: Sequence[float] | None = None,
) -> list[StoredVariable]:
    """Encode the variables with more than ``more_than`` elements; the others stay float32.

    Args:
        weights: a model's variables.
        more_than: elements that a variable may have and stay float32.
        codec: name of the codec of the larger ones.
        seed: decides what the codec draws at random, if it draws anything.
        sensitivities: of each variable, for codecs that share out their bits by them; without, each
            variable takes as many bits as every other.

    Returns:
        The stored variables, in the order given.

    Raises:
        ValueError: when there is no such codec.
        CodecError: when the codec cannot store a variable's values.
    """
    if CODECS[codec].together and sensitivities is not None:
        return _encode_together([*weights], more_than, codec, sensitivities)
    stored = []
    for values in weights:
        name = codec if np.size(values) > more_than else PLAIN
        stored.append(StoredVariable(name, CODECS[name].encode(values, seed)))
    return stored


def _encode_together(
    weights: Sequence[np.ndarray], more_than: int, codec: str, sensitivities: Sequence[float]
) -> list[StoredVariable]:
    stored = encode_weights(weights, codec=PLAIN)
    large = [place for place, values in enumerate(weights) if np.size(values) > more_than]
    arrays = CODECS[codec].encode_together(
        [stored[place].decode() for place in large], [sensitivities[place] for place in large]
    )
    for place, own in zip(large, arrays, strict=True):
        stored[place] = StoredVariable(codec, own)
    return stored


def decode_weights(stored: Iterable[StoredVariable]) -> list[np.ndarray]:
    """All variables as float32 arrays again, each in its own shape."""
    return [variable.decode() for variable in stored]


def nbytes(stored: Iterable[StoredVariable]) -> int:
    """Bytes of stored variables together."""
    return sum(variable.nbytes for variable in stored)


def bytes_of_shapes(
    shapes: Iterable[Sequence[int]], more_than: int = MORE_THAN, codec: str = "linear"
) -> tuple[int, int]:
    """Bytes that variables of these shapes take, before any of them is made.

    Args:
        shapes: of a model's variables.
        more_than: elements that a variable may have and stay float32.
        codec: name of the codec of the larger ones.

    Returns:
        Bytes with every variable in float32, and bytes with the larger ones encoded (about, where
        the codec packs its codes).
    """
    plain, coded = CODECS[PLAIN], CODECS[codec]
    shapes = [tuple(shape) for shape in shapes]
    return (
        sum(plain.size(shape) for shape in shapes),
        sum((coded if math.prod(shape) > more_than else plain).size(shape) for shape in shapes),
    )


def save(stored: Sequence[StoredVariable], path: str | Path) -> None:
    """Write stored variables as an ``.npz`` archive, whole.

    Each array is named ``place/codec/array``: the variable's place in ``stored``, the codec's name
    and the codec's own name of the array.
    """
    arrays = {
        f"{place}/{variable.codec}/{name}": array
        for place, variable in enumerate(stored)
        for name, array in variable.arrays.items()
    }
    with written_whole(path) as beside, open(beside, "wb") as file:
        np.savez(file, **arrays)  # given a name, NumPy would add a suffix of its own


def load(path: str | Path) -> list[StoredVariable]:
    """Read what ``save`` wrote.

    Raises:
        CodecError: when the file is damaged, or names a codec that this process does not know.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file.items())
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CodecError(f"{path}: damaged, no weights can be read: {error}") from None
    return _from_arrays(arrays, path)


def _from_arrays(arrays: dict[str, np.ndarray], path: str | Path) -> list[StoredVariable]:
    stored: dict[int, StoredVariable] = {}
    for key, array in arrays.items():
        place, codec, name = key.split("/")
        if codec not in CODECS:
            raise CodecError(
                f"{path}: variable {place} was stored with the codec {codec!r}, which is not "
                f"in catalogue.CODECS{nearest(codec, CODECS)}"
            )
        stored.setdefault(int(place), StoredVariable(codec, {})).arrays[name] = array
    return [stored[place] for place in sorted(stored)]
