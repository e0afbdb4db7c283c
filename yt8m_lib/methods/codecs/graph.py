"""Stored variables inside the exported graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from typing_extensions import override

Decode = Callable[[dict[str, tf.Variable]], tf.Tensor]


class GraphWeight(tf.Module):
    """A weight that the graph decodes on every call, for codecs that decode at no cost.

    Args:
        arrays: the variable as its codec stores it.
        decode: makes the float32 weight, in its own shape, of these arrays as TensorFlow variables.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], decode: Decode):
        super().__init__()
        self.arrays = {name: tf.Variable(a, trainable=False) for name, a in arrays.items()}
        self._decode = decode

    def prepare(self) -> Any:
        """Do what has to be done before ``value``; the graph's first call does it, once.

        Returns:
            What is there when all is done, for ``tf.control_dependencies``.
        """
        return tf.no_op()

    def forget(self) -> None:
        """Undo what ``prepare`` did, so that saving the graph does not save it."""

    def decode_each_call(self) -> None:
        """Decode on every call and keep nothing between them: the least memory."""

    def value(self) -> tf.Tensor:
        """The float32 weight in its own shape."""
        return self._decode(self.arrays)


class DecodedOnce(GraphWeight):
    """A weight that is decoded by the graph's first call alone, for codecs whose decoding is slow.

    Every later call is then as fast as with float32 weights. The decoded values lie in a variable
    of unknown length, which is saved while it is empty: they cost memory, and nothing on disk.

    Args:
        arrays: the variable as its codec stores it.
        decode: makes the float32 weight of these arrays as TensorFlow variables, in any shape.
        shape: the weight's own shape.
        decode_now: decodes faster where it is done on each call, as exactly as float32 allows;
            ``decode`` where not given.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        decode: Decode,
        shape: Sequence[int],
        decode_now: Decode | None = None,
    ):
        super().__init__(arrays, decode)
        self._decode_now = decode_now
        self.shape, self._once = tuple(shape), True
        empty = tf.zeros([0], tf.float32)
        self.decoded = tf.Variable(empty, shape=[None], trainable=False, validate_shape=False)

    def prepare(self) -> Any:
        """Decode into memory."""
        if not self._once:
            return tf.no_op()
        return self.decoded.assign(tf.reshape(self._whole(), [-1]))

    def forget(self) -> None:
        """Empty the decoded copy."""
        self.decoded.assign(tf.zeros([0], tf.float32))

    @override
    def decode_each_call(self) -> None:
        self._once = False

    def value(self) -> tf.Tensor:
        """The decoded copy in the weight's own shape, or what is decoded now."""
        return tf.reshape(self.decoded if self._once else self._whole(), self.shape)

    def _whole(self) -> tf.Tensor:
        """The decoded weight, in any shape."""
        decode = self._decode if self._once else self._decode_now or self._decode
        return decode(self.arrays)
