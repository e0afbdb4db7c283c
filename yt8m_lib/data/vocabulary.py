"""Names of classes: reading a vocabulary, such as YouTube-8M's own ``vocabulary.csv``."""

import csv
from functools import cache
from pathlib import Path

from yt8m_lib.data.listing import DataError
from yt8m_lib.settings import ROOT

# What the columns are called: by YouTube-8M (Index, Name), AudioSet (index, display_name), others.
INDEX, NAME = ("index", "class", "label"), ("name", "display_name", "class_name", "label_name")


def class_names(path: str | Path | None, classes: int) -> list[str]:
    """The names of an experiment's classes, in their order; "" for a class without a name.

    Args:
        path: a CSV with a column of numbers from 0 (``index``) and one of names (``name`` or
            ``display_name``), in any order of rows, seen from the project; None where no names
            are known.
        classes: how many of its first classes there are.

    Raises:
        DataError: for a file that is no such CSV, or lacks one of the classes, with file and line.
    """
    if path is None:
        return [""] * classes
    names = _read(str(ROOT / path))
    missing = sorted({*range(classes)} - {*names})
    if missing:
        raise DataError(
            f"{path}: names {len(names)} classes, and none is class {missing[0]}: the experiment "
            f"has {classes} (`data.classes`), numbered from 0"
        )
    return [names[number] for number in range(classes)]


def count_of(path: str | Path) -> int:
    """How many classes a vocabulary names: one more than its largest number.

    Raises:
        DataError: as ``class_names``.
    """
    names = _read(str(Path(path).absolute()))
    if not names:
        raise DataError(f"{path}: names no class")
    return max(names) + 1


@cache
def _read(path: str) -> dict[int, str]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _rows(path, csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}): save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV: {error}") from None


def _rows(path: str, rows: csv.DictReader) -> dict[int, str]:
    given = {(title or "").strip().lower(): title for title in rows.fieldnames or ()}
    index, name = (next((given[t] for t in known if t in given), None) for known in (INDEX, NAME))
    if index is None or name is None:
        raise DataError(
            f"{path}: the first line names the columns ({', '.join(given) or 'none'}); `index` and "
            "`name` are needed"
        )
    names: dict[int, str] = {}
    for row in rows:
        number = (row[index] or "").strip()
        if not number.isdecimal():
            raise DataError(f"{path}, line {rows.line_num}: {number!r} is no class number")
        if int(number) in names:
            raise DataError(f"{path}, line {rows.line_num}: class {number} has a line already")
        names[int(number)] = (row[name] or "").strip()
    return names
