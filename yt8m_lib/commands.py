"""What each command of the command line does; ``cli`` says how they are called.

What takes seconds to import is imported by the command that needs it.
"""

import argparse
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from yt8m_lib import params as params_files
from yt8m_lib.files import check_folder
from yt8m_lib.params import ParamsError


def run(options: argparse.Namespace) -> None:
    """Run an experiment and print its tables."""

    if options.models and not options.only:
        raise ParamsError("--models narrows one phase down: name it with --only")
    from yt8m_lib.experiment import running
    from yt8m_lib.experiment.executors import Machines

    only = [options.only] if options.only else []
    params = running.run(
        options.params,
        options.overrides,
        only,
        options.first,
        options.models,
        force=options.force,
        rerun=options.rerun,
        accept_code=options.accept_code,
        executor=options.executor,
        machines=Machines(options.workers, options.address),
        say=lambda line: print(line, flush=True),
    )
    if not only or only == ["report"]:
        _print_ending(params)


def tables(options: argparse.Namespace) -> None:
    """Print the paper's four tables."""
    from yt8m_lib.report import tables

    params = load(options)
    if options.json:
        print_json({n: json.loads(t.to_json(orient="records")) for n, t in tables.read(params)})
    else:
        _print_tables(params)


def findings(options: argparse.Namespace) -> None:
    """Test each claim of the paper on all finished repeats."""
    from yt8m_lib.report import findings, questions, tables

    params = load(options)
    params_files.check_data(params)
    check_folder(params.folder / "tables")
    for file in [*options.add, *([options.against] if options.against else [])]:
        if not Path(file).is_file():
            raise ParamsError(f"there is no file {file!r}")
    repeats = dict(map(_load_repeat, options.add)) | findings.repeats(params)
    if not repeats:
        raise ParamsError(f"{params.experiment} has no finished repeat: yt8m run {options.params}")
    made = list(repeats.values())
    table = findings.signed(findings.table(made), params)
    others = findings.other_choices(table, params.other_choices)
    more = {
        "ladder": questions.ladder(made),
        "asked": questions.asked(made),
        "other_choices": others,
    }
    _write_findings(params, {"findings": table} | more)
    if options.json:
        print_json(json.loads(table.to_json(orient="records")))
        return
    print(f"{tables.heading('findings', params)}\n\n{tables.as_text(table)}")
    print(f"\n{findings.decided(table)}")
    for name, one in more.items():
        if len(one):
            print(f"\n{tables.heading(name, params)}\n\n{tables.as_text(one)}\n")
    if options.against:
        _compare(table, options.against)


def _load_repeat(file: str) -> Any:
    from yt8m_lib.report import findings

    try:
        return findings.load(file)
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, zlib.error):
        raise ParamsError(
            f"{file} is no repeat, or was cut off on its way: fetch it again; a report leaves it "
            "in tables/repeat-N.npz"
        ) from None


def _write_findings(params: Any, made: dict[str, Any]) -> None:
    from yt8m_lib.report import figures, tables

    for name, table in made.items():
        if len(table):
            tables.write(table, name, params)
            picture = params.folder / "tables" / f"{name}.png"
            figures.DRAWINGS[name](table).savefig(picture, dpi=120, bbox_inches="tight")


def _compare(table: Any, record: str) -> None:
    import pandas as pd

    from yt8m_lib.report import findings, tables

    try:
        known = pd.read_csv(record)
    except ValueError as error:  # pandas' own errors are ValueErrors, too
        raise ParamsError(f"{record} is no CSV: {error}") from None
    if not {"part", "low", "high"} <= set(known):
        raise ParamsError(f"{record} is no record of findings: no columns part, low and high")
    outside = findings.outside(table, known)
    match findings.has_other_settings(table, known):
        case None:
            print(f"{record} does not say under which settings it was made")
        case True:
            print(f"{record} was made under other settings: effects may differ because of them")
    words = tables.as_text(outside) if len(outside) else "none"
    count = f"{len(outside)} of {len(table)}; 1 in 20 is to be expected"
    print(f"effects outside the intervals of {record} ({count}):\n{words}")


def _print_ending(params: Any) -> None:
    from yt8m_lib.experiment import links, views
    from yt8m_lib.experiment.tracking import Experiment
    from yt8m_lib.report import ending, tables

    experiment = Experiment(params)
    views.put_up(experiment.client, experiment.id, params, ending.note(params))
    for name, table in tables.read(params):
        if len(table):  # else the experiment has no such phase
            print(f"\n{tables.heading(name, params)}\n\n{ending.narrow(name, table)}")
    print(f"\n{ending.conclusion(params, links.of_runs(params, experiment.id))}")


def _print_tables(params: Any) -> None:
    from yt8m_lib.report import tables

    for name, table in tables.read(params):
        if not len(table):  # the experiment has no such phase
            continue
        print(f"\n{tables.heading(name, params)}\n\n{tables.as_text(table)}")


def ensemble(options: argparse.Namespace) -> None:
    """Make the best model of so many bytes, or print what growing budgets buy."""
    start_tensorflow()
    from yt8m_lib.experiment.tracking import Experiment
    from yt8m_lib.methods.export import check_place
    from yt8m_lib.phases.budget import Candidates, at_equal_bytes
    from yt8m_lib.report import bits, tables

    params = load(options)
    params_files.check_data(params)
    if options.output:
        check_place(options.output)
    candidates = Candidates(Experiment(params))
    if not options.output:
        table = candidates.curve(options.budget)
        left = params.folder / "tables" / "budget"
        table.to_csv(f"{left}.csv", index=False)
        bits.draw_budget(table).savefig(f"{left}.png", dpi=120, bbox_inches="tight")
        counted = table.assign(members=table["members"].str.count(", ") + 1)
        print(f"{tables.as_text(counted)}\n\nGAP on the report half. Members by name: {left}.csv")
        beside, gain = at_equal_bytes(params)
        if gain:
            beside.to_csv(f"{left}_beside_shipped.csv", index=False)
            low, high = gain.interval()
            print(
                f"\nThe best members at the bytes of the experiment's own ensemble:\n"
                f"{tables.as_text(beside.drop(columns='members'))}\n\nGain {gain.value:+.4f} "
                f"[{low:+.4f}, {high:+.4f}] over {len(beside)} repeat(s)"
            )
        return
    budget = options.budget or params.ensembling.budget_bytes
    found, size = candidates.fill(budget, options.output)
    for name, weight in found.weights.items():
        print(f"{weight:6.3f}  {name}, {candidates.sizes[name]:,} bytes")
    print(f"{options.output}: {size:,} bytes of {budget:,}, GAP {found.gap:.4f} (selection half)")


def sizes(options: argparse.Namespace) -> None:
    """Print the bytes of every model."""
    start_tensorflow()
    from yt8m_lib.methods.sizes import model_sizes, which_fit
    from yt8m_lib.report import tables

    params = load(options)
    table = model_sizes(params)
    if options.json:
        print_json(json.loads(table.to_json(orient="records")))
    else:
        print(tables.as_text(table))
        counted = table[table["published"]] if table["published"].any() else table[:-1]
        budget = params.ensembling.budget_bytes
        sizes = dict(zip(counted["model"], counted["bytes_stored"], strict=True))
        print(
            f"{which_fit(sizes, budget)}\nAn RNN's cell has two kernels here that the "
            "released code fuses: three tables of 1,024 bytes more for an LSTM."
        )


def import_checkpoint(options: argparse.Namespace) -> None:
    """Turn a released checkpoint into a model of ours."""
    start_tensorflow()
    from yt8m_lib import checkpoints

    params = load(options)
    size = checkpoints.export_imported(
        options.checkpoint,
        params,
        options.model,
        options.output,
        options.averaged,
        options.quantize,
    )
    print(f"{options.output}: {size:,} bytes; tag videos with: yt8m predict {options.output} ...")


def clean(options: argparse.Namespace) -> None:
    """Delete what this program made for an experiment."""
    from yt8m_lib.experiment import forgetting

    print(forgetting.forget(load(options)))


def inspect(options: argparse.Namespace) -> None:
    """Check shards and count what they hold; exits with 1 where one is damaged."""
    start_tensorflow()
    from yt8m_lib.data import inspection, layouts, shards
    from yt8m_lib.report import tables

    data = params_files.load(options.params).data if options.params else None
    vocabulary = data.vocabulary if data else options.vocabulary
    table = inspection.inspect(shards.find(options.glob), vocabulary, labels=False, data=data)
    if options.json:
        print_json(json.loads(table.to_json(orient="records")))
    else:
        print(tables.as_text(table))
        bad = int((table["bad"] != "").sum())
        print(f"{len(table)} shards, {int(table['videos'].sum()):,} videos, {bad} damaged")
        for words, files in layouts.advice_for(table["path"][table["bad"] != ""]).items():
            print(f"\nThese settings of an experiment would read {_some(files)}:\n{words}")
    if (table["bad"] != "").any():
        sys.exit(1)


def _some(files: list[str]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0]}{more}"


def evaluate(options: argparse.Namespace) -> None:
    """Print an exported model's metrics on labelled videos."""
    start_tensorflow()
    from yt8m_lib.methods import exported

    measured = exported.evaluate_exported(options.model, options.glob, per_class=options.per_class)
    print_measured(measured, options.json)


def print_measured(measured: dict[str, Any], as_json: bool) -> None:
    """Print what an evaluation found."""
    import pandas as pd

    from yt8m_lib.report import tables

    if as_json:
        print_json(measured)
        return
    thirds = measured.pop("by_frequency")
    for name, value in measured.items():
        print(f"{name:14} {value:,.5f}" if isinstance(value, float) else f"{name:14} {value:,}")
    if measured["labels_dropped"]:
        print(
            f"{measured['labels_dropped']:,} of the {measured['labels']:,} labels are of "
            "classes that the model does not know: they count as missed"
        )
    if thirds:
        print("\nThirds of the classes, by training videos; each on the videos that have one:")
        rows = [{"third": third} | values for third, values in thirds.items()]
        print(tables.as_text(pd.DataFrame(rows)))


def predict(options: argparse.Namespace) -> None:
    """Tag videos with an exported model."""
    start_tensorflow()
    from yt8m_lib.methods import tagging

    if options.stride and not options.window:
        raise ParamsError("--stride says how far apart stretches start: give --window, too")
    videos = tagging.predict_to_file(
        options.model,
        options.glob,
        options.output,
        options.top_k,
        names=options.names,
        window=options.window and (options.window, options.stride or options.window),
    )
    onto_stdout = os.path.exists(options.output) and os.path.samestat(
        os.stat(options.output), os.fstat(1)
    )
    what = "stretches" if options.window else "videos"
    print(f"{videos:,} {what} in {options.output}", file=sys.stderr if onto_stdout else sys.stdout)


def load(options: argparse.Namespace) -> Any:
    """The checked settings that a command was given."""
    return params_files.load(options.params, options.overrides)


def start_tensorflow(threads: int = 0) -> None:
    """Import TensorFlow quietly, as the project uses it, with so many threads; 0: one a core."""
    from yt8m_lib.methods import devices

    devices.prepare(threads=threads)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(json.dumps(value, indent=2))
