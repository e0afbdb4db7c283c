"""Batch-norm statistics of a model whose weights were rounded: what its layers give now."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from yt8m_lib.data.records import Records
from yt8m_lib.methods.sensitivity import VIDEOS
from yt8m_lib.models.normalization import BatchNorm
from yt8m_lib.models.video_model import VideoModel

BATCH = 60  # videos whose statistics are taken together


def reestimate_batch_norms(model: VideoModel, videos: Records, seed: int) -> None:
    """Replace all moving statistics by their mean over batches of some training videos.

    Args:
        model: its statistics are changed, its weights are not.
        videos: never those that the result is judged on.
        seed: decides which 1,200 of them, in which batches, and what a model draws.
    """
    statistics, total, count = model.non_trainable_variables, None, 0
    batches = videos.batches(BATCH, seed=(seed, 0)).take(VIDEOS // BATCH)
    with _own_batch_alone(model):

        @tf.function(input_signature=[batches.element_spec])
        def look(batch: dict[str, tf.Tensor]) -> None:
            model(batch | {"seed": tf.constant([seed, 0])}, training=True)

        for batch in batches:
            look(batch)
            found = [variable.numpy().astype(np.float64) for variable in statistics]
            total = found if total is None else [t + f for t, f in zip(total, found, strict=True)]
            count += 1
    for variable, value in zip(statistics, total or (), strict=True):
        variable.assign((value / count).astype(np.float32))


@contextmanager
def _own_batch_alone(model: VideoModel) -> Iterator[None]:
    """Let each batch norm move all the way to the batch that it sees."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, BatchNorm)]
    decays = [layer.decay for layer in layers]
    try:
        for layer in layers:
            layer.decay = 0.0
        yield
    finally:
        for layer, decay in zip(layers, decays, strict=True):
            layer.decay = decay
