"""Metrics of each class, against their definitions."""

import numpy as np
import pytest
from scipy.stats import norm

from yt8m_lib.scoring.per_class import PerClass, area, average_precision, summary

RNG = np.random.default_rng(0)


def ap_by_hand(confidences, hits):
    precisions = []
    for own, hit in zip(confidences, hits, strict=True):
        if hit:
            above = confidences >= own
            precisions.append(hits[above].mean())
    return np.mean(precisions)


def auc_by_hand(confidences, hits):
    pairs = [(p > n) + 0.5 * (p == n) for p in confidences[hits] for n in confidences[~hits]]
    return np.mean(pairs)


@pytest.mark.parametrize("levels", [1000, 4])
def test_they_follow_their_definitions(levels):
    confidences = RNG.integers(0, levels, 60) / levels
    hits = RNG.random(60) < 0.3
    assert average_precision(confidences, hits) == pytest.approx(ap_by_hand(confidences, hits))
    assert area(confidences, hits) == pytest.approx(auc_by_hand(confidences, hits))


def test_a_perfect_and_a_hopeless_class():
    hits = np.arange(20) < 5
    assert average_precision(-np.arange(20.0), hits) == 1 and area(-np.arange(20.0), hits) == 1
    assert area(np.arange(20.0), hits) == 0
    assert np.isnan(average_precision(np.arange(20.0), np.zeros(20, bool)))


def test_batches_make_one_table():
    labels = np.zeros([30, 3], bool)
    labels[:10, 0] = labels[10:20, 1] = True
    answers = RNG.random([30, 3]) * 0.1
    answers[:10, 2] = 0.9  # what has class 0 is taken for class 2
    table = PerClass(["cat", "dog", ""])
    for rows in (slice(0, 7), slice(7, 30)):
        table.add(answers[rows], labels[rows])
    made = table.table()
    assert made["videos"].tolist() == [10, 10, 0]
    assert made["most_confused"][0] == "2" and made["confused_videos"][0] == 10
    assert made["ap"][1] == pytest.approx(ap_by_hand(np.float32(answers[:, 1]), labels[:, 1]))
    assert np.isnan(made["ap"][2])
    found = summary(made)
    assert found["auc"] == pytest.approx(made["auc"][:2].mean())
    assert norm.cdf(found["d_prime"] / np.sqrt(2)) == pytest.approx(found["auc"])


def test_a_class_is_ranked_among_the_videos_that_it_was_rated_in():
    labels, answers = RNG.random([40, 2]) < 0.4, RNG.random([40, 2])
    rated = RNG.random([40, 2]) < 0.6
    table = PerClass(["cat", "dog"])
    table.add(answers * rated, labels & rated, rated)
    alone = np.float32(answers[rated[:, 0], 0]), labels[rated[:, 0], 0]
    made = table.table()
    assert made["auc"][0] == pytest.approx(auc_by_hand(*alone))
    assert made["ap"][0] == pytest.approx(ap_by_hand(*alone))
