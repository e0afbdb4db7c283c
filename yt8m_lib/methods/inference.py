"""Predictions of built models on records, and of an exported model on anybody's shards."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from yt8m_lib.data import records
from yt8m_lib.data.records import Records
from yt8m_lib.models import frames as sampling
from yt8m_lib.settings import POOLED, Data, Params
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions

PAIRS = 20  # of class and confidence a video, as the challenge asks


class ModelError(ValueError):
    """A folder that holds no model of ours; the message says what was looked for."""


def kept(params: Params) -> int:
    """How many of a video's classes predictions keep: soft targets and averages need the tail."""
    top_k = params.distillation.top_k
    return params.data.classes if top_k == "all" else max(PAIRS, min(top_k, params.data.classes))


def mean_of(models: Sequence[keras.Model], params: Params, spec: dict[str, Any]) -> Callable:
    """The models' mean prediction as one traced function of a batch (and a seed for random fills).

    Args:
        models: one or more built models.
        params: whose ``inference`` says which frames count.
        spec: ``element_spec`` of the batches.

    Returns:
        A function of a batch and a seed (int [2]) giving probabilities [B, V].
    """

    def forward(batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        return tf.add_n([_one(model, params, batch, seed) for model in models]) / len(models)

    return tf.function(forward, input_signature=[spec, tf.TensorSpec([2], tf.int32)])


def _one(
    model: keras.Model, params: Params, batch: dict[str, tf.Tensor], seed: tf.Tensor
) -> tf.Tensor:
    draw = {"sample_all": sampling.fill_frames, "random_frames": sampling.sample_frames}
    if params.inference in draw and model.settings["architecture"] in POOLED:
        frames, num_frames = draw[params.inference](
            batch["frames"], batch["num_frames"], params.training.frames, seed
        )
        batch = batch | {"frames": frames, "num_frames": num_frames}
    return model(batch, training=False)


def predict(
    models: Sequence[keras.Model], videos: Records, params: Params, seed: int = 0
) -> tuple[Predictions, float]:
    """The mean prediction of some models for all videos, and the seconds that the models took."""
    return make_predictor(models, videos, params, seed)()


def make_predictor(
    models: Sequence[keras.Model], videos: Records, params: Params, seed: int = 0
) -> Callable[[], tuple[Predictions, float]]:
    """``predict`` to be called again as the weights change: it is traced once, which is slow."""
    batches = videos.batches(params.inference_batch)
    forward = mean_of(models, params, batches.element_spec)
    return lambda: predict_with(forward, batches, kept(params), seed)


def predict_with(
    forward: Callable, batches: tf.data.Dataset, k: int, seed: int = 0
) -> tuple[Predictions, float]:
    """The k best classes that ``forward(batch, seed)`` gives each video, and its seconds."""
    seconds = 0.0

    def answers() -> Any:
        nonlocal seconds
        for number, batch in enumerate(batches):
            started = time.perf_counter()
            predicted = forward(batch, tf.constant([seed, number])).numpy()
            seconds += time.perf_counter() - started
            yield batch["id"].numpy(), predicted, batch["labels"].numpy()

    return Predictions.from_batches(answers(), k), seconds


# --- The exported model, used without any of the code that made it ---


def load_exported(folder: str | Path) -> tuple[Callable, dict[str, Any]]:
    """An exported model's function ``(frames, num_frames) -> outputs`` and its description.

    Raises:
        ModelError: where the folder holds no exported model.
    """
    description = Path(folder) / "yt8m.json"
    if not (Path(folder) / "saved_model.pb").is_file() or not description.is_file():
        raise ModelError(
            f"{folder} holds no exported model (saved_model.pb and yt8m.json); "
            "`yt8m run` leaves one in results/<experiment>/model"
        )
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures["serving_default"]
    function.owner = loaded  # keeps the weights alive as long as the function is
    return function, json.loads(description.read_text())


def _exported_batches(
    folder: str | Path, pattern: str, labels: bool, batch: int
) -> tuple[Callable, tf.data.Dataset]:
    function, about = load_exported(folder)
    files = records.find(pattern)
    level = records.level(files[0])
    data = Data(
        level=level,
        classes=about["classes"],
        vocabulary=about["vocabulary"],
        frames=about["frames"],
        max_frames=about["max_frames"],
    )
    return function, Records(files, data, labels=labels).batches(batch)


def evaluate_exported(folder: str | Path, pattern: str, batch: int = 64) -> dict[str, float]:
    """Metrics of an exported model on all videos of some labelled shards."""
    function, batches = _exported_batches(folder, pattern, labels=True, batch=batch)
    measured = metrics.Streaming()
    videos = 0
    for part in tqdm(batches, desc="evaluate", unit="batch"):
        outputs = function(frames=part["frames"], num_frames=part["num_frames"])
        measured.add(part["id"].numpy(), outputs["predictions"].numpy(), part["labels"].numpy())
        videos += len(part["id"])
    return {"videos": videos} | measured.result()


def predict_to_csv(folder: str | Path, pattern: str, output: str | Path, batch: int = 64) -> int:
    """Write the challenge's CSV, ``VideoId,LabelConfidencePairs``; returns the number of videos.

    The file appears when it is complete; a killed call leaves the old one, or none.
    """
    function, batches = _exported_batches(folder, pattern, labels=False, batch=batch)
    output = Path(output)
    beside = output.with_name(output.name + ".part")
    videos = 0
    with open(beside, "w") as file:
        file.write("VideoId,LabelConfidencePairs\n")
        for part in tqdm(batches, desc="predict", unit="batch"):
            outputs = function(frames=part["frames"], num_frames=part["num_frames"])
            classes, confidences = outputs["classes"].numpy(), outputs["confidences"].numpy()
            for row in zip(part["id"].numpy(), classes, confidences, strict=True):
                file.write(_csv_line(*row))
            videos += len(classes)
    os.replace(beside, output)
    return videos


def _csv_line(video: bytes, classes: np.ndarray, confidences: np.ndarray) -> str:
    pairs = " ".join(f"{c} {p:.6f}" for c, p in zip(classes, confidences, strict=True))
    return f"{video.decode()},{pairs}\n"
