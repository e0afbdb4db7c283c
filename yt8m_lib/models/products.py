"""Matrix products, the one place where a model may compute in less than float32.

In mixed precision each product rounds its two factors to bfloat16 and gives float32 back, forward
and backward alike. Weights, sums, norms, gates and the loss stay float32, and so does all that is
saved: a model that was trained so answers in float32, the same wherever it runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import tensorflow as tf

from yt8m_lib.settings import Precision

_precision: ContextVar[Precision] = ContextVar("precision", default="float32")


@contextmanager
def computed_in(precision: Precision) -> Iterator[None]:
    """Let the products that this block traces, and their gradients, run in a precision."""
    before = _precision.set(precision)
    try:
        yield
    finally:
        _precision.reset(before)


def is_mixed() -> bool:
    """Whether products that are traced now run in bfloat16."""
    return _precision.get() == "mixed_bfloat16"


def product(
    one: tf.Tensor | keras.Variable,
    other: tf.Tensor | keras.Variable,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> tf.Tensor:
    """Multiply matrices [..., N, M] and [..., M, P], or batches of them, to float32 [..., N, P].

    Args:
        one: float32.
        other: float32.
        transpose_a: whether ``one`` is [..., M, N] instead.
        transpose_b: whether ``other`` is [..., P, M] instead.
    """
    if not is_mixed():
        return tf.matmul(one, other, transpose_a, transpose_b)
    rounded = (tf.cast(tf.convert_to_tensor(factor), tf.bfloat16) for factor in (one, other))
    return tf.cast(tf.matmul(*rounded, transpose_a, transpose_b), tf.float32)
