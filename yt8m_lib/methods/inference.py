"""Predictions of built models on records."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from yt8m_lib.data.records import Records, in_order
from yt8m_lib.models.frames import fill_frames, sample_frames
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.settings import Params

PAIRS = 20  # of class and confidence a video, as the challenge asks


def classes_kept(params: Params) -> int:
    """How many of its most confident classes are kept of each video's predictions.

    They are as many as soft targets hold, so that averages of predictions are as exact, but at
    least the 20 that the metric reads.
    """
    top_k = params.distillation.top_k
    return params.data.classes if top_k == "all" else max(PAIRS, min(top_k, params.data.classes))


def mean_of(models: Sequence[VideoModel], params: Params, spec: dict[str, Any]) -> Callable:
    """Trace the models' mean prediction as one TensorFlow function.

    Args:
        models: one or more built models.
        params: whose ``inference`` says which frames the models see.
        spec: ``element_spec`` of the batches.

    Returns:
        A function of a batch and a seed, int [2], that returns probabilities [B, V]. The seed
        decides which frames are drawn, where ``inference`` asks for random ones.
    """

    def forward(batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        predicted = [_probabilities(model, params, batch, seed) for model in models]
        return tf.add_n(predicted) / len(models)

    signature = [spec, tf.TensorSpec([2], tf.int32)]
    return tf.function(forward, input_signature=signature, autograph=False)


def _probabilities(
    model: VideoModel, params: Params, batch: dict[str, tf.Tensor], seed: tf.Tensor
) -> tf.Tensor:
    draw = {"sample_all": fill_frames, "random_frames": sample_frames}
    if params.inference in draw and model.pools_frames:
        frames, num_frames = draw[params.inference](
            batch["frames"], batch["num_frames"], params.training.frames, seed
        )
        batch = batch | {"frames": frames, "num_frames": num_frames}
    return model(batch, training=False)


def predict(
    models: Sequence[VideoModel], videos: Records, params: Params, seed: int = 0
) -> tuple[Predictions, float]:
    """Predict all videos with the mean of some models.

    Args:
        models: one or more built models.
        videos: what to predict, with labels.
        params: the experiment's settings.
        seed: of the frames that are drawn, where ``inference`` asks for random ones.

    Returns:
        The predictions, and the seconds that the models took, without those of reading.
    """
    return make_predictor(models, videos, params, seed)()


def make_predictor(
    models: Sequence[VideoModel], videos: Records, params: Params, seed: int = 0
) -> Callable[[], tuple[Predictions, float]]:
    """Make a function that predicts all videos with the weights that the models have by then.

    Calling it again, after the weights have changed, is faster than calling ``predict`` again: the
    models are traced only once.

    Args:
        models: as for ``predict``.
        videos: as for ``predict``.
        params: as for ``predict``.
        seed: as for ``predict``.

    Returns:
        A function without arguments that returns what ``predict`` returns.
    """
    batches = videos.batches(params.inference_batch, by_length=True)
    forward = mean_of(models, params, batches.element_spec)
    return lambda: predict_with(forward, batches, classes_kept(params), seed)


def among_rated(predicted: np.ndarray, batch: dict[str, tf.Tensor]) -> np.ndarray:
    """Predictions [B, V] with 0 for classes of which the labels say nothing, so no metric does."""
    if "rated" not in batch:
        return predicted
    return predicted * batch["rated"].numpy()[:, : predicted.shape[1]]


def predict_with(
    forward: Callable, batches: tf.data.Dataset, k: int, seed: int = 0
) -> tuple[Predictions, float]:
    """Predict all videos with any function of a batch.

    Args:
        forward: returns probabilities [B, V] of a batch and a seed, int [2].
        batches: of videos with labels.
        k: how many of each video's most confident classes to keep.
        seed: the first of the two numbers of every batch's seed.

    Returns:
        The predictions, in the order of the shards, and the seconds that ``forward`` took.
    """
    seconds, places = 0.0, []

    def answers() -> Any:
        nonlocal seconds
        for number, batch in enumerate(batches):
            started = time.perf_counter()
            predicted = forward(batch, tf.constant([seed, number])).numpy()
            seconds += time.perf_counter() - started
            places.append(batch.get("place"))
            yield batch["id"].numpy(), among_rated(predicted, batch), batch["labels"].numpy()

    predictions = Predictions.from_batches(answers(), k)
    return predictions.select(in_order(places)), seconds
