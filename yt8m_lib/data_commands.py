"""What each command about data does: stand-in shards, splits, inspection, people's own videos.

What takes seconds to import is imported by the command.
"""

import argparse
from pathlib import Path
from typing import Any

from yt8m_lib.arguments import add_command, count
from yt8m_lib.commands import load, start_tensorflow
from yt8m_lib.files import expanded
from yt8m_lib.params import ParamsError


def add_pack(parsers: Any) -> None:
    """Add ``yt8m pack``."""
    text = "turn your own features into shards, and into an experiment that trains on them"
    parser = add_command(parsers, "pack", pack, text)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=expanded,
        help="a folder of ID.npy (frames x features), of ID.npz (a key a stream), of MediaPipe's "
        "ID.pb, or of a folder a stream; or a Parquet file with `id` and list columns",
    )
    parser.add_argument(
        "--labels",
        metavar="CSV",
        type=expanded,
        help="columns `id` and `labels`: names or numbers, several separated by | or in several "
        "rows; without, videos are packed to be tagged",
    )
    parser.add_argument(
        "--output", metavar="FOLDER", type=expanded, required=True, help="where the shards go"
    )
    parser.add_argument(
        "--vocabulary",
        metavar="CSV",
        type=expanded,
        help="with --labels: the classes, as `index` and `name` (those that the labels name)",
    )
    parser.add_argument(
        "--like",
        metavar="MODEL",
        type=expanded,
        help="store features as this exported model reads them: for videos that it is to tag",
    )
    parser.add_argument(
        "--storage",
        choices=("uint8", "float16", "float32"),
        default="uint8",
        help="of the features: a byte of a measured range, or floats (uint8)",
    )
    parser.add_argument(
        "--validation-share", metavar="SHARE", type=float, default=0.2, help="held out (0.2)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of the split (1)")
    parser.add_argument(
        "--workers", metavar="N", type=count, default=2, help="shards written at a time (2)"
    )


def add_split(parsers: Any) -> None:
    """Add ``yt8m split``."""
    text = "choose the hold-out: writes the lists of training and validation shards, moves nothing"
    parser = add_command(parsers, "split", split, text, "GLOB")
    parser.add_argument(
        "--train", metavar="GLOB", type=expanded, help="shards that are trained on in any case"
    )
    parser.add_argument(
        "--hold-out", metavar="N", type=int, default=800, help="shards held out (800)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of the choice (1)")
    parser.add_argument(
        "--output", metavar="FOLDER", type=expanded, required=True, help="where to write the lists"
    )


def synthesize(options: argparse.Namespace) -> None:
    """Write an experiment's stand-in data."""
    start_tensorflow()
    from yt8m_lib.data import synthetic

    params = load(options)
    if not params.synthetic:
        raise ParamsError(f"{params.experiment} has no `synthetic` section: it reads real data")
    train, validation = synthetic.write(params)
    print(f"{len(train)} training and {len(validation)} validation shards in {params.folder}/data")


def split(options: argparse.Namespace) -> None:
    """Choose the hold-out and write the lists of shards."""
    from yt8m_lib.data import shards

    lists = shards.hold_out(options.glob, options.hold_out, options.seed, options.train)
    for name, files in zip(("train", "validation"), lists, strict=True):
        path = shards.write_list(files, options.output, name)
        print(f"{path}: {len(files)} shards")
    print("give them to an experiment as data.train and data.validation")


def pack(options: argparse.Namespace) -> None:
    """Turn people's own features into shards and an experiment."""
    start_tensorflow()
    from yt8m_lib.data import pack_labels, pack_recipe, packing
    from yt8m_lib.data.pack_sources import open_source

    if not 0 < options.validation_share < 1:
        raise ParamsError(f"--validation-share is {options.validation_share}: above 0, below 1")
    if options.vocabulary and not options.labels:
        raise ParamsError("--vocabulary numbers the labels: give --labels, too")
    streams = None
    if options.like:
        from yt8m_lib.methods.exported import ExportedModel

        streams = ExportedModel(options.like).reading.streams
    source = open_source(options.source)
    labels = options.labels and pack_labels.read_labels(options.labels, options.vocabulary)
    packed = packing.pack(
        source,
        labels or None,
        options.output,
        options.storage,
        streams,
        options.validation_share,
        options.seed,
        options.workers,
    )
    for stream in packed.streams:
        of = f" of [{stream.range[0]:g}, {stream.range[1]:g}]" if stream.storage == "uint8" else ""
        print(
            f"{stream.name}: {stream.width} features as {stream.storage}{of}, error "
            f"{100 * packed.errors[stream.name]:.2g} % of their spread"
        )
    for name, files in packed.shards.items():
        shards = "1 shard" if len(files) == 1 else f"{len(files)} shards"
        print(f"{name}: {sum(files.values()):,} videos in {shards}")
    folder = Path(options.output)
    if labels:
        name = pack_recipe.experiment_name(folder)
        file = pack_recipe.write_params(packed, len(labels.names), folder, name)
        print(
            f"{len(labels.names)} classes: {folder / packing.VOCABULARY}\n\nNow train and tag:\n"
            f"  yt8m run {file}\n"
            f"  yt8m predict results/{name}/model 'SHARDS' --names --output tags.csv"
        )
