"""Codes of 4, 6 or 8 bits each, packed into bytes."""

import numpy as np
import tensorflow as tf

WORD = 24  # bits that are packed together, into three bytes: a multiple of each width
BLOCK = (
    3 << 18
)  # codes packed at a time; any number of codes fills whole words up to its last block


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack uint8 codes of any shape, each below ``2**bits``: uint8 [bytes]."""
    flat = np.ascontiguousarray(codes).reshape(-1)
    return np.concatenate([_packed(flat[i : i + BLOCK], bits) for i in range(0, flat.size, BLOCK)])


def _packed(codes: np.ndarray, bits: int) -> np.ndarray:
    padded = np.pad(codes, (0, -codes.size % (WORD // bits))).astype(np.uint32)
    words = (padded.reshape(-1, WORD // bits) << np.arange(0, WORD, bits, dtype=np.uint32)).sum(
        axis=1, dtype=np.uint32
    )
    return words.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].reshape(-1)


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first ``count`` codes, uint8 [count]."""
    octets = packed.reshape(-1, 3).astype(np.uint32)
    words = octets[:, 0] | octets[:, 1] << np.uint32(8) | octets[:, 2] << np.uint32(16)
    codes = words[:, None] >> np.arange(0, WORD, bits, dtype=np.uint32) & np.uint32(2**bits - 1)
    return codes.reshape(-1)[:count].astype(np.uint8)


def unpack_in_graph(packed: tf.Tensor, bits: int, count: int) -> tf.Tensor:
    """What ``unpack`` gives, int32 [count], as a part of a graph."""
    octets = tf.cast(tf.reshape(packed, [-1, 3]), tf.int32)
    words = tf.reduce_sum(tf.bitwise.left_shift(octets, [[0, 8, 16]]), axis=1)
    codes = tf.bitwise.right_shift(words[:, None], tf.range(0, WORD, bits)[None])
    return tf.reshape(tf.bitwise.bitwise_and(codes, 2**bits - 1), [-1])[:count]


def bytes_of(elements: int, bits: int) -> int:
    """Bytes of so many packed codes."""
    return 3 * -(-elements // (WORD // bits))
