"""TensorFlow, started the way this project needs it: quietly, deterministic, modest with a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def prepare() -> None:
    """Import and initialise TensorFlow; call it before the modules that import it.

    Its start-up messages are dropped, one seed gives one result (every operation is asked for its
    deterministic form), and GPU memory is taken as it is needed.
    """
    with _no_stderr():
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:  # TensorFlow is in use already, and cannot be changed any more
                break
        tf.zeros(()).numpy()  # the first operation prints messages, too


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what is written to file descriptor 2; native code does so without ``sys.stderr``."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
