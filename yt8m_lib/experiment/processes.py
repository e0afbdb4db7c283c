"""Several notebooks at a time on this machine, each in a process of its own."""

import multiprocessing
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import psutil
from typing_extensions import override

from yt8m_lib.experiment.executors import Machines, SideBySide
from yt8m_lib.experiment.notebooks import INTERRUPTED, NotebookTask, attempt

ROOM = 2 * 2**30  # bytes that a notebook of small models takes, where `memory` does not say


class Processes(SideBySide):
    """``workers`` notebooks at a time; each has a GPU of its own where there are any.

    Where steps stand side by side, a notebook takes a share of them that shrinks towards the end:
    its start costs seconds, and no worker is left waiting for another's long list.
    """

    def __init__(self, machines: Machines):
        self._gpus = gpus = visible_gpus()
        super().__init__(machines)
        self._all = [_Worker(gpus[n % len(gpus)] if gpus else "") for n in range(self.workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._taken = 0  # bytes that running notebooks are counted with
        self._room = threading.Condition()

    @override
    def standard_workers(self, threads: int) -> int:
        return len(self._gpus) or side_by_side(threads)

    @override
    def share(self, ready: int) -> int:
        return -(-ready // (2 * self.workers))

    @override
    def run(self, task: NotebookTask) -> str:
        with self._room_for(task.resources.memory or ROOM):
            worker = self._idle.get()
            try:
                return worker.attempt(task)
            except (EOFError, OSError):
                return f"{task.phase}: the process that ran its notebook was killed"
            finally:
                self._idle.put(worker)

    @contextmanager
    def _room_for(self, need: int) -> Iterator[None]:
        """Wait until there is memory for a notebook; one alone always starts."""
        total = psutil.virtual_memory().total
        with self._room:
            self._room.wait_for(lambda: not self._taken or self._taken + need <= total)
            self._taken += need
        try:
            yield
        finally:
            with self._room:
                self._taken -= need
                self._room.notify_all()

    @override
    def interrupt(self) -> None:
        running = [worker.process for worker in self._all if worker.process]
        for process in running:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
        end = time.monotonic() + self.patience
        for process in running:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()


class _Worker:
    """A process that runs one notebook after the other, started when the first one comes.

    Args:
        gpu: its name for CUDA_VISIBLE_DEVICES; "" for whatever there is.
    """

    def __init__(self, gpu: str):
        self.gpu = gpu
        self.process: BaseProcess | None = None

    def attempt(self, task: NotebookTask) -> str:
        """Run a notebook there; returns what went wrong.

        Raises:
            EOFError, OSError: when the process was killed.
        """
        if self.process is None or not self.process.is_alive():
            self._start()
        self._connection.send(task)
        return self._connection.recv()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.gpu, theirs))
        self.process.start()
        theirs.close()


def _serve(gpu: str, connection: Connection) -> None:
    """Run the notebooks that come in, and send back what went wrong with each."""
    os.setsid()  # Ctrl-C reaches the driver, which passes it on
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    wrong = ""
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        while wrong != INTERRUPTED:
            wrong = attempt(connection.recv())
            connection.send(wrong)


def _end_with_the_driver() -> None:
    """Interrupt this process where the driver was killed: its kernel ends with it."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os.kill(os.getpid(), signal.SIGINT)


def side_by_side(threads: int) -> int:
    """How many notebooks fill this machine's cores, each on so many; one where each takes all."""
    return max(1, cores() // threads) if threads else 1


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Names, for CUDA_VISIBLE_DEVICES, of the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name not in ("", "-1")]
    try:
        command = ["nvidia-smi", "--list-gpus"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number in range(len(listed.splitlines()))]
