"""Nothing is lost by ``kill -9``: the tables are those of an unbroken run. ``pytest -m slow``."""

import os
import signal
import subprocess
import time

import pandas as pd
import pytest
from smoke_runs import command, same, tables_of

from yt8m_lib.settings import PHASES, ROOT

pytestmark = pytest.mark.slow


def start(results, *before: str) -> subprocess.Popen:
    program = [*before, *command(results)]
    return subprocess.Popen(
        program, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(results) -> dict[str, pd.DataFrame]:
    process = start(results)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    return tables_of(results)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("unbroken"))


def wait_for(process: subprocess.Popen, words: str) -> None:
    while words not in (line := process.stdout.readline()):
        assert line, f"it ended before {words!r}"


def test_two_unbroken_runs_agree(unbroken, tmp_path):
    same(unbroken, finish(tmp_path))


def test_killed_with_its_group_in_each_phase(unbroken, tmp_path):
    for number, phase in enumerate(PHASES):
        process = start(tmp_path)
        wait_for(process, f"[{phase} ")
        time.sleep(0.3 * number)  # at another point of each phase's work
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    same(unbroken, finish(tmp_path))


def test_killed_alone_its_parent_leaves_a_run_that_the_next_one_waits_for(unbroken, tmp_path):
    """As ``kill -9`` of make: the shell dies, what it started goes on."""
    shell = start(tmp_path, "sh", "-c", '"$@"; true', "sh")
    wait_for(shell, "[teachers 2/")
    shell.kill()
    shell.wait()
    same(unbroken, finish(tmp_path))
