"""From a video's vector to one probability a class (sec. 3)."""

from functools import partial
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.products import product

MIXTURES = 2  # experts a class; one more gate, a dummy, says "no"
MOE_PENALTY, LOGISTIC_PENALTY = 1e-6, 1e-8


def half_squared_norm(weight: float) -> keras.regularizers.Regularizer:
    """L2 penalty as published: weight times *half* the squared norm."""
    return keras.regularizers.L2(weight / 2)


@keras.saving.register_keras_serializable(package="yt8m")
class MixtureOfExperts(keras.layers.Layer):
    """``p = sum_{m<M} gate_m expert_m`` for each class, M = 2.

    Gates are a softmax over M + 1 logits without bias, experts sigmoids of M logits with bias.
    Kernel columns are class-major: class * (M + 1) + mixture and class * M + mixture. Both kernels
    are penalised with 1e-6.
    """

    def __init__(self, classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.classes = classes

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the gates' kernel [H, V (M + 1)], the experts' kernel [H, V M] and bias."""
        width, penalty = input_shape[-1], half_squared_norm(MOE_PENALTY)
        self.gates = self.add_weight(
            shape=(width, self.classes * (MIXTURES + 1)), regularizer=penalty, name="gates"
        )
        self.experts = self.add_weight(
            shape=(width, self.classes * MIXTURES), regularizer=penalty, name="experts"
        )
        self.bias = self.add_weight(
            shape=(self.classes * MIXTURES,), initializer="zeros", name="bias"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Classify float32 [B, H]; returns probabilities [B, V]."""
        gates = product(inputs, self.gates)
        gates = tf.reshape(gates, [-1, self.classes, MIXTURES + 1])  # [B, V * 3] -> [B, V, 3]
        experts = product(inputs, self.experts) + self.bias
        experts = tf.reshape(experts, [-1, self.classes, MIXTURES])  # [B, V * 2] -> [B, V, 2]
        shares = tf.nn.softmax(gates)[:, :, :MIXTURES]
        return tf.reduce_sum(shares * tf.sigmoid(experts), axis=2)

    def cost(self) -> Cost:
        """``h`` times gates and experts: H V (M + 1) + H V M; softmax and sigmoid are kept, too."""
        logits = product_cost(1, *self.gates.shape) + product_cost(1, *self.experts.shape)
        return logits + Cost(kept=logits.kept)


@keras.saving.register_keras_serializable(package="yt8m")
class Logistic(keras.layers.Layer):
    """``sigmoid(h W + b)``, W penalised with 1e-8.

    Args:
        classes: V.
        penalty: of W.
        bias_penalty: of b.
        initializer: of W.
    """

    def __init__(
        self,
        classes: int,
        penalty: float = LOGISTIC_PENALTY,
        bias_penalty: float = 0.0,
        initializer: str = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.classes = classes
        self.penalty = penalty
        self.bias_penalty = bias_penalty
        self.initializer = initializer

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make W [H, V] and b [V]."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.classes),
            initializer=self.initializer,
            regularizer=half_squared_norm(self.penalty),
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.classes,),
            initializer="zeros",
            regularizer=half_squared_norm(self.bias_penalty) if self.bias_penalty else None,
            name="bias",
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Classify float32 [B, H]; returns probabilities [B, V]."""
        return tf.sigmoid(product(inputs, self.kernel) + self.bias)

    def cost(self) -> Cost:
        """``h W``: H V."""
        return product_cost(1, *self.kernel.shape)


CLASSIFIERS = {
    "mixture_of_experts": MixtureOfExperts,
    "logistic": Logistic,
    "penalised_logistic": partial(
        Logistic, penalty=1e-5, bias_penalty=1e-5, initializer="he_normal"
    ),
}  # as families name them
