"""Weights trained with the authors' released TensorFlow 1 code, read into our models.

One list of names serves all: ``_groups`` says which variables of the released code make which of
ours. Everything is one to one but the recurrent cells, whose kernels Keras splits in two.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from yt8m_lib.errors import UserError, nearest
from yt8m_lib.methods import codecs, export
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.models import build
from yt8m_lib.models.baseline import MeanFrame
from yt8m_lib.models.normalization import BatchNorm
from yt8m_lib.models.pooling import PoolingEncoder
from yt8m_lib.models.rnn import RecurrentEncoder
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.settings import Params

PREFIX = "tower/"
AVERAGED = "/ExponentialMovingAverage"  # written by the released averaging
CODES, CENTROIDS, HALF = "_quants", "_space", "float16"  # written by the released quantising
# What training leaves in a checkpoint beside the model: the optimizer's moments.
IGNORED = ("/Adam", "/Adam_1")


class CheckpointError(UserError):
    """A checkpoint cannot be read into a model; the message lists every variable in the way."""


class Group(NamedTuple):
    """Released variables that together make some of ours."""

    names: tuple[str, ...]  # of the released variables
    shapes: tuple[tuple[int, ...], ...]  # of the released variables
    variables: tuple[keras.Variable, ...]  # ours
    convert: Callable[..., list[np.ndarray]]  # from the released values, in order, to ours


def import_checkpoint(path: str, model: VideoModel, averaged: bool = False) -> None:
    """Read a checkpoint of the released code into a model.

    Args:
        path: as ``tf.train.load_checkpoint`` takes it, a prefix such as ``.../inference_model``;
            the name of one of the checkpoint's files does as well.
        model: built with the settings that the checkpoint was trained with.
        averaged: prefer the averaged weights that the checkpoint holds beside the last ones.

    Raises:
        CheckpointError: when there is no checkpoint, or its variables are missing, superfluous, of
            another shape, or not finite.
    """
    path = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    try:
        reader = tf.train.load_checkpoint(path)
        names = reader.get_variable_to_shape_map()
        wanted = {name: reader.get_tensor(name) for name in names if name.startswith(PREFIX)}
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"{path!r} is not a TensorFlow checkpoint (its prefix, such as .../model.ckpt-1000, is "
            f"wanted): {str(error).splitlines()[0]}"
        ) from None
    if not wanted:
        raise CheckpointError(
            f"{path!r} is no checkpoint of the released code: it has no variables {PREFIX}..."
        )
    if averaged and not any(AVERAGED in name for name in names):
        raise CheckpointError(f"{path}: holds no averaged weights (names ending {AVERAGED})")
    try:
        assign(model, wanted, averaged)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path!r}: {error}") from None


def export_imported(
    path: str,
    params: Params,
    name: str,
    folder: str | Path,
    averaged: bool = False,
    quantize: bool = False,
) -> int:
    """Import a checkpoint as one of an experiment's models and export it, ready to tag videos.

    Args:
        path: as for ``import_checkpoint``.
        params: whose ``models`` hold the checkpoint's settings, and ``data`` its classes.
        name: which of them it is.
        folder: where the SavedModel goes.
        averaged: prefer the averaged weights.
        quantize: store large weights with the codec of ``quantization``; else all stay float32.

    Returns:
        The exported model's bytes on disk.

    Raises:
        CheckpointError: as ``import_checkpoint``, or when there is no such model.
        FileError: when something else is in the folder, or it cannot be written.
    """
    export.check_place(folder)  # before a gigabyte is read
    if name not in params.models:
        raise CheckpointError(f"no model {name!r}{nearest(name, params.models)}")
    model = build(params.models[name], params.data.classes, streams=params.data.streams)
    import_checkpoint(path, model, averaged)
    weights = [variable.numpy() for variable in model.variables]
    codec = params.quantization.codec if quantize else "float32"
    stored = codecs.encode_weights(weights, params.quantization.more_than, codec)
    graph = EnsembleGraph([Member(model, stored)], [1.0])
    return export.save(graph, folder, params, {"members": {name: 1.0}}, budget=None)


def assign(model: VideoModel, variables: Mapping[str, np.ndarray], averaged: bool = False) -> None:
    """Set a model's variables from the released code's, given by name.

    Args:
        model: a built model.
        variables: every variable under the released code's name (``tower/input_bn/gamma``), in
            float32, quantised (``_quants`` and ``_space``, or ``float16``) or averaged.
        averaged: prefer averaged variables where both are there.

    Raises:
        CheckpointError: when variables are missing, superfluous or of another shape, or when the
            released code has no such model.
    """
    plain = _plain(variables, averaged)
    groups = list(_groups(model))
    shapes = {n: s for group in groups for n, s in zip(group.names, group.shapes, strict=True)}
    problems = [f"missing: {name} {shapes[name]}" for name in shapes if name not in plain]
    problems += [f"superfluous: {name} {plain[name].shape}" for name in plain if name not in shapes]
    problems += [
        f"wrong shape: {name} is {plain[name].shape}, the model's is {shape}"
        for name, shape in shapes.items()
        if name in plain and plain[name].shape != shape
    ]
    problems += [
        f"infinite or not a number: {name}"
        for name in shapes
        if name in plain and not np.isfinite(plain[name]).all()
    ]
    if problems:
        raise CheckpointError("\n  ".join(["the variables do not fit the model:", *problems]))
    for group in groups:
        values = group.convert(*(plain[name] for name in group.names))
        for variable, value in zip(group.variables, values, strict=True):
            variable.assign(value)


def _plain(variables: Mapping[str, np.ndarray], averaged: bool) -> dict[str, np.ndarray]:
    """The model's variables alone, decoded, under names without suffixes.

    Where a variable is there twice, ``averaged`` says whether its average or its last value counts.
    """
    decoded = {}
    for name, value in variables.items():
        if name.endswith(CODES) and (space := name.removesuffix(CODES) + CENTROIDS) in variables:
            decoded[name.removesuffix(CODES)] = np.asarray(variables[space])[value]
        elif name.endswith(HALF):
            decoded[name.removesuffix(HALF)] = np.asarray(value, np.float32)
        elif not (name.endswith(CENTROIDS) and name.removesuffix(CENTROIDS) + CODES in variables):
            decoded[name] = np.asarray(value)
    plain = {n: v for n, v in decoded.items() if not n.endswith((AVERAGED, *IGNORED))}
    shadows = {n.removesuffix(AVERAGED): v for n, v in decoded.items() if n.endswith(AVERAGED)}
    return plain | shadows if averaged else plain


def _groups(model: VideoModel) -> Iterator[Group]:
    """Which released variables make which of the model's; every variable of both is in one group.

    Raises:
        CheckpointError: when the released code has no such model.
    """
    scope = model.traits.released_scope
    if scope:
        yield from _pooled(model.encoder, scope)
    elif isinstance(model.encoder, RecurrentEncoder):
        yield from _recurrent(model.encoder)
    elif not isinstance(model.encoder, MeanFrame):
        raise CheckpointError(f"the released code has no {model.traits.title} models")
    yield from _classified(model)


def _classified(model: VideoModel) -> Iterator[Group]:
    classifier = model.classifier
    if hasattr(classifier, "experts"):
        yield _same("gates/weights", classifier.gates)
        yield _same("experts/weights", classifier.experts)
        yield _same("experts/biases", classifier.bias)
    else:
        yield _same("fully_connected/weights", classifier.kernel)
        yield _same("fully_connected/biases", classifier.bias)
    if model.label_gate:
        yield _same("gating_prob_weights", model.label_gate.kernel)
        yield from _batch_norm("gating_prob_bn", model.label_gate.norm)


def _pooled(encoder: PoolingEncoder, scope: str) -> Iterator[Group]:
    yield from _batch_norm("input_bn", encoder.input_norm)
    yield from _pool(f"video_{scope}", encoder.poolings[0])
    yield from _pool(f"audio_{scope}", encoder.poolings[1])
    yield _same("hidden1_weights", encoder.hidden.kernel)
    if encoder.hidden.relu:
        yield from _batch_norm("hidden1_bn", encoder.hidden.norm)
    else:
        yield _same("hidden1_biases", encoder.hidden.bias)
    if encoder.gate:
        yield _same("gating_weights_2", encoder.gate.kernel)
        yield from _batch_norm("gating_bn", encoder.gate.norm)


def _pool(scope: str, pool: keras.layers.Layer) -> Iterator[Group]:
    yield _same(f"{scope}/cluster_weights", pool.assignment.kernel)
    yield from _batch_norm(f"{scope}/cluster_bn", pool.assignment.norm)
    if hasattr(pool, "centres"):
        yield _same(f"{scope}/cluster_weights2", pool.centres, (1, *pool.centres.shape))
    if hasattr(pool, "covariance"):
        yield _same(f"{scope}/covar_weights", pool.covariance)
    if hasattr(pool, "reduction"):
        yield _same(f"{scope}/dim_red", pool.reduction)
        yield _same(f"{scope}/cluster_weights_2", pool.expansion)
        yield from _batch_norm(f"{scope}/cluster_bn_2", pool.gate_norm)


def _recurrent(encoder: RecurrentEncoder) -> Iterator[Group]:
    if encoder.reset_after:
        raise CheckpointError("the released code has no GRU that resets after the product")
    make = _lstm if encoder.cell == "lstm" else _gru
    yield make("bidirectional_rnn/fw", encoder.forward.cell)
    yield make("bidirectional_rnn/bw", encoder.backward.cell)
    yield make("rnn", encoder.top.cell)


def _lstm(scope: str, cell: keras.layers.LSTMCell) -> Group:
    scope = f"{PREFIX}{scope}/multi_rnn_cell/cell_0/basic_lstm_cell"
    rows, width = cell.kernel.shape[0] + cell.units, 4 * cell.units
    return Group(
        (f"{scope}/kernel", f"{scope}/bias"),
        ((rows, width), (width,)),
        (cell.kernel, cell.recurrent_kernel, cell.bias),
        lstm_weights,
    )


def _gru(scope: str, cell: keras.layers.GRUCell) -> Group:
    scope = f"{PREFIX}{scope}/multi_rnn_cell/cell_0/gru_cell"
    gates, candidate = f"{scope}/gates", f"{scope}/candidate"
    rows, width = cell.kernel.shape[0] + cell.units, cell.units
    return Group(
        (f"{gates}/kernel", f"{gates}/bias", f"{candidate}/kernel", f"{candidate}/bias"),
        ((rows, 2 * width), (2 * width,), (rows, width), (width,)),
        (cell.kernel, cell.recurrent_kernel, cell.bias),
        gru_weights,
    )


def lstm_weights(
    kernel: np.ndarray, bias: np.ndarray, forget_bias: float = 1.0
) -> list[np.ndarray]:
    """A released LSTM cell as Keras' kernel, recurrent kernel and bias.

    Released columns are in the order input, candidate (j), forget, output and 1 is added to the
    forget gate at run time; Keras' order is input, forget, candidate, output, with nothing added.

    Args:
        kernel: [inputs + h, 4 h].
        bias: [4 h].
        forget_bias: what is added at run time; 0 converts gradients.
    """
    cells = bias.shape[0] // 4

    def reorder(columns: np.ndarray) -> np.ndarray:
        i, j, f, o = np.split(columns, 4, axis=-1)
        return np.concatenate([i, f, j, o], axis=-1)

    bias = reorder(bias)
    bias[cells : 2 * cells] += forget_bias
    kernel = reorder(kernel)
    return [kernel[:-cells], kernel[-cells:], bias]


def gru_weights(
    gates: np.ndarray, gates_bias: np.ndarray, candidate: np.ndarray, candidate_bias: np.ndarray
) -> list[np.ndarray]:
    """A released GRU cell as Keras' kernel, recurrent kernel and bias.

    Released gates are in the order reset, update; Keras' are update, reset, candidate, in one.

    Args:
        gates: kernel [inputs + h, 2 h].
        gates_bias: [2 h].
        candidate: kernel [inputs + h, h].
        candidate_bias: [h].
    """
    cells = candidate_bias.shape[0]

    def join(gates: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        reset, update = np.split(gates, 2, axis=-1)
        return np.concatenate([update, reset, candidate], axis=-1)

    kernel = join(gates, candidate)
    return [kernel[:-cells], kernel[-cells:], join(gates_bias, candidate_bias)]


def _batch_norm(scope: str, norm: BatchNorm) -> Iterator[Group]:
    for part in ("beta", "gamma", "moving_mean", "moving_variance"):
        yield _same(f"{scope}/{part}", getattr(norm, part))


def _same(name: str, variable: Any, shape: tuple[int, ...] | None = None) -> Group:
    """One released variable that is one of ours, in its own shape unless another is given."""
    own = tuple(variable.shape)
    names, shapes = (PREFIX + name,), (shape or own,)
    return Group(names, shapes, (variable,), lambda value: [value.reshape(own)])
