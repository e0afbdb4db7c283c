"""TensorFlow, started the way this project needs it: quietly, deterministic, modest with a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from yt8m_lib.errors import UserError


class DeviceError(UserError):
    """This machine's devices cannot do what the settings ask; the message says what to change."""


def prepare(deterministic: bool = True, replicas: int = 1, threads: int = 0) -> None:
    """Import and initialise TensorFlow; call it before the modules that import it.

    Its start-up messages are dropped, and GPU memory is taken as it is needed.

    Args:
        deterministic: whether every operation is asked for its deterministic form, so that one
            seed gives one result; once asked, it is so until the process ends.
        replicas: how many devices there are to be; without GPUs, the CPU is made so many.
        threads: cores that compute an operation, and operations at a time; 0 takes all cores.

    Raises:
        DeviceError: when this process computes with another number of threads already.
    """
    with no_stderr():
        import tensorflow as tf

        if deterministic:
            tf.config.experimental.enable_op_determinism()
        _take_threads(threads)
        gpus = tf.config.list_physical_devices("GPU")
        try:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
            if replicas > 1 and not gpus:
                (cpu,) = tf.config.list_physical_devices("CPU")
                parts = [tf.config.LogicalDeviceConfiguration()] * replicas
                tf.config.set_logical_device_configuration(cpu, parts)
        except RuntimeError:  # TensorFlow is in use already, and cannot be changed any more
            pass
        tf.zeros(()).numpy()  # the first operation prints messages, too


def _take_threads(threads: int) -> None:
    import tensorflow as tf

    config = tf.config.threading
    now = config.get_intra_op_parallelism_threads()
    if now == threads:
        return
    try:
        config.set_intra_op_parallelism_threads(threads)
        config.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow is in use already, and cannot be changed any more
        raise DeviceError(
            f"training.threads is {threads}, and this process computes with {now or 'all'} "
            "already: restart the notebook's kernel"
        ) from None


def strategy_for(replicas: int) -> Any:
    """How a training is spread over this machine's devices: over the GPUs where there are any.

    Args:
        replicas: how many devices share a batch; 1 gives TensorFlow's default, which spreads
            nothing. Variables that are made in the strategy's ``scope`` lie on all of them.

    Raises:
        DeviceError: when there are fewer devices.
    """
    import tensorflow as tf

    return tf.distribute.get_strategy() if replicas == 1 else _mirrored(replicas)


@cache  # variables of one strategy do not go with another's
def _mirrored(replicas: int) -> Any:
    import tensorflow as tf

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(devices) < replicas:
        raise DeviceError(
            f"training.replicas is {replicas}, and TensorFlow has {len(devices)} {kind} device(s) "
            "here: lower it, or, in a notebook whose kernel was started with fewer, restart that"
        )
    # NCCL, which is the default, is for GPUs alone.
    sums = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
    return tf.distribute.MirroredStrategy(devices[:replicas], cross_device_ops=sums)


@contextmanager
def deterministic_or_said() -> Iterator[None]:
    """Name the remedy where an operation of a block has no deterministic form on its device.

    Raises:
        DeviceError: in place of TensorFlow's error.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.UnimplementedError as error:
        if "determinis" not in error.message.lower():
            raise
        what = error.message.splitlines()[0]
        raise DeviceError(
            f"an operation has no deterministic form on this device ({what}). Set "
            "training.deterministic=false: the same seed may then end in other weights"
        ) from None


@contextmanager
def no_stderr() -> Iterator[None]:
    """Drop what is written to file descriptor 2; native code does so without ``sys.stderr``."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
