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

from yt8m_lib.experiment.folders import delete
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
    files = _tables(run.folder) if name == "tables" else _inside(run.folder / name)
    if not files or (note_in(folder) == note and _same(_inside(folder), files)):
        return False
    beside, old = (folder.with_name(f".{os.getpid()}-{part}{name}") for part in ("", "old-"))
    delete(beside)
    for inside, file in files.items():
        (beside / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, beside / inside)
    (beside / NOTE).write_text(json.dumps(note))
    if os.path.lexists(folder):
        os.rename(folder, old)
    os.rename(beside, folder)
    delete(old)
    return True


def _tables(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.iterdir() if path.suffix in TABLES)
    return {path.name: path for path in found if not path.name.startswith(".")}


def _inside(folder: Path) -> dict[str, Path]:
    """All files below a folder, by their path in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != NOTE)
    return {str(path.relative_to(folder)): path for path in files}


def _same(ones: dict[str, Path], others: dict[str, Path]) -> bool:
    """Whether two folders hold the same; only files whose size or time differs are read."""
    return ones.keys() == others.keys() and all(filecmp.cmp(ones[n], others[n]) for n in ones)
