"""An experiment's own folder: what this program makes in it, and deleting that and nothing else."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from yt8m_lib.errors import UserError
from yt8m_lib.files import check_folder, delete, write_text

# All that is ever made in an experiment's folder; everything else in it belongs to somebody else.
MADE = (
    "artifacts", "data", "fetched", "kernel.lock", "lock", "model", "notebooks", "params.yaml",
    "scratch", "slurm", "soft_targets", "tables",
)  # fmt: skip
LEFTOVER = re.compile(r"\.(\d+)-.*|model\.part")  # what a killed process was about to write
MARKER = ".yt8m.json"  # says that the folder is this program's, and what it found there


class FolderError(UserError):
    """A folder is somebody else's; the message says which and what to do."""


def prepare(folder: Path) -> None:
    """Make an experiment's folder, and note what was in it before.

    Raises:
        FolderError: when something stands there that would be replaced.
    """
    if (folder / MARKER).exists():
        return
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    if MARKER in names:  # made this very moment by another process
        return
    found = [] if _is_older(folder) else [n for n in names if not LEFTOVER.fullmatch(n)]
    if "data" in found and _is_stand_in(folder / "data"):
        found.remove("data")
    taken = sorted({*found} & {*MADE} - {"data"})
    if taken:
        raise FolderError(
            f"{folder} holds {', '.join(taken)}, which this program did not make and would "
            "replace. Choose another `experiment` or `results`."
        )
    note = {"about": "made by yt8m; `yt8m clean` deletes what it made here", "found": found}
    write_text(folder / MARKER, json.dumps(note, indent=1))


def sweep(folder: Path) -> None:
    """Delete what killed processes were about to write in an experiment's folder."""
    within = ("data", "fetched", "soft_targets", "tables")
    for place in (folder, *(folder / name for name in within)):
        for path in place.glob(".*" if place == folder else "**/.*"):
            match = LEFTOVER.fullmatch(path.name)
            if match and not _is_running(match[1]):
                delete(path)


def _is_running(process: str | None) -> bool:
    if process is None:
        return False
    try:
        os.kill(int(process), 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def found_there(folder: Path) -> list[str]:
    """What stood in an experiment's folder before this program came.

    Raises:
        FolderError: when the folder is not this program's.
    """
    if not (folder / MARKER).exists():
        if _is_older(folder):
            return []
        raise FolderError(
            f"{folder} was not made by this program (it has no {MARKER}): nothing is deleted. Look "
            "at `experiment` and `results`, or delete it yourself."
        )
    return json.loads((folder / MARKER).read_text())["found"]


def remove(folder: Path) -> tuple[list[str], list[str]]:
    """Delete what this program made in an experiment's folder; links are never followed.

    Returns:
        Names of what was deleted, and of what is left because it is somebody else's.

    Raises:
        FolderError: when the folder is not this program's, or a file cannot be deleted.
    """
    found, deleted = found_there(folder), []
    try:
        for path in sorted(folder.iterdir()):
            own = path.name in MADE or LEFTOVER.fullmatch(path.name)
            if own and path.name not in found:
                delete(path)
                deleted.append(path.name)
        (folder / MARKER).unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"{error.filename} cannot be deleted: {error.strerror}") from None
    left = sorted(path.name for path in folder.iterdir())
    if not left:
        with suppress(OSError):  # a link to a folder
            folder.rmdir()
    return deleted, left


def _is_older(folder: Path) -> bool:
    """Whether a driver worked here before folders were marked."""
    lock = folder / "lock"
    return lock.is_file() and lock.read_bytes().startswith(b"process ")


def _is_stand_in(data: Path) -> bool:
    """Whether a folder is one of stand-in data, such as another experiment's that was copied."""
    try:
        note = json.loads((data / "manifest.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(note, dict) and {"seed", "code", "train_videos"} <= note.keys()
