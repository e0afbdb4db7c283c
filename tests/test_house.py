"""The rooms of the library: imports go one way, and the driver is free of TensorFlow."""

import ast
import subprocess
import sys

import pytest

from yt8m_lib.settings import PHASES, ROOT

LIBRARY = ROOT / "yt8m_lib"
ROOT_ROOM = (
    "settings", "model_settings", "data_settings", "values", "params", "families", "catalogue",
    "errors", "streams", "files", "sources", "costs", "bounded_cache",
)  # fmt: skip
MAY_IMPORT = {
    "root": {"root"},
    "data": {"root", "data"},
    "models": {"root", "models"},
    "scoring": {"root", "scoring"},
    "methods": {"root", "data", "models", "scoring", "methods"},
    "experiment": {"root", "data", "scoring", "experiment"},
    "report": {"root", "scoring", "experiment", "report"},
    "benchmark": {"root", "data", "models", "scoring", "methods", "experiment", "benchmark"},
    "phases": {"root", "data", "models", "scoring", "methods", "experiment", "report", "phases"},
}
FILES = [path for path in sorted(LIBRARY.rglob("*.py")) if path.parent != LIBRARY]


def room_of(module: str) -> str:
    name = module.split(".")[1]
    return "root" if name in ROOT_ROOM else name


def imports(path) -> list[str]:
    """The library's modules that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "yt8m_lib":
            found += [f"yt8m_lib.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("yt8m_lib."):
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_room_imports_only_what_lies_below_it(path):
    room = path.relative_to(LIBRARY).parts[0]
    for module in imports(path):
        assert room_of(module) in MAY_IMPORT[room], f"{path.name} imports {module}"


@pytest.mark.parametrize("name", ROOT_ROOM)
def test_the_root_imports_no_room(name):
    for module in imports(LIBRARY / f"{name}.py"):
        assert room_of(module) == "root", module


def test_a_phase_imports_no_other_phase():
    for phase in PHASES:
        others = {f"yt8m_lib.phases.{name}" for name in {*PHASES} - {phase}}
        assert not others & set(imports(LIBRARY / "phases" / f"{phase}.py"))


def test_the_driver_and_the_report_are_free_of_tensorflow():
    script = (
        "import sys, yt8m_lib.experiment.running, yt8m_lib.report.findings, yt8m_lib.cli\n"
        "import yt8m_lib.report.figures, yt8m_lib.phases, yt8m_lib.models\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_page_on_the_house_names_every_room():
    page = (LIBRARY / "README.md").read_text()
    for room in MAY_IMPORT.keys() - {"root"}:
        assert f"`{room}/`" in page
