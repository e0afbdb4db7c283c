"""Tags with names, for people and their programs: a CSV of a row a tag, or JSON."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from yt8m_lib.files import FileError, written_whole
from yt8m_lib.methods.challenge_csv import Write

COLUMNS = ("id", "start", "end", "tag", "confidence")


@contextmanager
def csv_written(path: str | Path, names: Sequence[str] = ()) -> Iterator[Write]:
    """Give a function that writes the tags of videos: ``id,start,end,tag,confidence``, a row a tag.

    Args:
        path: the CSV, written whole.
        names: of the classes; one without a name is called by its number.

    Raises:
        FileError: as ``files.written_whole``, or when whoever read from a pipe went away.
    """
    with written_whole(path) as beside:
        try:
            with open(beside, "a", encoding="utf-8", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(COLUMNS)

                yield lambda *videos: rows.writerows(
                    (video, start, end, tag, f"{sure:.6f}")
                    for video, (start, end), tags in _named(names, *videos)
                    for tag, sure in tags
                )
        except BrokenPipeError:
            raise FileError(f"{path}: whoever read it stopped before its end") from None


@contextmanager
def json_written(path: str | Path, names: Sequence[str] = ()) -> Iterator[Write]:
    """The same as a JSON list of ``{"id", "start", "end", "tags": [{"tag", "confidence"}]}``."""
    with written_whole(path) as beside, open(beside, "a", encoding="utf-8") as file:
        before = "[\n"

        def write(*videos: Any) -> None:
            nonlocal before
            for video, (start, end), tags in _named(names, *videos):
                said = [{"tag": tag, "confidence": round(float(sure), 6)} for tag, sure in tags]
                entry = {"id": video, "start": int(start), "end": int(end), "tags": said}
                file.write(before + json.dumps(entry, ensure_ascii=False))
                before = ",\n"

        yield write
        file.write("\n]\n" if before == ",\n" else "[]\n")


def _named(
    names: Sequence[str],
    ids: Sequence[str],
    classes: np.ndarray,
    confidences: np.ndarray,
    stretches: np.ndarray,
) -> Iterator[tuple[str, np.ndarray, list[tuple[str, float]]]]:
    """Id, stretch, and tags with their confidences; a class without a name goes by its number."""
    called = [name or str(number) for number, name in enumerate(names)]
    for video, own, sure, stretch in zip(ids, classes, confidences, stretches, strict=True):
        yield video, stretch, [(called[c], p) for c, p in zip(own, sure, strict=True)]
