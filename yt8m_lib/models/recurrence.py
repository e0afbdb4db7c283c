"""The time steps of LSTMs and GRUs, with gradients of their own (sec. 3).

What needs no state is left out of the time steps: the input's product, which the caller makes for
all frames at once, and the gradient by the recurrent kernel, which is one product over all of them.
So a time step reads the recurrent kernel once forward and once backward, and nothing else of size.

D recurrences of one shape, such as the two ways of a bidirectional layer, take their steps
together. Each has C cells, and kernels of G C columns. Where a frame is not valid, a state stays as
it is. Gates and states are float32 in any precision: a cell state is a sum over hundreds of steps,
of which bfloat16 would keep two or three digits.
"""

from abc import ABC, abstractmethod

import tensorflow as tf

from yt8m_lib.models.products import product

Tensors = tuple[tf.Tensor, ...]


class Cell(ABC):
    """The equations of one time step, forward and backward.

    Attributes:
        states: how many tensors its state has; the first is its output.

    Args:
        kernel: the recurrent one, [D, C, G C].
    """

    states: int

    def __init__(self, kernel: tf.Tensor):
        self.kernel, self.units = kernel, kernel.shape[1]

    @abstractmethod
    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """One step forward.

        Args:
            inputs: the input's product and bias, [D, B, G C].
            state: before the step, [D, B, C] each.

        Returns:
            The state after the step, and what the way back wants to know, [D, B, n C].
        """

    @abstractmethod
    def back(
        self, kept: tf.Tensor, before: Tensors, after: Tensors, by_after: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """One step backward.

        Args:
            kept: what ``step`` wanted to be kept.
            before: the state before the step.
            after: the state after it.
            by_after: the gradient by that.

        Returns:
            The gradients by ``inputs`` and by ``before``.
        """

    @abstractmethod
    def by_weights(self, by_inputs: tf.Tensor, kept: tf.Tensor, before: tf.Tensor) -> Tensors:
        """The gradients by what the cell was made with, from rows [D, T B, ...] of all time steps.

        Args:
            by_inputs: gradients by ``inputs``.
            kept: what ``step`` wanted to be kept.
            before: the output before each step.
        """


class LSTM(Cell):
    """``c' = f c + i j`` and ``h = o tanh(c')``, with gates i, f, o; the state is h and c.

    Kernels have the columns of i, f, j and o, in this order.
    """

    states = 2

    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; i, f, j and o are kept."""
        h, c = state
        i, f, j, o = tf.split(inputs + product(h, self.kernel), 4, axis=2)
        i, f, j, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(j), tf.sigmoid(o)
        c = f * c + i * j
        return (o * tf.tanh(c), c), tf.concat([i, f, j, o], axis=2)

    def back(
        self, kept: tf.Tensor, before: Tensors, after: Tensors, by_after: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """See ``Cell``."""
        i, f, j, o = tf.split(kept, 4, axis=2)
        by_h, by_c = by_after
        squashed = tf.tanh(after[1])
        by_c += by_h * o * (1.0 - tf.square(squashed))
        parts = (
            by_c * j * i * (1.0 - i),
            by_c * before[1] * f * (1.0 - f),
            by_c * i * (1.0 - tf.square(j)),
            by_h * squashed * o * (1.0 - o),
        )
        by_inputs = tf.concat(parts, axis=2)
        return by_inputs, (product(by_inputs, self.kernel, transpose_b=True), by_c * f)

    def by_weights(self, by_inputs: tf.Tensor, kept: tf.Tensor, before: tf.Tensor) -> Tensors:
        """See ``Cell``."""
        return (product(before, by_inputs, transpose_a=True),)


class GRU(Cell):
    """``h' = z h + (1 - z) tanh(x + (r h) U)``, with gates z, r: the published one.

    Kernels have the columns of z, r and the candidate, in this order.
    """

    states = 1

    def __init__(self, kernel: tf.Tensor):
        super().__init__(kernel)
        self.of_gates, self.of_candidate = self._parted(kernel)

    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; z, r and the candidate are kept."""
        (h,) = state
        x_gates, x_candidate = self._parted(inputs)
        gates = tf.sigmoid(x_gates + product(h, self.of_gates))
        z, r = tf.split(gates, 2, axis=2)
        candidate = tf.tanh(x_candidate + product(r * h, self.of_candidate))
        return (z * h + (1.0 - z) * candidate,), tf.concat([gates, candidate], axis=2)

    def back(
        self, kept: tf.Tensor, before: Tensors, after: Tensors, by_after: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """See ``Cell``."""
        z, r, candidate = tf.split(kept, 3, axis=2)
        (h,), (by_h,) = before, by_after
        by_candidate = by_h * (1.0 - z) * (1.0 - tf.square(candidate))
        by_reset = product(by_candidate, self.of_candidate, transpose_b=True)  # by r h
        by_z, by_r = by_h * (h - candidate) * z * (1.0 - z), by_reset * h * r * (1.0 - r)
        by_gates = tf.concat([by_z, by_r], axis=2)
        by_before = by_h * z + by_reset * r + product(by_gates, self.of_gates, transpose_b=True)
        return tf.concat([by_gates, by_candidate], axis=2), (by_before,)

    def by_weights(self, by_inputs: tf.Tensor, kept: tf.Tensor, before: tf.Tensor) -> Tensors:
        """See ``Cell``; the candidate's columns met r h."""
        by_gates, by_candidate = self._parted(by_inputs)
        reset = kept[:, :, self.units : 2 * self.units] * before
        parts = (
            product(before, by_gates, transpose_a=True),
            product(reset, by_candidate, transpose_a=True),
        )
        return (tf.concat(parts, axis=2),)

    def _parted(self, columns: tf.Tensor) -> list[tf.Tensor]:
        """Columns of both gates, and of the candidate."""
        return tf.split(columns, [2 * self.units, self.units], axis=2)


class ResetAfterGRU(Cell):
    """``h' = z h + (1 - z) tanh(x + r (h U + b))``: the reset gate comes after the product.

    Args:
        kernel: as for ``Cell``, with the columns of z, r and the candidate.
        bias: of the recurrent product, [D, 1, 3 C].
    """

    states = 1

    def __init__(self, kernel: tf.Tensor, bias: tf.Tensor):
        super().__init__(kernel)
        self.bias = bias

    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; z, r, the candidate and ``h U + b`` of the candidate are kept."""
        (h,) = state
        recurrent = product(h, self.kernel) + self.bias
        gates = tf.sigmoid((inputs + recurrent)[:, :, : 2 * self.units])
        z, r = tf.split(gates, 2, axis=2)
        recurrent = recurrent[:, :, 2 * self.units :]
        candidate = tf.tanh(inputs[:, :, 2 * self.units :] + r * recurrent)
        return (z * h + (1.0 - z) * candidate,), tf.concat([gates, candidate, recurrent], axis=2)

    def back(
        self, kept: tf.Tensor, before: Tensors, after: Tensors, by_after: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """See ``Cell``."""
        z, r, candidate, recurrent = tf.split(kept, 4, axis=2)
        (h,), (by_h,) = before, by_after
        by_candidate = by_h * (1.0 - z) * (1.0 - tf.square(candidate))
        by_z = by_h * (h - candidate) * z * (1.0 - z)
        by_r = by_candidate * recurrent * r * (1.0 - r)
        by_recurrent = tf.concat([by_z, by_r, by_candidate * r], axis=2)
        by_before = by_h * z + product(by_recurrent, self.kernel, transpose_b=True)
        return tf.concat([by_z, by_r, by_candidate], axis=2), (by_before,)

    def by_weights(self, by_inputs: tf.Tensor, kept: tf.Tensor, before: tf.Tensor) -> Tensors:
        """See ``Cell``; what the candidate's columns gave was scaled by r."""
        by_gates, by_candidate = tf.split(by_inputs, [2 * self.units, self.units], axis=2)
        r = kept[:, :, self.units : 2 * self.units]
        by_recurrent = tf.concat([by_gates, by_candidate * r], axis=2)
        by_bias = tf.reduce_sum(by_recurrent, axis=1, keepdims=True)
        return product(before, by_recurrent, transpose_a=True), by_bias


def run(
    kind: type[Cell], inputs: tf.Tensor, valid: tf.Tensor, *weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Take all time steps, from a state of 0.

    Args:
        kind: of the cells.
        inputs: the input's products and biases, [T, D, B, G C].
        valid: which frames count, bool [T, D, B, 1].
        weights: what the cells are made with.

    Returns:
        The output after each step, [T, D, B, C], and the last part of the last state, [D, B, C].
    """

    @tf.custom_gradient
    def steps(inputs: tf.Tensor, *weights: tf.Tensor) -> tuple:
        cell = kind(*weights)
        *states, kept = _forward(cell, inputs, valid)

        def gradients(by_outputs: tf.Tensor, by_last: tf.Tensor) -> Tensors:
            before = [tf.concat([tf.zeros_like(s[:1]), s[:-1]], axis=0) for s in states]
            by_inputs = _backward(cell, valid, kept, before, states, by_outputs, by_last)
            rows = (_as_rows(part) for part in (by_inputs, kept, before[0]))
            return by_inputs, *cell.by_weights(*rows)

        return (states[0], states[-1][-1]), gradients

    return steps(inputs, *weights)


def _forward(cell: Cell, inputs: tf.Tensor, valid: tf.Tensor) -> list[tf.Tensor]:
    """The state after each step, and what the way back wants to know, [T, D, B, ...] each."""
    count = tf.shape(inputs)[0]

    def step(time: tf.Tensor, state: Tensors, notes: tuple) -> tuple:
        new, kept = cell.step(inputs[time], state)
        state = tuple(map(lambda n, o: tf.where(valid[time], n, o), new, state))
        return time + 1, state, _noted(notes, time, (*state, kept))

    start = (tf.zeros_like(inputs[0, :, :, : cell.units]),) * cell.states
    notes = tuple(tf.TensorArray(tf.float32, count) for _ in range(cell.states + 1))
    *_, notes = tf.while_loop(lambda time, *_: time < count, step, (0, start, notes))
    return [_stacked(note, inputs) for note in notes]


def _backward(
    cell: Cell,
    valid: tf.Tensor,
    kept: tf.Tensor,
    before: list[tf.Tensor],
    after: list[tf.Tensor],
    by_outputs: tf.Tensor,
    by_last: tf.Tensor,
) -> tf.Tensor:
    """Gradients by the inputs of all steps, [T, D, B, G C]."""
    count = tf.shape(kept)[0]

    def step(time: tf.Tensor, by_state: Tensors, notes: tf.TensorArray) -> tuple:
        by_state = (by_state[0] + by_outputs[time], *by_state[1:])
        here = tf.where(valid[time], 1.0, 0.0)
        by_inputs, by_before = cell.back(
            kept[time],
            tuple(part[time] for part in before),
            tuple(part[time] for part in after),
            tuple(part * here for part in by_state),
        )
        past = (part * (1.0 - here) for part in by_state)
        by_before = tuple(b + p for b, p in zip(by_before, past, strict=True))
        return time - 1, by_before, notes.write(time, by_inputs)

    zeros = tf.zeros_like(by_last)
    end = (*(zeros for _ in range(cell.states - 1)), by_last)
    notes = tf.TensorArray(tf.float32, count)
    *_, notes = tf.while_loop(lambda time, *_: time >= 0, step, (count - 1, end, notes))
    return _stacked(notes, kept)


def _noted(notes: tuple, time: tf.Tensor, parts: Tensors) -> tuple:
    return tuple(note.write(time, part) for note, part in zip(notes, parts, strict=True))


def _stacked(note: tf.TensorArray, like: tf.Tensor) -> tf.Tensor:
    """What was noted of all steps, [T, ...], of as many steps as another tensor has."""
    steps = note.stack()
    steps.set_shape([like.shape[0], *steps.shape[1:]])
    return steps


def _as_rows(steps: tf.Tensor) -> tf.Tensor:
    """[T, D, B, n] -> [D, T B, n]."""
    shape = tf.shape(steps)
    rows = tf.transpose(steps, [1, 0, 2, 3])
    return tf.reshape(rows, [shape[1], shape[0] * shape[2], steps.shape[3]])
