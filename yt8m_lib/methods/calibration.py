"""What an experiment's models cost, and a few of their steps measured on this machine."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from yt8m_lib import models
from yt8m_lib.costs import ModelCosts
from yt8m_lib.data import inspection, synthetic
from yt8m_lib.data.record_kinds import kind_for, write_records
from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import shards
from yt8m_lib.data.video_level import MeanVideo
from yt8m_lib.methods import codecs, inference
from yt8m_lib.methods.ensembling import Scorer
from yt8m_lib.methods.training import Trainer
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.intervals import gap_estimate
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.settings import Model, Params, Synthetic
from yt8m_lib.streams import width_of

STEPS = 12  # measured of each model, at most
EPOCHS = 2  # measured after the one that traces the graph; the faster one counts
LARGEST_STEP = 1e11  # operations of a measured step: about a second on two cores
LARGEST_MODEL = 5e7  # weights of a measured model: 0.8 GB with Adam's moments
LARGEST_DATA = 1e8  # bytes of stand-in data to measure on
CODED = 1_000_000  # weights on which a codec is measured
JUDGED, WEIGHED = 1000, 8  # videos, and members, on which the search for weights is measured
COPIED = 2**26  # values that are copied, to see how fast memory is

Say = Callable[[str], None]
Frames = Mapping[str, tuple[int, int]]  # by model: those it is trained and those it answers on


def costs_of(params: Params, frames: Frames) -> dict[str, ModelCosts]:
    """What every model of an experiment costs; none is made for it.

    Args:
        params: the experiment's settings.
        frames: of a video, by model: those that it is trained on, those that it answers on.
    """
    coded, data, found = params.quantization, params.data, {}
    for name, model in params.models.items():

        def count(built: VideoModel, name: str = name) -> ModelCosts:
            shapes = [tuple(variable.shape) for variable in built.variables]
            plain, stored = codecs.bytes_of_shapes(shapes, coded.more_than, coded.codec)
            train, answer = (built.cost(count) for count in frames[name])
            return ModelCosts(train, answer, stored, plain)

        found[name] = models.noted(model, count, data.classes, data.streams)
    return found


def measured_on(
    params: Params, costs: Mapping[str, ModelCosts], folder: Path, say: Say
) -> dict[str, Any]:
    """Measure a few steps of each family's smallest and largest model, and all that is slow beside.

    A model too large to be tried in a moment is left out, and a step of too many operations is
    measured with fewer videos: what is measured is drawn out by the counts.

    Args:
        params: the experiment's settings; ``results`` and ``synthetic`` are not looked at.
        costs: of its models.
        folder: an empty one, for stand-in data.
        say: receives lines of progress.

    Returns:
        ``steps``, a row for each model and for training and answering: ``family``, ``model``,
        ``training``, ``flops`` and ``moved`` bytes of a step, its ``seconds`` and those of its
        ``trace``; and what ``experiment.machine.Machine`` has numbers for.
    """
    chosen = [name for names in _by_family(params, costs).values() for name in names]
    batches = {name: _batch(params.models[name].batch, costs[name]) for name in chosen}
    videos, writing = _stand_in(params, folder, max(batches.values()))
    rows, tasks = [], []
    for number, name in enumerate(chosen, 1):
        say(f"measuring {name} ({number} of {len(chosen)})")
        keras.backend.clear_session()
        model, seconds = _made(params.models[name], params, folder)
        tasks.append(seconds)
        spec = params.models[name].model_copy(update={"batch": batches[name]})
        named = {"model": name, "family": spec.family}
        rows.append(named | _trained(model, spec, params, videos))
        rows.append(named | _answered(model, spec, params, videos))
    for row in rows:
        _add_counts(row, costs[row["model"]])
    say("measuring how answers are judged")
    means = {"task": float(np.mean(tasks)), "start": float(np.mean([r["start"] for r in rows]))}
    return {"steps": rows} | means | writing | _beside(params, videos)


def _by_family(params: Params, costs: Mapping[str, ModelCosts]) -> dict[str, list[str]]:
    """The models to measure: of each family the least and the most costly that can be tried."""
    families: dict[str, list[str]] = {}
    for name, model in params.models.items():
        families.setdefault(model.family, []).append(name)
    chosen = {}
    for family, names in families.items():
        names.sort(key=lambda name: costs[name].training.products)
        small = [n for n in names if costs[n].training.weights <= LARGEST_MODEL] or names[:1]
        chosen[family] = list(dict.fromkeys((small[0], small[-1])))
    return chosen


def _batch(batch: int, cost: ModelCosts) -> int:
    """Videos of a measured step: as many as in training, if that takes but a moment."""
    return max(1, min(batch, int(LARGEST_STEP / max(cost.training.flops(training=True), 1))))


def _stand_in(params: Params, folder: Path, batch: int) -> tuple[Records, dict[str, float]]:
    """Videos like the experiment's, and how fast they were written and checked."""
    data = params.data
    width, longest = width_of(data.streams), params.synthetic
    frames = longest.frames if longest else (data.max_frames * 2 // 5, data.max_frames)
    count = batch * int(np.clip(LARGEST_DATA / (batch * frames[1] * width), 2, STEPS))
    watch = Watch()
    if data.level == "video":
        files = [str(folder / "means.tfrecord")]
        write_records(files[0], _means(count, width), kind_for(data))
    else:
        data = data.model_copy(update={"level": "frame"})
        settings = Synthetic(train_videos=count, validation_videos=1, shards=1, frames=frames)
        small = params.model_copy(
            update={"results": str(folder), "synthetic": settings, "data": data}
        )
        synthetic.write(small)
        files, _ = shards(small)
    write = count * float(np.mean(frames)) / watch.seconds
    checking = _seconds(lambda: inspection.inspect(files, data.vocabulary, data=data))
    speeds = {"inspect": Path(files[0]).stat().st_size / checking, "write": write}
    return Records(files, data), speeds


def _means(count: int, width: int) -> Iterator[MeanVideo]:
    draw = np.random.default_rng(0)
    for number in range(count):
        yield MeanVideo(f"v{number:04d}".encode(), [number % 2], draw.uniform(-1, 1, width))


def _made(model: Model, params: Params, folder: Path) -> tuple[VideoModel, float]:
    """A fresh model, and the seconds to make it, to save it and to load it again."""
    watch, data = Watch(), params.data
    built = models.build(model, data.classes, streams=data.streams, l2_normalise=data.l2_normalise)
    models.save(built, folder / "model.keras")
    models.load(folder / "model.keras")
    return built, watch.seconds


def _trained(model: VideoModel, spec: Model, params: Params, videos: Records) -> dict[str, Any]:
    """Seconds of a training step, and of tracing it."""
    trainer = Trainer(model, spec, params.training, seed=0, say=lambda _: None)
    done = iter(range(1, EPOCHS + 2))
    return _timed(lambda: trainer.fit(videos, next(done)), videos, spec.batch) | {"training": True}


def _answered(model: VideoModel, spec: Model, params: Params, videos: Records) -> dict[str, Any]:
    """Seconds of a batch of answers, reading and keeping the best classes included."""
    few = params.model_copy(update={"inference_batch": spec.batch})
    predict = inference.make_predictor([model], videos, few)
    return _timed(predict, videos, spec.batch) | {"training": False}


def _timed(go: Callable[[], Any], videos: Records, batch: int) -> dict[str, Any]:
    """Seconds of a step, of tracing it and of an epoch's start, of a way through all videos."""
    seconds = [_seconds(go, times=1) for _ in range(EPOCHS + 1)]
    start = _seconds(lambda: next(iter(videos.batches(batch, seed=(0, 0)))))
    steps, steady = sum(1 for _ in videos.batches(batch)), min(seconds[1:])
    step = max(steady - start, steady / 10) / steps
    return {"seconds": step, "trace": max(seconds[0] - steady, 0.0), "start": start, "batch": batch}


def _add_counts(row: dict[str, Any], costs: ModelCosts) -> None:
    """Note what a measured step needed."""
    cost = costs.training if row["training"] else costs.answering
    row["flops"] = row["batch"] * cost.flops(row["training"])
    row["moved"] = cost.moved(row["training"])


def _beside(params: Params, videos: Records) -> dict[str, float]:
    """Seconds to judge an answer, to try a weighting on one, and to store a weight; copy speed."""
    draw, classes = np.random.default_rng(0), params.data.classes
    ids = [f"v{number:04d}".encode() for number in range(JUDGED)]
    labels = draw.random((JUDGED, classes)) < 3 / classes
    kept = inference.classes_kept(params)
    members = [
        Predictions.from_dense(ids, draw.random((JUDGED, classes), np.float32), labels, kept)
        for _ in range(WEIGHED)
    ]
    scorer, weights = Scorer(members), np.full(WEIGHED, 1 / WEIGHED)
    values, table = draw.standard_normal(CODED, np.float32), np.zeros(COPIED, np.float32)
    copy = np.empty_like(table)
    evaluated = _seconds(lambda: metrics.evaluate(members[0]))
    return {
        "judge": (evaluated + _seconds(lambda: gap_estimate(members[0]))) / JUDGED,
        "weigh": _seconds(lambda: scorer.gap(weights)) / JUDGED / WEIGHED,
        "code": _seconds(
            lambda: codecs.encode_weights([values], codec=params.quantization.codec)
        ) / CODED,
        "copied_per_second": 2 * table.nbytes / _seconds(lambda: np.copyto(copy, table)),
    }  # fmt: skip


class Watch:
    """Seconds since it was made, as they would be if nobody else used the machine.

    Where no accelerator works, no more than the process's own seconds on its cores count: what goes
    beyond them was spent waiting for others.
    """

    def __init__(self) -> None:
        self._started, self._own = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """The seconds until now."""
        passed = time.perf_counter() - self._started
        return passed if _accelerated() else min(passed, time.process_time() - self._own)


def _seconds(call: Callable[[], Any], times: int = 2) -> float:
    """Seconds of a call: the fastest of some."""
    found = []
    for _ in range(times):
        watch = Watch()
        call()
        found.append(watch.seconds)
    return min(found)


@cache
def _accelerated() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
