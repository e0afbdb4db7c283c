"""The experiment that suits some packed videos: which models, how large, how long they train."""

import re
from pathlib import Path
from typing import Any

from yt8m_lib import params as params_files
from yt8m_lib.data.packing import VOCABULARY, Packed
from yt8m_lib.settings import Data
from yt8m_lib.streams import Stream, width_of

STEPS = 600  # that a teacher should take at least, about
CACHED = 2**31  # bytes of frames that are kept in memory at most
PARAMS = "params.yaml"
LICENCE = (
    "Trained on its owner's videos. Whose they are, and what may be done with them, is for the "
    "owner to say here: `data.licence` in the parameter file."
)
COMMENT = """\
An experiment on {videos:,} packed videos with {classes} classes: two families of three teachers,
their students, 8-bit weights, one SavedModel. Sizes, epochs and batches suit this many videos.
Command: yt8m run {file}"""


def write_params(packed: Packed, classes: int, folder: Path, name: str) -> Path:
    """Write ``params.yaml``, an experiment that runs as it is, beside the shards.

    Args:
        packed: the videos, with labels.
        classes: how many there are.
        folder: of the shards.
        name: of the experiment.
    """
    path = folder / PARAMS
    train, held = (sum(packed.shards[part].values()) for part in ("train", "validation"))
    settings = {"experiment": name, "data": _data(packed, classes, folder.absolute())}
    about = COMMENT.format(videos=train + held, classes=classes, file=path)
    params_files.write(settings | _training(packed, train, max(classes, 2)), path, about)
    params_files.load(path)  # what is written must be right
    return path


def experiment_name(folder: Path) -> str:
    """A name for the experiment on a folder's shards: the folder's, without odd signs."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.absolute().name).strip("-._")
    return plain[:60] or "own"


def _data(packed: Packed, classes: int, folder: Path) -> dict[str, Any]:
    longest, mean = packed.frames
    videos = sum(sum(files.values()) for files in packed.shards.values())
    size = {"uint8": 1, "float16": 2}.get(packed.streams[0].storage, 4)
    data: dict[str, Any] = {
        "train": f"{folder}/train-*.tfrecord",
        "validation": f"{folder}/validation-*.tfrecord",
        "classes": max(classes, 2),
        "vocabulary": max(classes, 2),
        "vocabulary_file": f"{folder}/{VOCABULARY}",
        "max_frames": longest,
        "licence": LICENCE,
        "cache": videos * mean * width_of(packed.streams) * size < CACHED,
    }
    if packed.streams != Data().streams:
        data["streams"] = [_as_written(stream) for stream in packed.streams]
    return data


def _as_written(stream: Stream) -> dict[str, Any]:
    """A stream's settings without those that say nothing."""
    named = {"name", "width", "storage"} | ({"range"} if stream.storage == "uint8" else set())
    key = {} if stream.key == stream.name else {"key": stream.key}
    return stream.model_dump(mode="json", include=named) | key


def _training(packed: Packed, train: int, classes: int) -> dict[str, Any]:
    batch = next(size for size in (64, 32, 16) if train >= 40 * size or size == 16)
    epochs = min(max(-(-STEPS * batch // train), 5), 60)
    shared = {"batch": batch, "epochs": epochs, "rate_decay": 0.5}
    large = train >= 2000
    netvlad = {"high": (16, 128), "mid": (8, 96), "low": (4, 64)} if large else {}
    netvlad = netvlad or {"high": (8, 64), "mid": (4, 64), "low": (4, 48)}
    dbof = {"high": (256, 128), "mid": (128, 96), "low": (64, 64)} if large else {}
    dbof = dbof or {"high": (128, 64), "mid": (64, 64), "low": (64, 48)}
    families = (("NetVLAD", "netvlad", netvlad), ("DBoF", "gated_dbof", dbof))
    models = {
        f"{title}-{size}": {"architecture": architecture, "clusters": k, "hidden": h}
        for title, architecture, sizes in families
        for size, (k, h) in sizes.items()
    }
    students = {
        f"{title}-{size}-S1": {"model": f"{title}-{size}", "taught_by": family}
        for title, family in (("NetVLAD", "netvlad"), ("DBoF", "dbof"))
        for size in ("high", "mid")
    }
    return {
        "training": {
            "frames": min(max(round(packed.frames[1]), 4), 64),
            "batch_norm_decay": 0.9,
            "rate_decay_videos": max(train * epochs // 5, 1),
        },
        "families": {
            "netvlad": shared | {"rate": 0.01},
            "dbof": shared | {"rate": 0.015},
            "baseline": shared | {"rate": 0.02},
        },
        "models": models | {"logistic": {"architecture": "logistic"}},
        "averaging": {
            "families": ["dbof"],
            "shown": ["NetVLAD-mid"],
            "time_constant": max(train // batch // 2, 5),
            "epochs": max(epochs // 5, 1),
        },
        "distillation": {"top_k": min(100, classes), "students": students},
        "ensembling": {"trials": 200},
    }
