"""The ways to call an exported model, beside its own: other inputs, and more classes.

Each is a signature of the SavedModel, and each calls ``serving_default``'s function, so they answer
alike for the same frames.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from yt8m_lib.catalogue import RECORD_KINDS
from yt8m_lib.models.frames import quantise
from yt8m_lib.settings import FEATURES, Data

if TYPE_CHECKING:
    from yt8m_lib.methods.ensemble_graph import EnsembleGraph

Signatures = dict[str, Callable]

FRAMES = tf.TensorSpec([None, None, FEATURES], tf.uint8, name="frames")
NUM_FRAMES = tf.TensorSpec([None], tf.int32, name="num_frames")


def signatures_of(ensemble: "EnsembleGraph", data: Data) -> Signatures:
    """All signatures of an ensemble, by their names.

    Args:
        ensemble: what they call.
        data: how ``records`` reads them.
    """
    return {
        "serving_default": ensemble.serve,
        "top_k": _top_k(ensemble),
        "rgb_and_audio": _rgb_and_audio(ensemble),
        "records": _records(ensemble, data),
    }


def _top_k(ensemble: "EnsembleGraph") -> Callable:
    @tf.function(input_signature=[FRAMES, NUM_FRAMES, tf.TensorSpec([], tf.int32, name="k")])
    def top_k(frames: tf.Tensor, num_frames: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k most confident classes [B, k], or all classes where there are fewer."""
        predictions = ensemble.serve(frames, num_frames)["predictions"]
        k = tf.clip_by_value(k, 1, tf.shape(predictions)[1])
        confidences, classes = tf.math.top_k(predictions, k)
        return {"classes": classes, "confidences": confidences}

    return top_k


def _rgb_and_audio(ensemble: "EnsembleGraph") -> Callable:
    features = tf.TensorSpec([None, None, FEATURES], tf.float32, name="rgb_and_audio")
    counts = tf.TensorSpec([None, 1], tf.int32, name="num_frames")

    @tf.function(input_signature=[features, counts])
    def rgb_and_audio(rgb_and_audio: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """What MediaPipe's YouTube-8M graph calls: floats [B, T, 1152] as they are dequantised."""
        numbers = tf.debugging.check_numerics(rgb_and_audio, "rgb_and_audio must be numbers")
        answer = ensemble.serve(quantise(numbers), num_frames[:, 0])
        return {"predictions": answer["predictions"]}

    return rgb_and_audio


def _records(ensemble: "EnsembleGraph", data: Data) -> Callable:
    kind = RECORD_KINDS[data.level]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="records")])
    def records(records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised examples [B], as they lie in shards of the kind that was trained on."""
        videos = kind.parse(records, data)
        return {"ids": videos.ids} | ensemble.serve(videos.frames, videos.num_frames)

    return records
