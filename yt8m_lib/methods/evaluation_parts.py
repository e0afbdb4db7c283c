"""Evaluation in parts: each task measures some shards, and what they found is put together.

A part keeps what metrics read of each video, shard by shard, and all shards are put together in
their own order: the figures do not depend on how they were split.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from yt8m_lib.data.shards import base_name, digest, find, part_of
from yt8m_lib.files import check_writable, written_whole
from yt8m_lib.methods.exported import BATCH, ExportedModel, Measured, ModelError, worth_of
from yt8m_lib.scoring.predictions import Predictions

FIELDS = [field.name for field in fields(Predictions)]
ABOUT = "about"  # which model measured which shards
Answers = dict[str, Predictions]  # as ``Measured.answers`` gives them


def evaluate_part(
    folder: str | Path, pattern: str, part: int, parts: int, output: str, size: int = BATCH
) -> int:
    """Measure an exported model on one part of some labelled shards.

    Args:
        folder: of the exported model.
        pattern: a glob of all shards.
        part: which part of them, counted from 1; see ``shards.part_of``.
        parts: how many parts there are.
        output: an ``.npz`` to write, for ``evaluate_together``.
        size: videos predicted at a time; a batch never spans two shards.

    Returns:
        How many shards the part has.

    Raises:
        ModelError, DataError: as ``evaluate_exported`` raises them.
    """
    model, files = ExportedModel(folder), find(pattern)
    check_writable(output)
    level, mine = model.level_of(files), part_of(files, part, parts)
    names = [base_name(file) for file in files]
    about = {"model": model.identity, "shards": names, "digest": digest(files)}
    arrays = {ABOUT: np.array(json.dumps(about))}
    for file in mine:
        measured = Measured(model)
        for batch, predictions in model.answers(_batches(model, file, level, size), [file]):
            measured.add(batch, predictions)
        for name, answers in measured.answers().items():
            key = f"{files.index(file)}/{name}"
            arrays |= {f"{key}/{field}": getattr(answers, field) for field in FIELDS}
    with written_whole(output) as beside, open(beside, "wb") as file:
        np.savez(file, **arrays)
    return len(mine)


def _batches(model: ExportedModel, file: str, level: str, size: int) -> Any:
    return model.videos([file], level, labels=True).batches(size)


def evaluate_together(folder: str | Path, parts: Sequence[str]) -> dict[str, Any]:
    """Put the parts of an evaluation together.

    Args:
        folder: of the exported model.
        parts: the files that ``evaluate_part`` wrote, in any order.

    Returns:
        What ``evaluate_exported`` returns.

    Raises:
        ModelError: for a file of another model or other shards, and for shards that are missing or
            in two parts.
    """
    model, by_shard = ExportedModel(folder), {}
    first: dict[str, Any] = {}
    for path in parts:
        about, found = _read(path)
        first = first or about
        if about["model"] != model.identity or about != first:
            raise ModelError(
                f"{path} is a part of another model's, or of other shards': measure "
                "all parts with this model and the same glob"
            )
        twice = [about["shards"][number] for number in found.keys() & by_shard.keys()]
        if twice:
            raise ModelError(f"{path} measures {twice[0]} a second time: give each part once")
        by_shard |= found
    missing = [n for number, n in enumerate(first["shards"]) if number not in by_shard]
    if missing:
        raise ModelError(
            f"{len(missing)} of {len(first['shards'])} shards are in none of the "
            f"parts, such as {missing[0]}: measure the other parts, too"
        )
    ordered = [by_shard[number] for number in sorted(by_shard)]
    names = dict.fromkeys(name for answers in ordered for name in answers)
    together = {n: Predictions.concatenate([a[n] for a in ordered if n in a]) for n in names}
    return worth_of(model, together)


def _read(path: str) -> tuple[dict[str, Any], dict[int, Answers]]:
    """What a part says of itself, and the answers for each of its shards by the shard's number."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file[ABOUT]))
            keys = {key.rsplit("/", 1)[0] for key in file.files if key != ABOUT}
            found: dict[int, Answers] = {}
            for key in keys:
                number, name = key.split("/")
                answers = Predictions(**{field: file[f"{key}/{field}"] for field in FIELDS})
                found.setdefault(int(number), {})[name] = answers
            return about, found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is no part of an evaluation, or was cut off: {error}") from None
