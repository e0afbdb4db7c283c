import pytest

from yt8m_lib import params
from yt8m_lib.experiment.plan import Plan, PlanError, what_changed
from yt8m_lib.settings import PHASES


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
        assert set(step.parent_keys) <= seen, key
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
    candidates = make_plan()["distillation/dbof-teachers"].parents["candidates"]
    assert all(key.startswith("averaging/DBoF") for key in candidates) and len(candidates) == 4
    candidates = make_plan()["distillation/netvlad-teachers"].parents["candidates"]
    assert all(key.startswith("teachers/") for key in candidates)


def test_a_phase_refuses_a_model_that_it_does_not_have():
    made = make_plan()
    assert [s.name for s in made.of("teachers", ["GRU-mid"])] == ["GRU-mid"]
    with pytest.raises(PlanError, match="averaging has no NetVLAD-high"):
        made.of("averaging", ["NetVLAD-high"])


def test_how_models_are_measured_reaches_no_training():
    before = make_plan()
    for override in ("quantization.more_than=100", "compare_inference=[sample_all]"):
        after = make_plan(override)
        retrained = {k for k in changed(before, after) if before.steps[k].measures}
        assert not retrained, override
        assert before.measuring("teachers/DBoF-low") != after.measuring("teachers/DBoF-low")
    assert "quantization/DBoF-mid-S1" in changed(before, make_plan("quantization.more_than=100"))


def test_a_missing_setting_is_an_error():
    settings = make_plan()["distillation/DBoF-mid-S1"].settings
    assert settings.label_weight == 0.5
    with pytest.raises(ValueError, match="label_weight"):
        type(settings)(**{k: v for k, v in settings if k != "label_weight"})


def test_what_changed_says_which_setting():
    old, new = make_plan(), make_plan("training.frames=8")
    key = "teachers/NetVLAD-low"
    words = what_changed(old.ingredients(key), new.ingredients(key))
    assert words == "parameters changed (training.frames)"


def test_an_ensemble_may_be_of_some_students_alone():
    names = ["DBoF-mid-S1", "LightVLAD-mid-S1"]
    chosen = params.load("params/smoke.yaml", [f"ensembling.members=[{', '.join(names)}]"])
    step = Plan(chosen)["ensembling/ensemble"]
    assert set(step.parents["members"]) == {f"quantization/{name}" for name in names}
    with pytest.raises(params.ParamsError, match="did you mean 'DBoF-mid-S1'"):
        params.load("params/smoke.yaml", ["ensembling.members=[DBoF-mid-S2]"])
