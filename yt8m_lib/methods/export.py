"""One SavedModel under the size budget: the ensemble's graph, and beside it what people need."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from yt8m_lib.errors import UserError, outside_cause
from yt8m_lib.files import FileError, check_folder, is_remote, write_text
from yt8m_lib.methods.ensemble_graph import EnsembleGraph
from yt8m_lib.methods.model_card import CARD, LABELS, write_card, write_labels
from yt8m_lib.methods.signatures import signatures_of
from yt8m_lib.methods.sizes import which_fit
from yt8m_lib.scoring.intervals import Estimate
from yt8m_lib.settings import Params

DESCRIPTION = "yt8m.json"  # beside the graph: what is needed to read records for it
GRAPH = {"saved_model.pb", "variables", "assets", "fingerprint.pb"}
MLFLOW = {
    "MLmodel", "code", "conda.yaml", "input_example.json", "python_env.yaml", "requirements.txt",
    "serving_input_example.json",
}  # fmt: skip
PARTS = GRAPH | MLFLOW | {DESCRIPTION, CARD, LABELS}
ROOM = 40_000  # bytes kept for what comes later: the card once it is measured, MLflow's files


class BudgetError(UserError):
    """The exported model is larger than the budget; the message gives both sizes.

    Attributes:
        over: bytes by which it is larger.
    """

    def __init__(self, message: str, over: int):
        super().__init__(message)
        self.over = over


def save(
    ensemble: EnsembleGraph,
    folder: str | Path,
    params: Params,
    about: Mapping[str, Any],
    budget: int | None,
    label_counts: np.ndarray | None = None,
) -> int:
    """Write an ensemble as a SavedModel, which replaces an earlier one once it is complete.

    Args:
        ensemble: what to write.
        folder: where; also gets ``yt8m.json`` with what is needed to read records for it,
            ``labels.csv`` and ``model_card.md``. Files in it that are no part of an exported model
            stay there.
        params: the experiment's.
        about: more for ``yt8m.json``: ``members`` are the members' weights by their names.
        budget: bytes that it may take on disk, what is added later included; None for no limit.
        label_counts: how many training videos have each class, [V].

    Returns:
        Its bytes on disk.

    Raises:
        BudgetError: when it is larger than the budget; ``folder`` is then left as it was.
        FileError: as ``check_place``, or when the disk does not take it.
    """
    check_place(folder)
    folder = Path(os.path.realpath(folder))  # a link to a folder stays one
    ensemble.forget()  # else the decoded weights would be saved too
    with _beside(folder) as beside:
        tf.saved_model.save(ensemble, str(beside), signatures=signatures_of(ensemble, params.data))
        _describe(params, about, beside / DESCRIPTION)
        write_labels(beside, params, label_counts)
        write_card(beside, params, about.get("members", {}), bytes_of_graph(beside))
        size = bytes_on_disk(beside)
        if budget is not None and size + ROOM > budget:
            members = {f"member {i + 1}": m.nbytes for i, m in enumerate(ensemble.members)}
            raise BudgetError(
                f"the exported model takes {size + ROOM:,} bytes, the budget is {budget:,}: "
                f"{which_fit(members, budget)}",
                size + ROOM - budget,
            )
        _replace(folder, beside)
    return size


def add_measured(folder: str | Path, params: Params, gap: Estimate) -> None:
    """Say in an exported model's card how good the file was found to be."""
    folder = Path(folder)
    members = json.loads((folder / DESCRIPTION).read_text())["members"]
    write_card(folder, params, members, bytes_of_graph(folder), gap)


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds an exported model of this program."""
    return all((Path(folder) / name).is_file() for name in ("saved_model.pb", DESCRIPTION))


def check_place(folder: str | Path) -> None:
    """Refuse a place where no exported model can be put without harm to what is there.

    Raises:
        FileError: for a folder that holds something else than an exported model, for a file, or
            where nothing may be written.
    """
    if is_remote(str(folder)):
        raise FileError(f"{folder}: a model is exported to a local folder; copy it from there")
    place = Path(os.path.realpath(folder))
    if place.exists() and not place.is_dir():
        raise FileError(f"{folder} is a file: name a folder")
    check_folder(place if place.exists() else place.parent)
    check_folder(place.parent)
    if place.exists() and any(place.iterdir()) and not is_exported(place):
        raise FileError(
            f"{folder} holds something else than an exported model, which would be lost: name an "
            f"empty folder or one that is not there yet, such as {Path(folder) / 'model'}"
        )


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder to write to beside another one; what is left of it at the end goes.

    Raises:
        FileError: when the disk does not take what is written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{os.getpid()}-{folder.name}-"  # by which what a kill leaves is known
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as scratch:
            yield Path(scratch) / "new"
    except Exception as error:
        why = outside_cause(error)
        if why is None:
            raise
        raise FileError(f"{folder} cannot be written: {why}") from None


def _replace(folder: Path, new: Path) -> None:
    """Put a new exported model in the place of an old one, and keep what others put beside it."""
    old = new.with_name("old")
    if folder.exists():
        for path in folder.iterdir():
            if path.name not in PARTS:
                os.replace(path, new / path.name)
        os.replace(folder, old)
    os.replace(new, folder)


def _describe(params: Params, about: Mapping[str, Any], path: Path) -> None:
    data = params.data
    description = {
        "experiment": params.experiment,
        "level": data.level,
        "classes": data.classes,
        "vocabulary": data.vocabulary,
        "frames": data.frames,
        "max_frames": data.max_frames,
        "streams": [stream.model_dump(mode="json") for stream in data.streams],
        **data.model_dump(mode="json", include={"id_key", "labels_key"}),
    } | dict(about)
    write_text(path, json.dumps(description, indent=2) + "\n")


def bytes_of_graph(folder: Path) -> int:
    """Bytes of the SavedModel alone, without what lies beside it for people."""
    return sum(bytes_on_disk(folder / name) for name in GRAPH)


def bytes_on_disk(folder: str | Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    paths = [Path(folder), *Path(folder).rglob("*")]
    return sum(path.stat().st_size for path in paths if path.is_file())
