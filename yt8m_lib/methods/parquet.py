"""Predictions as a Parquet table, which keeps numbers as numbers and has the classes' names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from yt8m_lib.files import written_whole
from yt8m_lib.methods.challenge_csv import Write

COLUMNS = [
    ("id", pa.string()),
    ("classes", pa.list_(pa.int32())),
    ("confidences", pa.list_(pa.float32())),
]
STRETCH = [("start", pa.int32()), ("end", pa.int32())]


@contextmanager
def written(
    path: str | Path, names: Sequence[str] = (), stretches: bool = False
) -> Iterator[Write]:
    """Give a function that writes rows: N ids, classes and confidences [N, k], stretches [N, 2].

    Args:
        path: the table, which is written whole.
        names: of the classes; a column ``names`` has them where any class has one.
        stretches: whether columns ``start`` and ``end`` say which frames a row is about.

    Raises:
        FileError: as ``files.written_whole``.
    """
    known = np.array(names, object) if any(names) else None
    named = [("names", pa.list_(pa.string()))] if any(names) else []
    schema = pa.schema(COLUMNS + named + (STRETCH if stretches else []))

    def write(
        ids: Sequence[str], classes: np.ndarray, confidences: np.ndarray, seconds: np.ndarray
    ) -> None:
        columns = [ids, list(classes.astype(np.int32)), list(confidences)]
        if known is not None:
            columns.append(known[classes].tolist())
        if stretches:
            columns += list(seconds.T)
        arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
        table.write_table(pa.Table.from_arrays(arrays, schema=schema))

    with written_whole(path) as beside, pq.ParquetWriter(beside, schema) as table:
        yield write
