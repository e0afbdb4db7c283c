"""Weight averaging (sec. 4.1, Table 1): averages of the weights that follow the training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


class Average(tf.Module, ABC):
    """An average of some variables over training steps.

    Args:
        variables: gives the variables to average; the average starts at their values.
    """

    def __init__(self, variables: Callable[[], Sequence]):
        super().__init__()
        self._followed = variables
        self.averages = [tf.Variable(tf.identity(v), trainable=False) for v in self._tensors()]

    @abstractmethod
    def update(self) -> None:
        """Count in the variables' present values; call it after each step."""

    def swap(self, model: keras.Model) -> None:
        """Exchange the averages and the model's weights; a second call restores both."""
        for average, variable in zip(self.averages, model.variables, strict=True):
            weight = tf.identity(variable.value)
            variable.assign(average)
            average.assign(weight)

    def _tensors(self) -> list[tf.Tensor]:
        return [v.value if isinstance(v, keras.Variable) else v for v in self._followed()]


class Shadow(Average):
    """Exponential moving average of all of a model's variables, batch-norm statistics included.

    ``shadow = d shadow + (1 - d) w`` after each step, ``d = 1 - 1 / H``. The released code calls H
    a half-life; it is a time constant: after H steps 1/e of the first weights is left.

    Args:
        model: a built model; the shadow starts at its weights.
        time_constant: H, in steps.
    """

    def __init__(self, model: keras.Model, time_constant: int):
        super().__init__(lambda: model.variables)
        self.decay = 1.0 - 1.0 / time_constant

    def update(self) -> None:
        """Move the averages one step towards the model's present weights."""
        for average, value in zip(self.averages, self._tensors(), strict=True):
            average.assign_sub((1.0 - self.decay) * (average - value))


class CheckpointMean(Average):
    """Equal-weight mean of checkpoints, one taken every few steps (the winners' write-up).

    Args:
        variables: gives what is averaged: a model's variables, or a shadow's averages.
        every: steps between two checkpoints.
    """

    def __init__(self, variables: Callable[[], Sequence], every: int):
        super().__init__(variables)
        self.every = every
        self.steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    def update(self) -> None:
        """Count a step and, where a checkpoint is due, count it in; the first one replaces all."""
        self.steps.assign_add(1)
        tf.cond(self.steps % self.every == 0, self._count_in, lambda: tf.constant(False))

    def _count_in(self) -> tf.Tensor:
        share = 1.0 / tf.cast(self.steps // self.every, tf.float32)
        for average, value in zip(self.averages, self._tensors(), strict=True):
            average.assign_add(tf.cast(share, average.dtype) * (value - average))
        return tf.constant(True)
