"""How long it takes until something happens: help, and a run that has nothing to do."""

import subprocess
import sys
from collections.abc import Callable

import mlflow

from yt8m_lib.benchmark.timing import Found, in_turn
from yt8m_lib.data.listing import DataError
from yt8m_lib.experiment.store import connect, database
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import PHASES, ROOT, Params

ROUNDS = 3


def starting(params: Params, params_file: str, quick: bool, say: Callable[[str], None]) -> Found:
    """Seconds of ``yt8m --help``, and of ``yt8m run`` where all is finished already."""
    found, rounds = Found(), 1 if quick else ROUNDS
    say("yt8m --help")
    found.figures["help_seconds"] = in_turn({"help": lambda: _run("--help")}, rounds)["help"]
    if _is_finished(params):
        say(f"yt8m run {params_file}, with nothing to do")
        again = in_turn({"run": lambda: _run("run", params_file)}, rounds)
        found.figures["start_seconds"] = again["run"]
    else:
        say(f"{params_file} is not finished: yt8m run with nothing to do is left out")
    return found


def _is_finished(params: Params) -> bool:
    if not database(params).exists():
        return False
    client = mlflow.MlflowClient(tracking_uri=connect(params))
    if client.get_experiment_by_name(params.experiment) is None:
        return False
    experiment = Experiment(params)
    try:
        return not any(experiment.unfinished(experiment.plan.of(phase)) for phase in PHASES)
    except DataError:  # stand-in data that were not written yet
        return False


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "yt8m_lib", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
