"""Notebooks' processes: forked from one that has imported the libraries, as separate as ever."""

import json
import os
import signal

import nbformat
import psutil
import pytest

from yt8m_lib.experiment import forked_kernels, kernels
from yt8m_lib.experiment.notebooks import PhaseError
from yt8m_lib.settings import ROOT

forked = pytest.mark.skipif(not forked_kernels.IS_SAFE, reason="kernels are forked on Linux alone")

TELL = """
import json, os, sys
told = {"parent": os.getppid(), "group": os.getpgid(0), "pid": os.getpid(), "folder": os.getcwd()}
told |= {"libraries": "tensorflow" in sys.modules, "word": os.environ.get("YT8M_TEST_WORD")}
told |= {"left": "left_behind" in globals()}
left_behind = True
print(json.dumps(told))
"""


def run(tmp_path, source: str) -> str:
    """Execute a notebook of one cell; returns what it printed."""
    notebook, output = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    cells = [nbformat.v4.new_code_cell(source)]
    about = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), notebook)
    kernels.run(notebook, output, {})
    (cell,) = (c for c in nbformat.read(output, 4).cells if c.cell_type == "code")
    return "".join(part.get("text", "") for part in cell.outputs)


@forked
def test_two_notebooks_are_forked_from_one_process_that_has_imported_the_libraries(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("YT8M_TEST_WORD", "one")
    first = json.loads(run(tmp_path, TELL))
    monkeypatch.setenv("YT8M_TEST_WORD", "two")
    second = json.loads(run(tmp_path, TELL))
    assert first["parent"] == second["parent"] != psutil.Process().pid
    assert first["pid"] != second["pid"]
    for told, word in ((first, "one"), (second, "two")):
        assert told["libraries"] and told["group"] == told["pid"] and not told["left"]
        assert told["folder"] == str(ROOT) and told["word"] == word
        assert not psutil.pid_exists(told["pid"])


@forked
def test_figures_are_shown_in_the_notebook(tmp_path):
    run(tmp_path, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    (cell,) = nbformat.read(tmp_path / "out.ipynb", 4).cells
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_a_notebook_whose_process_is_killed_says_so_and_the_next_one_runs(tmp_path):
    with pytest.raises(PhaseError, match="its process died"):
        run(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert run(tmp_path, "print('here')") == "here\n"


@forked
def test_notebooks_go_on_after_the_process_that_they_are_forked_from_was_killed(tmp_path):
    parent = json.loads(run(tmp_path, TELL))["parent"]
    os.kill(parent, signal.SIGKILL)
    os.waitid(os.P_PID, parent, os.WEXITED | os.WNOWAIT)  # which leaves it to be waited for again
    assert json.loads(run(tmp_path, TELL))["libraries"]
