"""An exported model on anybody's shards: loading it, asking it, measuring it."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tqdm import tqdm

from yt8m_lib.data.record_kinds import kind_of_shard
from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import find
from yt8m_lib.errors import UserError
from yt8m_lib.files import check_writable, is_remote, write_text
from yt8m_lib.methods.export import DESCRIPTION, is_exported
from yt8m_lib.methods.inference import among_rated
from yt8m_lib.methods.model_card import LABELS
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.per_class import PerClass, summary
from yt8m_lib.scoring.predictions import Predictions
from yt8m_lib.settings import Data
from yt8m_lib.sources import digest_of

BATCH = 64  # videos asked for at a time
WHOLE = "whole"  # all classes together
GROUPS = ("frequent", "middle", "rare")  # thirds of the classes, by how many videos have each


class ModelError(UserError):
    """A folder holds no exported model, or one that does not answer; the message says what."""


class ExportedModel:
    """An exported model, loaded; none of the code that made it is needed.

    Args:
        folder: where it lies.

    Attributes:
        folder: the same.
        about: the description that lies beside it, ``yt8m.json``.
        classes: V, how many classes it knows.
        reading: how records are read for it, with labels of the whole vocabulary.

    Raises:
        ModelError: when the folder holds no exported model, or a damaged one.
    """

    def __init__(self, folder: str | Path):
        if is_remote(str(folder)):
            raise ModelError(f"{folder}: a model is read from a local folder; copy it to one first")
        if not is_exported(folder):
            raise ModelError(
                f"{folder} holds no exported model (saved_model.pb and {DESCRIPTION}); "
                "`yt8m run` leaves one in results/<experiment>/model"
            )
        self.folder = Path(folder)
        try:
            self.about = json.loads((self.folder / DESCRIPTION).read_text())
            self.classes: int = self.about["classes"]
            self.reading = self._reading()
            self._loaded = tf.saved_model.load(str(folder))  # keeps the weights alive
            self._function = self._loaded.signatures["serving_default"]
        except (OSError, ValueError, KeyError, TypeError, DecodeError, tf.errors.OpError) as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelError(f"the exported model in {folder} is damaged: {what}") from None

    def __call__(self, frames: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
        """Predictions [B, V] of frames as records store them, [B, T, F], and their numbers [B]."""
        return self._function(frames=frames, num_frames=num_frames)["predictions"]

    @property
    def identity(self) -> str:
        """A hash that tells it from other models: of its graph and its weights' checksums."""
        parts = ("saved_model.pb", "variables/variables.index", DESCRIPTION)
        return digest_of([(self.folder / part).read_bytes().hex() for part in parts])

    def level_of(self, files: Sequence[str]) -> str:
        """The kind of the records that shards hold, judged by the first."""
        return kind_of_shard(files[0], self.reading).name

    def videos(self, files: Sequence[str], level: str, labels: bool) -> Records:
        """The videos of some shards, read as the model takes them, with labels of all classes."""
        return Records(files, self.reading.model_copy(update={"level": level}), labels=labels)

    def _reading(self) -> Data:
        """How records are read for this model, with labels of the whole vocabulary."""
        about = self.about
        # Not said by what was exported long ago.
        optional = ("level", "streams", "id_key", "labels_key")
        own = {name: about[name] for name in optional if name in about}
        needed = {name: about[name] for name in ("vocabulary", "frames", "max_frames")}
        return Data(classes=about["vocabulary"], **needed, **own)

    def answers(
        self, batches: Iterable[dict[str, tf.Tensor]], files: Sequence[str]
    ) -> Iterator[tuple[dict[str, tf.Tensor], np.ndarray]]:
        """Batches of videos, each with the model's predictions [B, V].

        Args:
            batches: as ``Records.batches`` gives them.
            files: the shards that they are of, for messages.

        Raises:
            ModelError: naming a video for which the answer is not a confidence for every class.
        """
        for part in batches:
            predictions = self(part["frames"], part["num_frames"]).numpy()
            confident = predictions >= 0  # false for what is not a number
            wrong = ~(confident & np.isfinite(predictions)).all(axis=1)
            if wrong.any():
                video = part["id"].numpy()[wrong][0]
                raise ModelError(
                    f"{shard_of(video, files)}: the model's answer for video {shown(video)} "
                    "is not a number: its weights or this record are damaged"
                )
            yield part, predictions

    def labels(self) -> tuple[list[str], np.ndarray | None]:
        """What ``labels.csv`` says of the classes.

        Returns:
            Their names, "" for one without; and how many training videos had each, int64 [V], or
            None where that is not known. Without the file, no class has a name.
        """
        path = self.folder / LABELS
        if not path.exists():  # exported by an earlier version
            return [""] * self.classes, None
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        counts = [row["train_videos"] for row in rows]
        return [row["name"] for row in rows], None if "" in counts else np.array(counts, np.int64)


def evaluate_exported(
    folder: str | Path, pattern: str, size: int = BATCH, per_class: str | Path | None = None
) -> dict[str, Any]:
    """Measure an exported model on labelled shards.

    Every label counts, also one of a class that the model does not know: it cannot be found, so it
    is missed, as the challenge would count it.

    Args:
        folder: of the exported model.
        pattern: a glob of the shards.
        size: videos predicted at a time.
        per_class: a CSV to write with a row a class; see ``PerClass.table``.

    Returns:
        The number of ``videos``, of their ``labels``, of those beyond the model's classes
        (``labels_dropped``), every metric by its name, and ``by_frequency``: the same for each
        third of the classes by how many training videos have each, measured as if the model and
        the videos had these classes alone, on the videos that have one of them; empty where the
        model does not say how frequent its classes are. With ``per_class`` also ``map_of_classes``,
        ``auc`` and ``d_prime``.

    Raises:
        ModelError: when the folder holds no exported model, or it does not answer with numbers.
        DataError: when no shard matches, or one cannot be read or has no labels.
    """
    model, files = ExportedModel(folder), find(pattern)
    known = model.classes
    if per_class:
        check_writable(per_class)
    classes = PerClass(model.labels()[0]) if per_class else None
    videos = model.videos(files, model.level_of(files), labels=True)
    measured = Measured(model)
    for part, predictions in tqdm(
        model.answers(videos.batches(size), files), desc="evaluate", unit="batch"
    ):
        measured.add(part, predictions)
        if classes:
            rated = part["rated"].numpy()[:, :known] > 0 if "rated" in part else None
            labels = part["labels"].numpy()[:, :known]
            classes.add(among_rated(predictions, part), labels, rated)
    found = worth_of(model, measured.answers())
    if classes:
        table = classes.table()
        write_text(per_class, table.to_csv(index=False))
        found |= summary(table)
    return found


class Measured:
    """A model's answers for labelled videos, as far as metrics read them, batch by batch.

    Args:
        model: whose answers they are.
    """

    def __init__(self, model: ExportedModel):
        beyond = model.about["vocabulary"] - model.classes
        self._streams = {WHOLE: metrics.Streaming(beyond=beyond)}
        self._classes = {name: classes for name, classes in _groups(model).items() if len(classes)}
        self._streams |= {name: metrics.Streaming() for name in self._classes}

    def add(self, part: dict[str, tf.Tensor], predictions: np.ndarray) -> None:
        """Take in a batch of videos and the model's predictions [B, V]."""
        ids, labels = part["id"].numpy(), part["labels"].numpy()
        predictions = among_rated(predictions, part)
        self._streams[WHOLE].add(ids, predictions, labels)
        for name, classes in self._classes.items():
            own = labels[:, classes] > 0
            videos = own.any(axis=1)
            if videos.any():
                self._streams[name].add(ids[videos], predictions[videos][:, classes], own[videos])

    def answers(self) -> dict[str, Predictions]:
        """What was taken in: of all classes, and of each third of them that any video has."""
        streams = self._streams.items()
        return {name: stream.answers() for name, stream in streams if stream.videos}


def worth_of(model: ExportedModel, answers: dict[str, Predictions]) -> dict[str, Any]:
    """What ``evaluate_exported`` returns, from what ``Measured.answers`` gives."""
    whole, thirds = answers[WHOLE], {}
    for name, classes in _groups(model).items():
        counts = {"classes": len(classes), "videos": 0, "labels": 0}
        if name in answers:
            counts |= _counts(answers[name]) | metrics.evaluate(answers[name])
        thirds[name] = counts
    dropped = {"labels_dropped": int((whole.label_classes >= model.classes).sum())}
    return _counts(whole) | dropped | metrics.evaluate(whole) | {"by_frequency": thirds}


def _counts(answers: Predictions) -> dict[str, int]:
    return {"videos": len(answers), "labels": len(answers.label_classes)}


def _groups(model: ExportedModel) -> dict[str, np.ndarray]:
    """The classes in three parts, the most frequent first; none where counts are not known."""
    return dict(zip(GROUPS, _thirds(model.labels()[1]), strict=False))


def _thirds(counts: np.ndarray | None) -> list[np.ndarray]:
    """The classes in three parts, the most frequent first; none where counts are not known."""
    if counts is None:
        return []
    return np.array_split(np.argsort(-counts, kind="stable"), len(GROUPS))


def shown(video: bytes) -> str:
    """A video's id as text, whatever bytes it has."""
    return video.decode(errors="backslashreplace")


def shard_of(video: bytes, files: Sequence[str]) -> str:
    """The shard that a video is in; only looked for when something is wrong with it."""
    if len(files) > 1:
        for file in files:
            if any(video in record.numpy() for record in tf.data.TFRecordDataset(file)):
                return file
    return files[0] if len(files) == 1 else f"{len(files)} shards"
