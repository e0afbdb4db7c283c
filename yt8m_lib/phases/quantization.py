"""Partial weight quantisation (sec. 3.2): what a codec costs and saves, for every student."""

import numpy as np
import pandas as pd

from yt8m_lib import models
from yt8m_lib.catalogue import CODECS
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import MODEL, STORED
from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.methods import codecs, inference
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member, seconds_to_tag
from yt8m_lib.methods.sensitivity import squared_gradients
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.phases.measuring import log_answers
from yt8m_lib.phases.training import forget_models
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import report_half
from yt8m_lib.settings import Params

ROUNDS = 7  # of timing: the best of fewer is still noise
TIMED_VIDEOS = 512  # on which inference is timed, so that a table does not cost hours


def quantize(run: RunLog, train: Records, validation: Records) -> None:
    """Store a student's large weights with a codec; measure what that costs and saves."""
    params = run.params
    student = run.parent("student")
    forget_models()
    model = models.load(student.file(MODEL))
    plain = codecs.encode_weights(_weights(model), codec="float32")
    stored = _encode(model, run, train)
    variables = _describe(model, plain, stored)
    run.table("variables", variables)
    seconds = _time_in_turn(model, plain, stored, validation, params)
    for variable, values in zip(model.variables, codecs.decode_weights(stored), strict=True):
        variable.assign(values)
    answers, _ = inference.predict([model], validation, params, params.seed)
    log_answers(run, answers)
    run.save(STORED, lambda path: codecs.save(stored, path))
    run.metrics(
        **metrics.evaluate(report_half(answers)),
        gap_float32=student.metrics["gap"],
        size_bytes=codecs.nbytes(stored),
        size_bytes_float32=codecs.nbytes(plain),
        **_bits(variables),
        **seconds,
    )


def largest_weight(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    """The largest variable of a notebook's first student, before and after its codec."""
    step = experiment.plan.of("quantization", experiment.models)[0]
    stored = codecs.load(experiment.find(step.key).file(STORED))
    plain = _weights(models.load(experiment.find(step.parents["student"]).file(MODEL)))
    place = max(range(len(plain)), key=lambda i: plain[i].size)
    return plain[place], stored[place].decode()


def _encode(model: VideoModel, run: RunLog, train: Records) -> list[codecs.StoredVariable]:
    """The student's weights as the step's codec stores them."""
    settings, sensitivities = run.step.settings, None
    if CODECS[settings.codec].together:
        sensitivities = squared_gradients(model, train, run.params.seed)
    return codecs.encode_weights(
        _weights(model), settings.more_than, settings.codec, sensitivities=sensitivities
    )


def _describe(
    model: VideoModel, plain: list[codecs.StoredVariable], stored: list[codecs.StoredVariable]
) -> pd.DataFrame:
    """A row a variable: its codec, elements, bytes, bits a weight, and the error of storing it.

    ``relative_error`` is the mean squared error divided by the weights' variance.
    """
    rows = []
    for variable, before, after in zip(model.variables, plain, stored, strict=True):
        values, decoded = before.decode(), after.decode()
        error, variance = np.mean(np.square(decoded - values)), np.var(values)
        rows.append(
            {
                "variable": variable.path,
                "codec": after.codec,
                "elements": values.size,
                "bytes": after.nbytes,
                "bits": 8 * after.nbytes / values.size,
                "relative_error": float(error / variance) if variance else 0.0,
            }
        )
    return pd.DataFrame(rows)


def _bits(variables: pd.DataFrame) -> dict[str, float]:
    """Bits a weight and relative error of the variables that are coded, and bits of all."""
    coded = variables[variables["codec"] != codecs.PLAIN]
    if coded.empty:
        coded = variables
    elements = coded["elements"]
    return {
        "bits": 8 * coded["bytes"].sum() / elements.sum(),
        "bits_of_all": 8 * variables["bytes"].sum() / variables["elements"].sum(),
        "relative_error": np.average(coded["relative_error"], weights=elements),
    }


def _weights(model: VideoModel) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def _time_in_turn(
    model: VideoModel, plain: list, stored: list, validation: Records, params: Params
) -> dict[str, float]:
    """Seconds for the same videos with float32 and with coded weights: the best of some rounds.

    Coded ones are decoded once, as is shipped by default, and on each call, as published.
    """
    graphs = {
        "seconds_float32": EnsembleGraph([Member(model, plain)], [1.0]),
        "seconds_quantized": EnsembleGraph([Member(model, stored)], [1.0]),
        "seconds_on_call": EnsembleGraph([Member(model, stored, "call")], [1.0]),
    }
    batches = validation.batches(params.inference_batch).take(
        -(-TIMED_VIDEOS // params.inference_batch)
    )
    held = [(batch["frames"], batch["num_frames"]) for batch in batches]
    for graph in graphs.values():  # traces the graph, decodes the codes
        graph.serve(*held[0])
    best = dict.fromkeys(graphs, np.inf)
    for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine hits all
        for name, graph in graphs.items():
            best[name] = min(best[name], seconds_to_tag(graph, held))
    return best
