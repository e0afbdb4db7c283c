"""The reader against the same shards read raw."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from yt8m_lib.benchmark.timing import Found, in_turn
from yt8m_lib.data import synthetic
from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import shards
from yt8m_lib.settings import Data, Params, Synthetic

VIDEOS, QUICK = 1500, 300
FRAMES = (120, 300)  # YouTube-8M's videos have 120 to 300, most about 230
BATCH, SHARDS, ROUNDS = 64, 8, 5


def reader(params: Params, quick: bool, say: Callable[[str], None]) -> Found:
    """Videos of YouTube-8M's size: shuffled, in order and from the cache on disk, to a raw read."""
    with tempfile.TemporaryDirectory() as folder:
        files, params = _stand_in(params, folder, QUICK if quick else VIDEOS)
        cached = params.data.model_copy(
            update={"cache": "disk", "cache_folder": str(Path(folder) / "cache")}
        )
        plain, held = Records(files, params.data), Records(files, cached)
        nbytes = sum(Path(file).stat().st_size for file in files)
        say(f"reading {nbytes / 1e6:,.0f} MB in four ways")
        seconds = in_turn(
            {
                "raw": lambda: _read_raw(files),
                "shuffled": lambda: _through(plain.batches(BATCH, seed=(0, 1))),
                "ordered": lambda: _through(plain.batches(BATCH)),
                "cached": lambda: _through(held.batches(BATCH, seed=(0, 1))),
            },
            ROUNDS,
        )
    size = QUICK if quick else VIDEOS
    return Found(
        figures={
            "reader_ratio": seconds["raw"] / seconds["shuffled"],
            "reader_ordered_ratio": seconds["raw"] / seconds["ordered"],
            "reader_cached_ratio": seconds["raw"] / seconds["cached"],
        },
        limits={
            "raw_videos_per_second": size / seconds["raw"],
            "read_bytes_per_second": nbytes / seconds["shuffled"],
        },
    )


def _stand_in(params: Params, folder: str, videos: int) -> tuple[list[str], Params]:
    settings = Synthetic(train_videos=videos, validation_videos=1, shards=SHARDS, frames=FRAMES)
    params = params.model_copy(update={"results": folder, "synthetic": settings, "data": Data()})
    synthetic.write(params)
    return shards(params)[0], params


def _read_raw(files: list[str]) -> None:
    _through(tf.data.TFRecordDataset(files).batch(BATCH).prefetch(2))


def _through(batches: tf.data.Dataset) -> None:
    for _ in batches:
        pass
