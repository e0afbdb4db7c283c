"""The baseline: logistic regression on a video's mean frame."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost
from yt8m_lib.settings import Model
from yt8m_lib.streams import Stream


def make_encoder(model: Model, batch_norm_decay: float, streams: Sequence[Stream]) -> "MeanFrame":
    """Make the encoder; it has no settings and no batch norm."""
    return MeanFrame(name="encoder")


@keras.saving.register_keras_serializable(package="yt8m")
class MeanFrame(keras.layers.Layer):
    """The mean over a video's valid frames."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Note how many features a frame has; there are no variables."""
        self.width = input_shape[-1]

    def call(self, *frames: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Average the frames of each video.

        Args:
            frames: the features of each stream, float32 [B, T, D], 0 in padding; and last which
                frames are valid, bool [B, T].
            training: unused, as there is no batch norm here.

        Returns:
            float32 [B, F], the streams one after the other.
        """
        *streams, valid = frames
        count = tf.reduce_sum(tf.cast(valid, tf.float32), axis=1, keepdims=True)  # [B, 1]
        sums = [tf.reduce_sum(stream, axis=1) for stream in streams]
        return tf.concat(sums, axis=1) / tf.maximum(count, 1.0)

    def cost(self, frames: int) -> Cost:
        """A mean takes no product."""
        return Cost(kept=self.width)
