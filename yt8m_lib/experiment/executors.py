"""Where notebooks run: an executor decides, ``notebooks.execute`` does it.

``local`` runs a phase's notebook after the other in this process, as papermill's users expect. To
add another, write a class with ``submit`` and ``stop`` and a line in ``catalogue.EXECUTORS``.
"""

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from typing_extensions import override

from yt8m_lib.errors import UserError
from yt8m_lib.experiment.notebooks import INTERRUPTED, NotebookTask, PhaseError, execute


class ExecutorError(UserError):
    """Notebooks cannot run where they are asked to; the message says what to do."""


@dataclass(frozen=True)
class Machines:
    """What is said of where to run.

    Attributes:
        workers: notebooks at a time; the executor's own number where None.
        address: of a running cluster; the executor's own where None.
        threads: cores that each notebook computes with, as the settings say; 0 for all.
    """

    workers: int | None = None
    address: str | None = None
    threads: int = 0


THIS_MACHINE = Machines()


class Executor(ABC):
    """Decides where notebooks run.

    Attributes:
        whole_phases: whether all steps of a phase go into one notebook, one after the other.
        takes_address: whether it can be told of a running cluster.
        workers: how many notebooks run at a time.
    """

    whole_phases = False
    takes_address = False

    def __init__(self, machines: Machines):
        if machines.address and not self.takes_address:
            raise ExecutorError("--address names a cluster, which this executor does not use")
        self.workers = machines.workers or self.standard_workers(machines.threads)

    def standard_workers(self, threads: int) -> int:
        """How many notebooks run at a time where nobody says, each on so many cores; 0: on all."""
        return 1

    def share(self, ready: int) -> int:
        """How many of so many steps of a phase, which can run now, one notebook takes."""
        return min(ready, 1)

    @abstractmethod
    def submit(self, task: NotebookTask) -> Future[None]:
        """Run a notebook; the future ends with it, and holds its error."""

    @abstractmethod
    def stop(self) -> None:
        """End what is running, as Ctrl-C would, and give back what was taken."""


class Local(Executor):
    """A phase after the other, in this process."""

    whole_phases = True

    def __init__(self, machines: Machines):
        if machines.workers not in (None, 1):
            raise ExecutorError(
                f"--workers {machines.workers}: `local` runs one notebook at a time; "
                "--executor processes runs several"
            )
        super().__init__(machines)

    @override
    def share(self, ready: int) -> int:
        return ready

    @override
    def submit(self, task: NotebookTask) -> Future[None]:
        future: Future[None] = Future()
        try:
            future.set_result(execute(task))
        except Exception as error:
            future.set_exception(error)
        return future

    @override
    def stop(self) -> None:
        pass


class SideBySide(Executor):
    """Several notebooks at a time, each run elsewhere while a thread waits for it."""

    patience = 20.0  # seconds in which an interrupted notebook may end by itself

    def __init__(self, machines: Machines):
        super().__init__(machines)
        self._threads = ThreadPoolExecutor(self.workers)
        self._stopped = False

    @override
    def submit(self, task: NotebookTask) -> Future[None]:
        return self._threads.submit(self._wait_for, task)

    def _wait_for(self, task: NotebookTask) -> None:
        wrong = INTERRUPTED if self._stopped else self.run(task)
        if wrong:
            raise PhaseError(wrong)

    @abstractmethod
    def run(self, task: NotebookTask) -> str:
        """Have ``attempt`` called elsewhere, and return what it returns."""

    @abstractmethod
    def interrupt(self) -> None:
        """End what is running; one that does not within ``patience`` is killed."""

    @override
    def stop(self) -> None:
        self._stopped = True
        self.interrupt()
        self._threads.shutdown(cancel_futures=True)
