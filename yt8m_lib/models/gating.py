"""The hidden layer, and the gates after it and after the classifier (sec. 3)."""

from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.assignment import gaussian
from yt8m_lib.models.normalization import BatchNorm
from yt8m_lib.models.products import product


@keras.saving.register_keras_serializable(package="yt8m")
class Hidden(keras.layers.Layer):
    """``h = z W1 + b``, or ``relu6(BN(z W1))`` with ``relu``.

    W1 ~ Normal(0, 1/sqrt(K)) with K the clusters of the video stream, b ~ Normal(0, 0.01).

    Args:
        units: H.
        clusters: K.
        relu: whether a batch norm and a ReLU take the place of the bias.
        decay: of the batch norm's moving statistics.
    """

    def __init__(
        self, units: int, clusters: int, relu: bool = False, decay: float = 0.999, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.units = units
        self.clusters = clusters
        self.relu = relu
        if relu:
            self.norm = BatchNorm(decay, name="norm")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make W1 [Z, H] and b [H], or W1 and the batch norm."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), initializer=gaussian(self.clusters), name="kernel"
        )
        if self.relu:
            self.norm.build((None, self.units))
        else:
            self.bias = self.add_weight(
                shape=(self.units,),
                initializer=keras.initializers.RandomNormal(stddev=0.01),
                name="bias",
            )

    def call(self, pooled: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Project float32 [B, Z] to [B, H]."""
        hidden = product(pooled, self.kernel)
        if self.relu:
            return tf.nn.relu6(self.norm(hidden, training=training))
        return hidden + self.bias

    def cost(self) -> Cost:
        """``z W1``: Z H."""
        return product_cost(1, *self.kernel.shape)


@keras.saving.register_keras_serializable(package="yt8m")
class Gating(keras.layers.Layer):
    """``x * sigmoid(BN(x G))`` with G [N, N] ~ Normal(0, 1/sqrt(N)).

    Context gating where x is the hidden layer, label gating where x is the predictions.
    """

    def __init__(self, decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.norm = BatchNorm(decay, name="norm")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make G [N, N] and its batch norm."""
        width = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(width, width), initializer=gaussian(width), name="kernel"
        )
        self.norm.build((None, width))

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Gate float32 [B, N]; the shape stays."""
        return inputs * tf.sigmoid(self.norm(product(inputs, self.kernel), training=training))

    def cost(self) -> Cost:
        """``x G``: N^2; the batch norm and the gate are kept beside it."""
        return product_cost(1, *self.kernel.shape) + Cost(kept=2 * self.kernel.shape[1])


@keras.saving.register_keras_serializable(package="yt8m")
class Excitation(keras.layers.Layer):
    """``x * sigmoid(ReLU(BN(x P)) Q)``: the gate of NeXtVLAD ("SE context gating").

    P [N, N / r] and Q [N / r, N], both He normal, without biases. The paper's figure has a second
    batch norm, after Q; the released code, which is followed, has none.

    Args:
        reduction: r, by which the gate's inner layer is narrower.
        decay: of the batch norm's moving statistics.
    """

    def __init__(self, reduction: int, decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.reduction = reduction
        self.norm = BatchNorm(decay, name="norm")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make P [N, N / r], its batch norm and Q [N / r, N]."""
        width = input_shape[-1]
        narrow = max(width // self.reduction, 1)
        self.squeeze = self.add_weight(
            shape=(width, narrow), initializer="he_normal", name="squeeze"
        )
        self.norm.build((None, narrow))
        self.excite = self.add_weight(shape=(narrow, width), initializer="he_normal", name="excite")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Gate float32 [B, N]; the shape stays."""
        squeezed = self.norm(product(inputs, self.squeeze), training=training)  # [B, N / r]
        return inputs * tf.sigmoid(product(tf.nn.relu(squeezed), self.excite))

    def cost(self) -> Cost:
        """``x P`` and its product with Q: 2 N^2 / r."""
        return product_cost(1, *self.squeeze.shape) + product_cost(1, *self.excite.shape)
