"""Made features of made videos, as people's own lie on disk: an example to pack, train and tag.

Each video is two scenes, and each scene shows one thing; an "image model" and a "sound model" give
a vector a second. So there is something to find, and something that changes over time.
"""

import csv
from pathlib import Path

import numpy as np

THINGS = ("beach", "concert", "cooking", "dance", "dog", "football", "guitar", "rain")
WIDTHS = {"image": 768, "sound": 512}
SHARE = 0.35  # of a thing in a frame's features; the rest is noise


def write_example(folder: str | Path, videos: int = 240, seed: int = 0) -> tuple[Path, Path]:
    """Write ``features/image/ID.npy``, ``features/sound/ID.npy`` and ``labels.csv``.

    Returns:
        The folder of features, and the labels.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    looks = {s: rng.standard_normal((len(THINGS), width)) for s, width in WIDTHS.items()}
    rows = []
    for number in range(videos):
        video, scenes = f"video{number:04d}", rng.choice(len(THINGS), 2, replace=False)
        shown = np.repeat(scenes, rng.integers(6, 14, 2))  # of each second
        for stream, width in WIDTHS.items():
            noise = rng.standard_normal((len(shown), width))
            frames = SHARE * looks[stream][shown] + (1 - SHARE) * noise
            file = folder / "features" / stream / f"{video}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, frames.astype(np.float32))
        rows.append((video, "|".join(THINGS[thing] for thing in scenes)))
    with open(folder / "labels.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("id", "labels"), *rows])
    return folder / "features", folder / "labels.csv"
