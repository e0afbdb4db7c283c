"""Predictions of built models on records, and of an exported model on anybody's shards."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from yt8m_lib.data.record_kinds import kind_of_shard
from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import find
from yt8m_lib.errors import UserError
from yt8m_lib.files import written_whole
from yt8m_lib.models.frames import fill_frames, sample_frames
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.settings import Data, Params

PAIRS = 20  # of class and confidence a video, as the challenge asks


class ModelError(UserError):
    """A folder holds no exported model; the message says which files were looked for."""


def classes_kept(params: Params) -> int:
    """How many of its most confident classes are kept of each video's predictions.

    They are as many as soft targets hold, so that averages of predictions are as exact, but at
    least the 20 that the metric reads.
    """
    top_k = params.distillation.top_k
    return params.data.classes if top_k == "all" else max(PAIRS, min(top_k, params.data.classes))


def mean_of(models: Sequence[VideoModel], params: Params, spec: dict[str, Any]) -> Callable:
    """Trace the models' mean prediction as one TensorFlow function.

    Args:
        models: one or more built models.
        params: whose ``inference`` says which frames the models see.
        spec: ``element_spec`` of the batches.

    Returns:
        A function of a batch and a seed, int [2], that returns probabilities [B, V]. The seed
        decides which frames are drawn, where ``inference`` asks for random ones.
    """

    def forward(batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        predicted = [_probabilities(model, params, batch, seed) for model in models]
        return tf.add_n(predicted) / len(models)

    return tf.function(forward, input_signature=[spec, tf.TensorSpec([2], tf.int32)])


def _probabilities(
    model: VideoModel, params: Params, batch: dict[str, tf.Tensor], seed: tf.Tensor
) -> tf.Tensor:
    draw = {"sample_all": fill_frames, "random_frames": sample_frames}
    if params.inference in draw and model.pools_frames:
        frames, num_frames = draw[params.inference](
            batch["frames"], batch["num_frames"], params.training.frames, seed
        )
        batch = batch | {"frames": frames, "num_frames": num_frames}
    return model(batch, training=False)


def predict(
    models: Sequence[VideoModel], videos: Records, params: Params, seed: int = 0
) -> tuple[Predictions, float]:
    """Predict all videos with the mean of some models.

    Args:
        models: one or more built models.
        videos: what to predict, with labels.
        params: the experiment's settings.
        seed: of the frames that are drawn, where ``inference`` asks for random ones.

    Returns:
        The predictions, and the seconds that the models took, without those of reading.
    """
    return make_predictor(models, videos, params, seed)()


def make_predictor(
    models: Sequence[VideoModel], videos: Records, params: Params, seed: int = 0
) -> Callable[[], tuple[Predictions, float]]:
    """Make a function that predicts all videos with the weights that the models have by then.

    Calling it again, after the weights have changed, is faster than calling ``predict`` again: the
    models are traced only once.

    Args:
        models: as for ``predict``.
        videos: as for ``predict``.
        params: as for ``predict``.
        seed: as for ``predict``.

    Returns:
        A function without arguments that returns what ``predict`` returns.
    """
    batches = videos.batches(params.inference_batch)
    forward = mean_of(models, params, batches.element_spec)
    return lambda: predict_with(forward, batches, classes_kept(params), seed)


def predict_with(
    forward: Callable, batches: tf.data.Dataset, k: int, seed: int = 0
) -> tuple[Predictions, float]:
    """Predict all videos with any function of a batch.

    Args:
        forward: returns probabilities [B, V] of a batch and a seed, int [2].
        batches: of videos with labels.
        k: how many of each video's most confident classes to keep.
        seed: the first of the two numbers of every batch's seed.

    Returns:
        The predictions, and the seconds that ``forward`` took.
    """
    seconds = 0.0

    def answers() -> Any:
        nonlocal seconds
        for number, batch in enumerate(batches):
            started = time.perf_counter()
            predicted = forward(batch, tf.constant([seed, number])).numpy()
            seconds += time.perf_counter() - started
            yield batch["id"].numpy(), predicted, batch["labels"].numpy()

    return Predictions.from_batches(answers(), k), seconds


# ---------------------------------------------------------------- exported models


def load_exported(folder: str | Path) -> tuple[Callable, dict[str, Any]]:
    """Load an exported model; none of the code that made it is needed.

    Returns:
        The function that ``export.EnsembleGraph.serve`` became, of ``frames`` uint8 [B, T, 1152]
        and ``num_frames`` int32 [B]; and the description that lies beside it, ``yt8m.json``.

    Raises:
        ModelError: when the folder holds no exported model.
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
    files = find(pattern)
    data = Data(
        level=kind_of_shard(files[0]).name,
        classes=about["classes"],
        vocabulary=about["vocabulary"],
        frames=about["frames"],
        max_frames=about["max_frames"],
    )
    return function, Records(files, data, labels=labels).batches(batch)


def evaluate_exported(folder: str | Path, pattern: str, batch: int = 64) -> dict[str, float]:
    """Measure an exported model on labelled shards.

    Args:
        folder: of the exported model.
        pattern: a glob of the shards.
        batch: videos predicted at a time.

    Returns:
        The number of ``videos``, and every metric by its name.

    Raises:
        ModelError: when the folder holds no exported model.
        DataError: when no shard matches, or the first one cannot be read.
    """
    function, batches = _exported_batches(folder, pattern, labels=True, batch=batch)
    measured = metrics.Streaming()
    videos = 0
    for part in tqdm(batches, desc="evaluate", unit="batch"):
        outputs = function(frames=part["frames"], num_frames=part["num_frames"])
        measured.add(part["id"].numpy(), outputs["predictions"].numpy(), part["labels"].numpy())
        videos += len(part["id"])
    return {"videos": videos} | measured.result()


def predict_to_csv(folder: str | Path, pattern: str, output: str | Path, batch: int = 64) -> int:
    """Write an exported model's predictions as the CSV that the challenge asks for.

    Its columns are ``VideoId,LabelConfidencePairs``. The file is written whole: a call that is
    killed leaves the old one, or none.

    Args:
        folder: of the exported model.
        pattern: a glob of the shards, with or without labels.
        output: the CSV.
        batch: videos predicted at a time.

    Returns:
        The number of videos.

    Raises:
        ModelError: when the folder holds no exported model.
        DataError: when no shard matches, or the first one cannot be read.
    """
    function, batches = _exported_batches(folder, pattern, labels=False, batch=batch)
    videos = 0
    with written_whole(output) as beside, open(beside, "w") as file:
        file.write("VideoId,LabelConfidencePairs\n")
        for part in tqdm(batches, desc="predict", unit="batch"):
            outputs = function(frames=part["frames"], num_frames=part["num_frames"])
            classes, confidences = outputs["classes"].numpy(), outputs["confidences"].numpy()
            for row in zip(part["id"].numpy(), classes, confidences, strict=True):
                file.write(_csv_line(*row))
            videos += len(classes)
    return videos


def _csv_line(video: bytes, classes: np.ndarray, confidences: np.ndarray) -> str:
    pairs = " ".join(f"{c} {p:.6f}" for c, p in zip(classes, confidences, strict=True))
    return f"{video.decode()},{pairs}\n"
