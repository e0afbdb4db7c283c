"""The architectures of the paper: ``build`` makes one, ``save`` and ``load`` keep it.

Each box of the paper's figures is a class, each family a file. Boxes take float frames and which of
them are valid; the ``VideoModel`` around them takes the data set's bytes.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras

from yt8m_lib import params
from yt8m_lib.models import frames
from yt8m_lib.models.video_model import VideoModel, settings_of

__all__ = ["VideoModel", "build", "frames", "load", "save", "variable_shapes"]


def build(model: params.Model, classes: int, batch_norm_decay: float = 0.999) -> VideoModel:
    """Make an architecture with freshly drawn weights.

    ``keras.utils.set_random_seed`` before it decides which.

    Args:
        model: its settings.
        classes: labels to predict, V.
        batch_norm_decay: of every batch norm's moving statistics.
    """
    tagger = VideoModel(settings_of(model), classes, batch_norm_decay)
    tagger.build({"frames": (None, None, params.FEATURES), "num_frames": (None,)})
    return tagger


def save(model: keras.Model, path: str | Path) -> None:
    """Write a ``.keras`` archive without optimizer state; a reader never sees half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        model.save(unfinished)
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | Path) -> VideoModel:
    """Read what ``save`` wrote."""
    return keras.models.load_model(path, compile=False)


def variable_shapes(model: params.Model, classes: int) -> list[tuple[str, tuple[int, ...]]]:
    """Path and shape of every variable of an architecture, without making any.

    They are in the order of ``build(model, classes).variables``. A full-size model takes no memory
    here: inside a stateless scope Keras notes variables instead of drawing them.
    """

    def describe() -> list[tuple[str, tuple[int, ...]]]:
        with keras.StatelessScope(initialize_variables=False):
            tagger = build(model, classes)
        return [(variable.path, tuple(variable.shape)) for variable in tagger.variables]

    # Keras keeps noted variables, per thread, to draw them at the next chance: leave them behind.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(describe).result()
