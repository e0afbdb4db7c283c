"""Videos kept decoded on the disk between epochs, models and phases (``data.cache: disk``).

A shard is parsed once, into a folder of columns: the frames of all its videos one after the other,
as the model takes them, and what belongs to each video. From then on a video is one read of as many
bytes as it has. The columns of a shard appear whole, under a name that follows from the shard, from
how it is read, and from the code that reads it; whoever else wants them meanwhile makes them, too,
and the last one's are dropped. Each video's frames are checked against their CRC when a process
reads them for the first time.
"""

import functools
import io
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from yt8m_lib.data.cached import Cached, Columns
from yt8m_lib.data.in_memory import MARKS, flattened
from yt8m_lib.data.listing import DataError, base_name
from yt8m_lib.data.record_kinds import kind_for
from yt8m_lib.data.shards import digest
from yt8m_lib.files import delete, seen_from
from yt8m_lib.settings import ROOT, Data
from yt8m_lib.sources import code_digests, digest_of
from yt8m_lib.streams import frames_type, width_of

FOLDER = "results/cache"  # where columns lie, unless ``data.cache_folder`` says another place
FRAMES = "frames.bin"
OPEN = 128  # shards whose frames a process holds open
# Settings that decide what columns hold.
DECIDE = {"level", "classes", "vocabulary", "streams", "id_key", "labels_key", "frames"}
DECIDE |= {"max_frames"}


class OnDisk(Cached):
    """All videos of some shards, whose columns are made on first use where they are not there.

    Args:
        files: the shards.
        data: how they are read.
        labels: whether their labels are read.
        read: makes the dataset of a shard's batches, in its order.
    """

    def __init__(
        self,
        files: Sequence[str],
        data: Data,
        labels: bool,
        read: Callable[[str], tf.data.Dataset],
    ):
        super().__init__(data.classes)
        self._files, self._data, self._labels, self._read = list(files), data, labels, read
        self._width, self._type = width_of(data.streams), np.dtype(frames_type(data.streams))
        self._opened = functools.lru_cache(OPEN)(Frames)

    @functools.cached_property
    def _videos(self) -> dict[str, np.ndarray]:
        """What belongs to each of N videos, of all shards.

        ``id``, ``num_frames``, ``first`` (the byte where its frames begin), ``crc`` and ``shard``,
        each [N]; and, if they are read, ``labels`` and ``rated`` with ``..._until`` [N], where each
        video's classes end among those of all.
        """
        parts: dict[str, list[np.ndarray]] = {}
        for number, folder in enumerate(self._folders):
            with np.load(folder / "videos.npz", allow_pickle=False) as columns:
                for name, values in columns.items():
                    if name.endswith("_until") and name in parts:
                        values = values + (parts[name][-1][-1] if len(parts[name][-1]) else 0)
                    parts.setdefault(name, []).append(values)
                parts.setdefault("shard", []).append(np.full(len(columns["id"]), number, np.int32))
        return {name: np.concatenate(parts.pop(name)) for name in list(parts)}

    @functools.cached_property
    def _folders(self) -> list[Path]:
        """The folder of columns of each shard; those that are not there are made."""
        decide = self._data.model_dump(mode="json", include=DECIDE)
        kind = type(kind_for(self._data)).__module__
        own = [kind] if kind.startswith("yt8m_lib.") else []
        code = code_digests("yt8m_lib.data.records:Records", f"{__name__}:OnDisk", *own)
        place = Path(seen_from(ROOT, self._data.cache_folder or FOLDER)) / "columns"
        folders = []
        for file in self._files:
            key = digest_of([digest([file]), decide, self._labels, code])
            folders.append(place / f"{Path(base_name(file)).stem[:40]}-{key}")
            if not folders[-1].exists():
                self._make(file, folders[-1])
        return folders

    def _make(self, file: str, folder: Path) -> None:
        """Write the columns of a shard, whole or not at all."""
        beside = folder.with_name(f".{folder.name}-{os.getpid()}")
        delete(beside)
        beside.mkdir(parents=True)
        try:
            _write(beside, self._read(file))
            os.replace(beside, folder)
        except OSError:
            if not folder.exists():  # another process was as quick
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    @property
    def ids(self) -> np.ndarray:
        """Of all videos, bytes [N]."""
        return self._videos["id"].astype(object)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of all videos, int [N]."""
        return self._videos["num_frames"]

    def gathered(self, place: tf.Tensor) -> Columns:
        """The batch of the videos at these places [B]."""
        videos = self._videos
        marks = [name for name in MARKS if name in videos]
        types = [tf.string, tf.as_dtype(self._type), tf.int32, *[tf.float32] * len(marks)]

        @tf.autograph.experimental.do_not_convert
        def batch(place: np.ndarray) -> list[np.ndarray]:
            dense = [self._marks(name, place) for name in marks]
            num_frames = videos["num_frames"][place]
            return [videos["id"][place].astype(object), self._frames(place), num_frames, *dense]

        ids, frames, num_frames, *dense = tf.numpy_function(batch, [place], types, stateful=False)
        found = {
            "id": tf.ensure_shape(ids, [None]),
            "frames": tf.ensure_shape(frames, [None, None, self._width]),
            "num_frames": tf.ensure_shape(num_frames, [None]),
        }
        shape = [None, self.classes]
        return found | {n: tf.ensure_shape(d, shape) for n, d in zip(marks, dense, strict=True)}

    def _frames(self, place: np.ndarray) -> np.ndarray:
        """Frames [B, T, F] of some videos, padded with zeros to the longest."""
        videos, counts = self._videos, self._videos["num_frames"][place]
        padded = np.zeros((len(place), counts.max(initial=0), self._width), self._type)
        for row, video in enumerate(place):
            shard = videos["shard"][video]
            found = self._opened(self._folders[shard] / FRAMES)
            target = padded[row, : counts[row]].reshape(-1).view(np.uint8)
            if not found.read(int(videos["first"][video]), int(videos["crc"][video]), target):
                self.fault = (
                    f"{self._folders[shard]}: what is kept of {self._files[shard]} is damaged. "
                    "Delete that folder: it is made again"
                )
                raise DataError(self.fault)
        return padded

    def _marks(self, name: str, place: np.ndarray) -> np.ndarray:
        """0 or 1 for each class of some videos, float32 [B, V]."""
        classes, until = self._videos[name], self._videos[f"{name}_until"]
        dense = np.zeros((len(place), self.classes), np.float32)
        for row, video in enumerate(place):
            dense[row, classes[until[video - 1] if video else 0 : until[video]]] = 1
        return dense


class Frames:
    """The frames of a shard's videos, in an open file."""

    def __init__(self, path: Path):
        self._file = io.FileIO(path)
        self._checked: set[int] = set()

    def read(self, first: int, crc: int, target: np.ndarray) -> bool:
        """Read one video's bytes; False where they are not those that were written."""
        if os.preadv(self._file.fileno(), [target], first) != len(target):
            return False
        if first not in self._checked and zlib.crc32(target) != crc:
            return False
        self._checked.add(first)
        return True


def _write(folder: Path, batches: tf.data.Dataset) -> None:
    """Write a shard's columns into a folder."""
    parts: dict[str, list[np.ndarray]] = {}
    crcs, sizes = [], []
    with open(folder / FRAMES, "wb") as file:
        for batch in batches.map(flattened, tf.data.AUTOTUNE, deterministic=True):
            columns = {name: values.numpy() for name, values in batch.items()}
            ends = np.cumsum(columns["num_frames"])[:-1]
            for video in np.split(columns.pop("frames"), ends):
                crcs.append(zlib.crc32(video))
                sizes.append(video.nbytes)
                file.write(video)
            columns["id"] = columns["id"].astype(np.bytes_)
            for name in MARKS:
                if name in columns:
                    dense = columns.pop(name)
                    columns[name] = np.nonzero(dense)[1].astype(np.uint16)
                    columns[f"{name}_until"] = dense.sum(axis=1, dtype=np.int64)
            for name, values in columns.items():
                parts.setdefault(name, []).append(values)
        file.flush()
        os.fsync(file.fileno())
    videos = {name: np.concatenate(found) for name, found in parts.items()}
    videos |= {name: np.cumsum(videos[name]) for name in videos if name.endswith("_until")}
    first = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    np.savez(folder / "videos.npz", crc=np.array(crcs, np.uint32), first=first, **videos)
