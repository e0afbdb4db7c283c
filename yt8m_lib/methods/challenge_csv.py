"""The file that the challenge asks for: ``VideoId,LabelConfidencePairs``, a row a video."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from yt8m_lib.files import FileError, written_whole

Write = Callable[[Sequence[str], np.ndarray, np.ndarray, np.ndarray], object]

COLUMNS = ("VideoId", "LabelConfidencePairs")


@contextmanager
def written(path: str | Path, names: Sequence[str] = ()) -> Iterator[Write]:
    """Give a function that writes videos' rows: N ids, classes [N, k] and confidences [N, k].

    What it is given of stretches, [N, 2], this file has no place for. The file is written whole. An
    id with a comma, a quote or a line end in it, or with a leading ``=``, which a spreadsheet would
    take for a formula, is quoted as RFC 4180 has it.

    Args:
        path: the CSV.
        names: of the classes, which this file has no place for.

    Raises:
        FileError: as ``files.written_whole``, or when whoever read from a pipe went away.
    """
    # Opened to append: what a file behind /dev/stdout holds already stays.
    with written_whole(path) as beside:
        try:
            with open(beside, "a", encoding="utf-8", newline="") as file:
                plain, quoted = (
                    csv.writer(file, quoting=quoting, lineterminator="\n")
                    for quoting in (csv.QUOTE_NONE, csv.QUOTE_ALL)
                )
                plain.writerow(COLUMNS)
                yield lambda *videos: [
                    (quoted if _is_odd(video) else plain).writerow([video, _pairs(*pairs)])
                    for video, *pairs, _ in zip(*videos, strict=True)
                ]
        except BrokenPipeError:
            raise FileError(f"{path}: whoever read it stopped before its end") from None


def _is_odd(video: str) -> bool:
    return video.startswith("=") or any(sign in video for sign in ',"\r\n')


def _pairs(classes: np.ndarray, confidences: np.ndarray) -> str:
    return " ".join(f"{c} {p:.6f}" for c, p in zip(classes, confidences, strict=True))
