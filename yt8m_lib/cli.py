"""The command line: ``yt8m`` or ``python -m yt8m_lib``."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from yt8m_lib import benchmark_commands, commands, data_commands, part_commands, plan_commands
from yt8m_lib.arguments import add_command, count
from yt8m_lib.catalogue import EXECUTORS
from yt8m_lib.errors import UserError, outside_cause
from yt8m_lib.files import expanded
from yt8m_lib.settings import PHASES

DESCRIPTION = """\
Tag videos with one TensorFlow model under 1 GB: teachers, weight averaging, distillation,
8-bit quantisation and a tuned ensemble, on YouTube-8M or on stand-in data."""

EPILOG = """\
examples:
  yt8m run params/demo.yaml                       everything on stand-in data
  yt8m run params/video_level.yaml --set data.files='/data/yt8m/video/*.tfrecord'
  yt8m run params/demo.yaml --only teachers --set training.frames=8
  yt8m plan params/paper.yaml --tflops 20 --read-gbps 1 --workers 8
  yt8m inspect '/data/yt8m/frame/train00*.tfrecord'
  yt8m pack features --labels labels.csv --output mine
  yt8m predict results/demo/model '/data/yt8m/frame/test*.tfrecord' --output predictions.csv

exit codes: 0 done, 1 refused or failed, 2 not a valid command line, 130 interrupted by Ctrl-C,
141 whoever read the output stopped before its end"""

INTERRUPTED = "interrupted; nothing half-written is left"
RUN_INTERRUPTED = "interrupted; finished models are kept, the same command goes on from there"
SHARDS_KEPT = "interrupted; finished shards are kept, the same command goes on from there"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 1 and one message on bad input, 130 on Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        kept = {commands.run: RUN_INTERRUPTED}
        by_shard = (commands.predict, data_commands.pack, part_commands.soft_targets)
        kept |= dict.fromkeys(by_shard, SHARDS_KEPT)
        _fail(kept.get(options.action, INTERRUPTED), 130)
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, else Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except UserError as error:
        _fail(str(error), 1)
    except Exception as error:  # all others are faults of the program and keep their traceback
        why = outside_cause(error)
        if why is None:
            raise
        where = getattr(error, "filename", None)
        _fail(f"{where}: {why}" if where else why, 1)


def _fail(message: str, code: int) -> None:
    print(f"yt8m: {message}", file=sys.stderr)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="yt8m",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_run(parsers)
    text = plan_commands.ABOUT
    planning = add_command(parsers, "plan", plan_commands.plan, text, "PARAMS", json=True)
    plan_commands.add_options(planning)
    add_command(
        parsers,
        "synthesize",
        data_commands.synthesize,
        "write an experiment's stand-in data",
        "PARAMS",
    )
    add_command(
        parsers, "tables", commands.tables, "print the paper's four tables", "PARAMS", json=True
    )
    _add_findings(parsers)
    add_command(
        parsers,
        "sizes",
        commands.sizes,
        "bytes of every model, float32 and 8 bit",
        "PARAMS",
        json=True,
    )
    _add_ensemble(parsers)
    add_command(parsers, "clean", commands.clean, "delete all that an experiment left", "PARAMS")
    _add_inspect(parsers)
    text = "metrics of an exported model on labelled videos"
    evaluate = add_command(parsers, "evaluate", commands.evaluate, text, "MODEL", "GLOB", json=True)
    evaluate.add_argument(
        "--per-class",
        metavar="CSV",
        type=expanded,
        help="write each class's AP, AUC and what it is confused with; prints mAP and d-prime",
    )
    _add_predict(parsers)
    data_commands.add_pack(parsers)
    _add_import(parsers)
    data_commands.add_split(parsers)
    part_commands.add_soft_targets(parsers)
    part_commands.add_evaluation(parsers)
    benchmark_commands.add_benchmark(parsers)
    return parser


def _add_predict(parsers: Any) -> None:
    text = "tag videos: the challenge's CSV, tags with names, or a Parquet table"
    parser = add_command(parsers, "predict", commands.predict, text, "MODEL", "GLOB")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=expanded,
        required=True,
        help="where to write: a table where it ends in .parquet, JSON for .json, else a CSV",
    )
    parser.add_argument(
        "--top-k", metavar="K", type=count, default=20, help="classes a video, at most all (20)"
    )
    parser.add_argument(
        "--names",
        action="store_true",
        help="a row a tag, with its name, instead of the challenge's",
    )
    parser.add_argument("--window", metavar="N", type=count, help="tag stretches of N frames")
    parser.add_argument(
        "--stride", metavar="M", type=count, help="with --window: a stretch each M frames (N)"
    )


def _add_run(parsers: Any) -> None:
    parser = add_command(
        parsers, "run", commands.run, "run an experiment; what is finished is reused", "PARAMS"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only", metavar="PHASE", choices=PHASES, help=f"one of {', '.join(PHASES)}"
    )
    which.add_argument("--from", metavar="PHASE", choices=PHASES, dest="first", help="begin there")
    parser.add_argument(
        "--models", metavar="NAME", nargs="+", default=[], help="with --only: these models alone"
    )
    parser.add_argument("--force", action="store_true", help="run again what is finished")
    changed = parser.add_mutually_exclusive_group()
    changed.add_argument(
        "--rerun",
        action="store_true",
        help="make again what a change of code or data put out of date, however long it took",
    )
    changed.add_argument(
        "--accept-code",
        action="store_true",
        help="take finished work as it is where only code changed; it is marked so in MLflow",
    )
    parser.add_argument(
        "--executor",
        choices=list(EXECUTORS),
        help="where notebooks run: one after the other here (local), several at a time here "
        "(processes), on a Ray cluster, or as Slurm jobs; where training.threads is given, "
        "processes, else local",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=count,
        help="notebooks at a time (processes: one a GPU, or a core for each of training.threads; "
        "ray and slurm: 64 wait or run)",
    )
    parser.add_argument(
        "--address", metavar="ADDRESS", help="of a running Ray cluster; `local` tries slurm here"
    )


def _add_inspect(parsers: Any) -> None:
    text = "check shards and count what they hold"
    parser = add_command(parsers, "inspect", commands.inspect, text, "GLOB", json=True)
    parser.add_argument(
        "--vocabulary",
        metavar="N",
        type=count,
        default=3862,
        help="classes that labels may have: 3862, or 4716 in the data of 2017",
    )
    parser.add_argument(
        "--params",
        metavar="PARAMS",
        type=expanded,
        help="an experiment whose streams, keys and vocabulary the shards have",
    )


def _add_findings(parsers: Any) -> None:
    text = "test each claim of the paper on all finished repeats: effect, interval, verdict"
    parser = add_command(parsers, "findings", commands.findings, text, "PARAMS", json=True)
    parser.add_argument(
        "--add",
        metavar="FILE.npz",
        type=expanded,
        nargs="+",
        default=[],
        help="repeats made elsewhere, as a report leaves them in tables/repeat-N.npz",
    )
    parser.add_argument(
        "--against",
        metavar="FILE.csv",
        type=expanded,
        help="an earlier record of the same study: say which effects lie where it expects none",
    )


def _add_ensemble(parsers: Any) -> None:
    text = "the best model of so many bytes, from finished students; trains nothing"
    parser = add_command(parsers, "ensemble", commands.ensemble, text, "PARAMS")
    parser.add_argument(
        "--budget",
        metavar="BYTES",
        type=count,
        help="that the model may take on disk (the experiment's own)",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=expanded,
        help="where to export it; without, print what budgets from 1/32 on buy",
    )


def _add_import(parsers: Any) -> None:
    text = "turn a TensorFlow 1 checkpoint of the released code into a model of ours"
    parser = add_command(
        parsers, "import-checkpoint", commands.import_checkpoint, text, "CHECKPOINT", "PARAMS"
    )
    parser.add_argument(
        "--model", metavar="NAME", required=True, help="which model of PARAMS it is"
    )
    parser.add_argument(
        "--output", metavar="FOLDER", type=expanded, required=True, help="where to export it"
    )
    parser.add_argument("--averaged", action="store_true", help="take the averaged weights in it")
    parser.add_argument("--quantize", action="store_true", help="store large weights in 8 bits")
