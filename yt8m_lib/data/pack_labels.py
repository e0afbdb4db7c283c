"""Labels of people's own videos: a CSV of ids and labels, and the vocabulary that it makes."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yt8m_lib.data.listing import DataError, readable
from yt8m_lib.data.vocabulary import class_names, count_of
from yt8m_lib.files import write_text

SEPARATOR = "|"


class Labels(NamedTuple):
    """Who has which labels.

    Attributes:
        names: of the classes, in their order.
        of: the classes of each video, by its id, ascending.
    """

    names: list[str]
    of: dict[str, list[int]]


def read_labels(path: str | Path, vocabulary: str | Path | None = None) -> Labels:
    """Read a CSV with the columns ``id`` and ``labels``, names or class numbers.

    Several labels of a video are separated by ``|``, or stand in several rows.

    Args:
        path: the CSV.
        vocabulary: a CSV of ``index`` and ``name`` that labels must be in; where none is given,
            names become classes by how many videos have each, and numbers stay what they are.

    Raises:
        DataError: naming file and line.
    """
    given: dict[str, dict[str, int]] = {}  # by id, the labels with the line of each
    for line, video, label in _rows(Path(path)):
        given.setdefault(video, {}).setdefault(label, line)
    if not given:
        raise DataError(f"{path} has no labels")
    names = _vocabulary(path, given, vocabulary)
    numbers = {str(i): i for i in range(len(names))} | {n: i for i, n in enumerate(names) if n}
    return Labels(names, {v: _numbered(path, own, numbers) for v, own in given.items()})


def write_vocabulary(names: Sequence[str], path: Path) -> None:
    """Write ``index,name``, a row a class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("index", "name"), *enumerate(names)])
    write_text(path, text.getvalue())


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """Line, id and label, one row a label."""
    with readable(str(path)):
        raw = path.read_bytes()
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}): save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a CSV: {error}") from None
    titles = [title.strip().lower() for title in rows[0][1]] if rows else []
    if not {"id", "labels"} <= {*titles}:
        raise DataError(
            f"{path}: the first line names the columns ({', '.join(titles) or 'none'}); `id` and "
            "`labels` are needed"
        )
    found = []
    for line, row in rows[1:]:
        if len(row) != len(titles):
            raise DataError(
                f"{path}, line {line}: {len(row)} fields where the first line has {len(titles)}. "
                f"Several labels of a video are separated by {SEPARATOR}; a comma in a name wants "
                'the name in quotes (")'
            )
        video, labels = (row[titles.index(name)].strip() for name in ("id", "labels"))
        split = [label.strip() for label in labels.split(SEPARATOR)]
        if not video or not all(split):
            raise DataError(f"{path}, line {line}: an empty {'label' if video else 'id'}")
        found += [(line, video, label) for label in split]
    return found


def _vocabulary(
    path: str | Path, given: dict[str, dict[str, int]], vocabulary: str | Path | None
) -> list[str]:
    if vocabulary:
        return class_names(Path(vocabulary).absolute(), count_of(vocabulary))
    counts = Counter(label for labels in given.values() for label in labels)
    if all(label.isdecimal() for label in counts):
        largest = max(map(int, counts))
        if largest > 65535:
            raise DataError(f"{path}: class {largest} is more than 65,535, the largest that fits")
        return [str(number) for number in range(largest + 1)]
    return [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _numbered(path: str | Path, labels: dict[str, int], numbers: dict[str, int]) -> list[int]:
    for label, line in labels.items():
        if label not in numbers:
            raise DataError(f"{path}, line {line}: the label {label!r} is not in the vocabulary")
    return sorted({numbers[label] for label in labels})
