"""Which code a phase uses, as hashes: a phase is run again when its code changed, and only then."""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from yt8m_lib.settings import ROOT

# Modules that carry, draw or print results without changing them: no reason to train again.
CARRIERS = {"plan", "tracking", "pipeline", "cli", "devices", "locks", "overview", "sources"}
DISPLAYS = {
    "claims",
    "figures",
    "findings",
    "tables",
}  # what the report makes, and other notebooks only show


def digest_of(value: Any) -> str:
    """A short hash of anything that JSON can write."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_digests(notebook: Path) -> dict[str, str]:
    """A hash of the notebook's working code and of each library module that it reaches.

    Comments count for nothing, and neither do cells behind the one that works off ``todo()``:
    what they show changes no result.
    """
    sources = _working_cells(notebook)
    own = {notebook.name: digest_of([ast.dump(ast.parse(source)) for source in sources])}
    reached = {name for source in sources for name in _imports(source)}
    return own | module_digests(
        reached, CARRIERS | (set() if notebook.stem == "report" else DISPLAYS)
    )


def module_digests(modules: set[str], skipped: set[str]) -> dict[str, str]:
    """A hash of each library module reached from these, comments left out."""
    digests: dict[str, str] = {}
    waiting = modules - skipped
    while waiting:
        name = waiting.pop()
        source = _module_file(name).read_text()
        digests[f"{name}.py"] = digest_of(ast.dump(ast.parse(source)))
        waiting |= {n for n in _imports(source) if f"{n}.py" not in digests} - skipped
    return digests


def _working_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"] if notebook.exists() else []
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    working = [place for place, source in enumerate(code) if ".todo()" in source]
    lines = [source.splitlines() for source in code[: max(working, default=len(code)) + 1]]
    return ["\n".join(line for line in cell if line[:1] not in ("%", "!")) for cell in lines]


def _imports(source: str) -> Iterator[str]:
    """Names of the library's modules that a piece of code imports, such as ``models.frames``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("yt8m_lib"):
            inside = node.module.removeprefix("yt8m_lib").lstrip(".")
            names = [f"{inside}.{alias.name}".lstrip(".") for alias in node.names] + [inside]
        elif isinstance(node, ast.Import):
            names = [alias.name.removeprefix("yt8m_lib.") for alias in node.names]
            names = [n for n in names if f"yt8m_lib.{n}" in {a.name for a in node.names}]
        else:
            continue
        yield from (name for name in names if name and _module_file(name).is_file())


def _module_file(name: str) -> Path:
    path = ROOT / "yt8m_lib" / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
