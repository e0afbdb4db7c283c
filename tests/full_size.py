"""The published sizes for real: ``make full-size``. Minutes and gigabytes, so not in ``make test``.

Every published configuration trains one step and predicts one batch of 16 videos of 300 frames and
3,862 classes; a subset that fits the budget, with random weights, becomes one SavedModel that is
loaded and run in a fresh process. Each has a process of its own, so its peak memory is its own.
The tables go to ``results/reference/full_size/``.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from yt8m_lib import params
from yt8m_lib.methods import devices
from yt8m_lib.report import tables

VIDEOS, FRAMES = 16, 300
MEMBERS = ("NetVLAD1", "FVNet", "DBoF1", "DBoF2", "DBoF3", "RNN1", "RNN2", "RNN3")
PAPER = params.load("params/paper.yaml")


def gigabytes() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def make_batch() -> dict:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (VIDEOS, FRAMES, params.FEATURES), dtype=np.uint8)
    labels = (rng.random((VIDEOS, PAPER.data.classes)) < 3 / PAPER.data.classes).astype(np.float32)
    counts = np.linspace(120, FRAMES, VIDEOS).astype(np.int32)
    return {"frames": frames, "num_frames": counts, "labels": labels}


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
    assert predictions.shape == (VIDEOS, PAPER.data.classes) and np.isfinite(predictions).all()
    return {
        "model": name,
        "parameters": model.count_params(),
        "seconds_step": trained - started,
        "seconds_predict": time.perf_counter() - trained,
        "peak_gigabytes": gigabytes(),
    }


def build_graph(folder: str) -> dict:
    """Export the members with random weights, one after the other, as one SavedModel."""
    devices.prepare()
    import keras

    from yt8m_lib import models
    from yt8m_lib.methods import export, quantization

    started, members = time.perf_counter(), []
    for name in MEMBERS:
        model = models.build(PAPER.models[name], PAPER.data.classes)
        weights = (variable.numpy() for variable in model.variables)
        members.append(export.Member(model, quantization.quantize_weights(weights)))
    keras.backend.clear_session()
    tagger = export.EnsembleGraph(members, [1.0] * len(members))
    size = export.save(tagger, folder, PAPER, {}, PAPER.ensembling.budget_bytes)
    return {
        "members": " + ".join(MEMBERS),
        "bytes_on_disk": size,
        "seconds_export": time.perf_counter() - started,
        "peak_gigabytes_export": gigabytes(),
    }


def use_graph(folder: str) -> dict:
    """Load the SavedModel in a fresh process and tag a batch, twice: the first call decodes."""
    devices.prepare()
    import tensorflow as tf

    from yt8m_lib.methods import inference

    started = time.perf_counter()
    tag, _ = inference.load_exported(folder)
    seconds = {"seconds_load": time.perf_counter() - started}
    batch = make_batch()
    for call in ("first", "second"):
        started = time.perf_counter()
        answer = tag(
            frames=tf.constant(batch["frames"]), num_frames=tf.constant(batch["num_frames"])
        )
        assert answer["classes"].shape == (VIDEOS, 20)
        seconds[f"seconds_{call}_batch"] = time.perf_counter() - started
    return seconds | {"peak_gigabytes_use": gigabytes()}


def in_process(function: str, argument: str) -> dict:
    print(f"{function} {argument} ...", flush=True)
    command = [sys.executable, __file__, function, argument]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"  {found}", flush=True)
    return found


def main() -> None:
    folder = params.ROOT / "results" / "reference" / "full_size"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        model = str(Path(temporary) / "model")
        graph = in_process("build_graph", model) | in_process("use_graph", model)
    published = [name for name, model in PAPER.models.items() if model.published]
    steps = pd.DataFrame([in_process("one_step", name) for name in published])
    for name, table in {"graph": pd.DataFrame([graph]), "one_step": steps}.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.md").write_text(f"{tables.as_markdown(table)}\n")
        print(f"\n{tables.as_text(table)}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        functions = {f.__name__: f for f in (one_step, build_graph, use_graph)}
        print(json.dumps(functions[sys.argv[1]](sys.argv[2])))
    else:
        main()
