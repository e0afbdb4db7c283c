"""One driver an experiment across machines, where runs are recorded with a server.

MLflow has no locks, but makes a registered model of a name only once, and renames one only to a
name that is free. So the lock is a registered model: whoever made it holds it, notes every
``BEAT`` seconds that it is alive, and deletes it at the end. One whose holder gives no sign is
taken over: it is renamed after that holder, which succeeds once however many try.
"""

import os
import platform
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from yt8m_lib.errors import UserError

BEAT = 20.0  # seconds between two signs of life
STALE = 120.0  # seconds without one after which a lock is taken over
POLL = 2.0  # seconds between two looks at a lock that is waited for
# How MLflow says that somebody else was faster; the last, where both came at the same moment.
LATE = (RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, BAD_REQUEST)
TOKEN, HOLDER, PLACE, SEEN = "token", "holder", "place", "seen"
ABOUT = "A driver of yt8m works on this experiment; it deletes this entry when it ends."


class LockedError(UserError):
    """Another process is working on the experiment; the message names it."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        token: its own, made up afresh for each lock.
        name: process, machine and since when, in words.
        place: the file that it has locked on its machine; "" for none.
        seen: when it last gave a sign, in seconds since 1970 by its own clock.
    """

    token: str
    name: str
    place: str
    seen: float


class SharedLock:
    """The lock of one experiment.

    Args:
        client: of the store.
        experiment: its name.
        where: the store's address, as messages show it.
        place: the file that is locked on this machine meanwhile: another holder that names the same
            is dead. "" for none.
        say: receives a line when it waits or takes over.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment: str,
        where: str,
        place: str = "",
        say: Callable[[str], None] = print,
    ):
        self._client, self._experiment, self._where = client, experiment, where
        self._place, self._say = place, say
        self._name, self._token = f"yt8m-lock-{experiment}", uuid.uuid4().hex
        self._ended = threading.Event()
        self._lost = ""

    @contextmanager
    def held(self, wait: bool) -> Iterator[None]:
        """Hold the lock.

        Raises:
            LockedError: when somebody else holds it and ``wait`` is False, or has taken it over
                because this process gave no sign.
        """
        self._acquire(wait)
        beats = threading.Thread(target=self._beat, daemon=True)
        try:
            beats.start()
            yield
        except KeyboardInterrupt:
            if self._lost:
                raise LockedError(self._lost) from None
            raise
        finally:
            self._ended.set()
            beats.join(timeout=BEAT)
            self._release()

    def _acquire(self, wait: bool) -> None:
        told, watched, since = False, None, 0.0
        while True:
            holder = self._make()
            if holder is None:
                return
            if holder != watched:
                watched, since = holder, time.monotonic()
            quiet, watching = self._quiet(holder, time.monotonic() - since)
            if quiet:
                self._take_over(holder)
                continue
            message = f"{self._experiment} at {self._where} is in use by {holder.name}"
            if not wait and not watching:
                raise LockedError(f"{message}; wait for it to end, or end it")
            if not told:
                until = "it shows whether it is alive" if watching else "it ends"
                self._say(f"{message}; waiting until {until} (Ctrl-C gives up)")
                told = True
            time.sleep(POLL)

    def _quiet(self, holder: Holder, watched: float) -> tuple[bool, bool]:
        """Whether a holder is dead, and whether it may be and we are still looking.

        By the clocks of two machines alone it is not dead: they may differ.

        Args:
            holder: who it is.
            watched: for how many seconds we have seen no new sign of it.
        """
        if self._place and holder.place == self._place:
            return True, False
        overdue = time.time() - holder.seen > STALE
        dead = watched > STALE or (overdue and watched > 2 * BEAT)
        return dead, overdue and not dead

    def _make(self) -> Holder | None:
        """Make the lock, which is then ours; otherwise returns who holds it."""
        tags = {
            TOKEN: self._token,
            HOLDER: whoami(),
            PLACE: self._place,
            SEEN: _now(),
        }
        while True:
            holder = self._holder()
            if holder is None:
                with _but(RESOURCE_ALREADY_EXISTS):
                    self._client.create_registered_model(self._name, tags, ABOUT)
                continue
            return None if holder.token == self._token else holder

    def _holder(self) -> Holder | None:
        with _but(RESOURCE_DOES_NOT_EXIST):
            tags = self._client.get_registered_model(self._name).tags
            seen = float(tags.get(SEEN) or 0)
            return Holder(tags.get(TOKEN, ""), tags.get(HOLDER, "?"), tags.get(PLACE, ""), seen)
        return None

    def _take_over(self, holder: Holder) -> None:
        """Put aside the lock of a holder that is dead."""
        # Of several who found this holder dead one alone succeeds; the others look again.
        with _but(*LATE):
            self._client.rename_registered_model(self._name, f"{self._gone}{holder.token}")
            self._say(f"{holder.name} gives no sign any more: its lock is taken over")
            return
        time.sleep(POLL)

    def _beat(self) -> None:
        """Give signs of life until the end; stop the program when the lock is another's."""
        while not self._ended.wait(BEAT):
            try:
                holder = self._holder()
                if holder is None or holder.token != self._token:
                    self._stop(holder)
                    return
                self._client.set_registered_model_tag(self._name, SEEN, _now())
            except Exception as error:  # whatever it is, the next sign may reach the store
                self._say(f"{self._where} does not hear that this run is alive: {error}"[:300])

    def _stop(self, holder: Holder | None) -> None:
        by = f"{holder.name} has taken it over" if holder else "somebody deleted it"
        self._lost = (
            f"this process gave no sign for too long, and its lock of {self._experiment} at "
            f"{self._where} is gone: {by}. The same command goes on when that one has ended"
        )
        print(self._lost, file=sys.stderr, flush=True)
        if not self._ended.is_set():  # as Ctrl-C does it
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def _release(self) -> None:
        try:
            holder = self._holder()
            if holder and holder.token == self._token:
                self._client.delete_registered_model(self._name)
            for left in self._client.search_registered_models(f"name LIKE '{self._gone}%'"):
                with _but(*LATE):
                    self._client.delete_registered_model(left.name)
        except MlflowException as error:
            words = f"its lock at {self._where} goes stale in {STALE:.0f} s"
            print(f"{self._experiment}: {words} ({error})"[:300], file=sys.stderr, flush=True)

    @property
    def _gone(self) -> str:
        """What the names of locks begin with that were taken over."""
        return f"{self._name}-gone-"


def whoami() -> str:
    """This process, its machine and the time, for a lock's message."""
    return f"process {os.getpid()} on {platform.node()} since {time.ctime()}"


def _now() -> str:
    return f"{time.time():.3f}"


@contextmanager
def _but(*codes: int) -> Iterator[None]:
    """Let MLflow's errors of these kinds pass."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in [ErrorCode.Name(code) for code in codes]:
            raise
