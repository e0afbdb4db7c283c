"""What stands in an experiment's folder for people: ``tables/`` and ``model/``.

Both are copies of what runs logged. They belong to one run, which a note in them names, and to the
settings that were asked for last: whoever asks for others gets the others' tables, made earlier or
now.
"""

import filecmp
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from yt8m_lib.files import delete
from yt8m_lib.settings import Params
from yt8m_lib.sources import digest_of

if TYPE_CHECKING:  # MLflow takes seconds to import, and reading a note needs none of it
    from yt8m_lib.experiment.runs import FinishedRun

NOTE = ".made.json"
TABLES = (".csv", ".md", ".npz", ".png")


def settings_of(params: Params) -> str:
    """A hash of all settings that decide results."""
    return digest_of(params.model_dump(mode="json"))


def note_in(folder: Path) -> dict[str, str]:
    """Which run, and which settings, a standing folder belongs to; empty where nothing says so."""
    try:
        note = json.loads((folder / NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def put_out(params: Params, name: str, run: "FinishedRun") -> bool:
    """Let a run's files stand as ``name`` in the experiment's folder, whole.

    Returns:
        Whether anything else stood there, or nothing.
    """
    folder, note = params.folder / name, {"run": run.run_id, "settings": settings_of(params)}
    made = _tables(run) if name == "tables" else _logged_below(run, name)
    if not made or (note_in(folder) == note and _same(_inside(folder), made, run)):
        return False
    beside, old = (folder.with_name(f".{os.getpid()}-{part}{name}") for part in ("", "old-"))
    delete(beside)
    for inside, logged in made.items():
        (beside / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(run.files.path(logged), beside / inside)
    (beside / NOTE).write_text(json.dumps(note))
    if os.path.lexists(folder):
        os.rename(folder, old)
    os.rename(beside, folder)
    delete(old)
    return True


def _tables(run: "FinishedRun") -> dict[str, str]:
    names = (name for name in run.files.names() if name.endswith(TABLES))
    return {name: name for name in names if not name.startswith(".")}


def _logged_below(run: "FinishedRun", name: str) -> dict[str, str]:
    """The names of all files in a folder that a run logged, by their path in it."""
    found = _inside(run.files.path(name)) if run.has(name) else {}
    return {inside: f"{name}/{inside}" for inside in found}


def _inside(folder: Path) -> dict[str, Path]:
    """All files below a folder, by their path in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != NOTE)
    return {str(path.relative_to(folder)): path for path in files}


def _same(standing: dict[str, Path], made: dict[str, str], run: "FinishedRun") -> bool:
    """Whether a folder holds what a run logged; only files whose size or time differs are read."""
    return standing.keys() == made.keys() and all(
        filecmp.cmp(standing[inside], run.files.path(name)) for inside, name in made.items()
    )
