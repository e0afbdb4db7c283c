import pytest

from yt8m_lib import params, sources
from yt8m_lib.experiment.plan import Plan, what_changed
from yt8m_lib.settings import PHASES
from yt8m_lib.sources import code_digests


def make_plan(*overrides: str, digest: str = "digest", name: str = "demo") -> Plan:
    made = Plan(params.load(f"params/{name}.yaml", overrides))
    made.data_digest = digest
    return made


def changed(before: Plan, after: Plan) -> set[str]:
    return {k for k in before.steps if before.fingerprint(k) != after.fingerprint(k)}


@pytest.mark.parametrize("name", ["smoke", "demo", "video_level", "study", "paper"])
def test_parents_come_first(name):
    steps = make_plan(name=name).steps
    seen = set()
    for key, step in steps.items():
        assert set(step.parents) <= seen, key
        seen.add(key)
    phases = [step.phase for step in steps.values()]
    assert phases == sorted(phases, key=PHASES.index)


def test_a_setting_reaches_its_step_and_what_follows_from_it():
    touched = changed(make_plan(), make_plan("models.NetVLAD-low.rate=0.001"))
    assert "teachers/NetVLAD-low" in touched
    assert "teachers/NetVLAD-mid" not in touched
    assert "distillation/netvlad-teachers" in touched
    assert "distillation/LSTM-high-S1" not in touched
    assert {"ensembling/ensemble", "report/report"} <= touched


def test_seed_and_data_reach_everything_and_paths_nothing():
    every = set(make_plan().steps)
    assert changed(make_plan(), make_plan("seed=2")) == every
    assert changed(make_plan(), make_plan(digest="other")) == every
    assert not changed(make_plan(), make_plan("results=elsewhere"))
    assert not changed(make_plan(), make_plan("training.checkpoint_minutes=1"))
    assert changed(make_plan(), make_plan("repeat=1")) == every - {"data/data"}


def test_seeds_differ_between_steps():
    made = make_plan()
    seeds = [made.seed(step) for step in made.steps.values()]
    assert len(set(seeds)) == len(seeds)


def test_averaged_teachers_are_the_ones_combined():
    parents = make_plan()["distillation/dbof-teachers"].parents
    assert all(parent.startswith("averaging/DBoF") for parent in parents) and len(parents) == 4
    parents = make_plan()["distillation/netvlad-teachers"].parents
    assert all(parent.startswith("teachers/") for parent in parents)


def test_a_phase_refuses_a_model_that_it_does_not_have():
    made = make_plan()
    assert [s.name for s in made.of("teachers", ["GRU-mid"])] == ["GRU-mid"]
    with pytest.raises(ValueError, match="averaging has no NetVLAD-high"):
        made.of("averaging", ["NetVLAD-high"])


def test_code_digests_follow_imports_but_not_comments(tmp_path, monkeypatch):
    (tmp_path / "yt8m_lib").mkdir()
    library = tmp_path / "yt8m_lib"
    (library / "steps.py").write_text("from yt8m_lib import metrics\n")
    (library / "metrics.py").write_text("X = 1\n")
    (library / "unused.py").write_text("X = 1\n")
    notebook = tmp_path / "teachers.ipynb"
    cell = '{"cell_type": "code", "source": ["%magic\\n", "from yt8m_lib import steps"]}'
    notebook.write_text(f'{{"cells": [{cell}]}}')
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    first = code_digests.__wrapped__(notebook)
    assert set(first) == {"teachers.ipynb", "steps.py", "metrics.py"}
    (library / "metrics.py").write_text("# why\nX = 1\n")
    assert code_digests.__wrapped__(notebook) == first
    (library / "metrics.py").write_text("X = 2\n")
    second = code_digests.__wrapped__(notebook)
    assert {name for name in first if first[name] != second[name]} == {"metrics.py"}


def test_every_phase_reaches_the_code_that_it_runs():
    reached = code_digests(params.ROOT / "notebooks" / "teachers.ipynb")
    for name in ("training.py", "models.netvlad.py", "records.py", "phases.teachers.py"):
        assert name in reached
    for name in ("tracking.py", "tables.py", "ensembling.py", "phases.distillation.py"):
        assert name not in reached
    assert "tables.py" in code_digests(params.ROOT / "notebooks" / "report.ipynb")


def test_what_changed_says_which_setting():
    old, new = make_plan(), make_plan("training.frames=8")
    key = "teachers/NetVLAD-low"
    words = what_changed(old.ingredients(key), new.ingredients(key))
    assert words == "parameters changed (training.frames)"
