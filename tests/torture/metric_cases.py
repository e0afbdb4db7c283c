"""GAP against its definition (sec. 10 of the published system), written in plain Python."""

import numpy as np

from yt8m_lib.scoring import metrics

TOLERANCE = 1e-12
SHAPES = ("any", "ties", "no labels", "many labels", "constant", "zero", "unusable")
UNUSABLE = (np.nan, np.inf, -np.inf, -1e-3)


def definition(predictions: list[list[float]], labels: list[list[int]]) -> float:
    """GAP@20 as the paper has it: ``sum_i p(i) * (r(i) - r(i - 1))`` over the pooled pairs.

    Equal confidences stay in the order of the videos, and of a video's equal classes the lower one
    comes first: the definition leaves that open, and Python's sort is stable.
    """
    pool = []
    for confidences, row in zip(predictions, labels, strict=True):
        pairs = sorted(zip(confidences, row, strict=True), key=lambda pair: -pair[0])
        pool += pairs[:20]
    pool.sort(key=lambda pair: -pair[0])
    positives = sum(map(sum, labels))
    total, found = 0.0, 0
    for i, (_, is_label) in enumerate(pool, 1):
        if is_label:
            found += 1
            total += found / i * (found / positives - (found - 1) / positives)
    return total


def case(seed: int, number: int) -> tuple[str, np.ndarray, np.ndarray]:
    """The case of this number: its shape, confidences float32 [N, V] and labels [N, V]."""
    random, shape = np.random.default_rng([seed, number]), SHAPES[number % len(SHAPES)]
    videos, classes = int(random.integers(1, 30)), int(random.integers(1, 70))
    predictions = random.random((videos, classes), np.float32)
    labels = random.random((videos, classes)) < random.choice([0.02, 0.1, 0.3])
    if shape == "ties":
        predictions = np.round(predictions * random.integers(1, 6)) / np.float32(5)
    elif shape == "no labels":  # of some videos, or of all
        labels[random.random(videos) < random.choice([0.5, 1.0])] = False
    elif shape == "many labels":
        labels = random.random((videos, classes)) < 0.9
    elif shape == "constant":
        predictions[:] = random.random(dtype=np.float32)
    elif shape == "zero":
        predictions[random.random(videos) < random.choice([0.5, 1.0])] = 0
    elif shape == "unusable":
        where = random.integers(videos), random.integers(classes)
        predictions[where] = random.choice(UNUSABLE)
    return shape, predictions.astype(np.float32), labels.astype(int)


def failure_of(seed: int, number: int) -> str:
    """What is wrong with ``metrics.gap`` in this case, or ""."""
    shape, predictions, labels = case(seed, number)
    try:
        got = metrics.gap(predictions, labels)
    except ValueError as error:
        return "" if shape == "unusable" else f"refused: {error}"
    if shape == "unusable":
        return f"gave {got} for a confidence that is no number, infinite or negative"
    wanted = definition(predictions.tolist(), labels.tolist())
    return "" if abs(got - wanted) <= TOLERANCE else f"{got!r}, by definition {wanted!r} ({shape})"


def check(seed: int, first: int, count: int) -> list[str]:
    """Check cases from ``first`` on; returns the failures, each with how to repeat it."""
    numbers = range(first, first + count)
    found = ((number, failure_of(seed, number)) for number in numbers)
    return [
        f"GAP case {n}: {what}. Again: metric_cases.failure_of({seed}, {n})"
        for n, what in found
        if what
    ]
