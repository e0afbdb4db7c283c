"""Tagging the videos of any number of shards into one file, a shard at a time.

What a shard's videos are tagged with is kept in a folder beside the file until all are done, so a
run that was killed goes on behind its last whole shard.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from yt8m_lib.data.faults import Batches
from yt8m_lib.data.listing import exact, open_file, size_of
from yt8m_lib.data.records import DataError, Records
from yt8m_lib.data.shards import digest, find
from yt8m_lib.files import (
    FileError,
    check_writable,
    is_remote,
    is_stream,
    write_text,
    written_whole,
)
from yt8m_lib.methods import challenge_csv, named_tags, parquet
from yt8m_lib.methods.ensemble_graph import PAIRS
from yt8m_lib.methods.exported import BATCH, ExportedModel, shown
from yt8m_lib.scoring.ranking import top
from yt8m_lib.sources import digest_of

Window = tuple[int, int]  # frames of a stretch, and from the start of one to that of the next
PARTS, NOTE = ".parts", "about.json"


class Tags(NamedTuple):
    """What N videos, or stretches of videos, are tagged with."""

    ids: list[str]
    classes: np.ndarray  # uint16 [N, k], the most confident first
    confidences: np.ndarray  # float32 [N, k]
    stretches: np.ndarray  # int32 [N, 2], the first frame and the one behind the last


def predict_to_file(
    folder: str | Path,
    pattern: str,
    output: str | Path,
    k: int = PAIRS,
    size: int = BATCH,
    names: bool = False,
    window: Window | None = None,
) -> int:
    """Write what an exported model tags videos with.

    A file is written whole; a call that is killed leaves the old one, or none, and the shards that
    it finished in ``<output>.parts``, from where the same call goes on. A pipe or a device is
    written to as it is, and then nothing is kept.

    Args:
        folder: of the exported model.
        pattern: a glob of the shards, with or without labels.
        output: a name that ends in ``.parquet`` gets a table with the classes' names, one that ends
            in ``.json`` JSON with names; any other the CSV that the challenge asks for.
        k: classes a video; all where the model has fewer.
        size: videos, or stretches of them, predicted at a time.
        names: the CSV has a row a tag, with its name.
        window: tag stretches of each video, each as if it were a video; the last one of a video may
            be shorter. The CSV then has names.

    Returns:
        The number of videos, or of stretches.

    Raises:
        ModelError: when the folder holds no exported model, or it does not answer with numbers.
        DataError: when no shard matches, or one cannot be read, or an id is no text.
        FileError: when the file cannot be written.
    """
    check_writable(output)  # before minutes of work
    model, files = ExportedModel(folder), find(pattern)
    level, called, count = model.level_of(files), model.labels()[0], 0
    written = _writer(output, names, window)
    parts, progress = Parts(output, model, k, window), _Progress(files)
    with parts, progress.bar, written(output, called) as write:
        for file in files:
            progress.begin(file)
            tags = parts.find(file)
            if tags is None:
                videos = model.videos([file], level, labels=False)
                tags = _tags(model, videos, k, size, progress, window)
                parts.keep(file, tags)
            write(*tags)
            count += len(tags.ids)
        progress.end()
    return count


def _writer(output: str | Path, names: bool, window: Window | None) -> Callable:
    """What writes a file of this name."""
    if Path(output).suffix == ".parquet":
        return partial(parquet.written, stretches=window is not None)
    if Path(output).suffix == ".json":
        return named_tags.json_written
    return named_tags.csv_written if names or window else challenge_csv.written


def _tags(
    model: ExportedModel,
    videos: Records,
    k: int,
    size: int,
    progress: "_Progress",
    window: Window | None,
) -> Tags:
    """What the model tags the videos of one shard with."""
    ids: list[str] = []
    found = []
    batches = videos.batches(size)
    parts = batches if window is None else _cut(batches, *window)
    for part, predictions in model.answers(parts, videos.files):
        ids += [_text(video, videos.files[0]) for video in part["id"].numpy()]
        lengths = part["num_frames"].numpy()
        starts = part["start"].numpy() if window else np.zeros_like(lengths)
        stretches = np.stack([starts, starts + lengths], axis=1).astype(np.int32)
        found.append((*top(predictions, k), stretches))
        progress.add(int((starts == 0).sum()))
    return Tags(ids, *(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def _cut(batches: Batches, length: int, stride: int) -> Iterator[dict[str, tf.Tensor]]:
    """Batches of stretches of so many frames, with the first frame of each as ``start``."""
    for batch in batches:
        counts = batch["num_frames"].numpy()
        pairs = [(i, start) for i, n in enumerate(counts) for start in _starts(n, length, stride)]
        for at in range(0, len(pairs), batch["id"].shape[0]):
            video, start = (tf.constant(c) for c in zip(*pairs[at : at + len(counts)], strict=True))
            count = tf.minimum(tf.gather(batch["num_frames"], video) - start, length)
            frame = start[:, None] + tf.range(min(length, int(counts.max())))  # [stretches, T]
            last = tf.gather(batch["num_frames"], video)[:, None] - 1
            places = tf.stack(
                [tf.broadcast_to(video[:, None], frame.shape), tf.minimum(frame, last)], axis=2
            )
            yield {
                "id": tf.gather(batch["id"], video),
                "frames": tf.gather_nd(batch["frames"], places),  # [stretches, T, F]
                "num_frames": count,
                "start": start,
            }


def _starts(frames: int, length: int, stride: int) -> range:
    """Where the stretches of a video begin: none begins where the one before reached the end."""
    return range(0, min(max(int(frames) - length, 0) + stride, int(frames)), stride)


def _text(video: bytes, file: str) -> str:
    try:
        return video.decode()
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: the id {shown(video)} is no UTF-8 text, which the CSV needs: write the "
            "records with other ids"
        ) from None


class Parts:
    """The finished shards of one file of predictions, in a folder beside it; a context manager.

    The folder goes when the block ends without an error, or with nothing finished.

    Args:
        output: the file.
        model: that answers.
        k: classes a video.
        window: of stretches, if any.

    Raises:
        FileError: when something else stands where the folder should be.
    """

    def __init__(
        self, output: str | Path, model: ExportedModel, k: int, window: Window | None = None
    ):
        self._folder, self._note = Path(f"{output}{PARTS}"), Path(f"{output}{PARTS}", NOTE)
        self._about = {"model": model.identity, "top_k": k, "window": window and [*window]}
        self._used = not is_remote(str(output)) and not is_stream(output)
        if self._used and self._folder.exists():
            self._take_over()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._used and (kind is None or not any(self._folder.glob("*.npz"))):
            shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, file: str) -> Tags | None:
        """What a shard's videos were tagged with, if it was finished as it is now."""
        path = self._path(file)
        if not self._used or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            arrays = (kept[name] for name in Tags._fields[1:])
            return Tags(json.loads(kept["ids"].tobytes()), *arrays)

    def keep(self, file: str, tags: Tags) -> None:
        """Keep what a finished shard's videos are tagged with."""
        if not self._used:
            return
        if not self._note.exists():
            write_text(self._note, json.dumps(self._about))
        ids = np.frombuffer(json.dumps(tags.ids).encode(), np.uint8)
        with written_whole(self._path(file)) as beside, open(beside, "wb") as stream:
            np.savez(stream, **tags._asdict() | {"ids": ids})

    def _path(self, file: str) -> Path:
        return self._folder / f"{digest_of([exact(file), digest([file])])}.npz"

    def _take_over(self) -> None:
        """Keep what lies in the folder where it is of the same model and settings."""
        try:
            about = json.loads(self._note.read_text())
        except (OSError, ValueError):
            raise FileError(
                f"{self._folder} is in the way: move it, or choose another output"
            ) from None
        if about != self._about:
            shutil.rmtree(self._folder)


class _Progress:
    """A bar over the bytes of all shards: the time left shows from the first batch on."""

    def __init__(self, files: Sequence[str]):
        self._sizes, self._done, self._video = {file: size_of(file) for file in files}, 0, 0
        total = sum(self._sizes.values())
        self.bar = tqdm(total=total, desc="predict", unit="B", unit_scale=True)

    def begin(self, file: str) -> None:
        """All before this shard is done."""
        self.bar.update(self._done - self.bar.n)
        self._done += self._sizes[file]
        with open_file(file) as stream:
            self._video = int.from_bytes(stream.read(8), "little")  # of the first, as of them all

    def add(self, videos: int) -> None:
        """So many more videos of the shard are done."""
        self.bar.update(min(videos * self._video, self._done - self.bar.n))

    def end(self) -> None:
        """All is done."""
        self.bar.update(self._done - self.bar.n)
