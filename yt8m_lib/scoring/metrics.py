"""The challenge's metrics (sec. 10): GAP@20, hit@1, PERR and mAP, in vectorised NumPy.

Each function takes ``Predictions``, or dense confidences [N, V] with multi-hot labels [N, V]::

    GAP = sum_i p(i) * (r(i) - r(i - 1))

over every video's 20 best (class, confidence) pairs pooled and sorted by confidence, p and r
being precision and recall among the first i pairs. Recall's denominator is all labels, also those
that are in no video's 20 best. Pairs of equal confidence stay in the order of the videos.
"""

from collections.abc import Sequence

import numpy as np

from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.scoring.ranking import descending

POOL = 20  # pairs of a video that count in GAP and mAP


def gap(predictions: Predictions | np.ndarray, labels: np.ndarray | None = None) -> float:
    """Global average precision over each video's 20 best classes; 0 where no video has a label."""
    answers = _kept(predictions, labels)
    return pooled_gap(answers, answers.hits(POOL))


def hit_at_1(predictions: Predictions | np.ndarray, labels: np.ndarray | None = None) -> float:
    """Share of the videos whose most confident class is a label; without labels none is."""
    answers = _kept(predictions, labels)
    return _mean(answers.hits(1)[:, 0])


def perr(predictions: Predictions | np.ndarray, labels: np.ndarray | None = None) -> float:
    """Precision at equal recall rate: labels found among the n best of a video with n labels.

    A class of confidence 0 is no hit, and a video without labels counts as 0, as published. Where
    ``Predictions`` keep fewer classes than a video has labels, the missing ones count as misses, so
    the result is a lower bound; dense predictions are always exact.
    """
    answers = _kept(predictions, labels)
    return _perr(answers, answers.hits())


def mean_average_precision(
    predictions: Predictions | np.ndarray, labels: np.ndarray | None = None
) -> float:
    """Mean of the classes' average precisions; a class that no video is labelled with is skipped.

    A class is ranked among the videos that have it in their 20 best; its other labels count as
    missed. 0 where no video has a label.
    """
    answers = _kept(predictions, labels)
    return _mean_average_precision(answers, answers.hits(POOL))


def evaluate(
    predictions: Predictions | np.ndarray, labels: np.ndarray | None = None
) -> dict[str, float]:
    """All four metrics: ``gap``, ``hit_at_1``, ``perr`` and ``map``, each in 0..1."""
    answers = _kept(predictions, labels)
    hits = answers.hits()
    return {
        "gap": pooled_gap(answers, hits[:, :POOL]),
        "hit_at_1": _mean(hits[:, 0]),
        "perr": _perr(answers, hits),
        "map": _mean_average_precision(answers, hits[:, :POOL]),
    }


class Streaming:
    """Metrics of predictions that arrive in batches: ``add`` each, then ``result`` at any time.

    GAP pools the pairs of all videos, so it is no mean over batches: the best k pairs of each video
    are kept, 6 bytes a pair.
    """

    def __init__(self, k: int = POOL):
        self.k = k
        self._parts: list[Predictions] = []

    def add(self, ids: Sequence[bytes | str], predictions: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch: B ids, confidences [B, V] and multi-hot labels [B, V]."""
        self._parts.append(Predictions.from_dense(ids, predictions, labels, self.k))

    def result(self) -> dict[str, float]:
        """What ``evaluate`` gives for all videos so far.

        Raises:
            ValueError: before the first batch.
        """
        return evaluate(Predictions.concatenate(self._parts))


def pooled_gap(answers: Predictions, hits: np.ndarray) -> float:
    """GAP of pairs whose hits are known, bool [N, <= 20]."""
    confidences = answers.confidences[:, :POOL].ravel()  # [N * 20]
    return gap_of_pool(confidences, hits.ravel(), len(answers.label_classes))


def gap_of_pool(confidences: np.ndarray, hits: np.ndarray, positives: int) -> float:
    """GAP from the definition's own terms.

    Args:
        confidences: of all pooled pairs, [P].
        hits: whether the pair's class is a label of its video, bool [P].
        positives: number of labels of all videos.
    """
    if not positives:
        return 0.0
    ranks = np.flatnonzero(hits[descending(confidences)]) + 1  # only hits move the recall
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return float(precisions.sum() / positives)


def _perr(answers: Predictions, hits: np.ndarray) -> float:
    counts = answers.positives[:, None]  # [N, 1]
    counted = hits & (np.arange(hits.shape[1]) < counts) & (answers.confidences > 0)
    return _mean(counted.sum(axis=1) / np.maximum(counts[:, 0], 1))


def _mean_average_precision(answers: Predictions, hits: np.ndarray) -> float:
    positives = np.bincount(answers.label_classes)  # of each class
    if not len(positives):
        return 0.0
    order = descending(answers.confidences[:, :POOL].ravel())
    classes = answers.classes[:, :POOL].ravel()[order]
    by_class = np.argsort(classes, kind="stable")  # within a class still by confidence
    classes, found = classes[by_class], hits.ravel()[order][by_class]
    # Rank and number of hits within the class: the running ones, less those at the class's start.
    starts = np.searchsorted(classes, classes)
    before = np.concatenate([[0], np.cumsum(found)])
    precisions = (before[1:] - before[starts]) / (np.arange(len(classes)) - starts + 1)
    sums = np.bincount(classes[found], precisions[found], minlength=len(positives))
    seen = positives > 0
    return float((sums[: len(positives)][seen] / positives[seen]).mean())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _kept(predictions: Predictions | np.ndarray, labels: np.ndarray | None) -> Predictions:
    if isinstance(predictions, Predictions):
        return predictions
    if labels is None:
        raise ValueError("dense predictions need labels")
    most = int((np.asarray(labels) > 0).sum(axis=1).max(initial=0))
    return Predictions.from_dense([b""] * len(predictions), predictions, labels, max(POOL, most))
