"""Deep bag of frames: gated and soft pooling (sec. 3)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.assignment import gaussian, l2_normalise
from yt8m_lib.models.normalization import Affine, BatchNorm
from yt8m_lib.models.pooling import Pooling, PoolingEncoder, make_pooling_encoder
from yt8m_lib.models.products import product
from yt8m_lib.settings import Model
from yt8m_lib.streams import Stream


def make_encoder(
    model: Model, batch_norm_decay: float, streams: Sequence[Stream]
) -> PoolingEncoder:
    """Make the encoder; the gated variant gates the first stream alone."""
    if model.architecture == "gated_dbof":
        return make_pooling_encoder(
            model, batch_norm_decay, streams, first=GatedDBoF, others=SoftDBoF
        )
    pooling = partial(SoftDBoF, max_pool=model.options["max_pool"])
    return make_pooling_encoder(model, batch_norm_decay, streams, first=pooling, others=pooling)


@keras.saving.register_keras_serializable(package="yt8m")
class SoftDBoF(Pooling):
    """``p = sum_t a``, L2-normalised; with ``max_pool`` followed by ``max_t a``, L2-normalised.

    Args:
        clusters: K.
        decay: of the batch norm's moving statistics.
        max_pool: whether the clusters' largest shares follow their sums.
    """

    def __init__(self, clusters: int, decay: float = 0.999, max_pool: bool = False, **kwargs: Any):
        super().__init__(clusters, decay, **kwargs)
        self.max_pool = max_pool

    @property
    def width(self) -> int:
        """Length of the pooled vector: K, or 2 K with ``max_pool``."""
        return self.clusters * (2 if self.max_pool else 1)

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool float32 [B, T, D] to [B, K] or [B, 2 K], each K of them of length 1."""
        shares = self.assignment(frames, valid, affine, training=training)  # [B, T, K]
        pooled = l2_normalise(tf.reduce_sum(shares, axis=1))
        if self.max_pool:
            pooled = tf.concat([pooled, l2_normalise(tf.reduce_max(shares, axis=1))], axis=1)
        return pooled

    def cost(self, frames: int) -> Cost:
        """Assignment alone: T D K."""
        return self.assignment.cost(frames)


@keras.saving.register_keras_serializable(package="yt8m")
class GatedDBoF(Pooling):
    """Clusters gated by which of them were strongest in any frame.

    ``m = L2(max_t a)``, ``g = sigmoid(BN((m R) U))``, output ``L2(g * sum_t a)``; R [K, D] and
    U [D, K], both ~ Normal(0, 1/sqrt(D)).
    """

    def __init__(self, clusters: int, decay: float = 0.999, **kwargs: Any):
        super().__init__(clusters, decay, **kwargs)
        self.gate_norm = BatchNorm(decay, name="gate_norm")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the soft assignment's variables, R [K, D], U [D, K] and the gate's batch norm."""
        super().build(input_shape)
        self.reduction = self.add_weight(
            shape=(self.clusters, self.features),
            initializer=gaussian(self.features),
            name="reduction",
        )
        self.expansion = self.add_weight(
            shape=(self.features, self.clusters),
            initializer=gaussian(self.features),
            name="expansion",
        )
        self.gate_norm.build((None, self.clusters))

    @property
    def width(self) -> int:
        """Length of the pooled vector: K."""
        return self.clusters

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool float32 [B, T, D] to [B, K] of length 1."""
        shares = self.assignment(frames, valid, affine, training=training)  # [B, T, K]
        strongest = l2_normalise(tf.reduce_max(shares, axis=1))
        logits = product(product(strongest, self.reduction), self.expansion)
        gates = tf.sigmoid(self.gate_norm(logits, training=training))
        return l2_normalise(gates * tf.reduce_sum(shares, axis=1))

    def cost(self, frames: int) -> Cost:
        """Assignment, T D K, and ``m R`` and its product with U: K D each."""
        gates = product_cost(1, *self.reduction.shape) + product_cost(1, *self.expansion.shape)
        return self.assignment.cost(frames) + gates
