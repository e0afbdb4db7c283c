"""Metrics and the search for an ensemble's weights against a sort; what soft targets take."""

import heapq
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from yt8m_lib.benchmark.timing import Found, in_turn, sort
from yt8m_lib.data.soft_targets import write_soft_targets
from yt8m_lib.methods.ensembling import Scorer
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.scoring.ranking import top

HOLD_OUT, CLASSES = 232_072, 3862  # videos of the published hold-out, and classes
KEPT, LABELS, MEMBERS, TRIALS = 100, 3, 9, 500
TAUGHT, TRAINING_VIDEOS = 10_000, 4_770_000  # whose soft targets are written; that there are
MEASURED = 20_000  # videos of which all classes' confidences are measured
PLAIN = 200  # videos on which metrics are computed in plain loops
ROUNDS = 3


def gap(quick: bool, say: Callable[[str], None]) -> Found:
    """GAP of the published hold-out, 20 classes a video, to a sort of as many values."""
    videos = HOLD_OUT // 10 if quick else HOLD_OUT
    say(f"GAP of {videos:,} videos")
    answers = _answers(videos, metrics.POOL, np.random.default_rng(0))
    seconds = in_turn(
        {"gap": lambda: metrics.gap(answers), "sort": sort(videos * metrics.POOL)}, ROUNDS
    )
    return Found(
        {"gap_ratio": seconds["gap"] / seconds["sort"]},
        {"sorted_values_per_second": videos * metrics.POOL / seconds["sort"]},
    )


def all_metrics(quick: bool, say: Callable[[str], None]) -> Found:
    """All metrics of dense confidences, to a sort of as many values, and to plain loops."""
    videos = MEASURED // 10 if quick else MEASURED
    say(f"all metrics of {videos:,} videos with all their classes")
    draw = np.random.default_rng(0)
    confidences = draw.random((videos, CLASSES), np.float32)
    labels = draw.random((videos, CLASSES), np.float32) < LABELS / CLASSES
    seconds = in_turn(
        {
            "metrics": lambda: metrics.evaluate(confidences, labels),
            "sort": lambda: np.sort(confidences[: videos // 10], axis=1),
            "plain": lambda: plain_gap(confidences[:PLAIN], labels[:PLAIN]),
        },
        ROUNDS,
    )
    plain = seconds["plain"] * videos / PLAIN
    return Found(
        {
            "metrics_ratio": seconds["metrics"] / (10 * seconds["sort"]),
            "metrics_times_plain": plain / seconds["metrics"],
        }
    )


def plain_gap(confidences: np.ndarray, labels: np.ndarray) -> float:
    """GAP by its definition, in loops: what challengers computed it with, more or less."""
    pooled, positives = [], 0
    for video, truth in zip(confidences, labels, strict=True):
        positives += int(truth.sum())
        best = heapq.nlargest(metrics.POOL, enumerate(video), key=lambda pair: pair[1])
        pooled += [(float(confidence), bool(truth[c])) for c, confidence in best]
    pooled.sort(key=lambda pair: pair[0], reverse=True)
    hits, total = 0, 0.0
    for rank, (_, hit) in enumerate(pooled, 1):
        hits += hit
        total += hit * hits / rank
    return total / max(positives, 1)


def search(quick: bool, say: Callable[[str], None]) -> Found:
    """Setting up the search for weights, and trying one weighting, to a sort."""
    videos = HOLD_OUT // 10 if quick else HOLD_OUT
    say(f"the search for the weights of {MEMBERS} members on {videos:,} videos")
    draw = np.random.default_rng(0)
    members = [_answers(videos, KEPT, draw)]
    members += [_like(members[0], draw) for _ in range(MEMBERS - 1)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    scorer = Scorer(members)
    set_up = time.perf_counter() - started
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    weights = np.full(MEMBERS, 1 / MEMBERS)
    seconds = in_turn(
        {"one": lambda: scorer.gap(weights), "sort": sort(videos * metrics.POOL)}, ROUNDS
    )
    share = videos / HOLD_OUT
    return Found(
        {
            "search_ratio": seconds["one"] / seconds["sort"],
            "search_setup_ratio": set_up / seconds["sort"],
            "search_setup_gigabytes": 1024 * taken / 1e9 / share,
            "search_minutes": (set_up + TRIALS * seconds["one"]) / share / 60,
        }
    )


def soft_targets(quick: bool, say: Callable[[str], None]) -> Found:
    """Choosing and writing the best classes of 10,000 videos, and what all training videos take."""
    videos, shard = TAUGHT // 10 if quick else TAUGHT, 1000
    say(f"the soft targets of {videos:,} videos")
    predicted = np.random.default_rng(0).random((shard, CLASSES), np.float32)
    ids = [b"v%03d" % number for number in range(shard)]
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        for number in range(videos // shard):
            classes, confidences = top(predicted, KEPT)
            sidecar = Path(folder) / f"{number}.tfrecord"
            write_soft_targets(sidecar, ids, classes, confidences.astype(np.float16))
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return Found(
        {
            "soft_targets_seconds": seconds * TAUGHT / videos,
            "soft_targets_gigabytes": size / videos * TRAINING_VIDEOS / 1e9,
        }
    )


def _answers(videos: int, kept: int, draw: np.random.Generator) -> Predictions:
    """Random answers whose best classes are labels now and then."""
    first = draw.integers(0, CLASSES - kept, (videos, 1))
    classes = (first + np.arange(kept)).astype(np.uint16)  # unlike in each video
    confidences = -np.sort(-draw.random((videos, kept), np.float32), axis=1)
    offsets = LABELS * np.arange(videos + 1, dtype=np.int64)
    labels = draw.integers(0, CLASSES, (videos, LABELS))
    known = draw.random((videos, LABELS)) < 0.6
    labels = np.where(known, first + draw.integers(0, metrics.POOL, labels.shape), labels)
    ids = np.array([b"v%07d" % number for number in range(videos)])
    return Predictions(ids, classes, confidences, labels.astype(np.uint16).ravel(), offsets)


def _like(answers: Predictions, draw: np.random.Generator) -> Predictions:
    """Another model's answers for the same videos: half of the classes are others."""
    moved = (answers.classes[:, :1] + draw.integers(0, KEPT // 2, (len(answers), 1))) % (
        CLASSES - KEPT
    )
    classes = (moved + np.arange(KEPT)).astype(np.uint16)
    confidences = -np.sort(-draw.random(classes.shape, np.float32), axis=1)
    return Predictions(
        answers.ids, classes, confidences, answers.label_classes, answers.label_offsets
    )
