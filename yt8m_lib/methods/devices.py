"""TensorFlow, started the way this project needs it: quietly, deterministic, modest with a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def prepare() -> None:
    """Import and initialise TensorFlow; call it before the modules that import it.

    Its start-up chatter ends up nowhere, one seed gives one result (every operation is asked for
    its deterministic form), and GPU memory is taken as it is needed.
    """
    with _no_stderr():
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:  # TensorFlow is in use already, and cannot be told any more
                break
        tf.zeros(()).numpy()  # the first operation has something to say, too


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere; native code writes to it past ``sys.stderr``."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
