"""Deep bag of frames: gated and soft pooling (sec. 3)."""

from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.models.assignment import SoftAssignment, gaussian, l2_normalise
from yt8m_lib.models.normalization import Affine, BatchNorm


@keras.saving.register_keras_serializable(package="yt8m")
class SoftDBoF(keras.layers.Layer):
    """``p = sum_t a``, L2-normalised; with ``max_pool`` followed by ``max_t a``, L2-normalised."""

    def __init__(self, clusters: int, decay: float = 0.999, max_pool: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.decay = decay
        self.max_pool = max_pool
        self.assignment = SoftAssignment(clusters, decay, name="assignment")

    def build(self, input_shape: tuple) -> None:
        """Make the soft assignment's variables."""
        self.assignment.build(input_shape)

    @property
    def width(self) -> int:
        """Length of the pooled vector: K, or 2 K with ``max_pool``."""
        return self.clusters * (2 if self.max_pool else 1)

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool.

        Args:
            frames: float32 [B, T, D].
            valid: bool [B, T], False for padding.
            affine: the input batch norm of these D features.
            training: whether batch norms use the batch's statistics.

        Returns:
            float32 [B, width].
        """
        shares = self.assignment(frames, valid, affine, training=training)  # [B, T, K]
        pooled = l2_normalise(tf.reduce_sum(shares, axis=1))
        if self.max_pool:
            pooled = tf.concat([pooled, l2_normalise(tf.reduce_max(shares, axis=1))], axis=1)
        return pooled

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return super().get_config() | {
            "clusters": self.clusters,
            "decay": self.decay,
            "max_pool": self.max_pool,
        }


@keras.saving.register_keras_serializable(package="yt8m")
class GatedDBoF(keras.layers.Layer):
    """Clusters gated by which of them were strongest in any frame.

    ``m = L2(max_t a)``, ``g = sigmoid(BN((m R) U))``, output ``L2(g * sum_t a)``; R [K, D] and
    U [D, K], both ~ Normal(0, 1/sqrt(D)).
    """

    def __init__(self, clusters: int, decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.decay = decay
        self.assignment = SoftAssignment(clusters, decay, name="assignment")
        self.gate_norm = BatchNorm(decay, name="gate_norm")

    def build(self, input_shape: tuple) -> None:
        """Make the soft assignment's variables, R [K, D], U [D, K] and the gate's batch norm."""
        features = input_shape[-1]
        self.assignment.build(input_shape)
        self.reduction = self.add_weight(
            shape=(self.clusters, features), initializer=gaussian(features), name="reduction"
        )
        self.expansion = self.add_weight(
            shape=(features, self.clusters), initializer=gaussian(features), name="expansion"
        )
        self.gate_norm.build((None, self.clusters))

    @property
    def width(self) -> int:
        """Length of the pooled vector: K."""
        return self.clusters

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool.

        Args:
            frames: float32 [B, T, D].
            valid: bool [B, T], False for padding.
            affine: the input batch norm of these D features.
            training: whether batch norms use the batch's statistics.

        Returns:
            float32 [B, K] of length 1.
        """
        shares = self.assignment(frames, valid, affine, training=training)  # [B, T, K]
        strongest = l2_normalise(tf.reduce_max(shares, axis=1))
        logits = tf.matmul(tf.matmul(strongest, self.reduction), self.expansion)
        gates = tf.sigmoid(self.gate_norm(logits, training=training))
        return l2_normalise(gates * tf.reduce_sum(shares, axis=1))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return super().get_config() | {"clusters": self.clusters, "decay": self.decay}
