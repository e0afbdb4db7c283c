"""Tags with names, for people and their programs: a CSV of a row a tag, or JSON."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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

                def write(ids, classes, confidences, stretches) -> None:
                    for video, tags, sure, (start, end) in zip(
                        ids, _named(classes, names), confidences, stretches, strict=True
                    ):
                        rows.writerows(
                            (video, start, end, tag, f"{p:.6f}")
                            for tag, p in zip(tags, sure, strict=True)
                        )

                yield write
        except BrokenPipeError:
            raise FileError(f"{path}: whoever read it stopped before its end") from None


@contextmanager
def json_written(path: str | Path, names: Sequence[str] = ()) -> Iterator[Write]:
    """The same as a JSON list of ``{"id", "start", "end", "tags": [{"tag", "confidence"}]}``."""
    with written_whole(path) as beside, open(beside, "a", encoding="utf-8") as file:
        before = "[\n"

        def write(ids, classes, confidences, stretches) -> None:
            nonlocal before
            for video, tags, sure, (start, end) in zip(
                ids, _named(classes, names), confidences, stretches, strict=True
            ):
                pairs = zip(tags, sure, strict=True)
                said = [{"tag": tag, "confidence": round(float(p), 6)} for tag, p in pairs]
                entry = {"id": video, "start": int(start), "end": int(end), "tags": said}
                file.write(before + json.dumps(entry, ensure_ascii=False))
                before = ",\n"

        yield write
        file.write("\n]\n" if before == ",\n" else "[]\n")


def _named(classes: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """The names of classes [N, k]; the number of a class without one."""
    called = np.array([name or str(number) for number, name in enumerate(names)], object)
    return called[classes].tolist()
