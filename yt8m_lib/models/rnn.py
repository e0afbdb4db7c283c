"""The recurrent family: a bidirectional layer under a one-way layer (sec. 3)."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.products import product
from yt8m_lib.models.recurrence import GRU, LSTM, ResetAfterGRU, run
from yt8m_lib.settings import Model
from yt8m_lib.streams import Stream


def make_encoder(
    model: Model, batch_norm_decay: float, streams: Sequence[Stream]
) -> "RecurrentEncoder":
    """Make the encoder; it has no batch norm."""
    return RecurrentEncoder(model.architecture, model.hidden, **model.options, name="encoder")


@keras.saving.register_keras_serializable(package="yt8m")
class RecurrentEncoder(keras.layers.Layer):
    """A bidirectional layer of C/2 cells each way, then a one-way layer of C cells.

    An LSTM's answer is its final *cell state* c, a GRU's its final output h. The backward layer
    runs over the valid frames only.

    Args:
        cell: "lstm" or "gru".
        cells: C.
        reset_after: whether a GRU applies its reset gate after the recurrent product, which is the
            faster variant that cuDNN has. The published GRU applies it before.
        input_scale: by which frames are multiplied; 1 as published. Frames have length 1, so their
            features are of 0.03, and so is what a fresh GRU answers, where an LSTM's cell state
            adds up over the frames. A small GRU that is trained for few steps learns little at 1.
    """

    def __init__(
        self,
        cell: str,
        cells: int,
        reset_after: bool = False,
        input_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.cell = cell
        self.cells = cells
        self.reset_after = reset_after
        self.input_scale = input_scale

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the three layers' kernels and biases."""
        features, half = input_shape[-1], self.cells // 2
        self.forward = self._layer("forward", features, half, return_sequences=True)
        self.backward = self._layer("backward", features, half, return_sequences=True)
        self.top = self._layer("top", 2 * half, self.cells, return_state=True)

    @property
    def width(self) -> int:
        """Length of a video's vector: C."""
        return self.cells

    def call(self, *frames: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Read the frames of each video in order.

        Args:
            frames: the features of each stream, float32 [B, T, D]; and last which frames are valid,
                bool [B, T], where every video's valid frames come first.
            training: whether cuDNN may be used, where there is a GPU. What is exported answers on
                any machine, so it is not traced with it.

        Returns:
            float32 [B, C].
        """
        *streams, valid = frames
        if self.input_scale != 1:
            streams = [self.input_scale * stream for stream in streams]
        if training and self._cudnn_takes_it and has_gpu():
            return self.by_keras(tf.concat(streams, axis=2), valid)
        frames = tf.concat([tf.transpose(s, [1, 0, 2]) for s in streams], axis=2)  # [T, B, F]
        lengths = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)
        # Padding comes last either way: what cells make of it reaches nothing that is asked for.
        backward = _reversed(_projected(frames, self.backward), lengths)
        ways = tf.stack([_projected(frames, self.forward), backward], axis=1)  # [T, 2, B, G C / 2]
        outputs, *_ = self._steps(ways, self.forward, self.backward)
        both = tf.concat([outputs[:, 0], _reversed(outputs[:, 1], lengths)], axis=2)  # [T, B, C]
        *_, states = self._steps(_projected(both, self.top)[:, tf.newaxis], self.top)
        return _last(states[:, 0], lengths)

    def by_keras(self, frames: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """The same as ``call``, by Keras' layers, which a GPU's cuDNN computes as a whole."""
        lengths = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)
        reversed_frames = tf.reverse_sequence(frames, lengths, seq_axis=1)
        backward = tf.reverse_sequence(
            self.backward(reversed_frames, mask=valid), lengths, seq_axis=1
        )
        both = tf.concat([self.forward(frames, mask=valid), backward], axis=2)  # [B, T, C]
        _, *state = self.top(both, mask=valid)
        return state[-1]  # c of an LSTM's [h, c], h of a GRU's [h]

    @property
    def _cudnn_takes_it(self) -> bool:
        return self.cell == "lstm" or self.reset_after

    def _steps(self, inputs: tf.Tensor, *layers: keras.layers.RNN) -> tuple[tf.Tensor, ...]:
        """Run the cells of layers of one shape together; see ``recurrence.run``."""
        weights = [_stacked([layer.cell.recurrent_kernel for layer in layers])]  # [D, C, G C]
        if self.reset_after:
            weights.append(_stacked([layer.cell.bias for layer in layers])[:, 1:])  # [D, 1, G C]
        kind = {"lstm": LSTM, "gru": ResetAfterGRU if self.reset_after else GRU}[self.cell]
        return run(kind, inputs, *weights)

    def cost(self, frames: int) -> Cost:
        """For T frames of F features, with G = 4 kernels of an LSTM's cell or 3 of a GRU's.

        Each way: T F (G C/2) + T (C/2) (G C/2); the layer above: T C (G C) twice. The input's
        products can be made for all frames at once, those of the state wait for the frame before.
        """
        below = [_cell_cost(layer, frames, of_data=True) for layer in (self.forward, self.backward)]
        return sum(below, _cell_cost(self.top, frames, of_data=False))

    def _layer(self, name: str, inputs: int, cells: int, **options: bool) -> keras.layers.RNN:
        if self.cell == "lstm":
            kind, blocks = keras.layers.LSTM, (4,)
        else:
            kind, blocks = keras.layers.GRU, (2, 1)
            options |= {"reset_after": self.reset_after}
            options |= {"bias_initializer": _open_gates(cells)}
        layer = kind(
            cells,
            kernel_initializer=_fused_glorot(inputs, cells, blocks),
            recurrent_initializer=_fused_glorot(inputs, cells, blocks),
            name=name,
            **options,
        )
        # Keras gives each cell a random state for dropout, which these do not have.
        layer.cell._seed_generators.clear()
        layer.build((None, None, inputs))
        return layer


def has_gpu() -> bool:
    """Whether TensorFlow has a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def _projected(frames: tf.Tensor, layer: keras.layers.RNN) -> tf.Tensor:
    """The input's product and bias of all frames at once: [T, B, F] -> [T, B, G C]."""
    shape, bias = tf.shape(frames), tf.convert_to_tensor(layer.cell.bias)
    rows = tf.reshape(frames, [-1, frames.shape[2]])
    inputs = product(rows, layer.cell.kernel) + (bias if len(bias.shape) == 1 else bias[0])
    return tf.reshape(inputs, [shape[0], shape[1], inputs.shape[1]])


def _stacked(weights: Sequence[keras.Variable]) -> tf.Tensor:
    return tf.stack([tf.convert_to_tensor(weight) for weight in weights])


def _reversed(steps: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """[T, B, n] with the last valid frame first, and padding where it is."""
    return tf.reverse_sequence(steps, lengths, seq_axis=0, batch_axis=1)


def _last(steps: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """[T, B, C] at each video's last valid frame, [B, C]; 0 for a video without any."""
    places = tf.stack([tf.maximum(lengths - 1, 0), tf.range(tf.shape(lengths)[0])], axis=1)
    return tf.where(lengths[:, tf.newaxis] > 0, tf.gather_nd(steps, places), 0.0)


def _cell_cost(layer: keras.layers.RNN, frames: int, of_data: bool) -> Cost:
    """``x W`` and ``h U`` for each frame, with U read again for each."""
    state = layer.cell.recurrent_kernel.shape
    once = product_cost(frames, *layer.cell.kernel.shape, of_data) + product_cost(frames, *state)
    return once + Cost(kernel_reads=frames * state[0] * state[1], time_steps=frames)


def _fused_glorot(inputs: int, cells: int, blocks: tuple[int, ...]) -> Callable:
    """An initialiser of Keras' separate kernels that draws what the published fused kernel has.

    The published cell stacks input and recurrent kernel into one variable
    [inputs + cells, blocks * cells], so both halves are Glorot uniform with its limit. A GRU has
    two of them, gates (2 blocks) and candidate (1 block), which lie side by side in Keras' kernels.
    """
    limits = [(6.0 / (inputs + cells + count * cells)) ** 0.5 for count in blocks]
    draws = [keras.initializers.RandomUniform(-limit, limit) for limit in limits]

    def initialise(shape: tuple, dtype: str | None = None) -> tf.Tensor:
        widths = [count * cells for count in blocks]
        parts = [draw((shape[0], n), dtype) for draw, n in zip(draws, widths, strict=True)]
        return tf.concat(parts, axis=1)

    return initialise


def _open_gates(cells: int) -> Callable:
    """An initialiser of a GRU's biases: 1 for both gates, 0 for the candidate."""

    def initialise(shape: tuple, dtype: str | None = None) -> tf.Tensor:
        bias = tf.concat([tf.ones([2 * cells], dtype), tf.zeros([cells], dtype)], axis=0)
        if len(shape) == 1:
            return bias
        return tf.stack([bias, tf.zeros_like(bias)])  # reset_after: input and recurrent bias

    return initialise
