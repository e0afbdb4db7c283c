"""A run that is killed or fails: it goes on where it was, and says what went wrong."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from smoke_runs import command, run

from yt8m_lib import params
from yt8m_lib.experiment import running
from yt8m_lib.experiment.notebooks import PhaseError
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import ROOT


def test_killed_with_its_whole_group_it_ends_in_the_same_tables(smoke, tmp_path):
    """Kill in the middle of a training, run again, and compare with the unbroken run."""
    shutil.copytree(smoke[0].folder / "data", tmp_path / "smoke" / "data")
    only = ("--only", "data"), ("--only", "teachers", "--models", "LightVLAD-mid", "LSTM-mid")
    run(tmp_path, *only[0])
    killed = subprocess.Popen(
        command(tmp_path, *only[1]), cwd=ROOT, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while "] LightVLAD-mid: GAP" not in (line := killed.stdout.readline()):
        assert line, "it ended before it could be killed"
    time.sleep(1.0)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    printed = run(tmp_path, *only[1])
    assert "unfinished run(s) of a killed process" in printed
    settings = params.load("params/smoke.yaml", [f"results={tmp_path}"])
    resumed = Experiment(settings, "teachers").finished()
    unbroken = Experiment(smoke[0], "teachers").finished()
    for name in ("LightVLAD-mid", "LSTM-mid"):
        for metric in ("gap", "perr", "loss"):
            assert resumed[name].metrics[metric] == unbroken[name].metrics[metric]


def test_a_failing_notebook_is_one_clear_error(smoke, tmp_path):
    shutil.copytree(smoke[0].folder / "data", tmp_path / "smoke" / "data")
    with pytest.raises(PhaseError, match=r"teachers.ipynb, cell .*MissingRunError"):
        running.run(
            "params/smoke.yaml", [f"results={tmp_path}"], only=["teachers"], models=["GRU-mid"]
        )
