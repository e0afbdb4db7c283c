"""What every notebook keeps to; that they run is tested in test_pipeline.py."""

import json

import pytest
from papermill import inspect_notebook

from yt8m_lib.settings import PHASES, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_is_one_notebook_a_phase():
    assert {path.stem for path in NOTEBOOKS} == {*PHASES, "own_videos", "index"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, json.loads(request.param.read_text())["cells"]


def code_of(cells):
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_it_takes_the_parameters_that_the_driver_gives(notebook):
    known = inspect_notebook(str(notebook[0]))
    if notebook[0].stem in PHASES:
        assert set(known) == {"params_file", "overrides", "models"}
    assert all(info["inferred_type_name"] == "str" and info["help"] for info in known.values())


def test_it_is_stored_without_outputs(notebook):
    for cell in notebook[1]:
        assert not cell.get("outputs") and not cell.get("execution_count")


def test_it_is_short_and_calls_the_library(notebook):
    path, cells = notebook
    code = code_of(cells)
    lines = [line for cell in code for line in cell.splitlines() if line.strip()]
    assert len(cells) <= 30 and len(lines) <= 100
    assert all(len(cell.splitlines()) <= 5 for cell in code)
    assert not any(line.startswith("class ") for line in lines)
    assert sum(line.startswith("def ") for line in lines) <= 1
    if path.stem in PHASES:
        assert f'phases.start("{path.stem}"' in "\n".join(code)


def test_it_opens_with_the_papers_section_and_ends_with_a_verdict(notebook):
    texts = ["".join(c["source"]) for c in notebook[1] if c["cell_type"] == "markdown"]
    assert texts[0].startswith("# ")
    if notebook[0].stem == "index":
        assert all(f"({phase}.ipynb)" in "\n".join(texts) for phase in PHASES)
        return
    assert "ection" in texts[0] or notebook[0].stem == "report"
    assert any(text.startswith("## Verdict") for text in texts)
