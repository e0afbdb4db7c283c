"""What TensorFlow reports while videos are read, named with the shard that it is about.

TensorFlow names neither shard nor video for most faults. Looking for them costs nothing as long as
all is well: only after a failure are the shards read once more, one by one and strictly.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import tensorflow as tf

from yt8m_lib.data.inspection import inspect_shard
from yt8m_lib.data.listing import DataError
from yt8m_lib.data.record_kinds import ids_of, kind_for, other_level
from yt8m_lib.data.soft_targets import fault_of
from yt8m_lib.settings import Data

_OF_DATA = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.FailedPreconditionError,
    tf.errors.PermissionDeniedError,
    UnicodeDecodeError,  # TensorFlow quotes the bytes of a bad record, and cannot decode them
)


class Batches:
    """A dataset of batches that names shards and videos in what goes wrong while it is read.

    Everything else that a ``tf.data.Dataset`` can do is left to the dataset itself.

    Args:
        dataset: what is read.
        named: makes the context in which it is read, such as ``named_faults``.
    """

    def __init__(self, dataset: tf.data.Dataset, named: Callable[[], AbstractContextManager]):
        self.dataset, self._named = dataset, named

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        with self._named():
            yield from self.dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["dataset"], name)


@contextmanager
def named_faults(
    files: Sequence[str], data: Data, labels: bool, sidecars: Sequence[str] | None
) -> Iterator[None]:
    """Raise ``DataError`` in place of what TensorFlow raises for data that cannot be used.

    Args:
        files: the shards that are read.
        data: how.
        labels: whether they must have labels.
        sidecars: the soft targets that are read beside them, if any.

    Raises:
        DataError: naming the shard. What no shard is the cause of is raised as it was.
    """
    try:
        yield
    except _OF_DATA:
        fault = find_fault(files, data, labels, sidecars)
        if not fault:
            raise
        raise DataError(fault) from None


def find_fault(
    files: Sequence[str], data: Data, labels: bool, sidecars: Sequence[str] | None
) -> str:
    """The first fault in some shards and their sidecars, with its place and what helps; or ""."""
    for file in files:
        found = inspect_shard(file, data.vocabulary if labels else None, labels, data=data)
        if found["bad"]:
            return f"{file}: {found['bad']}. Mend or replace the shard, or leave it out."
        if found["level"] != data.level:
            return other_level(file, found["level"], data.level)
    for file, sidecar in zip(files, sidecars or (), strict=False):
        fault = fault_of(sidecar, ids_of(file, kind_for(data)), data.classes)
        if fault:
            return f"{sidecar}: {fault}. Predict the soft targets again."
    return ""
