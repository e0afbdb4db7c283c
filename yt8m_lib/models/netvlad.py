"""NetVLAD and LightVLAD pooling (sec. 3)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.assignment import gaussian, normalise_clusters
from yt8m_lib.models.normalization import Affine
from yt8m_lib.models.pooling import Pooling, PoolingEncoder, make_pooling_encoder
from yt8m_lib.models.products import product
from yt8m_lib.settings import Model
from yt8m_lib.streams import Stream


def make_encoder(
    model: Model, batch_norm_decay: float, streams: Sequence[Stream]
) -> PoolingEncoder:
    """Make the encoder: all streams are pooled alike."""
    pooling = NetVLAD if model.architecture == "netvlad" else LightVLAD
    return make_pooling_encoder(model, batch_norm_decay, streams, first=pooling, others=pooling)


@keras.saving.register_keras_serializable(package="yt8m")
class LightVLAD(Pooling):
    """``v[d,k] = sum_t a[t,k] x[t,d]``: NetVLAD without cluster centres.

    Each cluster's column is L2-normalised over d, then the flattened vector as a whole.
    """

    @property
    def width(self) -> int:
        """Length of the pooled vector: D K."""
        return self.features * self.clusters

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool float32 [B, T, D] to [B, D K] of length 1, row-major: feature * K + cluster."""
        shares = self.assignment(frames, valid, affine, training=training)  # [B, T, K]
        # x = frame * scale + shift, summed: scale and shift leave the sum over frames. Clusters
        # come before features here, as what all clusters share then lies in the last axis.
        sums = product(shares, frames, transpose_a=True)  # [B, K, D]
        mass = tf.expand_dims(tf.reduce_sum(shares, axis=1), 2)  # [B, K, 1]
        residuals = normalise_clusters(affine.scale * sums + mass * self._offset(affine))
        residuals = tf.transpose(residuals, [0, 2, 1])  # [B, K, D] -> [B, D, K]
        return tf.reshape(residuals, [-1, self.width])  # [B, D, K] -> [B, D * K]

    def cost(self, frames: int) -> Cost:
        """Assignment, and ``sum_t a[t,k] x[t,d]``: T K D each; the vector is kept, normalised too.

        The centres take no product: each counts once, times the mass of its cluster.
        """
        sums = product_cost(self.clusters, frames, self.features, of_data=True)
        return self.assignment.cost(frames) + sums + Cost(kept=2 * self.width)

    def _offset(self, affine: Affine) -> tf.Tensor:
        """What each unit of assigned mass adds to ``scale * sum of frames``: [D] or [K, D]."""
        return affine.shift


@keras.saving.register_keras_serializable(package="yt8m")
class NetVLAD(LightVLAD):
    """``v[d,k] = sum_t a[t,k] x[t,d] - (sum_t a[t,k]) c[d,k]``, c [D, K] ~ Normal(0, 1/sqrt(D))."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the soft assignment's variables and the centres c [D, K]."""
        super().build(input_shape)
        self.centres = self.add_weight(
            shape=(self.features, self.clusters),
            initializer=gaussian(self.features),
            name="centres",
        )

    def _offset(self, affine: Affine) -> tf.Tensor:
        return affine.shift - tf.transpose(self.centres)
