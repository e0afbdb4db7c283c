"""Kernels that are forked from a process which has imported what notebooks import.

The imports take longer than a small notebook's own work: so they are made once for all notebooks
that a driver runs, not once for each. Where that process is and whose kernel it forks is settled by
``multiprocessing``'s fork server; Jupyter is told of it by an entry point in pyproject.toml.
"""

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

PROVISIONER = "yt8m-forked"  # the entry point's name
PRELOADED = "yt8m_lib.phases.preloaded"
NAME = "yt8m-kernel"  # of the process, in `ps` and `top`; Linux keeps 15 letters

# Forking a process that has threads is safe on Linux alone, as long as these rest.
IS_SAFE = sys.platform == "linux"


class ForkedProvisioner(LocalProvisioner):
    """Starts a kernel as a fork of the warm process instead of a new interpreter."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start what ``python -m ipykernel_launcher ...`` would."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOADED])
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        folder = str(kwargs.get("cwd") or Path.cwd())
        process = context.Process(target=_be_kernel, args=(arguments, kwargs["env"], folder))
        process.start()
        self.process, self.pid, self.cwd = _Popened(process), process.pid, folder
        # The kernel leads a group of its own; until it does, Jupyter signals the process instead.
        self.pgid = process.pid
        return self.connection_info


class _Popened:
    """A forked process, with what Jupyter asks of one that ``subprocess.Popen`` started."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess):
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None and self.pid:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _be_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """What a forked process does: become the kernel of one notebook."""
    os.setsid()  # Ctrl-C reaches the driver, which passes it on
    with suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    IPKernelApp.launch_instance(arguments)


def _end_with_the_driver() -> None:
    """End this process where the driver was killed; ipykernel would wait for the fork server to."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)
