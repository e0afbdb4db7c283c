"""Keras' recurrent cells, whose products follow the precision that a training asks for.

In float32 they are Keras' own. In mixed precision gates and state stay float32: a cell state is a
sum over hundreds of steps, of which bfloat16 would keep two or three digits. On a GPU Keras hands
whole layers to cuDNN where it can (an LSTM, and a GRU with ``reset_after``), which does not come
by here and multiplies as float32 is multiplied there.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from yt8m_lib.models.products import is_mixed, product

State = Sequence[tf.Tensor]


class LSTMCell(keras.layers.LSTMCell):
    """An LSTM cell without dropout."""

    def call(
        self, inputs: tf.Tensor, states: State, training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One step: float32 [B, D] and the state's h and c [B, C] to h and the next state."""
        if not is_mixed():
            return super().call(inputs, states, training=training)
        h, c = states
        z = product(inputs, self.kernel) + product(h, self.recurrent_kernel) + self.bias  # [B, 4C]
        c, output_gate = self._compute_carry_and_output_fused(tf.split(z, 4, axis=1), c)
        h = output_gate * tf.tanh(c)
        return h, [h, c]


class GRUCell(keras.layers.GRUCell):
    """A GRU cell without dropout, with its reset gate before or after the recurrent product."""

    def call(
        self, inputs: tf.Tensor, states: State, training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One step: float32 [B, D] and the state's h [B, C] to h and the next state."""
        if not is_mixed():
            return super().call(inputs, states, training=training)
        h, gates = states[0], 2 * self.units
        bias, recurrent_bias = tf.unstack(self.bias) if self.reset_after else (self.bias, 0.0)
        x = product(inputs, self.kernel) + bias  # [B, 3C]
        if self.reset_after:
            recurrent = product(h, self.recurrent_kernel) + recurrent_bias  # [B, 3C]
            z, r = tf.split(tf.sigmoid(x[:, :gates] + recurrent[:, :gates]), 2, axis=1)
            candidate = tf.tanh(x[:, gates:] + r * recurrent[:, gates:])
        else:
            kernel = tf.convert_to_tensor(self.recurrent_kernel)
            z, r = tf.split(tf.sigmoid(x[:, :gates] + product(h, kernel[:, :gates])), 2, axis=1)
            candidate = tf.tanh(x[:, gates:] + product(r * h, kernel[:, gates:]))
        h = z * h + (1.0 - z) * candidate
        return h, [h]
