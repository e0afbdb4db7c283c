"""Soft assignment of frames to clusters: what NetVLAD, FVNet and DBoF share (sec. 3)."""

from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.normalization import Affine, BatchNorm
from yt8m_lib.models.products import product

TINY = 1e-12  # keeps the length of a zero vector from dividing by zero


def gaussian(width: int) -> keras.initializers.Initializer:
    """Normal(0, 1 / sqrt(width)), the published initialiser of nearly every kernel."""
    return keras.initializers.RandomNormal(stddev=width**-0.5)


def l2_normalise(vectors: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """Scale to Euclidean length 1 along an axis; zeros stay zeros."""
    return tf.math.l2_normalize(vectors, axis, epsilon=TINY)


def normalise_clusters(vectors: tf.Tensor) -> tf.Tensor:
    """Scale each cluster's vector to length 1, then all of them together.

    Both lengths follow from one sum of squares a cluster, so the vectors are read and scaled once.

    Args:
        vectors: float32 [B, K, D].

    Returns:
        float32 [B, K, D].
    """
    squares = tf.reduce_sum(tf.square(vectors), axis=2, keepdims=True)  # [B, K, 1]
    factors = tf.math.rsqrt(tf.maximum(squares, TINY))
    total = tf.reduce_sum(squares * tf.square(factors), axis=1, keepdims=True)  # [B, 1, 1]
    return vectors * (factors * tf.math.rsqrt(tf.maximum(total, TINY)))


def project(rows: tf.Tensor, kernel: tf.Tensor, affine: Affine) -> tf.Tensor:
    """``(rows * scale + shift) kernel`` without forming the first factor.

    Args:
        rows: float32 [N, D], the largest tensor by far.
        kernel: float32 [D, C].
        affine: of the D columns.

    Returns:
        float32 [N, C].
    """
    projected = product(rows, tf.expand_dims(affine.scale, 1) * kernel)
    return projected + tf.matmul(tf.expand_dims(affine.shift, 0), kernel)


@keras.saving.register_keras_serializable(package="yt8m")
class SoftAssignment(keras.layers.Layer):
    """``a = softmax_k(BN(x W))`` with W [D, K] ~ Normal(0, 1/sqrt(D)), no bias (sec. 3).

    x is the *input-normalised* frame ``frame * scale + shift``. It is never formed: its product
    with W is ``frame (scale W) + shift W``.

    With G groups W is [D, G K], and each frame has G assignments, one after the other.

    Args:
        clusters: K.
        decay: of the batch norm's moving statistics.
        groups: G.
        initializer: of W, in place of the published one.
    """

    def __init__(
        self,
        clusters: int,
        decay: float = 0.999,
        groups: int = 1,
        initializer: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.groups = groups
        self.initializer = initializer
        self.norm = BatchNorm(decay, name="norm")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make W [D, G K] and its batch norm."""
        features, columns = input_shape[-1], self.groups * self.clusters
        initializer = self.initializer or gaussian(features)
        self.kernel = self.add_weight(
            shape=(features, columns), initializer=initializer, name="kernel"
        )
        self.norm.build((None, columns))

    def call(
        self,
        frames: tf.Tensor,
        valid: tf.Tensor,
        affine: Affine | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Assign every frame to the clusters, to each with a share.

        Args:
            frames: float32 [B, T, D], before the input batch norm.
            valid: bool [B, T], False for padding; or float32 [B, T, G], what each group of a frame
                counts.
            affine: the input batch norm of these D features; None where there is none.
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, T G, K]: each valid frame's row sums to 1, each padding frame's is 0.
        """
        kernel = tf.convert_to_tensor(self.kernel)
        rows = tf.reshape(frames, [-1, frames.shape[-1]])  # [B, T, D] -> [B * T, D]
        logits = project(rows, kernel, affine) if affine else product(rows, kernel)
        logits = self.norm(logits, training=training)
        logits = tf.reshape(logits, [-1, self.clusters])  # [B * T, G * K] -> [B * T * G, K]
        counts = tf.cast(tf.reshape(valid, [-1, 1]), tf.float32)  # [B, T, G] -> [B * T * G, 1]
        shares = tf.nn.softmax(logits) * counts
        shape = tf.shape(frames)
        # [B * T * G, K] -> [B, T * G, K]
        return tf.reshape(shares, [shape[0], shape[1] * self.groups, self.clusters])

    def cost(self, frames: int, of_data: bool = True) -> Cost:
        """``x W`` for T frames: T D G K; its batch norm and softmax are kept beside it."""
        columns = self.kernel.shape[1]
        return product_cost(frames, *self.kernel.shape, of_data) + Cost(kept=2 * frames * columns)
