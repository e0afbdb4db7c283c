"""Weight averaging (sec. 4.1): go on from a teacher, with and without a shadow copy."""

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import MODEL
from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.methods.devices import strategy_for
from yt8m_lib.phases.following import follow, measure_averages
from yt8m_lib.phases.measuring import log_gain
from yt8m_lib.phases.training import forget_models


def average(run: RunLog, train: Records, validation: Records) -> None:
    """Go on from a teacher at a lower rate, with and without the shadow copy, and measure both."""
    if not run.is_made:
        fit(run, train)
        run.made()
    measure(run, validation)


def fit(run: RunLog, train: Records) -> None:
    """Train on while averages follow; what is reached from here decides the weights."""
    forget_models()
    with strategy_for(run.step.settings.training.replicas).scope():
        model = models.load(run.parent("teacher").file(MODEL))
    follow(run, model, train, videos=int(run.parent("data").metrics["train_videos"]))


def measure(run: RunLog, validation: Records) -> None:
    """Log what the averaged weights answer, and what the others of the same training do."""
    run.metrics(gap_before=run.parent("teacher").metrics["gap"])
    measure_averages(run, validation)
    log_gain(run, run.parent("teacher"))
