"""Models at their published sizes: a step of training, inference with coded weights, encoding."""

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from yt8m_lib import models
from yt8m_lib.benchmark.timing import Call, Found, copy, copy_rate, in_turn, product, product_rate
from yt8m_lib.methods import codecs
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.training import Trainer
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.settings import Model, Params

FRAMES, BATCH = 300, 16
LONG = {"": (BATCH, FRAMES), "_128": (128, 60)}  # of recurrent models also shorter, wider batches
ROUNDS, QUICK_ROUNDS = 5, 2
CODED = "FVNet"  # the largest of the published models
WAYS = {"float32": ("float32", "once"), "load": ("linear", "once"), "call": ("linear", "call")}


def steps(params: Params, names: Sequence[str], quick: bool, say: Callable[[str], None]) -> Found:
    """A step of training of each model to what its equations need at this machine's limits."""
    found = Found()
    for name in names:
        recurrent = not params.models[name].traits.pools_frames
        for suffix, (batch, frames) in LONG.items() if recurrent else [("", LONG[""])]:
            say(f"a step of {name}, {batch} videos of {frames} frames")
            found.add(_step(params, name, suffix, batch, frames, quick))
            gc.collect()
    return found


def _step(params: Params, name: str, suffix: str, batch: int, frames: int, quick: bool) -> Found:
    keras.backend.clear_session()
    spec = params.models[name].model_copy(update={"batch": batch})
    model = models.build(spec, params.data.classes)
    started = time.perf_counter()
    train, answer = _calls(model, spec, params, _videos(batch, frames, params.data.classes))
    train()
    trace = time.perf_counter() - started
    calls = {"step": train, "answer": answer, "product": product(), "copy": copy()}
    seconds = in_turn(calls, QUICK_ROUNDS if quick else ROUNDS)
    rate, copied = product_rate(seconds["product"]), copy_rate(seconds["copy"])
    cost, rows = model.cost(frames), []
    for key, training in (("step", True), ("answer", False)):
        counted = {"flops": batch * cost.flops(training), "moved": cost.moved(training)}
        seen = {"seconds": seconds[key], "trace": trace, "batch": batch, "training": training}
        rows.append({"model": name, "family": spec.family} | counted | seen)
    limit = rows[0]["flops"] / rate + rows[0]["moved"] / copied
    return Found(
        {f"step_ratio_{name}{suffix}": limit / seconds["step"]},
        {
            "products_gigaflops": rate / 1e9,
            "copied_gigabytes": copied / 1e9,
            f"step_seconds_{name}{suffix}": seconds["step"],
            f"answer_seconds_{name}{suffix}": seconds["answer"],
        },
        rows,
    )


def _calls(
    model: VideoModel, spec: Model, params: Params, videos: dict[str, tf.Tensor]
) -> tuple[Call, Call]:
    """A step of training and a batch of answers, of the same videos."""
    settings = params.training.model_copy(update={"frames": videos["frames"].shape[1]})
    trainer = Trainer(model, spec, settings, seed=0, say=lambda _: None)
    step = trainer.step_function({k: tf.TensorSpec.from_tensor(v) for k, v in videos.items()})
    answer = tf.function(lambda batch: model(batch, training=False))

    def train() -> None:
        step(videos, tf.constant([0, 0]))
        trainer.optimizer.iterations.numpy()  # waits for the step

    return train, lambda: answer(videos).numpy()


def _videos(batch: int, frames: int, classes: int) -> dict[str, tf.Tensor]:
    draw = np.random.default_rng(0)
    return {
        "frames": tf.constant(draw.integers(0, 256, (batch, frames, 1152), np.uint8)),
        "num_frames": tf.fill([batch], frames),
        "labels": tf.constant(draw.random((batch, classes)) < 3 / classes, tf.float32),
    }


def inference(params: Params, quick: bool, say: Callable[[str], None]) -> Found:
    """Tagging with 8-bit weights, decoded once or on each call, to float32 weights."""
    say(f"tagging with {CODED}'s weights in float32 and in 8 bits")
    keras.backend.clear_session()
    model = models.build(params.models[CODED], params.data.classes)
    graphs = {way: _graph(model, *how) for way, how in WAYS.items()}
    found = Found()
    for batch in (16, 128):
        videos = _videos(batch, FRAMES, params.data.classes)
        calls = {way: partial(_tag, graph, videos) for way, graph in graphs.items()}
        seconds = in_turn(calls, QUICK_ROUNDS if quick else ROUNDS)
        for way in ("load", "call"):
            found.figures[f"inference_ratio_{way}_{batch}"] = seconds[way] / seconds["float32"]
    return found


def _tag(graph: EnsembleGraph, videos: dict[str, tf.Tensor]) -> None:
    graph.serve(videos["frames"], videos["num_frames"])["confidences"].numpy()


def _graph(model: VideoModel, codec: str, decode: str) -> EnsembleGraph:
    stored = codecs.encode_weights([v.numpy() for v in model.variables], codec=codec)
    return EnsembleGraph([Member(model, stored, decode)], [1.0])


def encoding(params: Params, quick: bool, say: Callable[[str], None]) -> Found:
    """Storing the largest published model with the published codec."""
    say(f"storing {CODED}'s weights in 8 bits")
    keras.backend.clear_session()
    model = models.build(params.models[CODED], params.data.classes)
    weights = [variable.numpy() for variable in model.variables]
    seconds = in_turn({"encode": lambda: codecs.encode_weights(weights)}, 1 if quick else 3)
    count = sum(values.size for values in weights)
    return Found(
        {"encode_seconds_fvnet": seconds["encode"]}, {"coded_per_second": count / seconds["encode"]}
    )
