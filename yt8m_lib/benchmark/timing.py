"""Seconds of calls that take turns, and the machine's limits."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

Call = Callable[[], Any]
SIDE = 2048  # of the matrices whose product shows how fast this machine multiplies
COPIED = 2**26  # values whose copy shows how fast it copies
SORTED = 2**22  # values whose sort shows how fast it sorts


@dataclass
class Found:
    """What a part of the benchmark measured.

    Attributes:
        figures: by their keys.
        limits: of the machine, in what their names say.
        rows: seconds of models' steps, as ``experiment.machine.measured`` takes them.
    """

    figures: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Take in another part's."""
        self.figures |= other.figures
        self.limits |= other.limits
        self.rows += other.rows


def in_turn(calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """Median seconds of each call; all take turns, so that a slow moment meets all of them.

    Args:
        calls: by name.
        rounds: turns that count, after one that traces, compiles and fills caches.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def product() -> Call:
    """A product of two square matrices, whose operations ``product_rate`` knows."""
    factors = tf.random.stateless_normal([2, SIDE, SIDE], [1, 2])
    return lambda: tf.matmul(factors[0], factors[1]).numpy()


def product_rate(seconds: float) -> float:
    """Operations a second of ``product``."""
    return 2 * SIDE**3 / seconds


def copy() -> Call:
    """A copy in memory, whose bytes ``copy_rate`` knows."""
    source, target = np.zeros(COPIED, np.float32), np.ones(COPIED, np.float32)
    return lambda: np.copyto(target, source)


def copy_rate(seconds: float) -> float:
    """Bytes a second of ``copy``, read and written."""
    return 2 * 4 * COPIED / seconds


def sort(values: int = SORTED) -> Call:
    """A sort of so many random 64-bit keys, such as pairs are ordered by."""
    shuffled = np.random.default_rng(0).integers(0, 2**62, values, np.uint64)
    return lambda: np.sort(shuffled)
