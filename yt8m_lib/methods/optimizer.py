"""Adam as published (sec. 5), with few passes over the weights.

At the published sizes a step reads and writes the weights, their gradients and their moments more
often than it computes with them: NetVLAD1 has 320 million of each.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

EPSILON = 1e-8


class Adam(keras.optimizers.Adam):
    """Keras' Adam, whose update is one operation a variable; gradients are clipped before.

    Args:
        rate: the learning rate or its schedule.
        clip_norm: each gradient tensor is scaled down to this norm by itself.
    """

    def __init__(self, rate: Any, clip_norm: float = 1.0):
        super().__init__(rate, epsilon=EPSILON)
        self.clip_norm = clip_norm

    def clipped(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor, scaled down where its norm is above ``clip_norm``."""
        return [self._clipped(gradient) for gradient in gradients]

    def _clipped(self, gradient: tf.Tensor) -> tf.Tensor:
        norm = tf.sqrt(2.0 * tf.nn.l2_loss(gradient))  # half the sum of squares, in one pass
        return gradient * (self.clip_norm / tf.maximum(norm, self.clip_norm))

    def apply(self, grads: Sequence[tf.Tensor], trainable_variables: Any = None) -> None:
        """Clip the gradients and move the variables."""
        super().apply(self.clipped(grads), trainable_variables)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Move a variable against its gradient, which is clipped already."""
        place, step = self._get_variable_index(variable), tf.cast(self.iterations + 1, tf.float32)
        weight, mean, square = (
            v.value if isinstance(v, keras.Variable) else v
            for v in (variable, self._momentums[place], self._velocities[place])
        )
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=mean.handle,
            v=square.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
