"""What commands of the command line are given: arguments that several of them share."""

import argparse
from collections.abc import Callable
from typing import Any

from yt8m_lib.files import expanded


def add_command(
    parsers: Any, name: str, action: Callable, text: str, *places: str, json: bool = False
) -> argparse.ArgumentParser:
    """Add a command to the command line.

    Args:
        parsers: of all commands.
        name: of this one.
        action: receives the options.
        text: what it does, in a line that begins small.
        places: what it is given by place: PARAMS, GLOB, CHECKPOINT or MODEL.
        json: whether it prints JSON when asked.
    """
    parser = parsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(action=action)
    explanations = {
        "PARAMS": "an experiment's YAML file, such as params/demo.yaml",
        "GLOB": "TFRecord shards, such as '/data/train*.tfrecord' (quote it); gs:// works",
        "CHECKPOINT": "the checkpoint's prefix, such as .../model.ckpt-1000",
        "MODEL": "folder of an exported model, such as results/demo/model",
    }
    for place in places:
        parser.add_argument(place.lower(), metavar=place, type=expanded, help=explanations[place])
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


def count(text: str) -> int:
    """Read a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is wanted, got {text!r}")
    return int(text)
