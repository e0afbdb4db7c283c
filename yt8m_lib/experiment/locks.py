"""One driver an experiment, and none while an orphaned kernel of a killed one still works.

A driver holds ``lock`` in the experiment's folder, its kernels share ``kernel.lock``. The operating
system gives both back when their process ends, however it ends. Where runs are recorded with a
server, a driver holds a lock there, too: it may have colleagues on other machines.
"""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow

from yt8m_lib.experiment import folders, servers, store
from yt8m_lib.experiment.shared_lock import LockedError, SharedLock, whoami
from yt8m_lib.settings import Params

_held: dict[str, Any] = {}  # open files; closing one gives its lock back


def hold(params: Params, name: str, kind: int) -> None:
    """Take a lock of an experiment's folder, LOCK_EX or LOCK_SH, until the process ends.

    Raises:
        BlockingIOError: when somebody else holds it.
    """
    folders.prepare(params.folder)
    path = params.folder / name
    file = open(path, "a+")  # noqa: SIM115 - held until the process ends
    fcntl.flock(file, kind | fcntl.LOCK_NB)
    if kind == fcntl.LOCK_EX:
        file.truncate(0)
        file.write(whoami())
        file.flush()
    _held[str(path)] = file


@contextmanager
def lock(params: Params, wait: bool, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the experiment's folder; two drivers, or a driver and an orphan, never share it.

    Raises:
        LockedError: when it is held by somebody else and ``wait`` is False.
        StoreError: when the store of runs cannot be used.
    """
    names = ("lock", "kernel.lock")
    try:
        for name in names:
            _acquire(params, name, wait, say)
        folders.sweep(params.folder)
        with shared(params, wait, say):
            _release(params, "kernel.lock")  # kernels of this driver share it from here on
            yield
    finally:
        for name in names:
            _release(params, name)


@contextmanager
def shared(params: Params, wait: bool, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the experiment where all machines see it; nothing is done where there is no server.

    Raises:
        LockedError, StoreError: as ``lock`` does.
    """
    address = servers.address(params)
    if address is None:
        yield
        return
    client = mlflow.MlflowClient(tracking_uri=store.connect(params))
    holding = SharedLock(client, params.experiment, servers.shown(address), _place(params), say)
    with holding.held(wait):
        yield


def _place(params: Params) -> str:
    """Which file on which machine is locked: nobody else holds what names ours; "" for none."""
    held = _held.get(str(params.folder / "lock"))
    if held is None:
        return ""
    about = os.fstat(held.fileno())
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = boot.read_text().strip() if boot.exists() else platform.node()
    return f"{machine} {about.st_dev} {about.st_ino}"


def _acquire(params: Params, name: str, wait: bool, say: Callable[[str], None]) -> None:
    told = False
    while True:
        try:
            return hold(params, name, fcntl.LOCK_EX)
        except BlockingIOError:
            holder = (params.folder / name).read_text() or "a notebook's kernel"
            message = f"{params.folder} is in use by {holder}"
            if not wait:
                raise LockedError(f"{message}; wait for it to end, or end it") from None
        if not told:
            say(f"{message}; waiting for it to end (Ctrl-C gives up)")
            told = True
        time.sleep(0.5)


def _release(params: Params, name: str) -> None:
    file = _held.pop(str(params.folder / name), None)
    if file:
        file.close()
