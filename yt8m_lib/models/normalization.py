"""Batch normalisation as the published system does it (sec. 3 and 5)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

EPSILON = 1e-3


class Affine(NamedTuple):
    """A batch norm whose statistics are known: ``x * scale + shift``, both float32 [C]."""

    scale: tf.Tensor
    shift: tf.Tensor


def are_replicas() -> bool:
    """Whether what is traced now is one replica's part of a step that several share."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def summed(*values: tf.Tensor) -> list[tf.Tensor]:
    """Sums over all replicas of what each of them has; gradients go back to all of them."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(values))


def _rows(values: tf.Tensor) -> tf.Tensor:
    """N of values [..., C], all axes before the last taken together, as a float."""
    return tf.cast(tf.reduce_prod(tf.shape(values)[:-1]), tf.float32)


def _moments(streams: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """How many frames a batch has, and the means of their features and of these squared, [C]."""
    squares = [tf.square(stream) for stream in streams]
    if not are_replicas():
        parts = ([tf.reduce_mean(s, axis=[0, 1]) for s in values] for values in (streams, squares))
        return _rows(streams[0]), *(tf.concat(part, axis=0) for part in parts)
    parts = ([tf.reduce_sum(s, axis=[0, 1]) for s in values] for values in (streams, squares))
    count, *sums = summed(_rows(streams[0]), *(tf.concat(part, axis=0) for part in parts))
    return count, *(total / count for total in sums)


@keras.saving.register_keras_serializable(package="yt8m")
class BatchNorm(keras.layers.Layer):
    """Scale, centre and normalise the last axis over all others.

    ``BN(x) = gamma (x - mean) / sqrt(variance + 1e-3) + beta``; training uses the batch's own mean
    and (biased) variance and moves the averages by ``1 - decay`` towards the mean and the
    *unbiased* variance, ``n / (n - 1)`` times the biased one. Where replicas share a batch, these
    are the statistics of the whole batch.
    """

    def __init__(self, decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.decay = decay

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make gamma, beta and the moving statistics, each [C]."""
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(shape=channels, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=channels, initializer="zeros", name="beta")
        # Replicas find the same statistics, so one of them speaks for all.
        statistic = {"trainable": False, "aggregation": "only_first_replica"}
        self.moving_mean = self.add_weight(
            shape=channels, initializer="zeros", name="moving_mean", **statistic
        )
        self.moving_variance = self.add_weight(
            shape=channels, initializer="ones", name="moving_variance", **statistic
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalise float32 [..., C]; the shape stays."""
        if not training:
            affine = self._affine_of(self.moving_mean, self.moving_variance)
            return inputs * affine.scale + affine.shift
        if are_replicas():
            return self._call_among_replicas(inputs)
        rows = tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])  # [..., C] -> [N, 1, 1, C]
        outputs, mean, unbiased_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=rows,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=EPSILON,
            is_training=True,
        )
        self._move_towards(mean, unbiased_variance)
        return tf.reshape(outputs, tf.shape(inputs))

    def _call_among_replicas(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise a replica's part of a batch by the statistics of the whole batch."""
        over = list(range(len(inputs.shape) - 1))
        count, total = summed(_rows(inputs), tf.reduce_sum(inputs, over))
        mean = total / count
        (squares,) = summed(tf.reduce_sum(tf.square(inputs - mean), over))
        self._move_towards(mean, squares / tf.maximum(count - 1.0, 1.0))
        affine = self._affine_of(mean, squares / count)
        return inputs * affine.scale + affine.shift

    def affine(self, *streams: tf.Tensor, training: bool = False) -> list[Affine]:
        """Find the scale and shift of each stream, and leave applying them to the caller.

        A layer that multiplies the frames by a matrix of its own can take scale and shift into that
        product. Frames are the largest tensor of a model by far and need no gradient themselves; a
        normalised copy of them would be one more, and several in the backward pass.

        Args:
            streams: float32 [B, T, C1], [B, T, C2], ... with C channels together, which no variable
                influences.
            training: whether to use, and move towards, the statistics of ``streams``.

        Returns:
            One ``Affine`` a stream. ``stream * scale + shift`` is that stream's channels of this
            batch norm applied to all streams concatenated.
        """
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            count, mean, squares = _moments(streams)
            variance = tf.maximum(squares - tf.square(mean), 0.0)
            self._move_towards(mean, variance * (count / tf.maximum(count - 1.0, 1.0)))
        widths = [stream.shape[-1] for stream in streams]
        factors = (tf.split(part, widths) for part in self._affine_of(mean, variance))
        return [Affine(scale, shift) for scale, shift in zip(*factors, strict=True)]

    def _affine_of(self, mean: tf.Tensor, variance: tf.Tensor) -> Affine:
        scale = self.gamma * tf.math.rsqrt(variance + EPSILON)
        return Affine(scale, self.beta - mean * scale)

    def _move_towards(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving - (moving - value) * (1.0 - self.decay))
