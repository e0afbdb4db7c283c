"""What each command about data does: stand-in shards, splits, inspection, people's own videos.

``cli`` says how they are called. What takes seconds to import is imported by the command.
"""

import argparse
from pathlib import Path

from yt8m_lib.commands import load, start_tensorflow
from yt8m_lib.params import ParamsError


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
