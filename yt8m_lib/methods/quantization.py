"""Partial weight quantisation (sec. 3.2, Table 2; published system, sec. 7).

A variable with more than 17,000 elements is stored as 8-bit codes into a table of 256 centroids;
every other one stays float32.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

CENTROIDS = 256
TABLE_BYTES = 4 * CENTROIDS
MORE_THAN = 17_000
BLOCK = 1 << 16  # elements coded at a time: what a core's cache holds
SAMPLE = 1 << 20  # elements that centroids are fitted to at most
ITERATIONS = 100

Scheme = Literal["linear", "kmeans", "quantile", "float16"]


@dataclass(frozen=True, eq=False)
class Codes:
    """A quantised variable.

    Attributes:
        codes: uint8, of the variable's shape.
        centroids: float32 [256], ascending.
    """

    codes: np.ndarray
    centroids: np.ndarray


Stored = Codes | np.ndarray


def encode(values: np.ndarray, scheme: Scheme = "linear", seed: int = 0) -> Stored:
    """Quantise one variable.

    Args:
        values: float32 of any shape, not empty.
        scheme: where the centroids lie. "linear", as published: 256 evenly spaced from the least
            to the greatest value, computed in float64 and stored as float32. "quantile": at the
            values' quantiles. "kmeans": moved from there to where the squared error is least
            (Lloyd's algorithm from the linear start). Each value takes its nearest centroid and,
            exactly between two, the lower one. "float16" is no table but the values at half width.
        seed: of the sample of at most 2^20 values that "quantile" and "kmeans" look at.

    Returns:
        Codes, or for "float16" a float16 array.

    Raises:
        ValueError: for values that are not finite, or too large for float16.
    """
    values = np.asarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(f"weights of shape {values.shape} are not all finite: cannot quantise")
    if scheme == "float16":
        return _half(values, max(-low, high))
    linear = np.linspace(low, high, CENTROIDS)
    if scheme == "linear":
        return Codes(_blockwise(values, _nearest_linear, linear), linear.astype(np.float32))
    if scheme == "quantile":
        centroids = np.quantile(_sample(values, seed), (np.arange(CENTROIDS) + 0.5) / CENTROIDS)
    elif scheme == "kmeans":
        centroids = _lloyd(_sample(values, seed), linear)
    else:
        raise ValueError(f"unknown scheme {scheme!r}; valid: {', '.join(get_args(Scheme))}")
    return Codes(_blockwise(values, _nearest_sorted, centroids), centroids.astype(np.float32))


def decode(stored: Stored) -> np.ndarray:
    """The float32 values that a variable has after quantisation, in its own shape."""
    if isinstance(stored, Codes):
        return stored.centroids[stored.codes]
    return np.asarray(stored, np.float32)


def quantize_weights(
    weights: Iterable[np.ndarray],
    more_than: int = MORE_THAN,
    scheme: Scheme = "linear",
    seed: int = 0,
) -> list[Stored]:
    """Quantise the variables with more than ``more_than`` elements, keep the others.

    Args:
        weights: a model's variables.
        more_than: elements that a variable may have and stay float32.
        scheme: see ``encode``.
        seed: see ``encode``.
    """
    return [
        encode(w, scheme, seed) if np.size(w) > more_than else np.asarray(w, np.float32)
        for w in weights
    ]


def dequantize_weights(stored: Iterable[Stored]) -> list[np.ndarray]:
    """All variables as float32 again."""
    return [decode(variable) for variable in stored]


def nbytes(stored: Sequence[Stored]) -> int:
    """Bytes of stored variables: a byte a code, 1,024 a table, 4 a float32, 2 a float16."""
    return sum(
        v.codes.nbytes + v.centroids.nbytes if isinstance(v, Codes) else v.nbytes for v in stored
    )


def stored_bytes(shapes: Iterable[Sequence[int]], more_than: int = MORE_THAN) -> tuple[int, int]:
    """Bytes of variables of these shapes in float32, and quantised to 8 bits."""
    sizes = [math.prod(shape) for shape in shapes]
    return (
        sum(4 * size for size in sizes),
        sum(size + TABLE_BYTES if size > more_than else 4 * size for size in sizes),
    )


def save(stored: Sequence[Stored], path: str | Path) -> None:
    """Write stored variables, in their order, as an ``.npz`` archive."""
    arrays = {}
    for place, variable in enumerate(stored):
        if isinstance(variable, Codes):
            arrays[f"{place}/codes"] = variable.codes
            arrays[f"{place}/centroids"] = variable.centroids
        else:
            arrays[f"{place}/values"] = variable
    with open(path, "wb") as file:  # given a name, NumPy would add a suffix of its own
        np.savez(file, **arrays)


def load(path: str | Path) -> list[Stored]:
    """Read what ``save`` wrote."""
    stored: list[Stored] = []
    with np.load(path) as arrays:
        for place in range(len({name.split("/")[0] for name in arrays.files})):
            if f"{place}/codes" in arrays:
                codes, centroids = arrays[f"{place}/codes"], arrays[f"{place}/centroids"]
                stored.append(Codes(codes, centroids))
            else:
                stored.append(arrays[f"{place}/values"])
    return stored


def _half(values: np.ndarray, largest: float) -> np.ndarray:
    limit = float(np.finfo(np.float16).max)
    if largest > limit:
        raise ValueError(f"a weight of size {largest:g} is beyond float16's {limit:g}")
    return values.astype(np.float16)


def _blockwise(values: np.ndarray, nearest: Callable, centroids: np.ndarray) -> np.ndarray:
    """Codes of all values, a block at a time: no float64 copy of a gigabyte is ever made."""
    flat = np.ascontiguousarray(values).reshape(-1)
    codes = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, BLOCK):
        block = slice(start, start + BLOCK)
        codes[block] = nearest(flat[block].astype(np.float64), centroids)
    return codes.reshape(values.shape)


def _nearest_linear(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Nearest of evenly spaced centroids: division finds the two beside a value."""
    step = (centroids[-1] - centroids[0]) / (CENTROIDS - 1)
    if step == 0:
        return np.zeros(values.shape, np.uint8)
    below = ((values - centroids[0]) * (1.0 / step)).astype(np.intp)
    np.clip(below, 0, CENTROIDS - 2, out=below)
    # Division may be a rounding error off, which matters only beside a centroid; the choice
    # between the two, made on distances, is exact.
    return below + (centroids[below + 1] - values < values - centroids[below])


def _nearest_sorted(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Nearest of ascending centroids: the number of midpoints that a value lies above."""
    return np.searchsorted((centroids[:-1] + centroids[1:]) / 2, values, side="left")


def _sample(values: np.ndarray, seed: int) -> np.ndarray:
    """At most 2^20 of the values, ascending, float64."""
    flat = values.reshape(-1)
    if flat.size > SAMPLE:
        flat = flat[np.random.default_rng(seed).integers(flat.size, size=SAMPLE)]
    return np.sort(flat).astype(np.float64)


def _lloyd(ascending: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """One-dimensional k-means: each centroid becomes the mean of the values nearest to it."""
    sums = np.concatenate([[0.0], np.cumsum(ascending)])
    for _ in range(ITERATIONS):
        edges = np.searchsorted(ascending, (centroids[:-1] + centroids[1:]) / 2, side="right")
        edges = np.concatenate([[0], edges, [ascending.size]])
        counts = np.diff(edges)
        # A centroid that no value is nearest to stays where it is.
        moved = np.where(counts, np.diff(sums[edges]) / np.maximum(counts, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids
