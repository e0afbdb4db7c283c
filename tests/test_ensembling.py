"""Choosing and weighing an ensemble: exhaustive, within the budget, on the selection half only."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from yt8m_lib import models, params
from yt8m_lib.data import synthetic
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import LADDER
from yt8m_lib.methods import codecs, inference
from yt8m_lib.methods.ensembling import (
    EnsembleError,
    best_combination,
    combine,
    combine_full,
    fit_budget,
    flat_weights,
)
from yt8m_lib.methods.export import BudgetError
from yt8m_lib.methods.weight_search import greedy_search, powell_search, random_search
from yt8m_lib.phases import ensembling as phase
from yt8m_lib.phases.budget import Candidates
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.intervals import Estimate
from yt8m_lib.scoring.predictions import Predictions, average, report_half, selection_half

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


def test_a_budget_is_filled_with_what_its_bytes_buy():
    models = made(0.3, 0.3, 0.3, 3.0)
    sizes = {"m0": 60, "m1": 30, "m2": 30, "m3": 1}
    small, large = (greedy_search(models, sizes, budget) for budget in (60, 1000))
    assert large.gap >= small.gap > metrics.gap(selected(models["m3"]))
    for found, budget in ((small, 60), (large, 1000)):
        assert sum(sizes[name] for name in found.weights) <= budget
        assert found.trials["bytes"].max() <= budget
        assert sum(found.weights.values()) == pytest.approx(1)
        mixed = selected(combine(models, found.weights))
        assert found.gap == pytest.approx(metrics.gap(mixed), abs=1e-6)
    flat = selected(combine(models, dict.fromkeys(models, 1.0)))
    assert large.gap >= metrics.gap(flat) - 1e-9
    assert greedy_search(models, sizes, 60).weights == small.weights
    with pytest.raises(EnsembleError, match="no member fits into 0 bytes"):
        greedy_search(models, sizes, 0)


def test_powells_method_starts_flat_stays_within_budget_and_trials():
    models = made(1.5, 2.0, 2.5, 6.0)
    sizes = {"m0": 60, "m1": 30, "m2": 30, "m3": 1}
    found = powell_search(models, sizes, 1000, trials=60)
    flat = selected(combine(models, flat_weights(models)))
    assert found.trials["gap"][0] == pytest.approx(metrics.gap(flat), abs=1e-6)
    assert len(found.trials) == 60 and found.gap > found.trials["gap"][0]
    assert found.gap == pytest.approx(
        metrics.gap(selected(combine(models, found.weights))), abs=1e-6
    )
    small = powell_search(models, sizes, 60, trials=60)
    assert small.trials["bytes"].max() <= 60 and small.weights == pytest.approx(
        powell_search(models, sizes, 60, trials=60).weights
    )
    assert len(powell_search({"m0": models["m0"]}, sizes, 1000, trials=5).weights) == 1
    with pytest.raises(EnsembleError, match="no member fits into 0 bytes"):
        powell_search(models, sizes, 0)


def test_members_are_chosen_again_where_the_graph_is_larger_than_was_thought(monkeypatch):
    models, asked = made(0.3, 0.3, 0.3), []
    candidates = object.__new__(Candidates)
    candidates.answers, candidates.sizes = models, {"m0": 50, "m1": 30, "m2": 30}

    def export(found, budget, folder):
        asked.append(set(found.weights))
        size = sum(candidates.sizes[name] + 20 for name in found.weights)
        if size > budget:
            raise BudgetError("too large", size - budget)
        return size

    monkeypatch.setattr(candidates, "_export", export)
    found, size = candidates.fill(60, "folder")
    assert size <= 60 and len(asked) > 1 and asked[-1] == set(found.weights)
    with pytest.raises(EnsembleError, match="no member fits"):
        candidates.fill(40, "folder")


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


def test_full_answers_are_averaged_before_they_are_cut():
    whole = made(1.0, 2.0, 3.0)
    dense = {name: model.dense(classes=CLASSES) for name, model in whole.items()}
    first = whole["m0"]
    labels = first.labelled(np.tile(np.arange(CLASSES, dtype=np.uint16), (VIDEOS, 1)))
    weights = {"one": {"m0": 0.5, "m2": 0.5}, "other": {"m2": 0.5, "m0": 0.5}, "m1": {"m1": 1.0}}

    def batches():
        for rows in (slice(0, 200), slice(200, VIDEOS)):
            yield first.ids[rows], {n: d[rows] for n, d in dense.items()}, labels[rows]

    got = combine_full(batches(), weights, 20)
    # The same weights give the same value, bit for bit, and so does a model by itself.
    assert metrics.evaluate(got["one"]) == metrics.evaluate(got["other"])
    np.testing.assert_array_equal(got["m1"].confidences, whole["m1"].confidences[:, :20])
    exact = combine(whole, weights["one"])  # where every model kept all, both are one measure
    assert metrics.gap(got["one"]) == pytest.approx(metrics.gap(exact), abs=1e-9)
    cut = {name: Predictions.from_dense(first.ids, d, labels, 6) for name, d in dense.items()}
    assert abs(metrics.gap(combine(cut, weights["one"])) - metrics.gap(exact)) > 1e-4


class FakeRun:
    """A run of the ensembling step whose parents were made here, and what it logs."""

    def __init__(self, folder, settings, trials):
        sections = {"experiment": "fake", "results": str(folder)}
        self.params, self.seed = settings.model_copy(update=sections), 3
        ensembling = settings.ensembling.model_dump() | {"trials": trials, "decode": "once"}
        self.step = SimpleNamespace(
            settings=SimpleNamespace(**ensembling),
            parents={
                "students": ["distillation/a", "distillation/b"],
                "teachers": ["teachers/a", "teachers/b"],
                "averaged": ["averaging/b"],
            },
        )
        step = SimpleNamespace(round=2)  # so no family is compared with its teachers
        self.experiment = SimpleNamespace(plan={k: step for k in self.step.parents["students"]})
        self.members, self.logged, self.folder = {}, {}, folder
        self.experiment.find = lambda key: self.members[key.split("/")[1]]

    def parents(self, role):
        return self.members

    def parent(self, role):
        return self.members["a"]

    def save(self, name, write):
        write(self.folder / name)

    def metrics(self, **values):
        self.logged |= values

    def say(self, line):
        pass

    def table(self, name, table):
        pass

    def file(self, path, folder=None):
        pass


class FakeMember:
    def __init__(self, folder, videos, size):
        self.folder = folder
        self.metrics = {"size_bytes": size, "size_bytes_float32": 4 * size, "train_videos": videos}
        answers = Predictions.load(folder / "predictions.npz")
        half = answers.select(selection_half(answers.ids))
        self.metrics["gap_selection"] = metrics.gap(half)

    def file(self, name):
        return self.folder / name

    def array(self, name):
        return np.load(self.folder / name)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the ensembling phase logs of two students at flat weights, each stored with 20 of 40."""
    folder = tmp_path_factory.mktemp("ensembling")
    size = ["synthetic.train_videos=24", "synthetic.validation_videos=160", "synthetic.shards=1"]
    settings = params.load("params/smoke.yaml", [f"results={folder}", "inference_batch=64", *size])
    validation = synthetic.write(settings)[1]
    settings = settings.model_copy(
        update={
            "distillation": settings.distillation.model_copy(
                update={
                    "students": {
                        name: settings.distillation.students["DBoF-mid-S1"].model_copy(
                            update={"round": number, "model": model}
                        )
                        for number, (name, model) in enumerate(
                            {"a": "DBoF-mid", "b": "LSTM-mid"}.items(), 1
                        )
                    }
                }
            )
        }
    )
    videos = Records(validation, settings.data)
    run = FakeRun(folder, settings, trials=1)
    for name, model in {"a": "DBoF-mid", "b": "LSTM-mid"}.items():
        at = folder / name
        at.mkdir()
        tf.keras.utils.set_random_seed(len(model))
        built = models.build(settings.models[model], settings.data.classes)
        models.save(built, at / "model.keras")
        codecs.save(codecs.encode_weights([v.numpy() for v in built.variables]), at / "weights.npz")
        inference.predict([built], videos, settings)[0].save(at / "predictions.npz")
        np.save(at / "label_counts.npy", np.arange(40))
        run.members[name] = FakeMember(at, 24, 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase.registry, "register", lambda run: None)  # there is no store
        phase.build(run, videos)
    return run, videos


def test_identical_weights_give_identical_gaps_in_every_comparison(measured):
    run, _ = measured
    assert run.logged["gap"] == run.logged["gap_flat"]  # one trial: the flat weights are the best
    one, other = (Estimate.load(run.folder / f"{n}_gap.npz") for n in ("predictions", "flat"))
    np.testing.assert_array_equal(one.resamples, other.resamples)
    # A part of one member has the GAP of that member's own answers.
    alone = report_half(Predictions.load(run.members["a"].file("predictions.npz")))
    assert run.logged["gap_first_round"] == pytest.approx(metrics.gap(alone), abs=1e-4)


def test_each_rung_of_the_ladder_is_what_fits_into_the_ensembles_bytes(measured):
    run, _ = measured
    gaps = {n: metrics.gap(report_half(_stored(run, n))) for n in run.members}
    best = max(run.members, key=lambda name: run.members[name].metrics["gap_selection"])
    assert run.logged["gap_single_teacher"] == pytest.approx(gaps[best])
    assert run.logged["single_teacher_bytes"] == 4000
    # None fits in float32 into the 2,000 bytes of both in 8 bits, so the best stands alone.
    assert run.logged["gap_teachers"] == run.logged["gap_single_teacher"]
    assert run.logged["gap_first_students"] == pytest.approx(gaps["a"])  # b is of round 2
    rungs = [f"{name}_bytes" for name in LADDER]
    assert all(run.logged[rung] <= 2000 for rung in rungs[2:])
    flat = combine({n: _stored(run, n) for n in run.members}, {"a": 0.5, "b": 0.5})
    assert run.logged["gap_tuned_students"] == pytest.approx(metrics.gap(report_half(flat)))


def _stored(run, name):
    return Predictions.load(run.members[name].file("predictions.npz"))


def test_the_members_together_answer_as_the_exported_file_does(measured):
    run, videos = measured
    weights = {"same": {"a": 0.5, "b": 0.5}}
    members = phase._combined(run, run.members, weights, videos)["same"]
    shipped = Predictions.load(run.folder / "predictions.npz")
    np.testing.assert_allclose(members.confidences, shipped.confidences, atol=2e-6)
    stored = {n: Predictions.load(m.file("predictions.npz")) for n, m in run.members.items()}
    cut = combine(stored, weights["same"])
    assert np.abs(cut.confidences - shipped.confidences).max() > 1e-3  # another measure


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
