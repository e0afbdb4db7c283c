"""The ways to call an exported model, beside its own: other inputs, and more classes.

Each is a signature of the SavedModel, and each calls ``serving_default``'s function, so they answer
alike for the same frames.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from yt8m_lib.data.record_kinds import kind_for
from yt8m_lib.models.frames import quantise, split_streams
from yt8m_lib.settings import Data
from yt8m_lib.streams import YOUTUBE_8M, Stream, frames_type, width_of

if TYPE_CHECKING:
    from yt8m_lib.methods.ensemble_graph import EnsembleGraph

Signatures = dict[str, Callable]

NUM_FRAMES = tf.TensorSpec([None], tf.int32, name="num_frames")
RGB_AND_AUDIO, FEATURES = "rgb_and_audio", "features"  # of YouTube-8M, of other streams


def frames_spec(streams: Sequence[Stream]) -> tf.TensorSpec:
    """Frames [B, T, F] as the records of some streams have them."""
    kind = tf.as_dtype(frames_type(streams))
    return tf.TensorSpec([None, None, width_of(streams)], kind, name="frames")


def name_of_floats(streams: Sequence[Stream]) -> str:
    """The name of the signature that takes features as floats."""
    return RGB_AND_AUDIO if tuple(streams) == YOUTUBE_8M else FEATURES


def signatures_of(ensemble: "EnsembleGraph", data: Data) -> Signatures:
    """All signatures of an ensemble, by their names.

    Args:
        ensemble: what they call.
        data: how ``records`` reads them.
    """
    return {
        "serving_default": ensemble.serve,
        "top_k": _top_k(ensemble),
        name_of_floats(ensemble.streams): _floats(ensemble),
        "records": _records(ensemble, data),
    }


def _top_k(ensemble: "EnsembleGraph") -> Callable:
    @tf.function(
        input_signature=[
            frames_spec(ensemble.streams),
            NUM_FRAMES,
            tf.TensorSpec([], tf.int32, name="k"),
        ]
    )
    def top_k(frames: tf.Tensor, num_frames: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The k most confident classes [B, k], or all classes where there are fewer."""
        predictions = ensemble.serve(frames, num_frames)["predictions"]
        k = tf.clip_by_value(k, 1, tf.shape(predictions)[1])
        confidences, classes = tf.math.top_k(predictions, k)
        return {"classes": classes, "confidences": confidences}

    return top_k


def _floats(ensemble: "EnsembleGraph") -> Callable:
    streams = ensemble.streams
    name, frames = name_of_floats(streams), frames_spec(streams)
    features = tf.TensorSpec(frames.shape, tf.float32, name=name)
    counts = tf.TensorSpec([None, 1], tf.int32, name="num_frames")

    @tf.function(input_signature=[features, counts])
    def floats(features: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """What MediaPipe's YouTube-8M graph calls: floats [B, T, F] as they are dequantised."""
        numbers = tf.debugging.check_numerics(features, f"{name} must be numbers")
        numbers = tf.ensure_shape(numbers, frames.shape)
        if frames.dtype == tf.uint8:
            parts = zip(split_streams(numbers, streams), streams, strict=True)
            numbers = tf.concat([quantise(part, stream) for part, stream in parts], axis=-1)
        answer = ensemble.serve(tf.cast(numbers, frames.dtype), num_frames[:, 0])
        return {"predictions": answer["predictions"]}

    return floats


def _records(ensemble: "EnsembleGraph", data: Data) -> Callable:
    kind = kind_for(data)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="records")])
    def records(records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialised examples [B], as they lie in shards of the kind that was trained on."""
        videos = kind.parse(records, data)
        return {"ids": videos.ids} | ensemble.serve(videos.frames, videos.num_frames)

    return records
