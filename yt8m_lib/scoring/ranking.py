"""Exact, fast and repeatable orders of confidences.

Everything here sorts plain unique integers instead of floats: ties then have one fixed outcome, and
NumPy's vectorised integer sort is several times faster than its stable argsort.
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 1024  # videos worked on at once: keeps temporary arrays at a few tens of MB
ROWS = 256  # of dense confidences worked on at once: with 3,862 classes they stay in the cache
NARROW = 256  # classes up to which sorting a row whole is the faster way to its best
_LARGEST = 0x7FFFFFFF  # above the bit pattern of every non-negative float32
_INFINITE = 0x7F800000  # bit pattern of infinity: those of NaN and of negative floats are above it


def top(dense: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find each row's k most confident classes; of equal ones the lower class comes first.

    Args:
        dense: confidences [B, V], none negative, V at most 65,536.
        k: how many to keep; all V where V is smaller.

    Returns:
        Classes uint16 [B, k] and confidences float32 [B, k], the most confident first.

    Raises:
        ValueError: for a wrong shape, or a confidence that is negative, infinite or not a number.
    """
    dense = np.asarray(dense, np.float32)
    if dense.ndim != 2 or not 0 < dense.shape[1] <= 65536:
        raise ValueError(f"expected confidences [videos, classes up to 65536], got {dense.shape}")
    k = min(k, dense.shape[1])
    classes = np.empty((len(dense), k), np.uint16)
    confidences = np.empty((len(dense), k), np.float32)
    for rows in blocks(len(dense), ROWS):
        best = _best(dense[rows], k)
        classes[rows] = best & 0xFFFF
        confidences[rows] = (_LARGEST - (best >> 16)).astype(np.uint32).view(np.float32)
    return classes, confidences


def _best(dense: np.ndarray, k: int) -> np.ndarray:
    """Keys of each row's k best, uint64 [B, k]: from the most confident, then by class.

    Narrow rows are sorted whole. Wider ones are cut at their k-th value, which costs one pass over
    floats; only where more than k values reach it are all classes of the row ordered.
    """
    rows, width = dense.shape
    if width <= NARROW:
        every = _keys(dense, np.arange(width))
        every.sort(axis=1)
        return every[:, :k]
    last = np.partition(dense, width - k, axis=1)[:, width - k, None]
    among = dense >= last
    tied = among.sum(axis=1) != k  # also where something is not a number
    keys = np.empty((rows, k), np.uint64)
    place = np.flatnonzero(among[~tied])
    values = (dense[~tied] if tied.any() else dense).ravel()[place]
    keys[~tied] = _keys(values.reshape(-1, k), (place % width).reshape(-1, k))
    if tied.any():
        every = _keys(dense[tied], np.arange(width))
        keys[tied] = np.partition(every, k - 1, axis=1)[:, :k]
    if not (dense.min(initial=0) >= 0):  # what lies below the cut is not looked at otherwise
        _descending_bits(dense)
    keys.sort(axis=1)
    return keys


def _keys(confidences: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One integer a pair, ascending from the most confident; unique, so ties are settled."""
    return (_descending_bits(confidences) << 16) | classes.astype(np.uint64)


def descending(confidences: np.ndarray) -> np.ndarray:
    """The order, int64 [P], that sorts confidences [P] from high to low; equal ones keep theirs.

    A few times faster than a stable argsort, because the keys are plain unique integers.

    Raises:
        ValueError: for a confidence that is negative, infinite or not a number.
    """
    keys = (_descending_bits(confidences) << 32) | np.arange(len(confidences), dtype=np.uint64)
    keys.sort()
    return (keys & 0xFFFFFFFF).astype(np.int64)


def ranks_of(marked: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """The ranks from 1, rising, of the marked among pairs that go from high to low confidence.

    The same as where ``marked[descending(confidences)]`` holds, in half the time: a pair carries
    its mark along in its key.

    Args:
        marked: bool [P], P below 2**31.
        confidences: [P]; equal ones keep their order.

    Raises:
        ValueError: for a confidence that is negative, infinite or not a number.
    """
    keys = _descending_bits(confidences)
    keys <<= np.uint64(32)
    keys |= np.arange(0, 2 * len(keys), 2, dtype=np.uint32) | marked
    keys.sort()
    return np.flatnonzero(keys.astype(np.uint8) & 1) + 1


def blocks(videos: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover all rows of ``videos`` videos in order."""
    return (slice(start, min(start + size, videos)) for start in range(0, videos, size))


def _descending_bits(confidences: np.ndarray) -> np.ndarray:
    """Integers that fall as confidences rise: the bits of floats >= 0 sort like the floats."""
    bits = (np.asarray(confidences, np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
    if bits.max(initial=0) >= _INFINITE:
        raise ValueError("confidences must be finite and not negative")
    return (np.uint32(_LARGEST) - bits).astype(np.uint64)
