"""Predictions of built models on records, and of an exported model on anybody's shards."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tqdm import tqdm

from yt8m_lib.data.record_kinds import kind_of_shard
from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import DataError, find
from yt8m_lib.errors import UserError
from yt8m_lib.files import check_writable, is_remote
from yt8m_lib.methods import challenge_csv
from yt8m_lib.methods.export import DESCRIPTION, is_exported
from yt8m_lib.models.frames import fill_frames, sample_frames
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.settings import Data, Params

PAIRS = 20  # of class and confidence a video, as the challenge asks


class ModelError(UserError):
    """A folder holds no exported model, or one that does not answer; the message says what."""


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
        ModelError: when the folder holds no exported model, or a damaged one.
    """
    if is_remote(str(folder)):
        raise ModelError(f"{folder}: a model is read from a local folder; copy it to one first")
    if not is_exported(folder):
        raise ModelError(
            f"{folder} holds no exported model (saved_model.pb and {DESCRIPTION}); "
            "`yt8m run` leaves one in results/<experiment>/model"
        )
    try:
        about = json.loads((Path(folder) / DESCRIPTION).read_text())
        {name: about[name] for name in ("classes", "vocabulary", "frames", "max_frames")}
        loaded = tf.saved_model.load(str(folder))
        function = loaded.signatures["serving_default"]
    except (OSError, ValueError, KeyError, TypeError, DecodeError, tf.errors.OpError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"the exported model in {folder} is damaged: {what}") from None
    function.owner = loaded  # keeps the weights alive as long as the function is
    return function, about


def evaluate_exported(folder: str | Path, pattern: str, batch: int = 64) -> dict[str, float]:
    """Measure an exported model on labelled shards.

    Every label counts, also one of a class that the model does not know: it cannot be found, so it
    is missed, as the challenge would count it.

    Args:
        folder: of the exported model.
        pattern: a glob of the shards.
        batch: videos predicted at a time.

    Returns:
        The number of ``videos``, of their ``labels``, of those beyond the model's classes
        (``labels_dropped``), and every metric by its name.

    Raises:
        ModelError: when the folder holds no exported model, or it does not answer with numbers.
        DataError: when no shard matches, or one cannot be read or has no labels.
    """
    function, about = load_exported(folder)
    known, all_classes = about["classes"], about["vocabulary"]
    videos = _videos(about, pattern, labels=True)
    measured = metrics.Streaming(beyond=all_classes - known)
    counts = np.zeros(3, int)
    for part, outputs in _answers(function, videos, batch, "evaluate"):
        labels = part["labels"].numpy()
        measured.add(part["id"].numpy(), outputs["predictions"], labels)
        counts += [len(labels), (labels > 0).sum(), (labels[:, known:] > 0).sum()]
    names = ("videos", "labels", "labels_dropped")
    return dict(zip(names, counts.tolist(), strict=True)) | measured.result()


def predict_to_csv(folder: str | Path, pattern: str, output: str | Path, batch: int = 64) -> int:
    """Write an exported model's predictions as the CSV that the challenge asks for.

    Its columns are ``VideoId,LabelConfidencePairs``. The file is written whole: a call that is
    killed leaves the old one, or none. A pipe or a device is written to as it is.

    Args:
        folder: of the exported model.
        pattern: a glob of the shards, with or without labels.
        output: the CSV.
        batch: videos predicted at a time.

    Returns:
        The number of videos.

    Raises:
        ModelError: when the folder holds no exported model, or it does not answer with numbers.
        DataError: when no shard matches, or one cannot be read, or an id is no text.
        FileError: when the CSV cannot be written.
    """
    check_writable(output)  # before minutes of work
    function, about = load_exported(folder)
    videos = _videos(about, pattern, labels=False)
    count = 0
    with challenge_csv.written(output) as write_row:
        for part, outputs in _answers(function, videos, batch, "predict"):
            ids = [_text(video, videos) for video in part["id"].numpy()]
            for row in zip(ids, outputs["classes"], outputs["confidences"], strict=True):
                write_row(*row)
            count += len(ids)
    return count


def _videos(about: dict[str, Any], pattern: str, labels: bool) -> Records:
    """The videos of a glob, read as an exported model takes them, with labels of all classes."""
    files = find(pattern)
    data = Data(
        level=kind_of_shard(files[0]).name,
        classes=about["vocabulary"],
        vocabulary=about["vocabulary"],
        frames=about["frames"],
        max_frames=about["max_frames"],
    )
    return Records(files, data, labels=labels)


def _answers(
    function: Callable, videos: Records, size: int, what: str
) -> Iterator[tuple[dict[str, tf.Tensor], dict[str, np.ndarray]]]:
    """Batches of videos, each with what an exported model answers.

    Raises:
        ModelError: naming the videos for which the answer is not a confidence for every class.
    """
    for part in tqdm(videos.batches(size), desc=what, unit="batch"):
        outputs = function(frames=part["frames"], num_frames=part["num_frames"])
        outputs = {name: value.numpy() for name, value in outputs.items()}
        confident = outputs["predictions"] >= 0  # false for what is not a number
        wrong = ~(confident & np.isfinite(outputs["predictions"])).all(axis=1)
        if wrong.any():
            video = part["id"].numpy()[wrong][0]
            raise ModelError(
                f"{_shard_of(video, videos.files)}: the model's answer for video {_shown(video)} "
                "is not a number: its weights or this record are damaged"
            )
        yield part, outputs


def _text(video: bytes, videos: Records) -> str:
    try:
        return video.decode()
    except UnicodeDecodeError:
        raise DataError(
            f"{_shard_of(video, videos.files)}: the id {_shown(video)} is no UTF-8 text, which the "
            "CSV needs: write the records with other ids"
        ) from None


def _shown(video: bytes) -> str:
    return video.decode(errors="backslashreplace")


def _shard_of(video: bytes, files: Sequence[str]) -> str:
    """The shard that a video is in; only looked for when something is wrong with it."""
    if len(files) > 1:
        for file in files:
            if any(video in record.numpy() for record in tf.data.TFRecordDataset(file)):
                return file
    return files[0] if len(files) == 1 else f"{len(files)} shards"
