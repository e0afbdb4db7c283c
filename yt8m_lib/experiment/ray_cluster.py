"""Notebooks as tasks of a Ray cluster: one a step, with the GPUs and memory that it asks for.

Ray chooses the machine, waits for resources, and gives a task whose machine was lost to another
one, where its training goes on from the last checkpoint.
"""

import socket
from contextlib import suppress

from typing_extensions import override

from yt8m_lib.experiment.executors import ExecutorError, Machines, SideBySide
from yt8m_lib.experiment.notebooks import INTERRUPTED, NotebookTask, attempt
from yt8m_lib.experiment.processes import ROOM

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayError, TaskCancelledError
except ImportError:
    raise ExecutorError('Ray is not installed here: pip install -e ".[ray]"') from None

RETRIES = 3  # of a task that was lost with its machine


class Ray(SideBySide):
    """Tasks of the cluster at ``--address`` or RAY_ADDRESS, or of one that is started here."""

    takes_address = True

    def __init__(self, machines: Machines):
        super().__init__(machines)
        if machines.address:
            _check_address(machines.address)
        try:
            ray.init(machines.address, include_dashboard=False, logging_level="warning")
        except Exception as error:  # Ray raises whatever comes to hand
            raise ExecutorError(f"Ray does not start: {error}") from error
        self._gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        self._running: set[ray.ObjectRef] = set()

    @override
    def standard_workers(self, threads: int) -> int:
        return 64  # that wait at a time; how many run is for Ray to decide

    @override
    def run(self, task: NotebookTask) -> str:
        wanted = task.resources
        remote = ray.remote(attempt).options(
            name=task.output.stem,
            num_gpus=self._gpus if wanted.gpus is None else wanted.gpus,
            memory=wanted.memory or ROOM,
            max_retries=RETRIES,
        )
        reference = remote.remote(task)
        self._running.add(reference)
        try:
            return ray.get(reference)
        except TaskCancelledError:
            return INTERRUPTED
        except RayError as error:
            return f"{task.phase}: lost {RETRIES + 1} times on the cluster: {error}"
        finally:
            self._running.discard(reference)

    @override
    def interrupt(self) -> None:
        running = list(self._running)
        for reference in running:
            ray.cancel(reference)
        with suppress(GetTimeoutError, RayError):
            ray.get(running, timeout=self.patience)
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself tries for minutes.

    Raises:
        ExecutorError: naming it.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            return
    except (OSError, ValueError) as error:
        raise ExecutorError(
            f"--address {address}: no Ray cluster there ({error}); `ray start --head` prints its "
            "HOST:PORT"
        ) from None
