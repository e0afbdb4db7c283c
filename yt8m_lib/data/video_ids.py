"""The ids of all videos of an experiment, and which of them stand in more than one place."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Repeated(NamedTuple):
    """Videos that stand in two shards, or twice in one; shards are counted from 0."""

    first: int
    second: int
    videos: int
    examples: list[bytes]  # ids of up to three of them


class VideoIds:
    """The ids of some shards' videos, as they are and not as hashes, packed by their length.

    A video takes the bytes of its id and five more while ids are added, and about 20 more while
    ``repeated`` compares them: 200 MB for the six million of YouTube-8M.
    """

    def __init__(self) -> None:
        self._shards = 0
        self._ids: dict[int, list[bytes]] = defaultdict(list)  # by length, a shard's side by side
        self._places: dict[int, list[np.ndarray]] = defaultdict(list)

    def add(self, ids: Sequence[bytes]) -> None:
        """Add the next shard's ids."""
        lengths = np.array([len(video) for video in ids], int)
        for length in np.unique(lengths).tolist():
            # The full stop makes every id end in a byte that NumPy keeps: it drops zeros there.
            same = [video + b"." for video in ids if len(video) == length]
            self._ids[length].append(b"".join(same))
            self._places[length].append(np.full(len(same), self._shards, np.int32))
        self._shards += 1

    def repeated(self) -> list[Repeated]:
        """The pairs of shards that share videos, those with most first.

        A video that stands in three shards counts for the first two and for the last two.
        """
        pairs = [pair for length in self._ids for pair in self._repeated_of(length)]
        merged: dict[tuple[int, int], Repeated] = {}
        for pair in pairs:
            before = merged.get(pair[:2], Repeated(pair.first, pair.second, 0, []))
            examples = [*before.examples, *pair.examples][:3]
            merged[pair[:2]] = Repeated(*pair[:2], before.videos + pair.videos, examples)
        return sorted(merged.values(), key=lambda pair: (-pair.videos, pair[:2]))

    def _repeated_of(self, length: int) -> list[Repeated]:
        ids = np.frombuffer(b"".join(self._ids[length]), f"S{length + 1}")
        shards = np.concatenate(self._places[length])
        order = np.argsort(ids, kind="stable")  # equal ids in the order of their shards
        ids, shards = ids[order], shards[order]
        again = np.flatnonzero(ids[1:] == ids[:-1]) + 1
        pairs = shards[again - 1].astype(np.int64) * 2**32 + shards[again]
        by_pair = np.argsort(pairs, kind="stable")
        pairs, starts, counts = np.unique(pairs[by_pair], return_index=True, return_counts=True)
        found = []
        for pair, start, count in zip(*(x.tolist() for x in (pairs, starts, counts)), strict=True):
            examples = ids[again[by_pair[start : start + min(count, 3)]]].tolist()
            first, second = divmod(pair, 2**32)
            found.append(Repeated(first, second, count, [video[:-1] for video in examples]))
        return found
