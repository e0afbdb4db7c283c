"""Videos that are kept decoded between epochs: in memory, or in columns on the disk."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from yt8m_lib.data.soft_targets import dense, read_soft_targets

Columns = dict[str, tf.Tensor]


def untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, read by as many threads as there are cores from the first one on.

    TensorFlow would tune that number in a thread that sleeps for twice as long each time, and now
    and then the end of an epoch waits for it to wake up: for five or ten seconds, once three of
    work are done.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


class Cached(ABC):
    """All videos of some shards, served in any order.

    Attributes:
        fault: what is wrong with what is kept, once it was found; "" before.

    Args:
        classes: V, of the soft targets.
    """

    def __init__(self, classes: int):
        self.classes, self.fault = classes, ""
        self._gathers: tuple[Sequence[str] | None, Callable[[tf.Tensor], Columns]] | None = None

    @property
    @abstractmethod
    def ids(self) -> np.ndarray:
        """Of all videos, bytes [N]; asking for them reads the shards, if that was not done yet."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """Frames of all videos, int [N]."""

    @abstractmethod
    def gathered(self, place: tf.Tensor) -> Columns:
        """The batch of the videos at these places, int64 [B], without soft targets."""

    def batches(
        self,
        size: int,
        seed: tuple[int, int] | None,
        skip: int,
        drop_remainder: bool,
        sidecars: Sequence[str] | None,
        by_length: bool,
    ) -> tf.data.Dataset:
        """Batches of one epoch; a seed shuffles all videos. See ``records.Records.batches``."""
        order = np.arange(len(self.ids))
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        if by_length:
            order = np.argsort(self.lengths, kind="stable")
        places = tf.data.Dataset.from_tensor_slices(order).batch(size, drop_remainder).skip(skip)
        gather = self._gather(sidecars)
        batches = places.map(
            lambda place: gather(place) | ({"place": place} if by_length else {}),
            tf.data.AUTOTUNE,
            deterministic=True,
        )
        return untuned(batches.prefetch(2))

    def _gather(self, sidecars: Sequence[str] | None) -> Callable[[tf.Tensor], Columns]:
        """``gathered`` as TensorFlow runs it, with soft targets where there are sidecars.

        It is kept for the next epoch, and with it the soft targets that were read.
        """
        if self._gathers is None or self._gathers[0] != sidecars:
            targets = self._soft_targets(sidecars) if sidecars else {}

            def gathered(place: tf.Tensor) -> Columns:
                batch = self.gathered(place)
                if targets:
                    listed = (tf.gather(targets[k], place) for k in ("classes", "confidences"))
                    batch["soft_targets"] = dense(*listed, self.classes)
                return batch

            places = tf.TensorSpec([None], tf.int64)
            self._gathers = (
                sidecars,
                tf.function(gathered, input_signature=[places], autograph=False),
            )
        return self._gathers[1]

    def _soft_targets(self, sidecars: Sequence[str]) -> Columns:
        """Soft targets of all videos: ``classes`` int32 [N, k], ``confidences`` float16 [N, k]."""
        with tf.device("/cpu:0"):
            targets = read_soft_targets(sidecars, self.ids)
        return {"classes": targets.classes, "confidences": targets.confidences}
