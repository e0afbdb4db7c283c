"""The metrics against the starter code's own numbers and their definition in plain loops."""

import json

import numpy as np
import pytest
from conftest import shared

from yt8m_lib.catalogue import METRICS
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.intervals import (
    Estimate,
    bootstrap_gap,
    gap_estimate,
    interval,
    mean_estimate,
)
from yt8m_lib.scoring.predictions import Predictions

CASES = [
    "random_small",
    "correlated",
    "zero_label_videos",
    "more_than_20_labels",
    "perfect",
    "no_positive_at_all",
    "full_vocab_200_batches_of_64",
    "single_video",
    "fewer_classes_than_k",
]
TIED = ["ties_2_decimals", "ties_k_equals_classes", "all_zero_predictions", "constant_predictions"]


def golden(case):
    arrays = np.load(shared("golden", "metrics_cases.npz"))
    expected = json.loads(shared("golden", "metrics_cases.json").read_text())["cases"][case]
    return arrays[f"{case}/predictions"], arrays[f"{case}/labels"], expected


@pytest.mark.parametrize("case", CASES)
def test_metrics_equal_the_published_ones(case):
    predictions, labels, expected = golden(case)
    published = expected["y8m"]["EvaluationMetrics"]
    assert metrics.evaluate(predictions, labels) == pytest.approx(
        {
            "gap": published["gap"],
            "hit_at_1": published["avg_hit_at_one"],
            "perr": published["avg_perr"],
            "map": published["map"] or 0,  # the published one is undefined without any label
        },
        abs=1e-9,
    )
    assert metrics.gap(predictions, labels) == pytest.approx(published["gap"], abs=1e-9)


@pytest.mark.parametrize("case", [*TIED, "many_exact_zeros"])
def test_metrics_with_ties_lie_in_the_published_range(case):
    predictions, labels, expected = golden(case)
    low, high = expected["gap_all_tie_orders_min"], expected["gap_all_tie_orders_max"]
    assert low - 1e-9 <= metrics.gap(predictions, labels) <= high + 1e-9
    published = expected["y8m"]["hit_at_one"]
    got = metrics.evaluate(predictions, labels)["hit_at_1"]
    assert got == pytest.approx(published, abs=1e-9)


def test_class_of_confidence_zero_is_no_hit_in_perr():
    predictions, labels, expected = golden("all_zero_predictions")
    got = metrics.evaluate(predictions, labels)["perr"]
    assert got == expected["y8m"]["perr"] == 0


def random_case(seed, videos=30, classes=25):
    """Confidences without ties, and labels of which they know something."""
    rng = np.random.default_rng(seed)
    labels = rng.random((videos, classes)) < rng.uniform(0.02, 0.5)
    scores = labels * rng.uniform(0, 3) + rng.normal(size=labels.shape)
    order = scores.ravel().argsort().argsort()  # distinct, so that no order is left to chance
    return ((order + 1) / (order.size + 1)).reshape(labels.shape).astype(np.float32), labels


def gap_by_definition(predictions, labels):
    """Sec. 10 word by word, with loops."""
    pairs = []
    for video in range(len(predictions)):
        ranked = sorted(range(predictions.shape[1]), key=lambda c: (-predictions[video, c], c))
        for c in ranked[:20]:
            pairs.append((float(predictions[video, c]), bool(labels[video, c])))
    pairs.sort(key=lambda pair: -pair[0])
    total, hits, gap, recall_before = labels.sum(), 0, 0.0, 0.0
    for i, (_, hit) in enumerate(pairs, start=1):
        hits += hit
        recall = hits / total if total else 0.0
        gap += hits / i * (recall - recall_before)
        recall_before = recall
    return gap


def map_by_definition(predictions, labels):
    best = [set(sorted(range(len(row)), key=lambda c: -row[c])[:20]) for row in predictions]
    averages = []
    for c in np.flatnonzero(labels.any(axis=0)):
        videos = [v for v in range(len(labels)) if c in best[v]]
        videos.sort(key=lambda v: -predictions[v, c])
        hits = [bool(labels[v, c]) for v in videos]
        precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        averages.append(sum(precisions) / labels[:, c].sum())
    return np.mean(averages) if averages else 0.0


def perr_by_definition(predictions, labels):
    shares = []
    for row, truth in zip(predictions, labels, strict=True):
        n = int(truth.sum())
        best = sorted(range(len(row)), key=lambda c: -row[c])[:n]
        shares.append(truth[best].sum() / n if n else 0.0)
    return np.mean(shares)


@pytest.mark.parametrize("seed", range(20))
def test_metrics_equal_their_definitions(seed):
    predictions, labels = random_case(seed)
    got = metrics.evaluate(predictions, labels)
    assert got["gap"] == pytest.approx(gap_by_definition(predictions, labels), abs=1e-12)
    assert got["map"] == pytest.approx(map_by_definition(predictions, labels), abs=1e-12)
    assert got["perr"] == pytest.approx(perr_by_definition(predictions, labels), abs=1e-12)
    truth = [labels[v, row.argmax()] for v, row in enumerate(predictions)]
    assert got["hit_at_1"] == pytest.approx(np.mean(truth), abs=1e-12)


def test_dense_kept_and_streamed_predictions_agree():
    predictions, labels = random_case(3, videos=50)
    dense = metrics.evaluate(predictions, labels)
    ids = [str(i) for i in range(50)]
    kept = Predictions.from_dense(ids, predictions, labels, k=25)
    streaming = metrics.Streaming(k=25)
    for rows in (slice(0, 20), slice(20, 40), slice(40, 50)):
        streaming.add(ids[rows], predictions[rows], labels[rows])
    assert metrics.evaluate(kept) == dense
    assert streaming.result() == dense
    assert metrics.gap(kept) == dense["gap"]


def found_labels(answers, hits):
    """A metric of this test alone: the share of all labels that are among the kept classes."""
    return float(hits.sum() / len(answers.label_classes))


def test_a_metric_is_one_function_and_one_line(monkeypatch):
    monkeypatch.setattr(METRICS, "places", dict(METRICS.places))  # without it when the test ends
    METRICS.register("found_labels", found_labels)
    videos = [str(i) for i in range(50)], *random_case(3, videos=50)
    got = metrics.evaluate(Predictions.from_dense(*videos, k=25))
    assert list(got) == ["gap", "hit_at_1", "perr", "map", "found_labels"]
    assert got["found_labels"] == 1  # all 25 classes are kept
    streaming = metrics.Streaming(k=25)
    streaming.add(*videos)
    assert streaming.result() == got


def test_perr_is_a_lower_bound_where_too_few_classes_are_kept():
    labels = np.zeros((1, 30), bool)
    labels[0, :24] = True
    predictions = np.linspace(1, 0.1, 30)[None]
    assert metrics.evaluate(predictions, labels)["perr"] == 1
    best_20 = Predictions.from_dense(["a"], predictions, labels)
    assert metrics.evaluate(best_20)["perr"] == pytest.approx(20 / 24)


def test_dense_predictions_need_labels_of_their_shape():
    with pytest.raises(ValueError, match="need labels"):
        metrics.gap(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(2, 3\), labels \(2, 4\)"):
        metrics.gap(np.zeros((2, 3)), np.zeros((2, 4)))


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_classes_that_the_model_does_not_know_count_as_missed(seed):
    predictions, labels = random_case(seed)
    known = labels.shape[1] - 7
    streamed = metrics.Streaming(beyond=7)
    streamed.add([f"{i}" for i in range(len(labels))], predictions[:, :known], labels)
    expected = gap_by_definition(predictions[:, :known], labels[:, :known])
    expected *= (labels[:, :known] > 0).sum() / (labels > 0).sum()  # recall's denominator
    assert streamed.result()["gap"] == pytest.approx(expected, abs=1e-12)


def kept(predictions, labels):
    return Predictions.from_dense([f"{i:05d}" for i in range(len(labels))], predictions, labels)


@pytest.mark.parametrize("seed", range(5))
def test_bootstrap_is_the_gap_of_the_drawn_videos(seed):
    predictions, labels = random_case(seed)
    labels[:4] = False
    other = random_case(seed + 100)[0]
    resamples = 8
    models = [kept(predictions, labels), kept(other, labels)]
    got = [bootstrap_gap(model, resamples, seed=seed) for model in models]
    rng = np.random.default_rng(seed)
    for r in range(resamples):
        drawn = np.sort(rng.integers(0, len(labels), len(labels)))
        for model, source in enumerate((predictions, other)):
            expected = gap_by_definition(source[drawn], labels[drawn])
            assert got[model][r] == pytest.approx(expected, abs=1e-12)


def test_bootstrap_repeats_with_its_seed():
    model = kept(*random_case(1))
    gaps = bootstrap_gap(model, 50, seed=4)
    assert gaps.std() > 0
    np.testing.assert_array_equal(bootstrap_gap(model, 50, seed=4), gaps)
    assert (bootstrap_gap(model, 50, seed=5) != gaps).any()
    with pytest.raises(ValueError, match="no videos"):
        bootstrap_gap(model.select(np.arange(0)), 5)


def test_estimates_of_the_same_videos_subtract_and_others_do_not(tmp_path):
    predictions, labels = random_case(1)
    model, other = kept(predictions, labels), kept(random_case(101)[0], labels)
    one, two = gap_estimate(model, 50), gap_estimate(other, 50)
    assert one.value == metrics.gap(model)
    difference = two - one
    assert difference.value == metrics.gap(other) - metrics.gap(model)
    np.testing.assert_array_equal(difference.resamples, two.resamples - one.resamples)
    assert (one - one).interval() == (0, 0)
    one.save(tmp_path / "gap.npz")
    again = Estimate.load(tmp_path / "gap.npz")
    assert (again.value, again.videos, again.digest) == (one.value, len(model), one.digest)
    np.testing.assert_array_equal(again.resamples, one.resamples)
    with pytest.raises(ValueError, match="other videos"):
        one - gap_estimate(other.select(np.arange(3)), 50)
    with pytest.raises(ValueError, match="other videos"):
        Estimate.mean([one, gap_estimate(model, 49)])


def test_mean_estimate_draws_the_measurements():
    same = mean_estimate([2.0, 2.0, 2.0])
    assert (same.value, same.interval()) == (2, (2, 2))
    values = np.random.default_rng(0).normal(size=40)
    low, high = mean_estimate(values).interval()
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 40**0.5, rel=0.1)


def test_interval_covers_the_true_difference_about_as_often_as_it_says():
    """A population of 4,000 videos; samples of 250 of it, each with its own interval."""
    rng = np.random.default_rng(0)
    labels = rng.random((4000, 22)) < 0.1
    models = [labels * 2 + rng.normal(size=labels.shape) * noise for noise in (1.0, 1.06)]
    models = [kept(1 / (1 + np.exp(-scores)), labels) for scores in models]
    truth = metrics.gap(models[1]) - metrics.gap(models[0])
    covered = []
    for _ in range(100):
        rows = rng.integers(0, 4000, 250)
        gaps = [bootstrap_gap(model.select(rows), 200, seed=1) for model in models]
        low, high = interval(gaps[1] - gaps[0])
        covered.append(low <= truth <= high)
    assert 0.88 <= np.mean(covered) <= 1


def test_interval_takes_the_share_asked_for():
    differences = np.arange(1001) / 1000
    assert interval(differences) == pytest.approx((0.025, 0.975))
    assert interval(differences, level=0.5) == pytest.approx((0.25, 0.75))
