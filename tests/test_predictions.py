"""Predictions kept as the best k of each video: nothing lost, nothing reordered, nothing broken."""

import numpy as np
import pytest

from yt8m_lib.scoring.predictions import Predictions, average, report_half, selection_half
from yt8m_lib.scoring.ranking import NARROW, descending, ranks_of, top


def made(videos=40, classes=30, k=20, seed=0, ties=False):
    """Predictions with their dense source: (Predictions, confidences [N, V], labels [N, V])."""
    rng = np.random.default_rng(seed)
    dense = rng.random((videos, classes)).astype(np.float32) ** 4
    if ties:
        dense = dense.round(1)
    labels = np.random.default_rng(7).random((videos, classes)) < 0.1  # the same for every seed
    ids = [f"v{i:04d}" for i in range(videos)]
    return Predictions.from_dense(ids, dense, labels, k), dense, labels


def by_definition(row, k):
    return sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 7, 30, 999])
@pytest.mark.parametrize("width", [30, NARROW, NARROW + 1, 700])
def test_top_is_sorted_and_takes_the_lower_class_of_equal_ones(ties, k, width):
    _, dense, _ = made(videos=300, classes=width, ties=ties)  # more than one block of rows
    classes, confidences = top(dense, k)
    assert classes.dtype == np.uint16 and confidences.dtype == np.float32
    assert classes.tolist() == [by_definition(row, k) for row in dense]
    np.testing.assert_array_equal(confidences, np.take_along_axis(dense, classes.astype(int), 1))


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("width", [2, NARROW + 1])
def test_no_order_of_what_is_no_confidence(bad, width):
    values = np.full(width, 0.5)
    values[1] = bad
    for order in (lambda: top(values[None], 1), lambda: ranks_of(values > 0, values)):
        with pytest.raises(ValueError, match="finite and not negative"):
            order()


def test_descending_keeps_equal_ones_in_order():
    values = np.array([0.5, 0.0, 1.0, 0.5, -0.0, 1e-30, 0.5], np.float32)
    assert descending(values).tolist() == [2, 0, 3, 6, 5, 1, 4]


@pytest.mark.parametrize("ties", [False, True])
def test_marked_pairs_have_the_ranks_that_the_whole_order_gives_them(ties):
    _, dense, labels = made(videos=500, ties=ties)
    confidences, marked = dense.ravel(), labels.ravel()
    expected = np.flatnonzero(marked[descending(confidences)]) + 1
    np.testing.assert_array_equal(ranks_of(marked, confidences), expected)
    assert not len(ranks_of(marked[:0], confidences[:0]))


def test_dense_gives_back_what_was_kept():
    kept, dense, _ = made(k=5)
    wide = kept.dense(slice(3, 9), classes=30)
    assert wide.shape == (6, 30)
    for got, row in zip(wide, dense[3:9], strict=True):
        best = by_definition(row, 5)
        assert got[best].tolist() == row[best].tolist()
        assert np.count_nonzero(got) == 5


def test_hits_and_positives_follow_the_labels():
    kept, _, labels = made()
    np.testing.assert_array_equal(
        kept.hits(), np.take_along_axis(labels, kept.classes.astype(int), 1)
    )
    np.testing.assert_array_equal(kept.hits(3), kept.hits()[:, :3])
    np.testing.assert_array_equal(kept.positives, labels.sum(axis=1))


def test_batches_give_what_one_array_gives():
    whole, dense, labels = made()
    ids = whole.ids.tolist()
    cuts = [slice(0, 16), slice(16, 32), slice(32, 40)]
    streamed = Predictions.from_batches(((ids[c], dense[c], labels[c]) for c in cuts), k=20)
    same(streamed, whole)


def same(one, other):
    for name in ("ids", "classes", "confidences", "label_classes", "label_offsets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


@pytest.mark.parametrize("rows", [[5, 5, 0, 39], [], list(range(40))])
def test_select_takes_labels_along(rows):
    kept, dense, labels = made()
    expected = Predictions.from_dense(kept.ids[rows], dense[rows], labels[rows])
    chosen = kept.select(np.array(rows, int))
    assert chosen.hits().tolist() == expected.hits().tolist()
    assert chosen.label_classes.tolist() == expected.label_classes.tolist()
    mask = np.isin(np.arange(40), rows)
    same(kept.select(mask), kept.select(np.flatnonzero(mask)))


def test_file_round_trip_leaves_nothing_else_behind(tmp_path):
    kept, _, _ = made()
    path = tmp_path / "answers.npz"
    path.write_text("an older file")
    kept.save(path)
    same(Predictions.load(path), kept)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    old, new = made(seed=1)[0], made(seed=2)[0]
    path = tmp_path / "answers.npz"
    old.save(path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        new.save(path)
    same(Predictions.load(path), old)


def test_average_equals_the_dense_one_when_everything_is_kept():
    models = [made(videos=1100, k=30, seed=s) for s in range(3)]
    weights = [3, 1, 0.5]
    expected = sum(
        w * dense.astype(float) for w, (_, dense, _) in zip(weights, models, strict=True)
    )
    got = average([kept for kept, _, _ in models], weights, k=20)
    np.testing.assert_allclose(got.dense(classes=30).max(axis=1), expected.max(axis=1) / 4.5, 1e-6)
    classes, confidences = top(expected / 4.5, 20)
    np.testing.assert_allclose(got.confidences, confidences, rtol=1e-6)
    np.testing.assert_array_equal(got.classes, classes)
    np.testing.assert_array_equal(got.ids, models[0][0].ids)


def test_average_counts_what_was_not_kept_as_zero():
    labels = np.zeros((1, 4), bool)
    one = Predictions.from_dense(["a"], np.array([[0.8, 0.6, 0.5, 0]]), labels, k=2)
    two = Predictions.from_dense(["a"], np.array([[0.1, 0.2, 0.9, 0.7]]), labels, k=2)
    mean = average([one, two], [1, 1])
    assert mean.classes.tolist() == [[2, 0]]  # 0.9 / 2 and 0.8 / 2, not (0.9 + 0.5) / 2
    np.testing.assert_allclose(mean.confidences, [[0.45, 0.4]])


def test_average_of_one_model_is_that_model():
    kept, _, _ = made(ties=True)
    same(average([kept], [0.3]), kept)


def relabelled(p):
    return Predictions(p.ids, p.classes, p.confidences, p.label_classes + 1, p.label_offsets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.select(np.arange(39)), "40 videos"),
        (lambda p: p.select(np.arange(40)[::-1]), "row 0 is video v0000 in .* v0039"),
        (relabelled, "disagree on the videos' labels"),
    ],
)
def test_average_refuses_other_videos(change, message):
    kept, _, _ = made()
    with pytest.raises(ValueError, match=message):
        average([kept, change(kept)], [1, 1])


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [np.nan, 1]])
def test_average_refuses_senseless_weights(weights):
    kept, _, _ = made()
    with pytest.raises(ValueError, match="cannot be weighted"):
        average([kept, kept], weights)


def test_selection_half_depends_on_nothing_but_the_id():
    ids = np.array([f"{i:04x}" for i in range(20_000)])
    half = selection_half(ids)
    assert abs(half.mean() - 0.5) < 0.015
    np.testing.assert_array_equal(selection_half(ids.astype("S")), half)
    np.testing.assert_array_equal(selection_half(ids[::-1]), half[::-1])
    # Fixed for good: another split would let earlier choices be made on the report half.
    known = {"zz00": True, "zz01": False, "zz02": False, "zz03": True, "zz04": False, "zz05": True}
    assert selection_half(list(known)).tolist() == list(known.values())


def test_report_half_is_what_no_choice_was_made_on():
    kept, _, _ = made(videos=200)
    chosen, reported = kept.ids[selection_half(kept.ids)], report_half(kept).ids
    assert len(chosen) and len(reported)
    assert sorted([*chosen, *reported]) == sorted(kept.ids)
    same(report_half(report_half(kept)), report_half(kept))
