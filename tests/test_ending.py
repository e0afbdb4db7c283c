"""What a run ends with: narrow tables, a conclusion of a few lines, links that hold."""

import json

import pandas as pd
import pytest
from mlflow import MlflowClient

from yt8m_lib import params
from yt8m_lib.experiment import links, views
from yt8m_lib.experiment.store import connect, create_experiment
from yt8m_lib.report import ending, tables
from yt8m_lib.settings import ROOT

DEMO = ROOT / "results" / "reference" / "demo"
COLUMNS, LINES = 100, 20


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """The demo, with the tables on record and a model of 3 MB."""
    made = params.load("params/demo.yaml", [f"results={tmp_path}"])
    read = [(name, pd.read_csv(DEMO / f"{name}.csv")) for name in ending.NARROW]
    monkeypatch.setattr(tables, "read", lambda _: iter(read))
    monkeypatch.chdir(tmp_path)
    (made.folder / "tables").mkdir(parents=True)
    (made.folder / "tables" / "findings.csv").write_bytes((DEMO / "findings.csv").read_bytes())
    (made.folder / "model").mkdir()
    (made.folder / "model" / "saved_model.pb").write_bytes(bytes(3_000_000))
    return made


@pytest.mark.parametrize("name", ending.NARROW)
def test_tables_fit_a_screen(name):
    table = pd.read_csv(DEMO / f"{name}.csv")
    text = ending.narrow(name, table)
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert all(model in text for model in table["model"])


def test_the_conclusion_is_short_and_says_what_the_tables_say(finished):
    text = ending.conclusion(finished, links.of_runs(finished, "1"))
    lines = text.splitlines()
    assert len(lines) <= LINES and max(map(len, lines)) <= COLUMNS
    ensemble = pd.read_csv(DEMO / "ensemble.csv").set_index("model")["gap"]
    assert f"GAP {ensemble['ensemble (tuned)']:.4f}, 3.0 MB on disk" in lines[0]
    found = pd.read_csv(DEMO / "findings.csv")
    open_ = sorted(set(found["claim"][found["verdict"] == "undecided"]))
    assert f"({', '.join(map(str, open_))})" in text
    counts = [int(line.split()[0]) for line in lines if line.startswith("  ")]
    assert sum(counts) == found["claim"].nunique()
    assert "yt8m predict demo/model FILES" in text


def test_an_experiment_without_students_has_a_conclusion_too(finished, monkeypatch):
    empty = [(name, pd.DataFrame(columns=columns)) for name, columns in ending.NARROW.items()]
    monkeypatch.setattr(tables, "read", lambda _: iter(empty))
    (finished.folder / "tables" / "findings.csv").unlink()
    assert ending.conclusion(finished, "make ui").startswith("\ntables and figures")


def test_runs_are_shown_by_falling_gap(finished):
    client = MlflowClient(tracking_uri=connect(finished))
    number = create_experiment(client, finished)
    views.put_up(client, number, finished, ending.note(finished))
    serve, page = links.of_runs(finished, number).splitlines()
    assert serve == "make ui, then open"
    assert page.startswith(f"{links.LOCAL}/#/experiments/")
    assert page.endswith("/runs?viewStateShareKey=runs")
    tags = client.get_experiment(number).tags
    for key, view in views.VIEWS.items():
        saved = json.loads(tags[views.TAG + key])
        assert saved["name"] == view.name and f"viewStateShareKey={key}" in tags[views.NOTE]
        state = json.loads(saved["state"])
        assert state["orderByKey"] in state["selectedColumns"]
    assert "Table 4" in tags[views.NOTE] and "| NetVLAD-high-S1" in tags[views.NOTE]
    views.put_up(client, number, finished)  # a run that begins leaves the last one's note
    assert client.get_experiment(number).tags == tags
