"""One SavedModel under the size budget: quantised members and their weights in a single graph.

It takes raw uint8 frames and frame counts and needs none of this project's code to load. Large
weights lie in it as 8-bit codes; the first call decodes them once into memory, so that every later
call is as fast as with float32 weights.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from yt8m_lib import models
from yt8m_lib.methods import quantization
from yt8m_lib.methods.ensembling import fit_budget
from yt8m_lib.methods.quantization import Codes
from yt8m_lib.settings import FEATURES, Params

PAIRS = 20
GRAPH_BYTES = 500_000  # allowed for a member's part of the graph, on top of its variables


class BudgetError(ValueError):
    """The exported model is larger than the budget; the message gives both figures."""


class StoredWeight(tf.Module):
    """A weight kept as codes; its float32 values exist only in memory, after the first call.

    A variable of unknown length is saved empty, so the decoded values cost nothing on disk.
    """

    def __init__(self, codes: Codes):
        super().__init__()
        self.shape = codes.codes.shape
        self.codes = tf.Variable(codes.codes.ravel(), trainable=False)  # uint8 [N]
        self.centroids = tf.Variable(codes.centroids, trainable=False)  # float32 [256]
        empty = tf.zeros([0], tf.float32)
        self.decoded = tf.Variable(empty, shape=[None], trainable=False, validate_shape=False)

    def decode(self) -> None:
        """Fill the memory copy."""
        self.decoded.assign(tf.gather(self.centroids, tf.cast(self.codes, tf.int32)))

    def forget(self) -> None:
        """Empty the memory copy."""
        self.decoded.assign(tf.zeros([0], tf.float32))

    def value(self) -> tf.Tensor:
        """The weight in its own shape."""
        return tf.reshape(self.decoded, self.shape)


class PlainWeight(tf.Module):
    """A weight kept as it is."""

    def __init__(self, values: np.ndarray):
        super().__init__()
        self.values = tf.Variable(values, trainable=False)

    def value(self) -> tf.Tensor:
        """The weight."""
        return tf.cast(self.values, tf.float32)  # float16 ones, too


class Member(tf.Module):
    """One model of the ensemble: its architecture as a graph, its weights as they are stored.

    Args:
        model: a built model; only its computation is used.
        stored: its weights in the order of ``model.variables``, arrays or codes.
    """

    def __init__(self, model: keras.Model, stored: Sequence[np.ndarray | Codes]):
        super().__init__()
        self.nbytes = quantization.nbytes(stored)  # of its variables, as they are stored
        self.weights = [StoredWeight(w) if isinstance(w, Codes) else PlainWeight(w) for w in stored]
        trainable = {id(v): place for place, v in enumerate(model.variables)}
        order = [trainable[id(v)] for v in model.trainable_variables]
        rest = [trainable[id(v)] for v in model.non_trainable_variables]
        # A closure, not an attribute: what a tf.Module can see, it saves.
        self._run = lambda inputs: model.stateless_call(
            [self.weights[place].value() for place in order],
            [self.weights[place].value() for place in rest],
            inputs,
            training=False,
        )[0]

    @property
    def stored(self) -> list[StoredWeight]:
        """The weights that are kept as codes."""
        return [weight for weight in self.weights if isinstance(weight, StoredWeight)]

    def predict(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Probabilities [B, V]."""
        return self._run(inputs)


class EnsembleGraph(tf.Module):
    """The whole ensemble: ``sum_m w_m p_m`` with weights that sum to 1 (sec. 4.3)."""

    def __init__(self, members: Sequence[Member], weights: Sequence[float]):
        super().__init__()
        if len(members) != len(weights) or not members or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"{len(members)} members cannot be weighted by {list(weights)}")
        self.members = list(members)
        self.member_weights = [float(w) / float(sum(weights)) for w in weights]
        self.ready = tf.Variable(False, trainable=False)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, FEATURES], tf.uint8, name="frames"),
            tf.TensorSpec([None], tf.int32, name="num_frames"),
        ]
    )
    def serve(self, frames: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tag videos.

        Args:
            frames: uint8 [B, T, 1152], a row a second, 1024 image then 128 audio features.
            num_frames: int32 [B], how many of the T rows are real; the others are ignored.

        Returns:
            ``classes`` int32 [B, 20] and their ``confidences`` [B, 20], the most confident first,
            and all ``predictions`` [B, V].
        """
        # A saved flag: a test of the copies' own size would be folded to a constant when loading.
        tf.cond(self.ready, lambda: tf.no_op(), self._decode)
        inputs = {"frames": frames, "num_frames": num_frames}
        predictions = tf.add_n(
            [w * m.predict(inputs) for m, w in zip(self.members, self.member_weights, strict=True)]
        )
        confidences, classes = tf.math.top_k(predictions, min(PAIRS, predictions.shape[-1]))
        return {"classes": classes, "confidences": confidences, "predictions": predictions}

    def _decode(self) -> tf.Operation:
        for member in self.members:
            for weight in member.stored:
                weight.decode()
        self.ready.assign(True)
        return tf.no_op()

    def forget(self) -> None:
        """Empty all memory copies, as they are before the first call."""
        self.ready.assign(False)
        for member in self.members:
            for weight in member.stored:
                weight.forget()


def seconds(tagger: EnsembleGraph, batches: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> float:
    """Seconds that it takes to tag some batches of frames and frame counts."""
    started = time.perf_counter()
    for frames, num_frames in batches:
        tagger.serve(frames, num_frames)["predictions"].numpy()
    return time.perf_counter() - started


def save(
    tagger: EnsembleGraph,
    folder: str | Path,
    params: Params,
    about: Mapping[str, Any],
    budget: int | None,
) -> int:
    """Write the tagger as a SavedModel, replacing what is there when it is complete.

    Args:
        tagger: what to write.
        folder: where; also gets ``yt8m.json`` with what is needed to read records for it.
        params: the experiment's.
        about: more for ``yt8m.json``, such as the members' names and weights.
        budget: bytes that it may take on disk; None for no limit.

    Returns:
        Its bytes on disk.

    Raises:
        BudgetError: when it is larger; nothing is left in ``folder`` then.
    """
    folder = Path(folder)
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    tagger.forget()  # else the decoded weights would be saved too
    tf.saved_model.save(tagger, str(beside), signatures=tagger.serve)
    data = params.data
    description = {
        "experiment": params.experiment,
        "classes": data.classes,
        "vocabulary": data.vocabulary,
        "frames": data.frames,
        "max_frames": data.max_frames,
    } | dict(about)
    (beside / "yt8m.json").write_text(json.dumps(description, indent=2) + "\n")
    size = bytes_on_disk(beside)
    if budget is not None and size > budget:
        shutil.rmtree(beside)
        members = {f"member {i + 1}": m.nbytes for i, m in enumerate(tagger.members)}
        raise BudgetError(
            f"the exported model takes {size:,} bytes, the budget is {budget:,}: "
            f"{which_fit(members, budget)}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(beside, folder)
    return size


def bytes_on_disk(folder: str | Path) -> int:
    """Bytes of all files of an exported model."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def sizes(params: Params) -> pd.DataFrame:
    """Parameters and bytes of every model, nothing trained and nothing large allocated.

    All variables count, batch-norm statistics included, no optimizer state. Keras keeps the two
    kernels of an RNN cell apart that the released code fuses, so an LSTM of the published size has
    three more tables of 1,024 bytes.

    Returns:
        A row a model: ``model``, ``family``, ``published``, ``parameters``, ``bytes_float32``,
        ``bytes_8bit``; the last row is the sum over the published models, or over all of them.
    """
    rows = []
    for name, model in params.models.items():
        shapes = [shape for _, shape in models.variable_shapes(model, params.data.classes)]
        float32, quantized = quantization.stored_bytes(shapes, params.quantization.more_than)
        count = sum(math.prod(shape) for shape in shapes)
        rows.append((name, model.family, model.published, count, float32, quantized))
    columns = ["model", "family", "published", "parameters", "bytes_float32", "bytes_8bit"]
    table = pd.DataFrame(rows, columns=columns)
    counted = table[table["published"]] if table["published"].any() else table
    words = "published ones together" if table["published"].any() else "together"
    table.loc[len(table)] = [words, "", False, *counted[columns[3:]].sum()]
    return table


def which_fit(sizes: Mapping[str, int], budget: int) -> str:
    """Words on whether some members fit a budget together, and which first ones do."""
    total, allowance = sum(sizes.values()), GRAPH_BYTES
    needed = {name: size + allowance for name, size in sizes.items()}
    if sum(needed.values()) <= budget:
        return f"together {total:,} bytes: within the budget of {budget:,}"
    over = f"together {total:,} bytes: over the budget of {budget:,}"
    if min(needed.values()) > budget:
        return f"{over}; no member fits alone"
    taken = fit_budget(needed, budget)
    kept = sum(sizes[name] for name in taken)
    return f"{over}; these fit: {', '.join(taken)} ({kept:,} bytes)"
