"""A model's answers for many videos, kept as each video's most confident classes.

The metric reads a video's 20 best classes and nothing else (sec. 10), so a hold-out of 232,072
videos and 3,862 classes needs 30 MB here instead of the 3.6 GB of a dense array. Labels are kept as
ragged rows: video ``i`` has ``label_classes[label_offsets[i]:label_offsets[i + 1]]``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from yt8m_lib.files import written_whole
from yt8m_lib.scoring.ranking import blocks, top


def selection_half(ids: np.ndarray) -> np.ndarray:
    """Which videos choices are made on; every reported value comes from the others.

    The halves follow from the id alone (one bit of its BLAKE2 hash), so they are the same on every
    machine, in every order and for every subset of the videos. A segment of a video, whose id ends
    in a colon and a number, goes with the video.

    Args:
        ids: video ids [N], bytes or str.

    Returns:
        bool [N], true in the selection half, false in the report half.
    """
    digests = (
        hashlib.blake2b(i, digest_size=1, person=b"selection")
        for i in map(_video_of, _as_bytes(ids))
    )
    return np.fromiter((digest.digest()[0] & 1 for digest in digests), bool, len(ids))


def _video_of(name: bytes) -> bytes:
    video, colon, second = name.rpartition(b":")
    return video if colon and second.isdigit() else name


def report_half(predictions: "Predictions") -> "Predictions":
    """The videos that values are reported on: those that no choice was made on."""
    return predictions.select(~selection_half(predictions.ids))


@dataclass(frozen=True, eq=False)
class Predictions:
    """The k most confident classes of N videos, with the videos' true labels.

    Attributes:
        ids: video ids, bytes [N].
        classes: uint16 [N, k].
        confidences: float32 [N, k], descending; of equal ones the lower class comes first.
        label_classes: the L labels of all videos, one video's after another's, uint16 [L].
        label_offsets: where each video's labels start and end, int64 [N + 1].
    """

    ids: np.ndarray
    classes: np.ndarray
    confidences: np.ndarray
    label_classes: np.ndarray
    label_offsets: np.ndarray

    def __post_init__(self) -> None:
        videos = len(self.ids)
        if (
            self.classes.shape != self.confidences.shape
            or len(self.classes) != videos
            or len(self.label_offsets) != videos + 1
        ):
            raise ValueError(
                f"{videos} ids, classes {self.classes.shape}, confidences "
                f"{self.confidences.shape} and {len(self.label_offsets)} label offsets do not fit"
            )

    @classmethod
    def from_dense(
        cls,
        ids: Sequence[bytes | str],
        predictions: np.ndarray,
        labels: np.ndarray,
        k: int = 20,
        beyond: int = 0,
    ) -> Self:
        """Keep the k best of dense predictions.

        Args:
            ids: N video ids.
            predictions: confidences [N, V].
            labels: multi-hot [N, V + beyond], a label where positive.
            k: how many classes to keep. PERR is exact where no video has more labels than this.
            beyond: classes that labels may have and the model does not know; they count as missed.

        Raises:
            ValueError: where the shapes do not fit, or as ``top`` does.
        """
        videos, classes = np.shape(predictions)
        if np.shape(labels) != (videos, classes + beyond):
            raise ValueError(f"predictions {np.shape(predictions)}, labels {np.shape(labels)}")
        rows, label_classes = label_places(labels)
        counts = np.bincount(rows, minlength=videos)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        label_classes = label_classes.astype(np.uint16)
        return cls(_as_bytes(ids), *top(predictions, k), label_classes, offsets)

    @classmethod
    def from_batches(
        cls, batches: Iterable[tuple[Sequence, np.ndarray, np.ndarray]], k: int = 20
    ) -> Self:
        """Keep the k best of ``(ids, predictions, labels)`` batches that arrive one at a time."""
        return cls.concatenate([cls.from_dense(*batch, k) for batch in batches])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join the videos of several parts, which must all keep the same k."""
        if not parts:
            raise ValueError("no videos: nothing to concatenate")
        counts = np.concatenate([part.positives for part in parts])
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.confidences for part in parts]),
            np.concatenate([part.label_classes for part in parts]),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def k(self) -> int:
        """How many classes are kept of each video."""
        return self.classes.shape[1]

    @property
    def positives(self) -> np.ndarray:
        """Number of labels of each video, int64 [N]."""
        return np.diff(self.label_offsets)

    def dense(self, rows: slice = slice(None), classes: int | None = None) -> np.ndarray:
        """Confidences of n videos, float32 [n, classes]; 0 where a class was not kept.

        Args:
            rows: which videos; all by default.
            classes: how many classes there are; the largest class here + 1 by default.
        """
        chosen = self.classes[rows]
        wide = np.zeros((len(chosen), classes or int(self.classes.max()) + 1), np.float32)
        np.put_along_axis(wide, chosen.astype(np.intp), self.confidences[rows], axis=1)
        return wide

    def hits(self, k: int | None = None) -> np.ndarray:
        """Whether each of the first k classes is a label of its video, bool [N, k].

        Args:
            k: how many of the kept classes to look at; all by default.
        """
        return self.labelled(self.classes[:, :k])

    def labelled(self, classes: np.ndarray) -> np.ndarray:
        """Whether any given class [N, c] is a label of its row's video, bool [N, c]."""
        width = classes.shape[1]
        found = np.zeros(classes.size, bool)
        video = np.repeat(np.arange(len(self)), self.positives)  # of each label, [L]
        for part in blocks(len(video), 16384):
            rows = video[part]
            hits = np.flatnonzero(classes[rows] == self.label_classes[part, None])  # [l, k] flat
            found[rows[hits // width] * width + hits % width] = True
        return found.reshape(classes.shape)

    def select(self, mask: np.ndarray) -> Self:
        """Take some of the videos.

        Args:
            mask: bool [N], or row numbers in any order, which may repeat.
        """
        rows = np.arange(len(self))[mask]
        counts = self.positives[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        # Label j of the result stands as far behind its video's first label as in the source.
        source = np.repeat(self.label_offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return type(self)(
            self.ids[rows],
            self.classes[rows],
            self.confidences[rows],
            self.label_classes[source],
            offsets,
        )

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` file."""
        with written_whole(path) as beside, open(beside, "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{field.name: file[field.name] for field in fields(cls)})


def label_places(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Video and class of each label in multi-hot labels [N, V], positive where there is one."""
    labels = np.asarray(labels)
    place = np.flatnonzero(labels if labels.dtype == bool else labels > 0)
    return np.divmod(place, max(labels.shape[1], 1))


def check_same_videos(predictions: Sequence[Predictions]) -> None:
    """Refuse predictions of different videos, or of the same ones in another order.

    Raises:
        ValueError: naming the first row that differs; also where nothing is given.
    """
    if not predictions:
        raise ValueError("no predictions given")
    first = predictions[0]
    for number, other in enumerate(predictions[1:], start=1):
        if len(other) != len(first):
            raise ValueError(f"predictions 0 have {len(first)} videos, {number} {len(other)}")
        differ = np.flatnonzero(other.ids != first.ids)
        if len(differ):
            one, two = (str(p.ids[differ[0]], "utf-8") for p in (first, other))
            raise ValueError(
                f"row {differ[0]} is video {one} in predictions 0, {two} in predictions {number}"
            )
        if not np.array_equal(other.label_offsets, first.label_offsets) or not np.array_equal(
            other.label_classes, first.label_classes
        ):
            raise ValueError(f"predictions 0 and {number} disagree on the videos' labels")


def align(
    predictions: Sequence[Predictions], rows: slice, candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """What each of M models says of the classes that any of them has among its best.

    Args:
        predictions: M of the same videos.
        rows: which n videos.
        candidates: how many of each model's best classes count.

    Returns:
        Classes uint16 [n, C], ascending, and confidences float32 [n, C, M], 0 where a model did not
        keep the class. A video of fewer than C classes is filled up with class 0 at confidence 0.
    """
    union = np.sort(np.concatenate([p.classes[rows, :candidates] for p in predictions], axis=1))
    new = np.ones(union.shape, bool)
    new[:, 1:] = union[:, 1:] != union[:, :-1]
    video, _ = np.nonzero(new)
    place = (np.cumsum(new, axis=1) - 1)[new]
    classes = np.zeros((len(union), place.max(initial=0) + 1), np.uint16)
    classes[video, place] = union[new]
    # Where each class stands in its video's row; the last place collects what is no candidate.
    width = 1 + max(int(p.classes[rows].max(initial=0)) for p in predictions)
    places = np.full((len(union), width), classes.shape[1])
    places[video, union[new]] = place
    values = np.zeros((len(union), classes.shape[1] + 1, len(predictions)), np.float32)
    for member, p in enumerate(predictions):
        at = np.take_along_axis(places, p.classes[rows].astype(np.intp), axis=1)
        np.put_along_axis(values[:, :, member], at, p.confidences[rows], axis=1)
    return classes, values[:, :-1]


def average(
    predictions: Sequence[Predictions], weights: Sequence[float], k: int | None = None
) -> Predictions:
    """Weighted average of several models' predictions of the same videos.

    A class that a model did not keep counts as 0 there. Weights are scaled to sum 1.

    Args:
        predictions: M models' answers.
        weights: M weights, none negative.
        k: how many classes to keep: at most, and by default, the most that a model kept.

    Raises:
        ValueError: for other videos, labels, or a k or weights that make no sense.
    """
    check_same_videos(predictions)
    shares = _shares(weights, len(predictions))
    most = max(p.k for p in predictions)
    k = most if k is None else k
    if not 0 < k <= most:
        raise ValueError(f"k is {k}, but the models kept {most} classes at most")
    parts = []
    for rows in blocks(len(predictions[0])):
        classes, values = align(predictions, rows, most)
        best, confidences = top(values @ shares, k)
        parts.append((np.take_along_axis(classes, best.astype(np.intp), axis=1), confidences))
    best, confidences = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    first = predictions[0]
    return Predictions(first.ids, best, confidences, first.label_classes, first.label_offsets)


def _shares(weights: Sequence[float], members: int) -> np.ndarray:
    """Weights scaled to sum 1, float32 [members].

    Raises:
        ValueError: for another number of weights, a negative one, or all 0.
    """
    given = np.asarray(weights, np.float64)
    sensible = np.isfinite(given).all() and (given >= 0).all() and given.any()
    if given.shape != (members,) or not sensible:
        raise ValueError(f"{members} predictions cannot be weighted by {list(weights)}")
    return (given / given.sum()).astype(np.float32)


def _as_bytes(ids: Sequence[bytes | str]) -> np.ndarray:
    """Ids as bytes of one width, [N]."""
    return np.asarray([i if isinstance(i, bytes) else str(i).encode() for i in ids], np.bytes_)
