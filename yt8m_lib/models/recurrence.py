"""The time steps of LSTMs and GRUs, with gradients of their own (sec. 3).

What needs no state is left out of the time steps and made for all of them at once: the input's
product (by the caller), the slopes of the gates, and the gradient by the recurrent kernel. So a
time step reads the recurrent kernel once forward and once backward, and little else.

D recurrences of one shape, such as the two ways of a bidirectional layer, take their steps
together. Each has C cells, and kernels of G C columns. Gates and states are float32 in any
precision: a cell state is a sum over hundreds of steps, of which bfloat16 would keep two or three
digits.
"""

from abc import ABC, abstractmethod

import tensorflow as tf

from yt8m_lib.models.products import product

Tensors = tuple[tf.Tensor, ...]


class Cell(ABC):
    """The equations of one kind of cells, of a time step or of all T together.

    Attributes:
        states: how many tensors a state has, [D, B, C] each; the first is the output.

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
            state: before the step.

        Returns:
            The state after it, and its gates (and what else the way back needs), [D, B, n C].
        """

    @abstractmethod
    def slopes(self, gates: tf.Tensor, before: Tensors, after: Tensors) -> tf.Tensor:
        """What ``back`` multiplies by, of all steps: [T, D, B, m C].

        Args:
            gates: as ``step`` gave them, [T, D, B, n C].
            before: the states before the steps, [T, D, B, C] each.
            after: the states after them.
        """

    @abstractmethod
    def back(self, slopes: tf.Tensor, by_after: Tensors) -> tuple[Tensors, tf.Tensor]:
        """One step backward.

        Args:
            slopes: of this step, [D, B, m C].
            by_after: the gradient by the state after it.

        Returns:
            The gradient by the state before it, and that by its recurrent product (and what else
            ``by_all`` needs), [D, B, k C].
        """

    @abstractmethod
    def by_all(self, by_steps: tf.Tensor, gates: tf.Tensor, outputs: tf.Tensor) -> Tensors:
        """The gradients by the inputs, [T, D, B, G C], and by what the cells were made with.

        Args:
            by_steps: as ``back`` gave them, [T, D, B, k C].
            gates: as ``step`` gave them.
            outputs: before each step, [T, D, B, C].
        """


class LSTM(Cell):
    """``c' = f c + i j`` and ``h = o tanh(c')``, with gates i, f, o; the state is h and c.

    Kernels have the columns of i, f, j and o, in this order.
    """

    states = 2

    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; the gates are i, f, j and o."""
        h, c = state
        i, f, j, o = tf.split(inputs + product(h, self.kernel), 4, axis=2)
        i, f, j, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(j), tf.sigmoid(o)
        c = f * c + i * j
        return (o * tf.tanh(c), c), tf.concat([i, f, j, o], axis=2)

    def slopes(self, gates: tf.Tensor, before: Tensors, after: Tensors) -> tf.Tensor:
        """See ``Cell``; of i, f and j by c', of o by h, of c' by h, and of c' by c."""
        i, f, j, o = tf.split(gates, 4, axis=3)
        squashed = tf.tanh(after[1])
        parts = (
            j * i * (1.0 - i),
            before[1] * f * (1.0 - f),
            i * (1.0 - tf.square(j)),
            squashed * o * (1.0 - o),
            o * (1.0 - tf.square(squashed)),
            f,
        )
        return tf.concat(parts, axis=3)

    def back(self, slopes: tf.Tensor, by_after: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``."""
        of_gates, of_h, of_c = tf.split(slopes, [4 * self.units, self.units, self.units], axis=2)
        by_h, by_c = by_after
        by_c += by_h * of_h
        by_gates = of_gates * tf.concat([by_c, by_c, by_c, by_h], axis=2)
        return (product(by_gates, self.kernel, transpose_b=True), by_c * of_c), by_gates

    def by_all(self, by_steps: tf.Tensor, gates: tf.Tensor, outputs: tf.Tensor) -> Tensors:
        """See ``Cell``."""
        return by_steps, _by_kernel(outputs, by_steps)


class GRU(Cell):
    """``h' = z h + (1 - z) tanh(x + (r h) U)``, with gates z, r: the published one.

    Kernels have the columns of z, r and the candidate, in this order.
    """

    states = 1

    def __init__(self, kernel: tf.Tensor):
        super().__init__(kernel)
        self.widths = [2 * self.units, self.units]
        self.of_gates, self.of_candidate = tf.split(kernel, self.widths, axis=2)

    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; the gates are z, r and the candidate."""
        (h,) = state
        x_gates, x_candidate = tf.split(inputs, self.widths, axis=2)
        gates = tf.sigmoid(x_gates + product(h, self.of_gates))
        z, r = tf.split(gates, 2, axis=2)
        candidate = tf.tanh(x_candidate + product(r * h, self.of_candidate))
        return (candidate + z * (h - candidate),), tf.concat([gates, candidate], axis=2)

    def slopes(self, gates: tf.Tensor, before: Tensors, after: Tensors) -> tf.Tensor:
        """See ``Cell``; of z and the candidate by h', of r by r h, of h' by h, of r h by h."""
        z, r, candidate = tf.split(gates, 3, axis=3)
        parts = (
            (before[0] - candidate) * z * (1.0 - z),
            (1.0 - z) * (1.0 - tf.square(candidate)),
            before[0] * r * (1.0 - r),
            z,
            r,
        )
        return tf.concat(parts, axis=3)

    def back(self, slopes: tf.Tensor, by_after: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``."""
        of_z, of_candidate, of_r, z, r = tf.split(slopes, 5, axis=2)
        (by_h,) = by_after
        by_candidate = by_h * of_candidate
        by_reset = product(by_candidate, self.of_candidate, transpose_b=True)  # by r h
        by_gates = tf.concat([by_h * of_z, by_reset * of_r], axis=2)
        by_before = by_h * z + by_reset * r + product(by_gates, self.of_gates, transpose_b=True)
        return (by_before,), tf.concat([by_gates, by_candidate], axis=2)

    def by_all(self, by_steps: tf.Tensor, gates: tf.Tensor, outputs: tf.Tensor) -> Tensors:
        """See ``Cell``; the candidate's columns met r h."""
        by_gates, by_candidate = tf.split(by_steps, self.widths, axis=3)
        reset = gates[:, :, :, self.units : 2 * self.units] * outputs
        parts = _by_kernel(outputs, by_gates), _by_kernel(reset, by_candidate)
        return by_steps, tf.concat(parts, axis=2)


class ResetAfterGRU(Cell):
    """``h' = z h + (1 - z) tanh(x + r (h U + b))``: the reset gate comes after the product.

    Args:
        kernel: as for ``Cell``, with the columns of z, r and the candidate.
        bias: of the recurrent product, [D, 1, 3 C].
    """

    states = 1

    def __init__(self, kernel: tf.Tensor, bias: tf.Tensor):
        super().__init__(kernel)
        self.bias, self.widths = bias, [2 * self.units, self.units]

    def step(self, inputs: tf.Tensor, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; the gates are z, r, the candidate, and the candidate's ``h U + b``."""
        (h,) = state
        recurrent, addend = tf.split(product(h, self.kernel) + self.bias, self.widths, axis=2)
        x_gates, x_candidate = tf.split(inputs, self.widths, axis=2)
        gates = tf.sigmoid(x_gates + recurrent)
        z, r = tf.split(gates, 2, axis=2)
        candidate = tf.tanh(x_candidate + r * addend)
        return (candidate + z * (h - candidate),), tf.concat([gates, candidate, addend], axis=2)

    def slopes(self, gates: tf.Tensor, before: Tensors, after: Tensors) -> tf.Tensor:
        """See ``Cell``; by h' of z, r, the addend and the candidate, and of h' by h."""
        z, r, candidate, addend = tf.split(gates, 4, axis=3)
        of_candidate = (1.0 - z) * (1.0 - tf.square(candidate))
        parts = (
            (before[0] - candidate) * z * (1.0 - z),
            of_candidate * addend * r * (1.0 - r),
            of_candidate * r,
            of_candidate,
            z,
        )
        return tf.concat(parts, axis=3)

    def back(self, slopes: tf.Tensor, by_after: Tensors) -> tuple[Tensors, tf.Tensor]:
        """See ``Cell``; what is kept is by z, r, the addend and the candidate."""
        of_gates, z = tf.split(slopes, [4 * self.units, self.units], axis=2)
        (by_h,) = by_after
        by_gates = of_gates * tf.concat([by_h] * 4, axis=2)
        recurrent = by_gates[:, :, : 3 * self.units]
        return (by_h * z + product(recurrent, self.kernel, transpose_b=True),), by_gates

    def by_all(self, by_steps: tf.Tensor, gates: tf.Tensor, outputs: tf.Tensor) -> Tensors:
        """See ``Cell``."""
        by_gates, by_addend, by_candidate = tf.split(by_steps, [*self.widths, self.units], axis=3)
        by_recurrent = tf.concat([by_gates, by_addend], axis=3)
        by_bias = tf.reduce_sum(by_recurrent, axis=[0, 2])[:, tf.newaxis]
        by_inputs = tf.concat([by_gates, by_candidate], axis=3)
        return by_inputs, _by_kernel(outputs, by_recurrent), by_bias


def run(kind: type[Cell], inputs: tf.Tensor, *weights: tf.Tensor) -> Tensors:
    """Take all time steps, from a state of 0.

    Args:
        kind: of the cells.
        inputs: the input's products and biases, [T, D, B, G C].
        weights: what the cells are made with.

    Returns:
        The state after each step, [T, D, B, C] for each of its tensors.
    """

    @tf.custom_gradient
    def steps(inputs: tf.Tensor, *weights: tf.Tensor) -> tuple:
        cell = kind(*weights)
        *after, gates = _forward(cell, inputs)

        def gradients(*by_after: tf.Tensor) -> Tensors:
            before = tuple(tf.concat([tf.zeros_like(s[:1]), s[:-1]], axis=0) for s in after)
            slopes = cell.slopes(gates, before, tuple(after))
            return cell.by_all(_backward(cell, slopes, by_after), gates, before[0])

        return tuple(after), gradients

    return steps(inputs, *weights)


def _forward(cell: Cell, inputs: tf.Tensor) -> Tensors:
    """The state after each step, and its gates, [T, D, B, ...] each."""
    count = tf.shape(inputs)[0]

    def step(time: tf.Tensor, state: Tensors, notes: tuple) -> tuple:
        state, gates = cell.step(tf.gather(inputs, time), state)
        return time + 1, state, _noted(notes, time, (*state, gates))

    start = (tf.zeros_like(inputs[0, :, :, : cell.units]),) * cell.states
    notes = tuple(tf.TensorArray(tf.float32, count) for _ in range(cell.states + 1))
    *_, notes = tf.while_loop(lambda time, *_: time < count, step, (0, start, notes))
    return tuple(_stacked(note, inputs) for note in notes)


def _backward(cell: Cell, slopes: tf.Tensor, by_after: Tensors) -> tf.Tensor:
    """What ``back`` gives of each step, from the gradients by the states after the steps."""
    count = tf.shape(slopes)[0]

    def step(time: tf.Tensor, by_state: Tensors, notes: tuple) -> tuple:
        here = (tf.gather(part, time) for part in by_after)
        by_state = tuple(later + own for later, own in zip(by_state, here, strict=True))
        by_state, by_step = cell.back(tf.gather(slopes, time), by_state)
        return time - 1, by_state, _noted(notes, time, (by_step,))

    end = (tf.zeros_like(by_after[0][0]),) * cell.states
    notes = (tf.TensorArray(tf.float32, count),)
    *_, (note,) = tf.while_loop(lambda time, *_: time >= 0, step, (count - 1, end, notes))
    return _stacked(note, slopes)


def _noted(notes: tuple, time: tf.Tensor, parts: Tensors) -> tuple:
    return tuple(note.write(time, part) for note, part in zip(notes, parts, strict=True))


def _stacked(note: tf.TensorArray, like: tf.Tensor) -> tf.Tensor:
    """What was noted of all steps, [T, ...], of as many steps as another tensor has."""
    steps = note.stack()
    steps.set_shape([like.shape[0], *steps.shape[1:]])
    return steps


def _by_kernel(rows: tf.Tensor, by_columns: tf.Tensor) -> tf.Tensor:
    """The gradient by the kernel [D, C, n C] that the rows of all steps, [T, D, B, C], met."""
    return product(_of_all_steps(rows), _of_all_steps(by_columns), transpose_a=True)


def _of_all_steps(steps: tf.Tensor) -> tf.Tensor:
    """[T, D, B, n] -> [D, T B, n]."""
    rows = tf.transpose(steps, [1, 0, 2, 3])
    return tf.reshape(rows, [rows.shape[0], -1, rows.shape[3]])
