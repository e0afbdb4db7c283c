"""What a model's equations need, whatever the code makes of them: products, and values to move.

Each layer has a method ``cost`` beside its equations that says what these need; ``VideoModel.cost``
adds them up. The count is a lower limit for every way to compute the same: time that a step takes
beyond it goes into element-wise work, copies and waiting.
"""

from dataclasses import dataclass, fields
from typing import Self

FLOAT = 4  # bytes of a value
# Adam reads a weight, its gradient and its two moments, and writes the weight and the moments.
ADAM_VALUES = 7
AVERAGE_VALUES = 3  # an average reads the weight and itself, and writes itself
# A weight, its gradient, and Adam's two moments are held at a time.
HELD_VALUES = 4


@dataclass(frozen=True)
class Cost:
    """What one forward pass needs.

    Attributes:
        products: multiply-adds of all matrix products, a video.
        data_products: those of them that have the stored frames as one factor, a video: nobody
            needs the gradient by that factor.
        kept: values that the backward pass needs again, a video.
        weights: that are trained.
        kernel_reads: values of recurrent kernels read over all time steps, whatever the batch.
        time_steps: cells evaluated one after the other, whatever the batch.
    """

    products: int = 0
    data_products: int = 0
    kept: int = 0
    weights: int = 0
    kernel_reads: int = 0
    time_steps: int = 0

    def __add__(self, other: Self) -> Self:
        names = [field.name for field in fields(self)]
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def flops(self, training: bool = False) -> int:
        """Floating-point operations a video: two a multiply-add.

        Training takes each product three times: forward, for the gradient by its input and for that
        by its weights. Where the input is the data, the gradient by it is left out.
        """
        return 2 * (3 * self.products - self.data_products if training else self.products)

    def optimiser_bytes(self, averages: int = 0) -> int:
        """Bytes that one step of Adam moves, and that of averages which follow the weights."""
        return FLOAT * self.weights * (ADAM_VALUES + AVERAGE_VALUES * averages)

    def recurrence_bytes(self, training: bool = False) -> int:
        """Bytes of recurrent kernels that one step reads, as each time step waits for the last.

        Training reads them twice, forward and backward.
        """
        return FLOAT * self.kernel_reads * (2 if training else 1)

    def moved(self, training: bool = False, averages: int = 0) -> int:
        """Bytes that a step moves whatever its batch: by the optimiser, and by a recurrence."""
        return self.recurrence_bytes(training) + training * self.optimiser_bytes(averages)

    def memory(self, batch: int, averages: int = 0, training: bool = True) -> int:
        """Bytes that a step holds at a time, about: weights, their companions, what is kept."""
        held = self.weights * (HELD_VALUES + averages if training else 1)
        return FLOAT * (held + batch * self.kept)


def product_cost(rows: int, inputs: int, outputs: int, of_data: bool = False) -> Cost:
    """The cost of ``[rows, inputs] x [inputs, outputs]`` a video.

    Args:
        rows: a video; 1 where the video is one vector.
        inputs: columns of the first factor.
        outputs: columns of the result.
        of_data: whether the stored frames are a factor.
    """
    count = rows * inputs * outputs
    return Cost(products=count, data_products=count if of_data else 0, kept=rows * outputs)


@dataclass(frozen=True)
class ModelCosts:
    """What one model of an experiment costs.

    Attributes:
        training: for the frames that it is trained on.
        answering: for the frames that it answers on.
        stored: bytes of its weights with the codec of the shipped model.
        plain: and in float32.
    """

    training: Cost
    answering: Cost
    stored: int
    plain: int
