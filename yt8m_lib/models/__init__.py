"""The architectures of the paper: ``build`` makes one, ``save`` and ``load`` keep it.

Each box of the paper's figures is a class, each family a file. Boxes take float frames and a mask
of the valid ones; the ``VideoModel`` around them takes the data set's bytes. TensorFlow is imported
when the first model is built or loaded.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from yt8m_lib.files import written_whole
from yt8m_lib.settings import Model
from yt8m_lib.streams import YOUTUBE_8M, Stream, width_of

if TYPE_CHECKING:
    from yt8m_lib.models.video_model import VideoModel

T = TypeVar("T")


def build(
    model: Model,
    classes: int,
    batch_norm_decay: float = 0.999,
    streams: Sequence[Stream] = YOUTUBE_8M,
    l2_normalise: bool = True,
) -> "VideoModel":
    """Make an architecture with freshly drawn weights.

    ``keras.utils.set_random_seed``, called before, decides which weights are drawn.

    Args:
        model: its settings.
        classes: labels to predict, V.
        batch_norm_decay: of every batch norm's moving statistics.
        streams: that a frame is made of, as the records store them.
        l2_normalise: whether each frame is scaled to length 1, in families that do so.
    """
    from yt8m_lib.models.video_model import VideoModel, settings_of

    settings = settings_of(model)
    built = VideoModel(settings, classes, batch_norm_decay, streams, l2_normalise)
    built.build({"frames": (None, None, width_of(streams)), "num_frames": (None,)})
    return built


def save(model: "VideoModel", path: str | Path) -> None:
    """Write a ``.keras`` archive whole, without the optimizer's state."""
    with written_whole(path) as beside:
        model.save(beside)


def load(path: str | Path) -> "VideoModel":
    """Read what ``save`` wrote."""
    import keras

    from yt8m_lib.models.video_model import VideoModel

    return keras.models.load_model(path, custom_objects={"VideoModel": VideoModel}, compile=False)


def variable_shapes(
    model: Model, classes: int, streams: Sequence[Stream] = YOUTUBE_8M
) -> list[tuple[str, tuple[int, ...]]]:
    """Path and shape of every variable of an architecture, without making any.

    They are in the order of ``build(model, classes).variables``. A full-size model takes no memory
    here: inside a stateless scope Keras notes variables instead of drawing them.
    """

    def describe(noted: "VideoModel") -> list[tuple[str, tuple[int, ...]]]:
        return [(variable.path, tuple(variable.shape)) for variable in noted.variables]

    return noted(model, describe, classes, streams)


def noted(
    model: Model,
    look: Callable[["VideoModel"], T],
    classes: int,
    streams: Sequence[Stream] = YOUTUBE_8M,
) -> T:
    """What ``look`` sees in an architecture whose variables have shapes, but no values."""
    import keras

    def build_and_look() -> T:
        with keras.StatelessScope(initialize_variables=False):
            return look(build(model, classes, streams=streams))

    # Keras keeps noted variables, per thread, to draw them at the next chance: leave them behind.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(build_and_look).result()
