"""What is measured of a machine before a plan: that it is there, never how long it took."""

import pytest

from yt8m_lib import params
from yt8m_lib.experiment.machine import measured
from yt8m_lib.methods import calibration


@pytest.fixture
def found(tmp_path, monkeypatch):
    """One family of smoke.yaml measured, in few steps."""
    for name, value in (("STEPS", 2), ("EPOCHS", 1), ("JUDGED", 100), ("COPIED", 1000)):
        monkeypatch.setattr(calibration, name, value)
    settings = params.load("params/smoke.yaml")
    kept = {n: m for n, m in settings.models.items() if m.family in ("netvlad", "baseline")}
    settings = settings.model_copy(update={"models": kept})
    costs = calibration.costs_of(settings, dict.fromkeys(kept, (6, 10)))
    said = []
    made = calibration.measured_on(settings, costs, tmp_path, said.append)
    return costs, made | {"notebook": 1.0}, said


def test_each_familys_least_and_most_costly_model_is_measured(found):
    costs, made, said = found
    measured_models = [row["model"] for row in made["steps"]]
    assert measured_models == [
        n for n in ("NetVLAD-low", "NetVLAD-high", "logistic") for _ in (0, 1)
    ]
    assert len(said) == 4
    for row in made["steps"]:
        cost = costs[row["model"]].training if row["training"] else costs[row["model"]].answering
        assert row["flops"] == 32 * cost.flops(row["training"]) and row["seconds"] > 0
    machine = measured(made)
    assert machine.pace("netvlad", True).step(costs["NetVLAD-high"].training, 32, True) > 0
    assert min(machine.read + 1, machine.write, machine.inspect, machine.judge, machine.weigh) > 0


def test_a_model_too_large_to_try_gives_way_to_a_smaller_one(monkeypatch):
    settings = params.load("params/smoke.yaml")
    costs = calibration.costs_of(settings, dict.fromkeys(settings.models, (6, 10)))
    weights = sorted(costs[name].training.weights for name in ("FVNet-low", "FVNet-mid"))
    monkeypatch.setattr(calibration, "LARGEST_MODEL", weights[0])
    chosen = calibration._by_family(settings, costs)
    assert chosen["fvnet"] == ["FVNet-low"]
    monkeypatch.setattr(calibration, "LARGEST_STEP", 1)
    assert calibration._batch(160, costs["FVNet-mid"]) == 1


def test_costs_are_counted_without_making_the_model():
    settings = params.load("params/paper.yaml")
    costs = calibration.costs_of(settings, dict.fromkeys(settings.models, (300, 300)))
    assert costs["NetVLAD1"].plain == 1_286_164_896 and costs["NetVLAD1"].stored == 321_750_004
    # T D K twice a stream, the hidden layer, its gate, classifier and label gate: by hand.
    by_hand = 2 * 300 * (1024 * 256 + 128 * 128) + (1024 * 256 + 128 * 128) * 1024
    by_hand += 1024 * 1024 + 1024 * 5 * 3862 + 3862 * 3862
    assert costs["NetVLAD1"].training.products == by_hand
