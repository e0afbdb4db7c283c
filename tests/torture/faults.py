"""Faults of parameters, data, results and surroundings: what is done, and what must happen.

A fault is a function that does it and asserts what must happen, under ``@fault``; the modules
``*_faults`` hold them. The README's table is made from the same lines.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from torture.experiment import FILE, NAME
from yt8m_lib.settings import ROOT

TIMEOUT = 900
NAMESPACE = ("unshare", "--mount", "sh", "-c")  # mounts in it vanish with the command


class SkippedError(Exception):
    """A fault cannot be brought about on this machine; the message says why."""


class Ended(NamedTuple):
    """A command that has ended: its exit status and all that it printed."""

    status: int
    printed: str


class Fault(NamedTuple):
    """A fault, and the function that brings it about and asserts what must happen."""

    name: str
    done: str
    must: str
    check: Callable[["Workshop"], None]
    cheap: bool  # seconds, and no process of its own: part of ``make test``


FAULTS: dict[str, Fault] = {}


def fault(name: str, done: str, must: str, cheap: bool = False) -> Callable:
    """Note a function as the check of a fault."""

    def note(check: Callable[["Workshop"], None]) -> Callable[["Workshop"], None]:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, done, must, check, cheap)
        return check

    return note


class Workshop:
    """What a fault works with.

    Attributes:
        folder: its own, empty.
        finished: results of a finished run; never written to.
    """

    def __init__(self, folder: Path, finished: Path | None = None):
        self.folder, self._finished = folder, finished

    @property
    def finished(self) -> Path:
        """The results of a finished run."""
        if self._finished is None:
            raise SkippedError("needs a finished run")
        return self._finished

    def results(self, name: str = "results") -> Path:
        """A copy of the finished results, to be worked on."""
        return Path(shutil.copytree(self.finished, self.folder / name, symlinks=True))

    def file(self, name: str, content: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def yt8m(
        self, *arguments: object, before: tuple[str, ...] = (), env: dict[str, str] | None = None
    ) -> Ended:
        """Run the command line in a process of its own."""
        program = [*before, sys.executable, "-m", "yt8m_lib", *map(str, arguments)]
        return self.process(program, env)

    def process(
        self, program: list[str], env: dict[str, str] | None = None, **more: object
    ) -> Ended:
        """Run any program in the project's folder."""
        done = subprocess.run(
            program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, errors="replace", timeout=TIMEOUT,
            env=os.environ | (env or {}), **more,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout)

    def run(self, results: Path, *arguments: object, **more: object) -> Ended:
        """Run the experiment."""
        return self.yt8m("run", FILE, "--set", f"results={results}", *arguments, **more)

    def here(self, *arguments: object) -> Ended:
        """Run the command line in this process, which has started TensorFlow already."""
        from yt8m_lib.cli import main

        printed = StringIO()
        with redirect_stderr(printed), redirect_stdout(printed):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as ended:
                return Ended(int(ended.code or 0), printed.getvalue())
            except Exception:
                return Ended(1, printed.getvalue() + traceback.format_exc())
        return Ended(0, printed.getvalue())

    def with_full_disk(self, kilobytes: int, script: str) -> Ended:
        """Run a script in which ``$disk`` is a disk of this size and ``$yt8m`` the command line."""
        return self.mounted(f"-o size={kilobytes}k", script)

    def mounted(self, options: str, script: str) -> Ended:
        """Run a script in which ``$disk`` is a disk mounted with these options."""
        disk = self.folder / "disk"
        disk.mkdir()
        if self.process([*NAMESPACE, f"mount -t tmpfs none '{disk}'"]).status:
            raise SkippedError("mounting is not permitted here")
        whole = f"mount -t tmpfs {options} none '{disk}' && {script}"
        names = {"disk": str(disk), "yt8m": f"{sys.executable} -m yt8m_lib"}
        return self.process([*NAMESPACE, whole], names)


def refused(ended: Ended, *words: str, status: int = 1) -> None:
    """Assert that a command ended in one message, without a traceback, that holds these words."""
    assert "Traceback" not in ended.printed, f"a traceback: {ended.printed[-500:]}"
    assert ended.status == status, f"ended with {ended.status}: {ended.printed[-300:]}"
    messages = [line for line in ended.printed.splitlines() if line.startswith("yt8m: ")]
    assert len(messages) == 1, f"{len(messages)} messages: {ended.printed[-500:]}"
    said = ended.printed[ended.printed.index(messages[0]) :]
    for word in words:
        assert word.lower() in said.lower(), f"it does not say {word!r}: {said[-500:]}"


def works(ended: Ended, *words: str) -> None:
    """Assert that a command ended well and printed these words."""
    assert ended.status == 0, f"ended with {ended.status}: {ended.printed[-500:]}"
    for word in words:
        assert word in ended.printed, f"it does not say {word!r}: {ended.printed[-500:]}"


def try_out(one: Fault, finished: Path | None = None) -> str:
    """Bring a fault about; returns "passed", "skipped: why" or "failed: how"."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        try:
            one.check(Workshop(Path(folder), finished))
        except SkippedError as reason:
            return f"skipped: {reason}"
        except Exception as error:  # a failed assertion, or whatever else went wrong
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            return f"failed: {kind}{str(error).replace(folder, '$folder')}"
    return "passed"


def as_markdown(outcomes: dict[str, str]) -> str:
    """The table for the README: fault, what happens, the test that shows it."""
    lines = ["| fault | what is done | what happens | shown by |", "|---|---|---|---|"]
    for name, outcome in outcomes.items():
        one = FAULTS[name]
        happens = one.must if outcome == "passed" else f"{one.must} ({outcome.partition(':')[0]})"
        test = f"`{one.check.__module__.rpartition('.')[2]}.{one.check.__name__}`"
        cells = [part.replace("|", "\\|") for part in (name, one.done, happens, test)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def experiment_folder(results: Path) -> Path:
    """Where the experiment's own things lie."""
    return results / NAME
