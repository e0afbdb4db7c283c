"""``yt8m benchmark``: how near everything comes to what this machine can do at most."""

import argparse
import os
import platform
import sys
from dataclasses import replace
from typing import Any

from yt8m_lib import commands, plan_commands
from yt8m_lib.arguments import add_command
from yt8m_lib.errors import UserError
from yt8m_lib.params import load
from yt8m_lib.settings import Params

PARTS = (
    "reader",
    "step",
    "gap",
    "metrics",
    "search",
    "soft-targets",
    "inference",
    "encode",
    "start",
)
STEPS = ("NetVLAD1", "FVNet", "DBoF1", "RNN1", "RNN3")
SIZES = "params/paper.yaml"  # whose models are measured
DEMO = "params/demo.yaml"  # what is started with nothing to do
EXPERIMENT = "benchmark"


def add_benchmark(parsers: Any) -> None:
    """Add ``yt8m benchmark``."""
    text = "measure reader, training steps, metrics and more against this machine's own limits"
    parser = add_command(parsers, "benchmark", benchmark, text, json=True)
    parser.add_argument(
        "--only", metavar="PART", choices=PARTS, nargs="+", default=PARTS,
        help=f"some of {', '.join(PARTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--models", metavar="NAME", nargs="+", default=STEPS,
        help=f"whose steps are measured, of {SIZES} ({', '.join(STEPS)})",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and videos: to try it, not to quote it"
    )


def benchmark(options: argparse.Namespace) -> None:
    """Measure what was asked for, record it in MLflow, and print it beside its goals."""
    params, demo = load(SIZES), load(DEMO)
    unknown = [name for name in options.models if name not in params.models]
    if unknown:
        raise UserError(f"{SIZES} has no model {unknown[0]!r}: {', '.join(params.models)}")
    commands.start_tensorflow()
    from yt8m_lib.benchmark import computing, goals, reading, scores, starting
    from yt8m_lib.benchmark.timing import Found

    quick = options.quick
    parts = {
        "reader": lambda: reading.reader(params, quick, _say),
        "step": lambda: computing.steps(params, options.models, quick, _say),
        "gap": lambda: scores.gap(quick, _say),
        "metrics": lambda: scores.all_metrics(quick, _say),
        "search": lambda: scores.search(quick, _say),
        "soft-targets": lambda: scores.soft_targets(quick, _say),
        "inference": lambda: computing.inference(params, quick, _say),
        "encode": lambda: computing.encoding(params, quick, _say),
        "start": lambda: starting.starting(demo, DEMO, quick, _say),
    }
    found = Found()
    for name in PARTS:
        if name in options.only:
            found.add(parts[name]())
    goals.add_times(found)
    _record(params.model_copy(update={"experiment": EXPERIMENT}), found, quick)
    if options.json:
        commands.print_json(found.figures | found.limits)
    else:
        print(_as_text(found) + _for_the_paper(params, found))


def _record(params: Params, found: Any, quick: bool) -> None:
    """Log all figures to MLflow, in an experiment of their own."""
    import mlflow

    from yt8m_lib.experiment.store import connect, create_experiment

    client = mlflow.MlflowClient(tracking_uri=connect(params))
    run = client.create_run(create_experiment(client, params), run_name=platform.node())
    about = {"quick": quick, "machine": platform.processor() or platform.machine()}
    for name, value in (about | {"cores": os.cpu_count()}).items():
        client.log_param(run.info.run_id, name, value)
    for name, value in (found.figures | found.limits).items():
        client.log_metric(run.info.run_id, name, value)
    client.set_terminated(run.info.run_id)


def _as_text(found: Any) -> str:
    """Each figure beside its goal, and below them the limits."""
    from yt8m_lib.benchmark.goals import GOALS

    lines = [f"{'figure':26}{'is':>9}  {'goal':9}{'':8}what it is"]
    for key, goal in GOALS.items():
        if key in found.figures:
            value = found.figures[key]
            lines.append(f"{key:26}{value:9.3g}  {goal!s:9}{goal.judge(value):8}{goal.words}")
    others = {key: value for key, value in found.figures.items() if key not in GOALS}
    lines += [f"{key:26}{value:9.3g}" for key, value in others.items()]
    lines += ["", "measured in turn with them:"]
    lines += [f"{key:34}{value:12,.4g}" for key, value in found.limits.items()]
    return "\n".join(lines)


def _for_the_paper(params: Params, found: Any) -> str:
    """What the measured speeds mean for the published experiment."""
    from yt8m_lib.experiment import forecast, machine
    from yt8m_lib.experiment.plan import Plan
    from yt8m_lib.experiment.videos import videos_of
    from yt8m_lib.experiment.workload import Workload
    from yt8m_lib.methods.calibration import costs_of

    if not found.rows:
        return ""
    videos = videos_of(params)
    costs = costs_of(params, plan_commands.frames_of(params, videos))
    rate, copied = (found.limits[key] for key in ("products_gigaflops", "copied_gigabytes"))
    paces = machine.paces_of(found.rows, 1e9 * copied)
    read = found.limits.get("read_bytes_per_second", 0.0)
    speeds = replace(machine.given(rate / 1000, read / 1e9 or None), paces=paces)
    made = forecast.forecast(
        {params.repeat: {}}, Workload(params, videos, costs, Plan(params).steps), speeds
    )
    days = made.in_sequence / 86400
    return (
        f"\n{SIZES} on this machine, one model after the other: {days:,.0f} days (the winners: "
        "about 60 on one GPU)"
    )


def _say(line: str) -> None:
    print(f"[benchmark] {line}", file=sys.stderr, flush=True)
