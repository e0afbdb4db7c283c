"""Weight averaging (sec. 4.1, Table 1): a shadow copy of the weights that follows the training."""

import keras
import tensorflow as tf


class Shadow(tf.Module):
    """Exponential moving average of all of a model's variables, batch-norm statistics included.

    ``shadow = d shadow + (1 - d) w`` after each step, ``d = 1 - 1 / H``. The released code calls H
    a half-life; it is a time constant: after H steps 1/e of the first weights is left.

    Args:
        model: a built model; the shadow starts at its weights.
        time_constant: H, in steps.
    """

    def __init__(self, model: keras.Model, time_constant: int):
        super().__init__()
        self.decay = 1.0 - 1.0 / time_constant
        self._model_variables = lambda: model.variables
        self.averages = [tf.Variable(v.value, trainable=False) for v in model.variables]

    def update(self) -> None:
        """Move the averages one step towards the model's present weights."""
        for average, variable in zip(self.averages, self._model_variables(), strict=True):
            average.assign_sub((1.0 - self.decay) * (average - variable.value))

    def swap(self) -> None:
        """Exchange the averages and the model's weights."""
        for average, variable in zip(self.averages, self._model_variables(), strict=True):
            raw = tf.identity(variable.value)
            variable.assign(average)
            average.assign(raw)
