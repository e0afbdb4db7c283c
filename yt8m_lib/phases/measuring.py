"""What the phases log of a model: what it answers, what that is worth, and its bytes."""

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import MODEL, PREDICTIONS
from yt8m_lib.experiment.runs import FinishedRun, RunLog
from yt8m_lib.methods import codecs, inference
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.intervals import Estimate, gap_estimate
from yt8m_lib.scoring.predictions import Predictions, report_half, selection_half


def log_answers(run: RunLog, answers: Predictions) -> None:
    """Log a model's answers, and their GAP with its resamples."""
    run.save(f"{PREDICTIONS}.npz", answers.save)
    run.save(f"{PREDICTIONS}_gap.npz", gap_estimate(report_half(answers)).save)


def log_gap(run: RunLog, name: str, answers: Predictions) -> None:
    """Log the GAP of other answers with its resamples: all that a comparison needs of them."""
    gap = gap_estimate(report_half(answers))
    run.save(f"{name}_gap.npz", gap.save)
    run.metrics(**{f"gap_{name}": gap.value})


def log_model(run: RunLog, model: VideoModel, validation: Records) -> None:
    """Measure a model on the validation videos, and log its answers, metrics and bytes."""
    answers, seconds = inference.predict([model], validation, run.params, run.params.seed)
    settings, weights = run.step.measuring, [variable.numpy() for variable in model.variables]
    stored = codecs.encode_weights(weights, settings.more_than, settings.codec)
    log_answers(run, answers)
    run.metrics(
        **metrics.evaluate(report_half(answers)),
        gap_selection=metrics.gap(answers.select(selection_half(answers.ids))),
        size_bytes=codecs.nbytes(stored),
        size_bytes_float32=sum(values.nbytes for values in weights),
        inference_seconds=seconds,
    )


def log_gain(run: RunLog, before: FinishedRun) -> None:
    """Log what a model gains on another in GAP, with the interval of that over the videos."""
    gain = Estimate.load(run.logged(f"{PREDICTIONS}_gap.npz")) - before.gap()
    low, high = gain.interval()
    run.metrics(gain=gain.value, gain_low=low, gain_high=high)


def save_model(run: RunLog, model: VideoModel, name: str = MODEL) -> None:
    """Log a model's weights, from which it can be measured again."""
    run.save(name, lambda path: models.save(model, path))
