"""Partial weight quantisation (sec. 3.2): what 8 bits cost and save, for every student."""

import keras
import numpy as np

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.plan import Step
from yt8m_lib.experiment.tracking import Experiment, RunLog
from yt8m_lib.methods import export, inference, quantization
from yt8m_lib.settings import Params
from yt8m_lib.phases.common import forget_models, log_answers
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import report_half

ROUNDS = 7  # of timing: of fewer, the best is still noise
TIMED_VIDEOS = 512  # on which inference is timed, so that a table does not cost hours


def quantize(experiment: Experiment, step: Step, run: RunLog, validation: Records) -> None:
    """Store a student's large weights in 8 bits; measure what that costs and saves."""
    params, more_than = experiment.params, step.settings["more_than"]
    student = experiment.find(step.parents[0])
    forget_models()
    model = models.load(student.file("model.keras"))
    plain = [v.numpy() for v in model.variables]
    stored = quantization.quantize_weights(plain, more_than, step.settings["scheme"])
    seconds = _time_both(model, plain, stored, validation, params)
    for variable, values in zip(
        model.variables, quantization.dequantize_weights(stored), strict=True
    ):
        variable.assign(values)
    predictions, _ = inference.predict([model], validation, params, params.seed)
    log_answers(run, predictions)
    run.save("weights.npz", lambda path: quantization.save(stored, path))
    run.metrics(
        **metrics.evaluate(report_half(predictions)),
        gap_float32=student.metrics["gap"],
        size_bytes=quantization.nbytes(stored),
        size_bytes_float32=quantization.nbytes(plain),
        **seconds,
    )


def _time_both(
    model: keras.Model,
    plain: list[np.ndarray],
    stored: list,
    validation: Records,
    params: Params,
) -> dict[str, float]:
    """Seconds for the same videos with float32 and with stored weights: the best of some rounds."""
    taggers = {
        "seconds_float32": export.EnsembleGraph([export.Member(model, plain)], [1.0]),
        "seconds_quantized": export.EnsembleGraph([export.Member(model, stored)], [1.0]),
    }
    batches = validation.batches(params.inference_batch).take(
        -(-TIMED_VIDEOS // params.inference_batch)
    )
    held = [(batch["frames"], batch["num_frames"]) for batch in batches]
    for tagger in taggers.values():  # traces the graph, decodes the codes
        tagger.serve(*held[0])
    best = dict.fromkeys(taggers, np.inf)
    for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine hits both
        for name, tagger in taggers.items():
            best[name] = min(best[name], export.seconds(tagger, held))
    return best
