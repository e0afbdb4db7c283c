"""The command line: ``yt8m`` or ``python -m yt8m_lib``."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from yt8m_lib.params import ParamsError
from yt8m_lib.settings import PHASES

DESCRIPTION = """\
Tag videos with one TensorFlow model under 1 GB: teachers, weight averaging, distillation,
8-bit quantisation and a tuned ensemble, on YouTube-8M or on stand-in data."""

EPILOG = """\
examples:
  yt8m run params/demo.yaml                       everything on stand-in data
  yt8m run params/video_level.yaml --set data.files='/data/yt8m/video/*.tfrecord'
  yt8m run params/demo.yaml --only teachers --set training.frames=8
  yt8m inspect '/data/yt8m/frame/train00*.tfrecord'
  yt8m predict results/demo/model '/data/yt8m/frame/test*.tfrecord' --output predictions.csv"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 1 and one message on bad input, 130 on Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except KeyboardInterrupt:
        _fail("interrupted; finished models are kept, the same command goes on from there", 130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:  # known errors become one line, all others keep their traceback
        if not _is_known(error):
            raise
        _fail(str(error), 1)


def _fail(message: str, code: int) -> None:
    print(f"yt8m: {message}", file=sys.stderr)
    sys.exit(code)


def _is_known(error: Exception) -> bool:
    """Whether an error's message is meant for the user; read by name, to import nothing for it."""
    known = {"DataError", "LockedError", "MissingRunError", "ModelError", "PhaseError"}
    return isinstance(error, ParamsError | ValueError | FileNotFoundError) or (
        type(error).__name__ in known
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="yt8m",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_run(commands)
    _command(commands, "synthesize", _synthesize, "write an experiment's stand-in data", "PARAMS")
    _command(commands, "tables", _tables, "print the paper's four tables", "PARAMS", json=True)
    _add_findings(commands)
    _command(
        commands, "sizes", _sizes, "bytes of every model, float32 and 8 bit", "PARAMS", json=True
    )
    _command(commands, "clean", _clean, "delete all that an experiment left", "PARAMS")
    _command(
        commands, "inspect", _inspect, "check shards and count what they hold", "GLOB", json=True
    )
    _command(
        commands,
        "evaluate",
        _evaluate,
        "GAP of an exported model on labelled videos",
        "MODEL",
        "GLOB",
        json=True,
    )
    predict = _command(
        commands,
        "predict",
        _predict,
        "tag videos: the challenge's CSV, 20 classes a video",
        "MODEL",
        "GLOB",
    )
    predict.add_argument("--output", metavar="FILE.csv", required=True, help="where to write")
    _add_import(commands)
    _add_split(commands)
    return parser


def _command(
    commands: Any, name: str, action: Callable, text: str, *places: str, json: bool = False
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(action=action)
    explanations = {
        "PARAMS": "an experiment's YAML file, such as params/demo.yaml",
        "GLOB": "TFRecord shards, such as '/data/train*.tfrecord' (quote it); gs:// works",
        "CHECKPOINT": "the checkpoint's prefix, such as .../model.ckpt-1000",
        "MODEL": "folder of an exported model, such as results/demo/model",
    }
    for place in places:
        parser.add_argument(place.lower(), metavar=place, help=explanations[place])
    if "PARAMS" in places:
        parser.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            dest="overrides",
            help="change a setting, such as training.frames=8; may be repeated",
        )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_run(commands: Any) -> None:
    parser = _command(
        commands, "run", _run, "run an experiment; what is finished is reused", "PARAMS"
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


def _add_findings(commands: Any) -> None:
    text = "test each claim of the paper on all finished repeats: effect, interval, verdict"
    parser = _command(commands, "findings", _findings, text, "PARAMS", json=True)
    parser.add_argument(
        "--add",
        metavar="FILE.npz",
        nargs="+",
        default=[],
        help="repeats made elsewhere, as a report leaves them in tables/repeat-N.npz",
    )
    parser.add_argument(
        "--against",
        metavar="FILE.csv",
        help="an earlier record of the same study: say which effects lie where it expects none",
    )


def _add_import(commands: Any) -> None:
    text = "turn a TensorFlow 1 checkpoint of the released code into a model of ours"
    parser = _command(commands, "import-checkpoint", _import, text, "CHECKPOINT", "PARAMS")
    parser.add_argument(
        "--model", metavar="NAME", required=True, help="which model of PARAMS it is"
    )
    parser.add_argument("--output", metavar="FOLDER", required=True, help="where to export it")
    parser.add_argument("--averaged", action="store_true", help="take the averaged weights in it")
    parser.add_argument("--quantize", action="store_true", help="store large weights in 8 bits")


def _add_split(commands: Any) -> None:
    text = "choose the hold-out: writes the lists of training and validation shards, moves nothing"
    parser = _command(commands, "split", _split, text, "GLOB")
    parser.add_argument("--train", metavar="GLOB", help="shards that are trained on in any case")
    parser.add_argument(
        "--hold-out", metavar="N", type=int, default=800, help="shards held out (800)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of the choice (1)")
    parser.add_argument(
        "--output", metavar="FOLDER", required=True, help="where to write the lists"
    )


def _run(options: argparse.Namespace) -> None:

    if options.models and not options.only:
        raise ParamsError("--models narrows one phase down: name it with --only")
    only = [options.only] if options.only else []
    params = pipeline.run(
        options.params,
        options.overrides,
        only,
        options.first,
        options.models,
        options.force,
        say=lambda line: print(line, flush=True),
    )
    if not only or only == ["report"]:
        _print_tables(params)


def _synthesize(options: argparse.Namespace) -> None:
    _start_tensorflow()
    from yt8m_lib.data import synthetic

    params = _load(options)
    if not params.synthetic:
        raise ParamsError(f"{params.experiment} has no `synthetic` section: it reads real data")
    train, validation = synthetic.write(params)
    print(f"{len(train)} training and {len(validation)} validation shards in {params.folder}/data")


def _tables(options: argparse.Namespace) -> None:
    from yt8m_lib.report import tables

    params = _load(options)
    if options.json:
        _print_json({n: json.loads(t.to_json(orient="records")) for n, t in tables.read(params)})
    else:
        _print_tables(params)


def _findings(options: argparse.Namespace) -> None:
    import pandas as pd

    from yt8m_lib import params
    from yt8m_lib.report import figures, findings, tables

    settings = _load(options)
    params.check_data(settings)
    repeats = dict(map(findings.load, options.add)) | findings.repeats(settings)
    table = findings.table(list(repeats.values()))
    if not len(table):
        raise FileNotFoundError(
            f"{settings.experiment} has no finished repeat yet: yt8m run {options.params}"
        )
    beside = findings.beside(table, settings.beside)
    for name, made in {"findings": table, "beside": beside}.items():
        if len(made):
            tables.write(made, name, settings)
            picture = settings.folder / "tables" / f"{name}.png"
            getattr(figures, name)(made).savefig(picture, dpi=120, bbox_inches="tight")
    if options.json:
        _print_json(json.loads(table.to_json(orient="records")))
        return
    print(f"{tables.heading('findings', settings)}\n\n{tables.as_text(table)}")
    print(f"\n{findings.decided(table)}")
    if len(beside):
        print(f"\n{tables.heading('beside', settings)}\n\n{tables.as_text(beside)}\n")
    if options.against:
        outside = findings.outside(table, pd.read_csv(options.against))
        words = tables.as_text(outside) if len(outside) else "none"
        count = f"{len(outside)} of {len(table)}; 1 in 20 is to be expected"
        print(f"effects outside the intervals of {options.against} ({count}):\n{words}")


def _print_tables(params: Any) -> None:
    from yt8m_lib.report import tables

    for name, table in tables.read(params):
        print(f"\n{tables.heading(name, params)}\n\n{tables.as_text(table)}")
    print(
        f"\nEach claim of the paper, judged: {params.folder / 'tables' / 'findings.md'}\n"
        f"Tables, figures and executed notebooks: {params.folder}\n"
        f"The model, ready to tag videos: {params.folder / 'model'}\n"
        "Compare the runs: make ui        Explore the notebooks: make lab"
    )


def _sizes(options: argparse.Namespace) -> None:
    _start_tensorflow()
    from yt8m_lib.methods import export
    from yt8m_lib.report import tables

    params = _load(options)
    table = export.sizes(params)
    if options.json:
        _print_json(json.loads(table.to_json(orient="records")))
    else:
        print(tables.as_text(table))
        counted = table[table["published"]] if table["published"].any() else table[:-1]
        budget = params.ensembling.budget_bytes
        sizes = dict(zip(counted["model"], counted["bytes_8bit"], strict=True))
        print(
            f"{export.which_fit(sizes, budget)}\nAn RNN's cell has two kernels here that the "
            "released code fuses: three tables of 1,024 bytes more for an LSTM."
        )


def _import(options: argparse.Namespace) -> None:
    _start_tensorflow()
    from yt8m_lib.methods import checkpoints

    params = _load(options)
    size = checkpoints.export_imported(
        options.checkpoint,
        params,
        options.model,
        options.output,
        options.averaged,
        options.quantize,
    )
    print(f"{options.output}: {size:,} bytes; tag videos with: yt8m predict {options.output} ...")


def _split(options: argparse.Namespace) -> None:
    from yt8m_lib.data import shards

    lists = shards.hold_out(options.glob, options.hold_out, options.seed, options.train)
    for name, files in zip(("train", "validation"), lists, strict=True):
        path = shards.write_list(files, options.output, name)
        print(f"{path}: {len(files)} shards")
    print("give them to an experiment as data.train and data.validation")


def _clean(options: argparse.Namespace) -> None:
    from yt8m_lib.experiment import tracking

    params = _load(options)
    tracking.forget(params)
    print(f"deleted {params.folder} and its runs")


def _inspect(options: argparse.Namespace) -> None:
    _start_tensorflow()
    from yt8m_lib.data import inspection, shards
    from yt8m_lib.report import tables

    table = inspection.inspect(shards.find(options.glob), labels=False)
    if options.json:
        _print_json(json.loads(table.to_json(orient="records")))
    else:
        print(tables.as_text(table))
        bad = int((table["bad"] != "").sum())
        print(f"{len(table)} shards, {int(table['videos'].sum()):,} videos, {bad} damaged")
    if (table["bad"] != "").any():
        sys.exit(1)


def _evaluate(options: argparse.Namespace) -> None:
    _start_tensorflow()
    from yt8m_lib.methods import inference

    figures = inference.evaluate_exported(options.model, options.glob)
    if options.json:
        _print_json(figures)
    else:
        for name, value in figures.items():
            print(f"{name:10} {value:,.5f}" if isinstance(value, float) else f"{name:10} {value:,}")


def _predict(options: argparse.Namespace) -> None:
    _start_tensorflow()
    from yt8m_lib.methods import inference

    videos = inference.predict_to_csv(options.model, options.glob, options.output)
    print(f"{videos:,} videos in {options.output}")


def _load(options: argparse.Namespace) -> Any:
    from yt8m_lib import params

    return params.load(options.params, options.overrides)


def _start_tensorflow() -> None:
    from yt8m_lib.methods import devices

    devices.prepare()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
