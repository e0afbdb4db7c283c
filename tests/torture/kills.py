"""SIGKILL at random moments over all phases: the tables are those of a run that nobody broke.

A round runs the experiment in a fresh folder. Each kill waits for a stage to begin (the stand-in
data, then each phase), then for a random share of the time that the stage takes, and kills one of
``VICTIMS``. Then the same command is started again, until the round ends; rounds follow until there
have been enough kills.
"""

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil

from torture import experiment
from torture.state import State
from yt8m_lib.experiment import forked_kernels
from yt8m_lib.settings import PHASES, ROOT

VICTIMS = ("driver", "kernel", "group")
WRITER = "writer"  # of stand-in data
STAGES = (WRITER, *PHASES)
# What the driver says, in one message, when another process of the run was killed.
SAID = {"kernel": "its process died", WRITER: "stand-in data could not be written"}
PATIENCE = 1800  # seconds after which a run counts as hung
SHARES = (0.0, 0.9)  # of a stage's time, after which a kill comes


class Run:
    """A started run, its lines as they come.

    Attributes:
        process: the driver.
        lines: all that it has printed.
    """

    def __init__(self, results: Path):
        self.process = subprocess.Popen(
            experiment.command(results), cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._queue: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def wait_for(self, pattern: str) -> bool:
        """Read on to a line that matches; False where the run ends first."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                line = self._queue.get(timeout=1)
            except Empty:
                if self.process.poll() is not None:  # an orphan may hold the pipe open
                    return False
                continue
            if line is None:
                return False
            self.lines.append(line)
            if re.search(pattern, line):
                return True
        self.kill("group")
        raise TimeoutError(f"nothing for {PATIENCE} s after {self.lines[-3:]}")

    def end(self) -> int:
        """Read to the end; returns the exit status."""
        self.wait_for(r"(?!)")
        return self.process.wait(PATIENCE)

    @property
    def printed(self) -> str:
        """All lines so far."""
        return "".join(self.lines)

    def kill(self, victim: str) -> bool:
        """Kill one of the run's processes, or all of them; False where there is none to kill."""
        if self.process.poll() is not None:
            return False
        if victim == "group":  # with the kernels, which lead groups of their own
            family = psutil.Process(self.process.pid).children(recursive=True)
            os.killpg(self.process.pid, signal.SIGKILL)
            for child in family:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        elif victim == "driver":
            self.process.kill()
        else:
            kernel = {"ipykernel_launcher", forked_kernels.NAME}
            return self._kill_child(kernel if victim == "kernel" else {"synthesize"})
        return True

    def _kill_child(self, words: set[str]) -> bool:
        end = time.monotonic() + 20
        while self.process.poll() is None:
            try:
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    if words.intersection([child.name(), *child.cmdline()]):
                        child.kill()
                        return True
            except psutil.NoSuchProcess:
                pass
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return False


def unbroken(state: State) -> Path:
    """The results of one unbroken run, made once, with the seconds of each stage in the state."""
    results = state.folder / "unbroken"

    def make() -> dict[str, float]:
        for older in (results, *state.folder.glob("round-*")):
            shutil.rmtree(older, ignore_errors=True)
        started, run = time.monotonic(), Run(results)
        begun = run.wait_for(rf"^{PHASES[0]}: \d+ of")
        seconds = {WRITER: time.monotonic() - started}
        assert begun and run.end() == 0, run.printed[-2000:]
        for phase, taken in re.findall(r"^(\w+): done in (\d+) s", run.printed, re.MULTILINE):
            seconds[phase] = max(float(taken), 1.0)
        return seconds

    state.once("unbroken", make)
    return results


def check(state: State, seed: int, wanted: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill ``wanted`` times, in as many rounds as that takes.

    Returns:
        How many ``kills``, by ``victims`` and ``stages``; how many ``restarts``; the ``failures``.
    """
    whole = unbroken(state)
    for number in itertools.count():
        begun = (state.folder / f"round-{number}").exists()
        if len(state.under("kill ")) >= wanted and not begun:
            break
        work = partial(_round, state, seed, number, wanted, whole, say)
        state.once(f"round {number}", work)
    kills, rounds = state.under("kill ").values(), state.under("round ").values()
    return {
        "kills": len(kills),
        "restarts": sum(one["restarts"] for one in rounds),
        "victims": _counted(kill["victim"] for kill in kills),
        "stages": _counted(kill["stage"] for kill in kills),
        "failures": [f for one in [*kills, *rounds] for f in one["failures"]],
    }


def _counted(names: Any) -> dict[str, int]:
    names = list(names)
    return {name: names.count(name) for name in sorted({*names})}


def _round(
    state: State, seed: int, number: int, wanted: int, whole: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """One run from nothing to its end, killed on the way; a killed harness goes on with its own."""
    results, starts = state.folder / f"round-{number}", 0
    per_stage = max(1, -(-wanted // len(STAGES)))
    again = f"Again: make torture, --seed {seed} (round {number})"
    for stage in STAGES:
        for _ in range(per_stage):
            if len(state.under("kill ")) >= wanted:
                break
            starts += 1
            if not _one_kill(state, seed, stage, results, say):
                break  # the stage was over first
    run = Run(results)
    status, failures = run.end(), []
    if status:
        failures.append(f"killed run: ended with {status}: {run.printed[-600:]} {again}")
    else:
        failures += [
            f"killed run: {one}. {again}" for one in experiment.differences(results, whole)
        ]
        failures += [f"killed run: {one}. {again}" for one in experiment.half_written(results)]
    if not failures:
        shutil.rmtree(results)
    say(f"round {number}: ended after {starts} starts, {len(failures)} failures")
    return {"restarts": starts, "failures": failures}


def _one_kill(
    state: State, seed: int, stage: str, results: Path, say: Callable[[str], None]
) -> bool:
    """Start a run and kill it in a stage; False where the stage was over before."""
    number = len(state.under("kill "))
    chance = random.Random(f"{seed}:{number}")
    victim = VICTIMS[number % len(VICTIMS)]
    if stage == WRITER:
        victim = (WRITER, "group", "driver")[number % 3]
    run, later = Run(results), STAGES[STAGES.index(stage) :]
    if stage != WRITER:  # or a later one, where a killed harness had come further
        if not run.wait_for(rf"^({'|'.join(later)}): \d+ of \d+ to do"):
            run.end()
            return False
        stage = run.lines[-1].partition(":")[0]
    delay = chance.uniform(*SHARES) * state.done["unbroken"][stage]
    time.sleep(delay)
    if not run.kill(victim):
        victim = "group"  # the one to kill has not started, or has ended
        if not run.kill(victim):
            run.end()
            return False
    failures = _after(run, victim) + experiment.half_written(results)
    what = f"kill {number}: the {victim}, {delay:.1f} s into {stage}"
    say(f"{what}, {len(failures)} failures")
    again = f"Again: make torture, --seed {seed}"
    kept = [f"{what}: {failure}. {again}" for failure in failures]
    state.keep(f"kill {number}", {"victim": victim, "stage": stage, "failures": kept})
    return True


def _after(run: Run, victim: str) -> list[str]:
    """What is wrong with how the run took the kill."""
    status = run.end()
    if victim not in SAID or not status:  # a kernel that had done its work is not missed
        return []
    found = [] if status == 1 else [f"the driver ended with {status} instead of 1"]
    if "Traceback" in run.printed:
        found.append("the driver showed a traceback")
    if SAID[victim] not in run.printed:
        found.append(f"the driver did not say that {SAID[victim]}: {run.printed[-300:]}")
    return found
