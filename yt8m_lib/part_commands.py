"""Commands that do one part of a work that several tasks share; ``cli`` adds them."""

import argparse
import fcntl
import re
from typing import Any

from yt8m_lib import commands
from yt8m_lib.arguments import add_command
from yt8m_lib.files import expanded
from yt8m_lib.params import check_data, load


def add_soft_targets(parsers: Any) -> None:
    """Add ``yt8m soft-targets``."""
    text = "predict one part of an experiment's soft targets; `yt8m run` then finds them there"
    parser = add_command(parsers, "soft-targets", soft_targets, text, "PARAMS")
    parser.add_argument(
        "--part",
        metavar="K/N",
        type=part_of,
        default=(1, 1),
        help="the part K of N of the training shards: a task each, on any machines (all of them)",
    )


def add_evaluation(parsers: Any) -> None:
    """Add ``yt8m evaluate-part`` and ``yt8m evaluate-together``."""
    text = "measure an exported model on one part of some shards"
    parser = add_command(parsers, "evaluate-part", evaluate_part, text, "MODEL", "GLOB")
    parser.add_argument(
        "--part", metavar="K/N", type=part_of, required=True, help="the part K of N of the shards"
    )
    parser.add_argument(
        "--output", metavar="FILE.npz", type=expanded, required=True, help="where to write"
    )
    text = "the metrics of all parts of an evaluation, whatever their number"
    parser = add_command(parsers, "evaluate-together", together, text, "MODEL", json=True)
    parser.add_argument(
        "parts", metavar="FILE.npz", type=expanded, nargs="+", help="what evaluate-part wrote"
    )


def evaluate_part(options: argparse.Namespace) -> None:
    """Measure one part of some shards."""
    commands.start_tensorflow()
    from yt8m_lib.methods import evaluation_parts

    shards = evaluation_parts.evaluate_part(
        options.model, options.glob, *options.part, options.output
    )
    print(f"{shards} shard(s) measured in {options.output}")


def together(options: argparse.Namespace) -> None:
    """Print the metrics of all parts."""
    commands.start_tensorflow()
    from yt8m_lib.methods import evaluation_parts

    measured = evaluation_parts.evaluate_together(options.model, options.parts)
    commands.print_measured(measured, options.json)


def soft_targets(options: argparse.Namespace) -> None:
    """Write the sidecars of one part of the training shards, and finish no step."""
    from yt8m_lib.experiment import locks
    from yt8m_lib.experiment.tracking import Experiment
    from yt8m_lib.methods import devices

    params = load(options.params, options.overrides)
    check_data(params)
    # As a notebook's kernel does: a driver that comes meanwhile waits for the end of this process.
    locks.hold(params, "kernel.lock", fcntl.LOCK_SH)
    devices.prepare(params.training.deterministic, threads=params.training.threads)
    from yt8m_lib.phases import distillation

    experiment = Experiment(params, "distillation")
    written = distillation.write_part(experiment, *options.part)
    part, parts = options.part
    print(f"part {part} of {parts} is there for: {', '.join(written) or 'no step that is ready'}")


def part_of(text: str) -> tuple[int, int]:
    """``K/N`` as two numbers.

    Raises:
        argparse.ArgumentTypeError: unless K is one of 1 to N.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    part, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f"K/N is wanted, K from 1 to N, such as 2/4; got {text!r}")
    return part, parts
