"""Teachers (sec. 3 and 4): every architecture trained on hard labels."""

import pandas as pd

from yt8m_lib.data.records import Records
from yt8m_lib.experiment.plan import Step
from yt8m_lib.experiment.tracking import Experiment, RunLog
from yt8m_lib.methods import inference
from yt8m_lib.phases.common import fresh_model, log_gap, log_model, make_trainer


def train(
    experiment: Experiment, step: Step, run: RunLog, train: Records, validation: Records
) -> None:
    """Train one architecture on the labels."""
    params = experiment.params
    model = fresh_model(params, step.name, experiment.plan.seed(step))
    trainer = make_trainer(experiment, step, run, model, step.name, checkpoints="teacher")
    run.table("history", pd.DataFrame(trainer.fit(train, params.models[step.name].epochs)))
    for inference_mode in step.settings.get("compare_inference", ()):
        otherwise = params.model_copy(update={"inference": inference_mode})
        answers, _ = inference.predict([model], validation, otherwise, params.seed)
        log_gap(run, inference_mode, answers)
    answers = inference.predict([model], validation, params, params.seed)
    log_model(run, model, answers, params)
