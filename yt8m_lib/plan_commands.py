"""``yt8m plan``: what an experiment will take, before anything runs.

Models are counted, and a few of their steps measured, in a process of its own; this one stays free
of TensorFlow. Nothing is written but the figure that was asked for.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from yt8m_lib import commands
from yt8m_lib import params as params_files
from yt8m_lib.arguments import count
from yt8m_lib.costs import Cost, ModelCosts
from yt8m_lib.errors import UserError
from yt8m_lib.files import expanded
from yt8m_lib.settings import ROOT, Params

ANSWER = [sys.executable, "-c", "from yt8m_lib import plan_commands; plan_commands.answer()"]
# A notebook's kernel is forked from one that has imported everything; it still opens the record,
# starts TensorFlow and draws: 3 s besides its steps where TensorFlow itself is there after 5 s.
NOTEBOOK = 0.6


ABOUT = "what an experiment will take: videos, bytes, FLOPs, memory, hours; runs nothing"


class PlanningError(UserError):
    """The process that counts and measures failed; the message says with what."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``yt8m plan`` takes."""
    parser.add_argument(
        "--workers",
        metavar="N",
        type=count,
        help="tasks that run at a time (as many as `yt8m run` would run here)",
    )
    parser.add_argument(
        "--tflops",
        metavar="T",
        type=_amount,
        help="for a machine that multiplies at so many TFLOP/s; without, this one is measured",
    )
    parser.add_argument(
        "--read-gbps", metavar="R", type=_amount, help="records are read at R gigabytes a second"
    )
    parser.add_argument(
        "--figure", metavar="FILE", type=expanded, help="draw hours against 1 to 64 workers"
    )


def _amount(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number above 0 is wanted, got {text!r}")


def plan(options: argparse.Namespace) -> None:
    """Print an experiment's plan, or write its figure."""
    from yt8m_lib.experiment import forecast, machine, processes
    from yt8m_lib.experiment.plan import Plan
    from yt8m_lib.experiment.videos import videos_of
    from yt8m_lib.experiment.workload import Workload
    from yt8m_lib.report import bill

    params = commands.load(options)
    if params.data.files or params.data.train:
        params_files.check_data(params)
    finished = {repeat: _finished(params, repeat) for repeat in _repeats(params)}
    counted = finished[min(finished)].get("data/data")
    videos = videos_of(params, counted)
    costs, found = _ask(params, frames_of(params, videos), measure=options.tflops is None)
    workload = Workload(params, videos, costs, Plan(params).steps)
    read = options.read_gbps
    speeds = machine.measured(found, read) if found else machine.given(options.tflops, read)
    took = {r: {k: m["seconds"] for k, m in runs.items()} for r, runs in finished.items()}
    made = forecast.forecast(took, workload, speeds)
    workers = options.workers or processes.side_by_side(params.training.threads)
    if options.figure:
        figure = bill.draw_workers(made, params.experiment)
        figure.savefig(options.figure, dpi=120, bbox_inches="tight")
    if options.json:
        commands.print_json(bill.as_json(made, params, workers))
    else:
        print(bill.as_text(made, params, workers))


def _repeats(params: Params) -> range:
    return range(params.repeat, max(params.repeats, params.repeat + 1))


def _finished(params: Params, repeat: int) -> dict[str, dict[str, float]]:
    """The metrics of all finished steps, by key; none where there is no record."""
    from yt8m_lib.experiment import servers
    from yt8m_lib.experiment.store import database

    if not servers.address(params) and not database(params).exists():
        return {}
    import mlflow

    from yt8m_lib.data.listing import DataError
    from yt8m_lib.experiment.store import connect
    from yt8m_lib.experiment.tracking import Experiment
    from yt8m_lib.settings import PHASES

    client = mlflow.MlflowClient(tracking_uri=connect(params))
    if client.get_experiment_by_name(params.experiment) is None:
        return {}
    experiment = Experiment(params.model_copy(update={"repeat": repeat}))
    try:
        return {
            f"{phase}/{name}": {"seconds": 0.0} | run.metrics
            for phase in PHASES
            for name, run in experiment.finished(phase).items()
        }
    except DataError:  # whose results they are cannot be told without the data
        return {}


def frames_of(params: Params, videos: Any) -> dict[str, tuple[int, int]]:
    """Frames that each model is trained on, and that it answers on."""
    drawn, read = params.training.frames, videos.longest
    return {
        name: (drawn if model.traits.pools_frames else read, read)
        for name, model in params.models.items()
    }


def _ask(
    params: Params, frames: dict[str, tuple[int, int]], measure: bool
) -> tuple[dict[str, ModelCosts], dict[str, Any] | None]:
    """The costs of all models and, where asked for, what was measured here."""
    question = {
        "params": params.model_dump(mode="json", by_alias=True),
        "frames": frames,
        "measure": measure,
        "asked_at": time.time(),
    }
    done = subprocess.run(
        ANSWER,
        input=json.dumps(question),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TQDM_DISABLE": "1"},  # bars of the stand-in data
        check=False,
    )
    if done.returncode:
        raise PlanningError(f"counting failed (exit code {done.returncode}); its words stand above")
    told = json.loads(done.stdout.splitlines()[-1])
    costs = {name: _costs(values) for name, values in told["costs"].items()}
    return costs, told["measured"]


def _costs(values: dict[str, Any]) -> ModelCosts:
    costs = {name: Cost(**values.pop(name)) for name in ("training", "answering")}
    return ModelCosts(**costs, **values)


def answer() -> None:
    """What the other process does: count, and measure if asked to; JSON in, JSON out."""
    question = json.load(sys.stdin)
    params = Params.model_validate(question["params"])
    commands.start_tensorflow(params.training.threads)
    ready = min(time.time() - question["asked_at"], time.process_time())
    from yt8m_lib.methods import calibration

    costs = calibration.costs_of(params, question["frames"])
    found = None
    if question["measure"]:
        with tempfile.TemporaryDirectory() as folder:
            found = calibration.measured_on(params, costs, Path(folder), _say)
        found["notebook"] = NOTEBOOK * ready
    print(json.dumps({"costs": {n: asdict(c) for n, c in costs.items()}, "measured": found}))


def _say(line: str) -> None:
    print(f"[plan] {line}", file=sys.stderr, flush=True)
