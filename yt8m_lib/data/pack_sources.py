"""Features of people's own videos as they lie on disk: arrays, MediaPipe's files, Parquet.

A source lists its videos without reading them and reads one at a time. A video is an array [T, D]
for each stream: T frames, usually one a second, of D features.
"""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yt8m_lib.data.listing import DataError, readable

if TYPE_CHECKING:  # the import takes a second, and most sources need none of it
    import pyarrow as pa
    import pyarrow.parquet as pq

Arrays = dict[str, np.ndarray]  # by stream, [T, D] each
ALONE = "features"  # the stream of a video that has one and gives it no name
SUFFIXES = (".npy", ".npz", ".pb")
MEDIAPIPE = "/feature/floats"


class Source(ABC):
    """Some people's videos.

    Attributes:
        places: where each video lies, for messages and to tell sources apart, by its id.
    """

    places: Mapping[str, str]

    @abstractmethod
    def read(self, video: str) -> Arrays:
        """The arrays of a video, not checked yet.

        Raises:
            DataError: when they cannot be read.
        """

    def checked(self, video: str, widths: Mapping[str, int] | None = None) -> Arrays:
        """The arrays of a video, each [T, D] of the same T, floats or bytes.

        Args:
            video: its id.
            widths: that its streams must have, in their order; those of the first video where none
                are known yet.

        Raises:
            DataError: naming file and row of what does not fit.
        """
        arrays, where = self.read(video), self.places[video]
        if widths is not None and {*arrays} != {*widths}:
            raise DataError(
                f"{where}: has the streams {_listed(arrays)}, others have {_listed(widths)}"
            )
        for name, array in arrays.items():
            _check(where, name, array, (widths or {}).get(name))
        lengths = {name: len(array) for name, array in arrays.items()}
        if len({*lengths.values()}) > 1:
            words = ", ".join(f"{count} of {name}" for name, count in lengths.items())
            raise DataError(f"{where}: streams of different lengths, in frames: {words}")
        return {name: arrays[name] for name in (widths or arrays)}


def open_source(path: str | Path) -> Source:
    """The videos of a folder of arrays, or of a Parquet file or a folder of them.

    Raises:
        DataError: when nothing there is of a known kind, or two videos have the same id.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"{path} is not there: give a folder of .npy, .npz, .pb or .parquet files")
    tables = [place] if place.is_file() else sorted(place.glob("*.parquet"))
    if tables and tables[0].suffix == ".parquet":
        return ParquetTables(tables)
    if place.is_file():
        raise DataError(f"{path} is a file: give the folder that it lies in, or a .parquet file")
    return ArrayFiles(place)


class ArrayFiles(Source):
    """A folder of files: ``ID.npy`` a video, ``ID.npz`` with a key a stream, MediaPipe's ``ID.pb``.

    Where the folder has folders of ``.npy`` files, each of these is a stream.
    """

    def __init__(self, folder: Path):
        self._files: dict[str, dict[str, Path]] = {}
        for file in sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES):
            self._add(file, ALONE)
        streams = sorted(f for f in folder.iterdir() if f.is_dir() and any(f.glob("*.npy")))
        if streams and self._files:
            raise DataError(
                f"{folder} holds both arrays and folders of them: which are the videos?"
            )
        for stream in streams:
            for file in sorted(stream.glob("*.npy")):
                self._add(file, stream.name)
        if not self._files:
            raise DataError(f"{folder} holds no {', '.join(SUFFIXES)} or .parquet file")
        self.places = {video: str(next(iter(f.values()))) for video, f in self._files.items()}

    def _add(self, file: Path, stream: str) -> None:
        known = self._files.setdefault(file.stem, {})
        if stream in known:
            raise DataError(f"{known[stream]} and {file} are both the video {file.stem!r}")
        known[stream] = file

    def read(self, video: str) -> Arrays:
        """The arrays in a video's file, or in its file of each stream's folder."""
        arrays: Arrays = {}
        for stream, file in self._files[video].items():
            with readable(str(file)):
                arrays |= _mediapipe(file) if file.suffix == ".pb" else _numpy(file, stream)
        return arrays


class ParquetTables(Source):
    """Tables with a row a video: ``id``, and a list column a stream, of T lists of D numbers."""

    def __init__(self, files: list[Path]):
        self._rows: dict[str, tuple[Path, int, int]] = {}  # file, row group, row in it
        self.places = {}
        for file in files:
            with readable(str(file)):
                table = _parquet(file)
            self._streams = _list_columns(file, table.schema_arrow)
            for group, row, video in _ids(table):
                if not video:
                    raise DataError(f"{file}, row {row + 1} of group {group + 1}: has no id")
                if video in self._rows:
                    raise DataError(f"{file}: two rows have the id {video!r}")
                self._rows[video] = (file, group, row)
                self.places[video] = f"{file}, id {video!r}"
        # Each of the workers is in a row group of its own.
        self._group = lru_cache(maxsize=8)(self._read_group)

    def read(self, video: str) -> Arrays:
        """The lists in a video's row."""
        file, group, row = self._rows[video]
        table = self._group(file, group)
        return {s: _of_lists(self.places[video], s, table[s][row].as_py()) for s in self._streams}

    def _read_group(self, file: Path, group: int) -> "pa.Table":
        return _parquet(file).read_row_group(group, self._streams)


def _check(where: str, name: str, array: np.ndarray, width: int | None) -> None:
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {name} holds {array.dtype}: numbers are needed")
    if array.ndim != 2:
        raise DataError(
            f"{where}: {name} has the shape {list(array.shape)}: a row a frame is needed, [T, D]"
        )
    if not len(array):
        raise DataError(f"{where}: {name} has no frames")
    if width is not None and array.shape[1] != width:
        raise DataError(f"{where}: {name} has {array.shape[1]} features, other videos have {width}")
    if array.shape[1] < 1:
        raise DataError(f"{where}: {name} has no features")
    bad = ~np.isfinite(array).all(axis=1) if array.dtype.kind == "f" else np.zeros(1, bool)
    if bad.any():
        raise DataError(f"{where}: {name}, row {int(bad.argmax())} (from 0), is not all numbers")


def _numpy(file: Path, stream: str) -> Arrays:
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {stream: found}
        with found:
            arrays = dict(found.items())
    except (ValueError, EOFError, zipfile.BadZipFile, SyntaxError, KeyError) as error:
        raise DataError(f"{file} is no array of numbers that NumPy can read: {error}") from None
    if not arrays:
        raise DataError(f"{file} holds no array")
    return arrays


def _mediapipe(file: Path) -> Arrays:
    """The streams of MediaPipe's features.pb: one bare SequenceExample with lists of floats."""
    from google.protobuf.message import DecodeError
    from tensorflow.train import SequenceExample

    try:
        record = SequenceExample.FromString(file.read_bytes())
    except DecodeError:
        raise DataError(f"{file} is no SequenceExample, as MediaPipe's features.pb is") from None
    lists = record.feature_lists.feature_list
    found = {key: lists[key].feature for key in lists if key.endswith(MEDIAPIPE)}
    if not found:
        raise DataError(f"{file} has no feature list that ends in {MEDIAPIPE} ({_listed(lists)})")
    ordered = sorted(found, key=lambda key: (not key.startswith("RGB"), key))
    return {
        key.removesuffix(MEDIAPIPE).lower(): _of_lists(
            str(file), key, [list(frame.float_list.value) for frame in found[key]]
        )
        for key in ordered
    }


def _of_lists(where: str, name: str, rows: list | None) -> np.ndarray:
    """[T, D] from T lists of D numbers; one list of numbers is one frame."""
    if not rows:
        raise DataError(f"{where}: {name} has no frames")
    if not isinstance(rows[0], list):
        rows = [rows]
    widths = {len(row or ()) for row in rows}
    if len(widths) > 1:
        raise DataError(f"{where}: {name} has rows of {min(widths)} and of {max(widths)} features")
    if any(value is None for row in rows for value in row):
        raise DataError(f"{where}: {name} has an empty value")
    return np.array(rows, np.float32)


def _parquet(file: Path) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        raise DataError(f"{file} is no Parquet file: {error}") from None


def _list_columns(file: Path, schema: "pa.Schema") -> list[str]:
    import pyarrow.types as kinds

    lists = [f.name for f in schema if kinds.is_list(f.type) or kinds.is_fixed_size_list(f.type)]
    if "id" not in schema.names or not lists:
        raise DataError(
            f"{file} has the columns {', '.join(schema.names)}: `id` is needed, and a column of "
            "lists for each stream"
        )
    return lists


def _ids(table: "pq.ParquetFile") -> Iterator[tuple[int, int, str]]:
    """Row group, row in it and id of each video."""
    for group in range(table.num_row_groups):
        ids = table.read_row_group(group, ["id"])["id"].to_pylist()
        for row, video in enumerate(ids):
            yield group, row, "" if video is None else str(video)


def _listed(names: object) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
