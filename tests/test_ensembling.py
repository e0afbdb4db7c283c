"""Choosing and weighing an ensemble: exhaustive, within the budget, on the selection half only."""

import numpy as np
import pytest

from yt8m_lib.methods.ensembling import (
    EnsembleError,
    best_combination,
    combine,
    fit_budget,
    flat_weights,
    random_search,
)
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions, average, selection_half

VIDEOS, CLASSES = 300, 24


def made(*noises, videos=VIDEOS, k=CLASSES):
    """One model a noise: the louder, the worse."""
    rng = np.random.default_rng(5)
    labels = rng.random((videos, CLASSES)) < 0.12
    ids = [f"id{i:04d}" for i in range(videos)]
    models = {}
    for number, noise in enumerate(noises):
        scores = labels * 3 - 2 + rng.normal(size=labels.shape) * noise
        models[f"m{number}"] = Predictions.from_dense(ids, 1 / (1 + np.exp(-scores)), labels, k)
    return models


def selected(predictions):
    return predictions.select(selection_half(predictions.ids))


def test_every_combination_is_ranked_by_its_gap_on_the_selection_half():
    models = made(1.0, 1.5, 2.0, 3.0)
    table = best_combination(models, size=2)
    assert len(table) == len(set(table.members)) == 6
    assert table.gap.is_monotonic_decreasing
    for members, gap in zip(table.members, table.gap, strict=True):
        mean = average([models[name] for name in members], [1, 1])
        assert gap == pytest.approx(metrics.gap(selected(mean)), abs=1e-9)


def test_the_report_half_takes_no_part_in_a_choice():
    models = made(1.0, 1.5, 2.0, 3.0)
    report = ~selection_half(models["m0"].ids)
    spoiled = {}
    for name, model in models.items():
        confidences = model.confidences.copy()
        confidences[report] = 0.5  # the model knows nothing about these videos any more
        spoiled[name] = Predictions(
            model.ids, model.classes, confidences, model.label_classes, model.label_offsets
        )
    assert best_combination(spoiled, 3).equals(best_combination(models, 3))
    sizes = dict.fromkeys(models, 1)
    one, other = (random_search(m, sizes, 3, 20, seed=1) for m in (models, spoiled))
    assert one.trials.equals(other.trials)
    halved = {name: selected(model) for name, model in models.items()}
    assert best_combination(halved, 3).equals(best_combination(models, 3))


def test_equally_good_combinations_stand_in_the_order_given():
    model = made(1.0)["m0"]
    table = best_combination({"b": model, "a": model, "c": model}, size=2)
    assert table.members.tolist() == [("b", "a"), ("b", "c"), ("a", "c")]


def test_too_few_candidates_are_named():
    with pytest.raises(EnsembleError, match="no combination of 3 among 2 models: m0, m1"):
        best_combination(made(1, 2))


def test_a_selection_half_without_videos_is_named():
    models = made(1, 2)
    report = ~selection_half(models["m0"].ids)
    halved = {name: model.select(report) for name, model in models.items()}
    with pytest.raises(EnsembleError, match="is in the selection half"):
        best_combination(halved, 2)


def test_candidates_that_a_model_did_not_keep_count_as_zero():
    models = made(1.0, 1.5, 2.0, k=6)  # fewer kept than a video's 20 best, and of differing classes
    table = best_combination(models, size=3)
    weights = flat_weights(models)
    expected = average(list(models.values()), [1, 1, 1], k=6)
    # The combination may rank more classes than one model kept, so it finds at least as many.
    assert table.gap[0] >= metrics.gap(selected(expected)) - 1e-9
    assert metrics.gap(selected(combine(models, weights))) == metrics.gap(selected(expected))


def test_search_begins_flat_improves_and_repeats_with_its_seed():
    models = made(0.8, 1.5, 2.5, 4.0)
    sizes = dict.fromkeys(models, 10)
    found = random_search(models, sizes, budget=40, trials=60, seed=3)
    trials = found.trials
    assert trials.loc[0, list(models)].tolist() == [0.25] * 4
    flat = metrics.gap(selected(combine(models, flat_weights(models))))
    assert trials.gap[0] == pytest.approx(flat, abs=1e-9)
    assert found.gap == trials.gap.max() == trials.best.iloc[-1] > flat
    assert next(iter(found.weights)) == "m0"  # the best model weighs most
    assert sum(found.weights.values()) == pytest.approx(1)
    exact = metrics.gap(selected(combine(models, found.weights)))
    assert found.gap == pytest.approx(exact, abs=1e-9)
    assert random_search(models, sizes, 40, 60, seed=3).trials.equals(trials)
    assert not random_search(models, sizes, 40, 60, seed=4).trials.equals(trials)


def test_no_trial_exceeds_the_budget():
    models = made(1.0, 1.2, 1.4, 1.6, 1.8)
    sizes = {"m0": 70, "m1": 40, "m2": 30, "m3": 20, "m4": 500}
    found = random_search(models, sizes, budget=100, trials=80, seed=0)
    assert found.trials.bytes.max() <= 100
    assert "m4" not in found.weights and "m4" not in found.trials  # never fits, so never tried
    weights = found.trials[["m0", "m1", "m2", "m3"]]
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    spent = (weights > 0) @ [70, 40, 30, 20]
    assert spent.tolist() == found.trials.bytes.tolist()
    assert all(weight > 0 for weight in found.weights.values())


def test_search_refuses_what_cannot_fit_or_has_no_size():
    models = made(1, 2)
    with pytest.raises(EnsembleError, match="no member fits into 5 bytes: m0 10, m1 1,234,567"):
        random_search(models, {"m0": 10, "m1": 1_234_567}, 5)
    with pytest.raises(ValueError, match="no size given of m1"):
        random_search(models, {"m0": 10}, 5)


def test_budget_is_filled_in_the_order_asked_for():
    sizes = {"a": 60, "b": 50, "c": 40}
    assert fit_budget(sizes, 100) == ["a", "c"]
    assert fit_budget(sizes, 100, ["b", "a", "c"]) == ["b", "c"]
    assert fit_budget(sizes, 150) == ["a", "b", "c"]


def test_combine_drops_members_without_weight_and_refuses_unknown_ones():
    models = made(1.0, 2.0, 3.0)
    got = combine(models, {"m0": 0.5, "m1": 0.0, "m2": 0.5})
    expected = average([models["m0"], models["m2"]], [0.5, 0.5])
    np.testing.assert_array_equal(got.classes, expected.classes)
    np.testing.assert_array_equal(got.confidences, expected.confidences)
    with pytest.raises(ValueError, match="m9"):
        combine(models, {"m9": 1.0})
    with pytest.raises(ValueError, match="weights"):
        combine(models, {"m0": 0.0})
