"""Codes packed without loss, by Huffman coding: fewer bytes on disk, the same codes after loading.

zlib does the coding, a block at a time, and TensorFlow's own ``decode_compressed`` undoes it inside
the exported graph. Repetitions are not looked for (``Z_HUFFMAN_ONLY``): codes of weights hardly
repeat, and looking for them takes ten times as long.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from typing_extensions import override

from yt8m_lib.methods.codecs.codec import Arrays
from yt8m_lib.methods.codecs.graph import DecodedOnce

BLOCK = 1 << 20  # codes packed together; the graph unpacks as many at a time


def pack(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Pack uint8 codes of any shape.

    Returns:
        ``packed``, uint8 [bytes], the blocks one after the other; ``ends``, int64 [blocks], where
        each of them ends; and ``shape``, int64, the codes' own.
    """
    flat = np.ascontiguousarray(codes).reshape(-1)
    blocks = [_deflated(flat[start : start + BLOCK]) for start in range(0, flat.size, BLOCK)]
    return {
        "packed": np.frombuffer(b"".join(blocks), np.uint8),
        "ends": np.cumsum([len(block) for block in blocks], dtype=np.int64),
        "shape": np.array(codes.shape, np.int64),
    }


def unpack(arrays: Arrays) -> np.ndarray:
    """The uint8 codes that ``pack`` packed, in their own shape."""
    blocks = [np.frombuffer(zlib.decompress(block), np.uint8) for block in _blocks(arrays)]
    return np.concatenate(blocks).reshape(arrays["shape"])


def bytes_around(shape: Sequence[int]) -> int:
    """Bytes of ``ends`` and ``shape`` for a variable of this shape."""
    return 8 * -(-math.prod(shape) // BLOCK) + 8 * len(shape)


class UnpackedOnce(DecodedOnce):
    """A weight whose packed codes the graph's first call unpacks and decodes, block by block.

    The blocks are joined and become the decoded weight as a whole: a variable that was written to
    in parts would be copied each time that it is read.

    Args:
        arrays: what ``pack`` returned, and what else the codec keeps; ``places`` int64 [m] are
            those of weights that have no code, ``values`` float32 [m] these weights.
        decode: makes float32 [n] of uint8 codes [n] and of the codec's own variables.
    """

    def __init__(
        self,
        arrays: Arrays,
        decode: Callable[[tf.Tensor, dict[str, tf.Variable]], tf.Tensor],
    ):
        own = {name: arrays[name] for name in arrays if name not in ("packed", "ends", "shape")}
        super().__init__(own, decode, shape=tuple(map(int, arrays["shape"])))
        blocks = np.array([bytes(block) for block in _blocks(arrays)], object)
        self.blocks = tf.Variable(blocks, dtype=tf.string, trainable=False)

    @override
    def _whole(self) -> tf.Tensor:
        blocks, count = self.blocks.read_value(), self.blocks.shape[0]
        parts = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None])

        def decode(number: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            codes = tf.io.decode_raw(tf.io.decode_compressed(blocks[number], "ZLIB"), tf.uint8)
            return number + 1, parts.write(number, self._decode(codes, self.arrays))

        _, parts = tf.while_loop(lambda number, _: number < count, decode, [0, parts])
        decoded = parts.concat()
        if "places" in self.arrays:
            places, values = self.arrays["places"], self.arrays["values"]
            decoded = tf.tensor_scatter_nd_update(decoded, places[:, None], values)
        return decoded


def _deflated(block: np.ndarray) -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    return packer.compress(block) + packer.flush()


def _blocks(arrays: Arrays) -> Iterator[bytes]:
    start = 0
    for end in arrays["ends"].tolist():
        yield arrays["packed"][start:end].tobytes()
        start = end
