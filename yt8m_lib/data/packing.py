"""People's own videos as shards of even size, and the experiment that trains on them.

Videos go to training or validation, and to a shard, by a seeded hash of their ids. Features become
bytes of a range that is measured on a sample, or keep being floats. A call that was killed goes on
behind its finished shards.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from yt8m_lib.data.frame_level import FrameLevel, FrameVideo, write_frame_records
from yt8m_lib.data.listing import DataError
from yt8m_lib.data.pack_labels import Labels, write_vocabulary
from yt8m_lib.data.pack_sources import Source
from yt8m_lib.data.shards import shares
from yt8m_lib.files import check_folder, write_text
from yt8m_lib.streams import YOUTUBE_8M, Storage, Stream, frames_type

NOTE, VOCABULARY = "pack.json", "vocabulary.csv"
SAMPLED, ROWS = 256, 32  # videos, and frames of each, that ranges and errors are measured on
OUTSIDE = 1e-4  # share of a sample's values beyond either end of its range
VIDEOS_A_SHARD, LEAST_SHARDS = 512, 4
FEWEST = 20  # videos that can be split for training, choosing and reporting


class Packed(NamedTuple):
    """What was packed.

    Attributes:
        streams: as the shards store them.
        errors: of storing each stream, as a share of its spread, root mean square.
        shards: videos of each shard, by its path, of "train" and "validation" or "videos".
        frames: of the longest video, and on average.
    """

    streams: tuple[Stream, ...]
    errors: dict[str, float]
    shards: dict[str, dict[str, int]]
    frames: tuple[int, float]


def pack(
    source: Source,
    labels: Labels | None,
    folder: str | Path,
    storage: Storage = "uint8",
    streams: Sequence[Stream] | None = None,
    validation_share: float = 0.2,
    seed: int = 1,
    workers: int = 2,
    say: Callable[[str], None] = print,
) -> Packed:
    """Write the shards of some videos.

    Args:
        source: the videos.
        labels: of each; None for videos that are only to be tagged.
        folder: where the shards go.
        storage: of all streams, where ``streams`` does not say it. Bytes stay bytes.
        streams: how to store them, to go with a model that has been trained; measured where None.
        validation_share: of the videos, where they have labels.
        seed: of the split.
        workers: shards written at a time.
        say: receives what a person should know.

    Raises:
        DataError: naming file and row of what does not fit, before or while it is packed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    check_folder(folder)
    asked = {
        "videos": sorted(source.places.items()),
        "labels": None if labels is None else [labels.names, sorted(labels.of.items())],
        "storage": storage,
        "streams": None if streams is None else [s.model_dump(mode="json") for s in streams],
        "split": [validation_share, seed],
    }
    identity = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    begun = _begun(folder, identity)
    ids = _labelled(source, labels, say)
    plan = _plan(ids, folder, validation_share if labels else None, seed)
    found = begun or _measure(source, ids, storage, streams)
    chosen = tuple(Stream(**stream) for stream in found["streams"])
    write_text(folder / NOTE, json.dumps(found | {"identity": identity}, indent=1))
    if labels:
        write_vocabulary(labels.names, folder / VOCABULARY)
    _write(source, labels, chosen, found["keys"], plan, workers)
    counts = {name: {str(f): len(v) for f, v in files.items()} for name, files in plan.items()}
    return Packed(chosen, found["errors"], counts, tuple(found["frames"]))


def _begun(folder: Path, identity: str) -> dict[str, Any] | None:
    """What an earlier call of the same packing measured.

    Raises:
        DataError: when the folder holds shards of something else.
    """
    with suppress(OSError, ValueError):  # no note, or another program's
        found = json.loads((folder / NOTE).read_text())
        if found.get("identity") == identity:
            return found
    if any(folder.glob("*.tfrecord")):
        raise DataError(
            f"{folder} holds shards of other videos, labels or settings: give another folder, or "
            "delete them"
        )
    return None


def _labelled(source: Source, labels: Labels | None, say: Callable[[str], None]) -> list[str]:
    """The ids of the videos to pack, in the source's order."""
    ids = list(source.places)
    if labels is None:
        return ids
    without = [video for video in ids if video not in labels.of]
    if without:
        raise DataError(
            f"{source.places[without[0]]}: the labels have no row with the id {without[0]!r}, nor "
            f"for {len(without) - 1} other videos: add them, or take the files out"
        )
    more = sorted({*labels.of} - {*ids})
    if more:
        say(f"{len(more)} ids in the labels have no video and are left out, such as {more[0]!r}")
    if len(ids) < FEWEST:
        raise DataError(
            f"{len(ids)} videos are too few to train on some and measure on others: {FEWEST} are "
            "the fewest"
        )
    return ids


def _plan(
    ids: list[str], folder: Path, share: float | None, seed: int
) -> dict[str, dict[Path, list[str]]]:
    """Which videos go to which shard."""
    if share is None:
        return {"videos": _split(ids, folder, "videos", 1)}
    ordered = sorted(ids, key=lambda video: hashlib.sha256(f"{seed}:{video}".encode()).digest())
    held = min(max(round(share * len(ids)), FEWEST // 2), len(ids) - FEWEST // 2)
    parts = {
        "train": _split(ordered[held:], folder, "train", LEAST_SHARDS),
        "validation": _split(ordered[:held], folder, "validation", 1),
    }
    place = {video: number for number, video in enumerate(ids)}
    return {  # within a shard in the source's order, in which reading is fast
        name: {file: sorted(videos, key=place.__getitem__) for file, videos in files.items()}
        for name, files in parts.items()
    }


def _split(ids: list[str], folder: Path, name: str, least: int) -> dict[Path, list[str]]:
    sizes = shares(len(ids), max(least, -(-len(ids) // VIDEOS_A_SHARD)))
    ends = np.cumsum([0, *sizes])
    return {
        folder / f"{name}-{shard:05d}.tfrecord": ids[ends[shard] : ends[shard + 1]]
        for shard in range(len(sizes))
    }


def _measure(
    source: Source, ids: list[str], storage: Storage, streams: Sequence[Stream] | None
) -> dict[str, Any]:
    """Check every video; choose how the streams are stored, and find what that costs."""
    first = source.checked(ids[0])
    keys = _paired(source.places[ids[0]], first, streams)
    # Image before sound, as YouTube-8M has them; others by their names.
    ordered = sorted(first, key=lambda name: (not name.startswith(("rgb", "video")), name))
    widths = {name: first[name].shape[1] for name in ordered}
    if streams:
        widths = {keys[s.name]: s.width for s in streams}
    rng = np.random.default_rng(0)
    sampled = {*rng.choice(len(ids), min(SAMPLED, len(ids)), replace=False).tolist()}
    samples: dict[str, list[np.ndarray]] = {name: [] for name in widths}
    lengths, kinds = [], {}
    for place, video in enumerate(tqdm(ids, desc="checking", unit=" videos")):
        arrays = source.checked(video, widths)
        lengths.append(len(next(iter(arrays.values()))))
        for name, array in arrays.items():
            kind = "bytes" if array.dtype == np.uint8 else "numbers"
            if kinds.setdefault(name, kind) != kind:
                raise DataError(f"{source.places[video]}: {name} holds {kind}, unlike others")
            if place in sampled:
                rows = np.linspace(0, len(array) - 1, min(ROWS, len(array))).astype(int)
                samples[name].append(array[rows])
    values = {name: np.concatenate(parts) for name, parts in samples.items()}
    chosen = streams or [_stream(name, values[name], storage) for name in widths]
    keys = {stream.name: name for stream, name in zip(chosen, widths, strict=True)}
    return {
        "streams": [stream.model_dump(mode="json") for stream in chosen],
        "keys": keys,
        "errors": {s.name: _error(values[keys[s.name]], s) for s in chosen},
        "frames": [max(lengths), float(np.mean(lengths))],
    }


def _paired(where: str, first: dict, streams: Sequence[Stream] | None) -> dict[str, str]:
    """Which of a source's arrays each stream is, by its name, its key, or its place."""
    if not streams:
        return {}
    if len(first) != len(streams):
        raise DataError(
            f"{where}: has {len(first)} streams ({', '.join(first)}), {len(streams)} are needed: "
            + ", ".join(stream.name for stream in streams)
        )
    for names in ([s.name for s in streams], [s.key for s in streams], list(first)):
        if {*names} == {*first}:
            return dict(zip((s.name for s in streams), names, strict=True))
    raise AssertionError("the last names are the source's own")


def _stream(name: str, sample: np.ndarray, storage: Storage) -> Stream:
    """How a stream is stored, judged by a sample of its values [N, D]."""
    width = sample.shape[1]
    known = next((s for s in YOUTUBE_8M if name in (s.name, s.key) and s.width == width), None)
    if sample.dtype == np.uint8:
        return known or Stream(name=name, width=width)
    if storage != "uint8":
        return Stream(name=name, width=width, storage=storage)
    low, high = np.quantile(sample.astype(np.float64), [OUTSIDE, 1 - OUTSIDE])
    if known and low >= -2 and high <= 2:
        return known
    if low == high:
        low, high = low - 1, high + 1
    step = (high - low) / 255  # byte 0 stands for a little more than the lower end
    return Stream(name=name, width=width, range=(_short(low - step / 2), _short(high)))


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _error(sample: np.ndarray, stream: Stream) -> float:
    """Root mean square error of storing values, as a share of their standard deviation."""
    if sample.dtype == np.uint8:
        return 0.0
    values = sample.astype(np.float64)
    if stream.storage == "uint8":
        stored = stream.values_of(stream.bytes_of(values))
    else:
        with np.errstate(over="ignore"):  # refused where it is packed, with its file
            stored = values.astype(stream.storage.replace("floats", "float32"))
    spread = values.std()
    return float(np.sqrt(np.mean((stored - values) ** 2)) / spread) if spread else 0.0


def _write(
    source: Source,
    labels: Labels | None,
    streams: tuple[Stream, ...],
    keys: dict[str, str],
    plan: dict[str, dict[Path, list[str]]],
    workers: int,
) -> None:
    kind, files = FrameLevel(streams), [item for part in plan.values() for item in part.items()]
    todo = [(file, ids) for file, ids in files if not file.exists()]
    total = sum(len(ids) for _, ids in files)
    with tqdm(total=total, desc="packing", unit=" videos") as progress:
        progress.update(total - sum(len(ids) for _, ids in todo))

        def write(item: tuple[Path, list[str]]) -> None:
            videos = _videos(source, labels, streams, keys, item[1])
            write_frame_records(item[0], videos, kind)
            progress.update(len(item[1]))

        with ThreadPoolExecutor(workers) as pool:
            try:
                for _ in pool.map(write, todo):
                    pass
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _videos(
    source: Source,
    labels: Labels | None,
    streams: tuple[Stream, ...],
    keys: dict[str, str],
    ids: list[str],
) -> Iterator[FrameVideo]:
    widths = {keys[stream.name]: stream.width for stream in streams}
    for video in ids:
        arrays = source.checked(video, widths)
        frames = _frames(source.places[video], [arrays[name] for name in widths], streams)
        yield FrameVideo(video.encode(), None if labels is None else labels.of[video], frames)


def _frames(where: str, arrays: list[np.ndarray], streams: tuple[Stream, ...]) -> np.ndarray:
    """A video's streams side by side, [T, F], in the type that frames have."""
    kind = frames_type(streams)
    parts = []
    for array, stream in zip(arrays, streams, strict=True):
        if kind == "uint8":
            parts.append(array if array.dtype == np.uint8 else stream.bytes_of(array))
        elif array.dtype == np.uint8 and stream.storage == "uint8":
            parts.append(stream.values_of(array.astype(np.float32)))
        else:
            with np.errstate(over="ignore"):
                parts.append(array.astype(kind))
            if not np.isfinite(parts[-1]).all():
                raise DataError(
                    f"{where}: {stream.name} has values that {kind} cannot hold: store it as "
                    "float32 or uint8"
                )
    return np.concatenate(parts, axis=1)
