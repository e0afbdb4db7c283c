"""Weight averaging (sec. 4.1): go on from a teacher, with and without a shadow copy."""

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.plan import Step
from yt8m_lib.experiment.tracking import Experiment, RunLog
from yt8m_lib.phases.common import follow_with_shadow, forget_models


def average(
    experiment: Experiment, step: Step, run: RunLog, train: Records, validation: Records
) -> None:
    """Go on from a teacher at a lower rate, with and without the shadow copy, and log both."""
    teacher = experiment.find(step.parents[0])
    forget_models()
    model = models.load(teacher.file("model.keras"))
    run.metrics(gap_before=teacher.metrics["gap"])
    follow_with_shadow(experiment, step, run, model, train, validation)
