"""The published sizes for real: ``make full-size``. Minutes and gigabytes, so not in ``make test``.

Every published configuration trains one step and predicts one batch of 16 videos of 300 frames and
3,862 classes. All nine, with random weights, become one SavedModel under the budget, their codes
packed, that is loaded and run in a fresh process and whose decoded weights are compared with the
published codec's. Each has a process of its own, so its peak memory is its own.
The tables go to ``results/reference/full_size/``.
"""

import json
import multiprocessing
import resource
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from yt8m_lib import params
from yt8m_lib.files import write_text
from yt8m_lib.methods import devices
from yt8m_lib.report import tables
from yt8m_lib.settings import ROOT

pytestmark = pytest.mark.full_size

VIDEOS, FRAMES = 16, 300
PAPER = params.load("params/paper.yaml")
PUBLISHED = [name for name, model in PAPER.models.items() if model.published]


def test_every_published_model_trains_a_step_and_predicts():
    record("one_step", [in_own_process(one_step, name) for name in PUBLISHED])


def test_all_nine_fit_the_budget_with_the_weights_of_the_published_codec(tmp_path):
    folder = str(tmp_path / "model")
    row = in_own_process(build_graph, folder) | in_own_process(use_graph, folder)
    record("graph", [row])
    assert len(PUBLISHED) == 9 and row["bytes_on_disk"] <= PAPER.ensembling.budget_bytes
    assert row["weights_compared"] > 1.1e9


def test_decoding_weights_costs_little_time_and_saves_memory():
    rows = in_own_process(time_decoding, "FVNet")
    peaks = {way: in_own_process(use_one, f"FVNet {way}")["peak_gigabytes"] for way in WAYS}
    for row in rows:
        row["peak_gigabytes"] = peaks[row["weights"]]
    record("decoding", rows)


def record(name: str, rows: list[dict]) -> None:
    table, folder = pd.DataFrame(rows), ROOT / "results" / "reference" / "full_size"
    write_text(folder / f"{name}.csv", table.to_csv(index=False))
    write_text(folder / f"{name}.md", f"{tables.as_markdown(table)}\n")
    print(f"\n{tables.as_text(table)}")


def in_own_process(function: Callable[[str], Any], argument: str) -> Any:
    print(f"{function.__name__} {argument} ...", flush=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        row = process.submit(function, argument).result()
    print(f"  {row}", flush=True)
    return row


def one_step(name: str) -> dict:
    """Train one step and predict one batch with a published configuration."""
    devices.prepare()
    import tensorflow as tf

    from yt8m_lib import models
    from yt8m_lib.methods.training import Trainer

    model = models.build(PAPER.models[name], PAPER.data.classes)
    trainer = Trainer(model, PAPER.models[name], PAPER.training, seed=1)
    batch = {key: tf.constant(value) for key, value in make_batch().items()}
    started = time.perf_counter()
    tf.function(trainer._train_step)(batch, tf.constant([1, 1]))
    trained = time.perf_counter()
    predictions = tf.function(lambda inputs: model(inputs, training=False))(batch).numpy()
    predicted = time.perf_counter()
    check(predictions)
    assert np.isfinite(trainer.loss_sum.numpy())
    return {
        "model": name,
        "parameters": model.count_params(),
        "seconds_step": trained - started,
        "seconds_predict": predicted - trained,
        "peak_gigabytes": peak_gigabytes(),
    }


WAYS = {
    "float32": ("float32", "once"),
    "linear, decoded once": ("linear", "once"),
    "linear, decoded on each call": ("linear", "call"),
    "linear_huffman, decoded once": ("linear_huffman", "once"),
}
ROUNDS = 3


def graph_of(name: str, way: str) -> Any:
    """A published model with random weights in a graph that stores and decodes them in some way."""
    from yt8m_lib import models
    from yt8m_lib.methods import codecs
    from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member

    codec, decode = WAYS[way]
    model, stored = models.build(PAPER.models[name], PAPER.data.classes), []
    for place, variable in enumerate(model.variables):
        stored += codecs.encode_weights([random_weights(variable.shape, [0, place])], codec=codec)
    return EnsembleGraph([Member(model, stored, decode)], [1.0])


def time_decoding(name: str) -> list[dict]:
    """Seconds a batch of each way, the least of some rounds that take the ways in turn."""
    devices.prepare()
    import tensorflow as tf

    from yt8m_lib.methods.ensemble_graph import seconds_to_tag

    graphs, rows = {way: graph_of(name, way) for way in WAYS}, []
    for videos in (16, 128):
        batch = make_batch(videos)
        held = [(tf.constant(batch["frames"]), tf.constant(batch["num_frames"]))]
        best = dict.fromkeys(graphs, float("inf"))
        for _ in range(ROUNDS + 1):  # the first also traces and decodes, so it is no minimum
            for way, graph in graphs.items():
                best[way] = min(best[way], seconds_to_tag(graph, held))
        for way, seconds in best.items():
            ratio = seconds / best["float32"]
            rows.append({"weights": way, "batch": videos, "seconds": seconds, "ratio": ratio})
    return rows


def use_one(argument: str) -> dict:
    """Tag a batch of 16 with one of the ways from its file, for the memory that this takes."""
    devices.prepare()
    import tempfile

    from yt8m_lib.methods import export

    name, way = argument.split(" ", 1)
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(save_one, json.dumps([name, way, folder]))
        import tensorflow as tf

        loaded = tf.saved_model.load(str(Path(folder) / "model"))
        batch = make_batch()
        call = {key: tf.constant(batch[key]) for key in ("frames", "num_frames")}
        check(loaded.signatures["serving_default"](**call)["predictions"].numpy())
        return {
            "bytes_on_disk": export.bytes_on_disk(Path(folder) / "model"),
            "peak_gigabytes": peak_gigabytes(),
        }


def save_one(argument: str) -> None:
    devices.prepare()
    from yt8m_lib.methods import export

    name, way, folder = json.loads(argument)
    export.save(graph_of(name, way), Path(folder) / "model", PAPER, {}, None)


def build_graph(folder: str) -> dict:
    """Export all nine with random weights, one after the other, as one SavedModel.

    Weights are drawn from a normal distribution, as trained ones nearly are; fresh ones are uniform
    and would not pack. Beside the model lies a checksum of what the published codec makes of each.
    """
    devices.prepare()
    import keras

    from yt8m_lib import models
    from yt8m_lib.methods import codecs, export
    from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member

    started, members, checksums = time.perf_counter(), [], []
    for number, name in enumerate(PUBLISHED):
        model = models.build(PAPER.models[name], PAPER.data.classes)
        stored = []
        for place, variable in enumerate(model.variables):
            weights = random_weights(variable.shape, [number, place])
            stored += codecs.encode_weights([weights], codec="linear_huffman")
            (published,) = codecs.decode_weights(codecs.encode_weights([weights]))
            checksums.append((int(weights.size), zlib.crc32(published.tobytes())))
        members.append(Member(model, stored))
    Path(folder).with_suffix(".json").write_text(json.dumps(checksums))
    keras.backend.clear_session()
    graph = EnsembleGraph(members, [1.0] * len(members))
    size = export.save(graph, folder, PAPER, {}, PAPER.ensembling.budget_bytes)
    return {
        "members": " + ".join(PUBLISHED),
        "bytes_on_disk": size,
        "seconds_export": time.perf_counter() - started,
        "peak_gigabytes_export": peak_gigabytes(),
    }


def use_graph(folder: str) -> dict:
    """Load the SavedModel in a fresh process and tag a batch, twice: the first call decodes."""
    devices.prepare()
    import tensorflow as tf

    started = time.perf_counter()
    loaded = tf.saved_model.load(folder)
    tag = loaded.signatures["serving_default"]
    seconds = {"seconds_load": time.perf_counter() - started}
    inputs = {key: tf.constant(make_batch()[key]) for key in ("frames", "num_frames")}
    for call in ("first", "second"):
        started = time.perf_counter()
        answer = tag(**inputs)
        seconds[f"seconds_{call}_batch"] = time.perf_counter() - started
        assert answer["classes"].shape == answer["confidences"].shape == (VIDEOS, 20)
        check(answer["predictions"].numpy())
    peak = peak_gigabytes()
    return seconds | {
        "peak_gigabytes_use": peak,
        "weights_compared": compare_weights(loaded, folder),
    }


def compare_weights(loaded: Any, folder: str) -> int:
    """Compare the checksums of the weights that a graph has decoded; returns how many there are."""
    compared, checksums = 0, iter(json.loads(Path(folder).with_suffix(".json").read_text()))
    for member in loaded.members:
        for weight in member.weights:
            count, expected = next(checksums)
            decoded = getattr(weight, "decoded", None)
            values = weight.arrays["values"] if decoded is None else decoded
            assert zlib.crc32(values.numpy().tobytes()) == expected
            compared += count
    return compared


def random_weights(shape: tuple[int, ...], seed: list[int]) -> np.ndarray:
    """Weights with a spread of their own, float32 of some shape."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(0.005, 0.05))
    return np.abs(weights) if len(shape) == 1 else weights  # a batch norm's variance among them


def make_batch(videos: int = VIDEOS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (videos, FRAMES, 1152), dtype=np.uint8)
    labels = (rng.random((videos, PAPER.data.classes)) < 3 / PAPER.data.classes).astype(np.float32)
    counts = np.linspace(120, FRAMES, videos).astype(np.int32)
    return {"frames": frames, "num_frames": counts, "labels": labels}


def check(predictions: np.ndarray) -> None:
    assert predictions.shape == (VIDEOS, PAPER.data.classes)
    assert np.all((predictions >= 0) & (predictions <= 1))  # so every one is finite


def peak_gigabytes() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
