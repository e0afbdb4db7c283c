"""FVNet: Fisher vector pooling (sec. 3)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.assignment import gaussian, l2_normalise, normalise_clusters
from yt8m_lib.models.normalization import Affine
from yt8m_lib.models.pooling import Pooling, PoolingEncoder, make_pooling_encoder
from yt8m_lib.models.products import product
from yt8m_lib.settings import Model
from yt8m_lib.streams import Stream


def make_encoder(
    model: Model, batch_norm_decay: float, streams: Sequence[Stream]
) -> PoolingEncoder:
    """Make the encoder: all streams are pooled alike."""
    return make_pooling_encoder(
        model, batch_norm_decay, streams, first=FisherVector, others=FisherVector
    )


@keras.saving.register_keras_serializable(package="yt8m")
class FisherVector(Pooling):
    """First and second order statistics of the frames around each cluster.

    With ``s = covar^2 + 1e-6`` and sums over frames::

        f1 = (sum a x - (sum a) c) / s
        f2 = (sum a x^2 - 2 c sum a x + (sum a) c^2) / s^2 - sum a

    c [D, K] ~ Normal(0, 1/sqrt(D)) is free of W; covar [D, K] ~ Normal(1, 1/sqrt(D)). f1 is
    L2-normalised over d and then whole, f2 whole.
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the soft assignment's variables, the centres c and covar, each [D, K]."""
        super().build(input_shape)
        shape = (self.features, self.clusters)
        self.centres = self.add_weight(
            shape=shape, initializer=gaussian(self.features), name="centres"
        )
        spread = keras.initializers.RandomNormal(mean=1.0, stddev=self.features**-0.5)
        self.covariance = self.add_weight(shape=shape, initializer=spread, name="covariance")

    @property
    def width(self) -> int:
        """Length of the pooled vector: 2 D K."""
        return 2 * self.features * self.clusters

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool float32 [B, T, D] to [B, 2 D K]: f1 then f2, each of length 1 and row-major."""
        shares = self.assignment(frames, valid, affine, training=training)  # [B, T, K]
        mass = tf.expand_dims(tf.reduce_sum(shares, axis=1), 2)  # [B, K, 1]
        sums = product(shares, frames, transpose_a=True)  # [B, K, D]
        squares = product(shares, tf.square(frames), transpose_a=True)  # [B, K, D]
        # (x - c) / s = frame * slope + offset, so that f1 is the sum of its share and f2 that of
        # its square less 1. Clusters come before features, so the features' factors lie last.
        spread = tf.transpose(tf.square(self.covariance) + 1e-6)  # [K, D]
        slope = affine.scale / spread
        offset = (affine.shift - tf.transpose(self.centres)) / spread
        first = slope * sums + mass * offset
        second = tf.square(slope) * squares + 2.0 * slope * offset * sums
        second += mass * (tf.square(offset) - 1.0)
        return tf.concat(
            [self._flatten(normalise_clusters(first)), l2_normalise(self._flatten(second))], axis=1
        )

    def cost(self, frames: int) -> Cost:
        """Assignment, ``sum a x`` and ``sum a x^2``: T K D each; both orders are kept, and x^2."""
        sums = product_cost(self.clusters, frames, self.features, of_data=True)
        kept = Cost(kept=2 * self.width + frames * self.features)
        return self.assignment.cost(frames) + sums + sums + kept

    def _flatten(self, statistics: tf.Tensor) -> tf.Tensor:
        """[B, K, D] -> [B, D * K]."""
        return tf.reshape(tf.transpose(statistics, [0, 2, 1]), [-1, self.features * self.clusters])
