import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
from conftest import shared

from yt8m_lib.data import records, synthetic, synthetic_labels
from yt8m_lib.data.listing import DataError
from yt8m_lib.data.records import Records
from yt8m_lib.scoring import metrics
from yt8m_lib.settings import Params, Synthetic

VIDEOS = 20_252  # as many as there are real records to compare with


def experiment(folder, vocabulary=40, **settings):
    return Params.model_validate(
        {
            "experiment": "stand-in",
            "results": str(folder),
            "seed": settings.pop("seed", 1),
            "data": {"classes": vocabulary, "vocabulary": vocabulary},
            "synthetic": {"train_videos": 90, "validation_videos": 40, "shards": 2} | settings,
            "models": {},
        }
    )


def contents(files):
    return [tf.io.gfile.GFile(file, "rb").read() for file in files]


@pytest.fixture(scope="module")
def world():
    return synthetic.draw_world(3862, seed=1)


@pytest.fixture(scope="module")
def drawn(world):
    """True and listed labels, and means, of as many videos as the real ones."""
    generator = np.random.default_rng(0)
    true, listed = synthetic_labels.draw_labels(world.classes, Synthetic(), VIDEOS, generator)
    return true, listed, synthetic.draw_means(world.prototypes, true, generator)


@pytest.fixture(scope="module")
def real():
    """Labels and means of the real video-level records."""
    files = sorted(shared("yt8m_video").glob("*.tfrecord"))
    labels, means = [], []
    for record in tf.data.TFRecordDataset([str(f) for f in files]).as_numpy_iterator():
        video = tf.train.Example.FromString(record).features.feature
        labels.append(sorted(set(video["labels"].int64_list.value)))
        values = [video[name].float_list.value for name in ("mean_rgb", "mean_audio")]
        means.append(np.concatenate(values).astype("f"))
    return labels, np.stack(means)


def slope(counts, low, high):
    """Log-log slope of sorted counts between two ranks."""
    ranks = np.unique(np.geomspace(low, high, 40).astype(int))
    return np.polyfit(np.log(ranks), np.log(np.maximum(counts[ranks - 1], 0.5)), 1)[0]


def label_facts(labels):
    """What the labels of many videos look like, in a few numbers."""
    sizes = np.array([len(video) for video in labels])
    counts = np.sort(np.bincount(np.concatenate(labels), minlength=3862))[::-1]
    pairs = collections.Counter(p for v in labels for p in itertools.combinations(v, 2))
    return {
        "shares": np.bincount(sizes, minlength=13)[1:13] / len(labels),
        "mean": sizes.mean(),
        "variance": sizes.var(),
        "top": [counts[:k].sum() / counts.sum() for k in (10, 100, 1000)],
        "slopes": [slope(counts, 1, 100), slope(counts, 100, 1000)],
        "pairs": len(pairs),
        "pairs_drawn": sum(pairs.values()),
        "sets": len({tuple(video) for video in labels}),
    }


def mean_facts(means):
    """What the means of many videos look like, in a few numbers."""
    spread = means.std(axis=0)
    kurtosis = (((means - means.mean(axis=0)) / spread) ** 4).mean(axis=0)
    return {
        "rgb": [spread[:10].mean(), spread[90:110].mean(), spread[1000:1024].mean()],
        "audio": [spread[1024:1027].mean(), spread[1141:].mean()],
        "kurtosis": [kurtosis[:1024].mean(), kurtosis[1024:].mean()],
        "norm": np.percentile(np.linalg.norm(means[:, :1024], axis=1), [1, 50, 99]),
    }


def ridge_gap(labels, means, classes, train):
    """GAP@20 of a ridge regression on the means, as measured on the real records."""
    targets = np.zeros((len(labels), classes), bool)
    for row, video in zip(targets, labels, strict=True):
        row[[label for label in video if label < classes]] = True
    order = np.random.default_rng(0).permutation(len(labels))
    features = (means - means.mean(axis=0)) / means.std(axis=0)
    fit, held = order[:train], order[train:]
    prior = targets[fit].mean(axis=0)
    square = features[fit].T @ features[fit] + 300 * np.eye(means.shape[1], dtype="f")
    weights = np.linalg.solve(square, features[fit].T @ (targets[fit] - prior))
    scores = np.exp(features[held] @ weights + prior)  # same order, none negative
    return metrics.gap(scores, targets[held])


# Files


def test_same_settings_give_the_same_bytes_and_others_do_not(tmp_path):
    first = synthetic.write(experiment(tmp_path / "a"))
    again = synthetic.write(experiment(tmp_path / "b"))
    other = synthetic.write(experiment(tmp_path / "c", seed=2))
    assert [len(files) for files in first] == [2, 2]
    for mine, same, different in zip(first, again, other, strict=True):
        assert contents(mine) == contents(same)
        assert not set(contents(mine)) & set(contents(different))
    assert records.shards(experiment(tmp_path / "a")) == first


def test_finished_shards_are_kept_and_missing_ones_made_again(tmp_path):
    settings = experiment(tmp_path)
    train, validation = synthetic.write(settings)
    before = contents(train + validation)
    tf.io.gfile.remove(train[1])
    kept = [tf.io.gfile.stat(file).mtime_nsec for file in (train[0], *validation)]
    synthetic.write(settings)
    assert contents(train + validation) == before
    assert [tf.io.gfile.stat(f).mtime_nsec for f in (train[0], *validation)] == kept
    synthetic.write(experiment(tmp_path, wrong_labels=0.5))
    assert contents(train) != before[:2]


def test_shards_of_somebody_else_are_not_replaced(tmp_path):
    settings = experiment(tmp_path)
    own = settings.folder / "data" / "own.tfrecord"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"such as own\.tfrecord: nothing is deleted"):
        synthetic.write(settings)
    assert own.read_bytes() == b"mine"


def test_shards_hold_what_was_asked_for(tmp_path):
    settings = experiment(tmp_path, frames=[3, 7])
    train, validation = synthetic.write(settings)
    table = records.inspect(train + validation, 40)
    assert table["videos"].tolist() == [45, 45, 20, 20]
    assert not table["bad"].any() and set(table["level"]) == {"frame"}
    assert table["frames_min"].min() == 3 and table["frames_max"].max() == 7
    batches = list(Records(train + validation, settings.data).batches(50))
    ids = [id for batch in batches for id in batch["id"].numpy()]
    assert len(set(ids)) == 130
    assert all(batch["labels"].numpy().any(axis=1).all() for batch in batches)


@pytest.mark.parametrize("vocabulary", [2, 5, 100])
def test_any_number_of_classes_and_noise_will_do(vocabulary):
    classes = synthetic.draw_world(vocabulary, seed=3).classes
    assert classes.frequency.sum() == pytest.approx(1) and classes.anchor.sum() == pytest.approx(1)
    noisy = Synthetic(missing_labels=1.0, wrong_labels=1.0)
    true, listed = synthetic_labels.draw_labels(classes, noisy, 300, np.random.default_rng(0))
    for shown, said in zip(true, listed, strict=True):
        assert said and len(set(said)) == len(said) <= len(shown)
        assert {*shown, *said} <= set(range(vocabulary))


def test_parents_are_above_their_children(world):
    classes = world.classes
    children = np.flatnonzero(classes.parent >= 0)
    assert len(children) > 3000 and (classes.parent[children] < children).all()
    assert (classes.parent[classes.family] == -1).all()
    assert len(set(classes.vertical)) == 24


# Calibration


def test_labels_look_like_the_data_sets(drawn):
    """Counts of 57,975 real videos (sec. 12 of the published system)."""
    facts = label_facts(drawn[1])
    published = [0.247, 0.226, 0.186, 0.156, 0.088, 0.046, 0.025, 0.0125]
    np.testing.assert_allclose(facts["shares"][:8], published, atol=0.012)
    assert facts["mean"] == pytest.approx(3.005, abs=0.06)
    assert facts["variance"] == pytest.approx(3.51, abs=0.3)
    np.testing.assert_allclose(facts["top"], [0.289, 0.613, 0.902], atol=0.03)
    np.testing.assert_allclose(facts["slopes"], [-0.93, -1.19], atol=0.12)


def test_frequencies_have_the_three_slopes(world):
    counts = world.classes.frequency * 1e9
    assert slope(counts, 1, 100) == pytest.approx(-0.93, abs=0.01)
    assert slope(counts, 100, 1000) == pytest.approx(-1.19, abs=0.01)
    assert slope(counts, 1000, 3862) == pytest.approx(-1.55, abs=0.01)


def test_labels_look_like_real_ones_side_by_side(drawn, real):
    mine, theirs = label_facts(drawn[1]), label_facts(real[0])
    np.testing.assert_allclose(mine["shares"], theirs["shares"], atol=0.015)
    np.testing.assert_allclose(mine["top"], theirs["top"], atol=0.03)
    for name in ("pairs", "sets", "pairs_drawn"):  # the same order: labels come in groups
        assert 0.7 < mine[name] / theirs[name] < 1.4, name


def test_means_look_like_real_ones_side_by_side(drawn, real):
    mine, theirs = mean_facts(drawn[2][:8000]), mean_facts(real[1][:8000])
    np.testing.assert_allclose(mine["rgb"], theirs["rgb"], atol=0.05)
    np.testing.assert_allclose(mine["audio"], theirs["audio"], atol=0.06)
    np.testing.assert_allclose(mine["kurtosis"], theirs["kurtosis"], atol=0.5)
    np.testing.assert_allclose(mine["norm"], theirs["norm"], rtol=0.12)


def test_a_linear_model_finds_as_much_as_in_real_means(drawn, real):
    """Ridge regression on 15,000 means, 500 classes: 0.720 on the real ones."""
    mine = ridge_gap(drawn[1], drawn[2], 500, 15_000)
    theirs = ridge_gap(real[0], real[1], 500, 15_000)
    assert theirs == pytest.approx(0.720, abs=0.01)
    assert mine == pytest.approx(theirs, abs=0.04)


def test_missing_and_wrong_labels_are_as_many_as_asked_for(world):
    settings = Synthetic(missing_labels=0.2, wrong_labels=0.1)
    true, listed = synthetic_labels.draw_labels(
        world.classes, settings, 5000, np.random.default_rng(1)
    )
    shown, said = sum(map(len, true)), sum(map(len, listed))
    wrong = sum(len(set(b) - set(a)) for a, b in zip(true, listed, strict=True))
    assert 1 - said / shown == pytest.approx(0.2, abs=0.02)
    assert 0.05 < wrong / said <= 0.11  # some replacements hit another true label
