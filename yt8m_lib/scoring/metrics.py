"""The challenge's metrics (sec. 10): GAP@20, hit@1, PERR and mAP, in vectorised NumPy.

Global average precision is ::

    GAP = sum_i p(i) * (r(i) - r(i - 1))

over every video's 20 best (class, confidence) pairs pooled and sorted by confidence, p and r
being precision and recall among the first i pairs. Recall's denominator is all labels, also those
that are in no video's 20 best. Pairs of equal confidence stay in the order of the videos.

A metric is a function of a model's answers and of which of them are right::

    (answers: Predictions, hits: bool [N, k]) -> float in 0..1

where ``hits`` says of each of the k kept classes whether it is a label of its video. To add one,
write such a function and a line in ``catalogue.METRICS``: ``evaluate`` then gives it too.
"""

from collections.abc import Sequence

import numpy as np

from yt8m_lib.catalogue import METRICS
from yt8m_lib.scoring.predictions import Predictions, label_places
from yt8m_lib.scoring.ranking import descending, ranks_of

POOL = 20  # pairs of a video that count in GAP and mAP


def evaluate(
    predictions: Predictions | np.ndarray, labels: np.ndarray | None = None
) -> dict[str, float]:
    """Every metric in ``catalogue.METRICS`` by its name, each in 0..1.

    Args:
        predictions: answers, or dense confidences [N, V].
        labels: multi-hot [N, V], given with dense confidences alone.

    Raises:
        ValueError: where dense confidences come without labels, or with those of another shape.
    """
    answers = _as_predictions(predictions, labels)
    hits = answers.hits()
    return {name: METRICS[name](answers, hits) for name in METRICS}


def gap(predictions: Predictions | np.ndarray, labels: np.ndarray | None = None) -> float:
    """Global average precision alone; arguments and errors as ``evaluate`` has them."""
    answers = _as_predictions(predictions, labels)
    return pooled_gap(answers, answers.hits(POOL))


class Streaming:
    """Metrics of predictions that arrive in batches: ``add`` each, then ``result`` at any time.

    GAP pools the pairs of all videos, so it is no mean over batches: the best k pairs of each video
    are kept, 6 bytes a pair.

    Args:
        k: how many classes of each video are kept.
        beyond: classes that labels may have and the model does not know; they count as missed.
    """

    def __init__(self, k: int = POOL, beyond: int = 0):
        self.k, self.beyond = k, beyond
        self._parts: list[Predictions] = []

    def add(self, ids: Sequence[bytes | str], predictions: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch: B ids, confidences [B, V], multi-hot labels [B, V + beyond]."""
        part = Predictions.from_dense(ids, predictions, labels, self.k, self.beyond)
        self._parts.append(part)

    @property
    def videos(self) -> int:
        """How many videos there are so far."""
        return sum(map(len, self._parts))

    def answers(self) -> Predictions:
        """All videos so far.

        Raises:
            ValueError: before the first batch.
        """
        return Predictions.concatenate(self._parts)

    def result(self) -> dict[str, float]:
        """What ``evaluate`` gives for all videos so far.

        Raises:
            ValueError: before the first batch.
        """
        return evaluate(self.answers())


# --- The metrics ---


def pooled_gap(answers: Predictions, hits: np.ndarray) -> float:
    """Global average precision over each video's 20 best classes; 0 where no video has a label."""
    confidences = answers.confidences[:, :POOL].ravel()  # [N * 20]
    return gap_of_pool(confidences, hits[:, :POOL].ravel(), len(answers.label_classes))


def gap_of_pool(confidences: np.ndarray, hits: np.ndarray, positives: int) -> float:
    """Global average precision of pairs that are pooled already.

    Args:
        confidences: of all P pairs, [P].
        hits: whether the pair's class is a label of its video, bool [P].
        positives: number of labels of all videos.
    """
    if not positives:
        return 0.0
    ranks = ranks_of(hits, confidences)  # only hits move the recall
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return float(precisions.sum() / positives)


def hit_at_1(answers: Predictions, hits: np.ndarray) -> float:
    """Share of the videos whose most confident class is a label; without labels none is."""
    return _mean(hits[:, 0])


def perr(answers: Predictions, hits: np.ndarray) -> float:
    """Precision at equal recall rate: labels found among the n best of a video with n labels.

    A class of confidence 0 is no hit, and a video without labels counts as 0, as published. Where
    ``answers`` keep fewer classes than a video has labels, the missing ones count as misses, so the
    result is a lower bound; it is always exact for the dense confidences given to ``evaluate``.
    """
    counts = answers.positives[:, None]  # [N, 1]
    counted = hits & (np.arange(hits.shape[1]) < counts) & (answers.confidences > 0)
    return _mean(counted.sum(axis=1) / np.maximum(counts[:, 0], 1))


def mean_average_precision(answers: Predictions, hits: np.ndarray) -> float:
    """Mean of the classes' average precisions; a class that no video is labelled with is skipped.

    A class is ranked among the videos that have it in their 20 best; its other labels count as
    missed. 0 where no video has a label.
    """
    positives = np.bincount(answers.label_classes)  # of each class
    if not len(positives):
        return 0.0
    order = descending(answers.confidences[:, :POOL].ravel())
    classes = answers.classes[:, :POOL].ravel()[order]
    by_class = np.argsort(classes, kind="stable")  # within a class still by confidence
    classes, found = classes[by_class], hits[:, :POOL].ravel()[order][by_class]
    # Rank and number of hits within the class: the running ones, less those at the class's start.
    starts = np.searchsorted(classes, classes)
    before = np.concatenate([[0], np.cumsum(found)])
    precisions = (before[1:] - before[starts]) / (np.arange(len(classes)) - starts + 1)
    sums = np.bincount(classes[found], precisions[found], minlength=len(positives))
    seen = positives > 0
    return float((sums[: len(positives)][seen] / positives[seen]).mean())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _as_predictions(
    predictions: Predictions | np.ndarray, labels: np.ndarray | None
) -> Predictions:
    """Return predictions as they are, and keep of dense ones as many classes as PERR needs."""
    if isinstance(predictions, Predictions):
        return predictions
    if labels is None:
        raise ValueError("dense predictions need labels")
    most = int(np.bincount(label_places(labels)[0]).max(initial=0))
    return Predictions.from_dense([b""] * len(predictions), predictions, labels, max(POOL, most))
