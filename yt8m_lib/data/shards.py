"""The shards of an experiment: naming, splitting and fingerprinting them.

Free of TensorFlow for local files, so that the driver can fingerprint data without the seconds that
its import takes. Only a path with ``://`` (``gs://bucket/...``) imports it, for ``tf.io.gfile``.
"""

import hashlib
import json
import random
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from yt8m_lib.data.listing import DataError, base_name, exact, find, open_file, readable, size_of
from yt8m_lib.files import is_remote, write_text
from yt8m_lib.settings import ROOT, Params
from yt8m_lib.sources import code_digests, digest_of

# A TFRecord is length (8 bytes), CRC of the length (4), data, CRC of the data (4).
_HEADER, _CRC = 12, 4


def split(files: Sequence[str], train_share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split shards for training and validation by a seeded hash of each file's name.

    A file's side depends on its name and the seed alone (not on its folder or its neighbours), so
    setting a damaged shard aside moves no other shard. Where one side would be empty, the file
    whose hash lies nearest to it goes there.

    Returns:
        The training and the validation shards, each in the given order, neither empty.

    Raises:
        DataError: for fewer than two files.
    """
    if len(files) < 2:
        raise DataError(
            f"cannot split {len(files)} shard(s) {list(files)} into training and validation: "
            "give two or more, or `data.train` and `data.validation`."
        )
    place = {file: _uniform(f"{seed}:{base_name(file)}") for file in files}
    ordered = sorted(files, key=lambda file: (place[file], file))
    chosen = sum(place[file] < train_share for file in files)
    chosen = min(max(chosen, 1), len(files) - 1)
    train = set(ordered[:chosen])
    return [f for f in files if f in train], [f for f in files if f not in train]


def hold_out(
    pattern: str, count: int, seed: int, train: str | None = None
) -> tuple[list[str], list[str]]:
    """Choose shards to hold out at random (sec. 1: 800 of the validation files); moves nothing.

    Args:
        pattern: a glob of the shards to choose from.
        count: how many to hold out.
        seed: of the choice.
        train: a glob of shards that are trained on in any case.

    Returns:
        The shards to train on (``train``'s and the rest of ``pattern``'s), and those held out.

    Raises:
        DataError: when there are no more shards than are to be held out.
    """
    files = _once(find(pattern))
    if not 0 < count < len(files):
        raise DataError(f"cannot hold out {count} of the {len(files)} shards at {pattern!r}")
    chosen = random.Random(seed).sample(files, count)
    held = {exact(file) for file in chosen}
    rest = _once([*(find(train) if train else []), *files])
    return sorted(file for file in rest if exact(file) not in held), sorted(chosen)


def _once(files: Sequence[str]) -> list[str]:
    """The files without those that are the same under another name, in their order."""
    return list({exact(file): file for file in reversed(files)}.values())[::-1]


def write_list(files: Sequence[str], folder: str | Path, name: str) -> Path:
    """Write a list of shards, one a line, that ``find`` reads; returns its path.

    Raises:
        DataError: when a path has a line end in it.
    """
    path = Path(folder) / f"{name}.txt"
    absolute = [file if is_remote(file) else str(Path(file).resolve()) for file in files]
    for file in absolute:
        if "\n" in file or "\r" in file:
            raise DataError(f"{file!r} has a line end in its name and cannot be listed: rename it")
    write_text(path, "".join(f"{file}\n" for file in absolute))
    return path


def shards(params: Params) -> tuple[list[str], list[str]]:
    """The training and validation shards of an experiment.

    Stand-in data lies under the experiment's folder; globs of real data start at the project.

    Raises:
        DataError: when shards are missing, named twice or on both sides, when two training shards
            share a name, or when no data is named.
    """
    train, validation = _named(params)
    check_apart(train, validation)
    sidecar_paths(train, "")
    return train, validation


def _named(params: Params) -> tuple[list[str], list[str]]:
    data = params.data
    if params.synthetic:
        planned = stand_in_shards(params)
        missing = [file for files in planned.values() for file in files if not Path(file).exists()]
        if missing:
            raise DataError(f"no stand-in data at {missing[0]}: `yt8m synthesize` writes it")
        return list(planned["train"]), list(planned["validation"])
    if data.files:
        return split(find(data.files, data.exclude, ROOT), data.train_share, params.seed)
    if data.train and data.validation:
        return find(data.train, data.exclude, ROOT), find(data.validation, data.exclude, ROOT)
    raise DataError(
        f"{params.experiment}: no data is named. Give `data.files`, or `data.train` and "
        "`data.validation`, or `synthetic`."
    )


def check_apart(train: Sequence[str], validation: Sequence[str]) -> None:
    """Refuse a shard that is named twice, be it on one side, on both, or through a link.

    Raises:
        DataError: naming them.
    """
    first: dict[str, str] = {}
    twice = []
    for side, files in (("training", train), ("validation", validation)):
        for file in files:
            name = f"{file} ({side})"
            if exact(file) in first:
                twice.append(f"  {first[exact(file)]} and {name}")
            first.setdefault(exact(file), name)
    if twice:
        more = f"\n  and {len(twice) - 20} more" if len(twice) > 20 else ""
        raise DataError(
            f"shards that are named twice ({len(twice)}); what is measured on videos that were "
            "trained on says nothing. Change the globs or lists, or use `data.exclude`:\n"
            + "\n".join(twice[:20])
            + more
        )


def manifest(params: Params) -> dict[str, Any]:
    """What decides the bytes of stand-in data: its settings, the seed, the code that writes it."""
    code = digest_of(code_digests("yt8m_lib.data.synthetic:write"))
    more = {"seed": params.seed, "vocabulary": params.data.vocabulary, "code": code}
    more |= params.data.model_dump(mode="json", include={"streams", "id_key", "labels_key"})
    return params.synthetic.model_dump(mode="json") | more


def is_written(params: Params) -> bool:
    """Whether an experiment's stand-in data is there, whole and made by the present code."""
    note = params.folder / "data" / "manifest.json"
    if not note.exists() or json.loads(note.read_text()) != manifest(params):
        return False
    return all(Path(file).exists() for files in stand_in_shards(params).values() for file in files)


def stand_in_shards(params: Params) -> dict[str, dict[str, int]]:
    """How many videos each shard of stand-in data holds, by "train" and "validation" and path."""
    settings = params.synthetic
    counts = {"train": settings.train_videos, "validation": settings.validation_videos}
    return {
        name: {
            str(params.folder / "data" / f"{name}-{shard:05d}.tfrecord"): videos
            for shard, videos in enumerate(shares(count, settings.shards))
        }
        for name, count in counts.items()
    }


def shares(total: int, parts: int) -> list[int]:
    """Split a number into nearly equal parts, none of them 0."""
    parts = min(parts, total)
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]


def part_of(files: Sequence[str], part: int, parts: int) -> list[str]:
    """One of several parts of some shards, for work that is split over tasks.

    The parts are as equal in bytes as taking the largest shards first makes them, and follow from
    the shards' names and sizes alone, so that every task finds the same ones by itself.

    Args:
        files: the shards.
        part: which part, counted from 1.
        parts: how many there are; more than there are shards leaves some without any.

    Returns:
        The part's shards, in the given order.

    Raises:
        DataError: when a shard is not there.
    """
    sizes = {}
    for file in files:
        with readable(file):
            sizes[file] = size_of(file)
    filled = [0] * parts
    mine = set()
    for file in sorted(files, key=lambda file: (-sizes[file], base_name(file), file)):
        emptiest = filled.index(min(filled))
        filled[emptiest] += sizes[file]
        if emptiest == part - 1:
            mine.add(file)
    return [file for file in files if file in mine]


def sidecar_paths(files: Iterable[str], folder: str | Path) -> list[str]:
    """Where the soft targets of each source shard lie: the same base name, in ``folder``.

    Raises:
        DataError: when two source shards share a base name, so that one would overwrite the other.
    """
    seen: dict[str, str] = {}
    for file in files:
        name = base_name(file)
        if name in seen:
            raise DataError(
                f"shards {seen[name]} and {file} share the name {name!r}, and soft targets are "
                "stored by name: rename one of them."
            )
        seen[name] = file
    return [f"{str(folder).rstrip('/')}/{name}" for name in seen]


def digest(files: Iterable[str]) -> str:
    """A short hash of the shards' names, sizes and first records' CRCs, in the order given.

    It tells data sets apart by a few bytes of each shard; a change behind the first record that
    keeps the size goes unseen.
    """
    total = hashlib.sha256()
    for file in files:
        with readable(file), open_file(file) as stream:
            size = size_of(file)
            crc = _first_crc(stream, size)
        total.update(f"{base_name(file)}:{size}:{crc.hex()}\n".encode())
    return total.hexdigest()[:16]


def _first_crc(stream: BinaryIO, size: int) -> bytes:
    """The stored CRC of the first record's data; the header itself where no record follows it."""
    stream.seek(0)
    header = stream.read(_HEADER)
    if len(header) < _HEADER:
        return header
    end = _HEADER + struct.unpack("<Q", header[:8])[0]
    if end > size:  # not a shard, as inspection will say
        return header
    stream.seek(end)
    return stream.read(_CRC)


def _uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56
