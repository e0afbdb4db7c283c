"""Each class by itself: average precision, AUC, and what it is most confused with.

AudioSet's readers know their means over classes as mAP and d-prime. Here a class is ranked among
all videos, where ``metrics.mean_average_precision`` looks at each video's 20 best classes alone.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from yt8m_lib.errors import UserError

MOST = 2 * 10**8  # confidences that are kept: 800 MB
COLUMNS = ("index", "name", "videos", "ap", "auc", "most_confused", "confused_videos")


class TooManyError(UserError):
    """More answers than fit into memory; the message says how many do."""


class PerClass:
    """Metrics of every class of predictions that arrive in batches.

    Args:
        names: of the V classes; "" for one without.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._confidences: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._rated: list[np.ndarray] = []

    def add(
        self, predictions: np.ndarray, labels: np.ndarray, rated: np.ndarray | None = None
    ) -> None:
        """Take in a batch: confidences [B, V] and multi-hot labels [B, V].

        Where labels say something of some classes alone, ``rated`` [B, V] is true for these: a
        class is ranked among the videos that it was rated in.

        Raises:
            TooManyError: when there are more confidences than ``MOST``.
        """
        kept = sum(part.size for part in self._confidences) + predictions.size
        if kept > MOST:
            raise TooManyError(
                f"more than {MOST:,} confidences (videos x classes) to rank each class: give fewer "
                "shards"
            )
        self._confidences.append(np.float32(predictions))
        self._labels.append(labels > 0)
        self._rated.append(np.ones(labels.shape, bool) if rated is None else rated)

    def table(self) -> pd.DataFrame:
        """A row a class.

        Returns:
            ``index``, ``name``, ``videos`` that have it, ``ap`` and ``auc`` (not a number for a
            class that no video has, or that all have), ``most_confused``: the class that is most
            often the most confident wrong one of these videos, and ``confused_videos``: in how
            many of them.
        """
        kept = (self._confidences, self._labels, self._rated)
        confidences, labels, rated = (np.concatenate(parts) for parts in kept)
        wrong = np.where(labels, -1.0, confidences).argmax(axis=1)  # of each video [N]
        rows = []
        for number, name in enumerate(self.names):
            own = labels[:, number]
            confused, count = _most_frequent(wrong[own])
            called = self.names[confused] or str(confused) if count else ""
            counted = rated[:, number]
            ranked = confidences[counted, number], own[counted]
            measured = [metric(*ranked) for metric in (average_precision, area)]
            rows.append((number, name, int(own.sum()), *measured, called, count))
        return pd.DataFrame(rows, columns=list(COLUMNS))


def average_precision(confidences: np.ndarray, hits: np.ndarray) -> float:
    """Mean over the hits of the precision down to each; equal confidences count together.

    Args:
        confidences: of N videos, [N].
        hits: which have the class, bool [N].
    """
    if not hits.any():
        return float("nan")
    above = rankdata(-confidences, method="max")[hits]  # videos at least as confident as each hit
    found = rankdata(-confidences[hits], method="max")  # hits among them
    return float(np.mean(found / above))


def area(confidences: np.ndarray, hits: np.ndarray) -> float:
    """How often a video that has the class is the more confident of two (ROC AUC)."""
    positives, negatives = int(hits.sum()), int((~hits).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(confidences)[hits].sum() - positives * (positives + 1) / 2
    return float(ranks / (positives * negatives))


def summary(table: pd.DataFrame) -> dict[str, float]:
    """mAP, mean AUC and d-prime, ``sqrt(2) Phi^-1(mean AUC)``, over the classes that have them."""
    auc = float(table["auc"].mean())
    return {
        "map_of_classes": float(table["ap"].mean()),
        "auc": auc,
        "d_prime": float(np.sqrt(2) * ndtri(auc)),
    }


def _most_frequent(classes: np.ndarray) -> tuple[int, int]:
    counts = np.bincount(classes) if len(classes) else np.zeros(1, int)
    return int(counts.argmax()), int(counts.max())
