"""Teachers (sec. 3 and 4): every architecture trained on hard labels."""

import pandas as pd

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.answers import MODEL
from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.methods import inference
from yt8m_lib.phases.measuring import log_gap, log_model, save_model
from yt8m_lib.phases.training import forget_models, fresh_model, make_trainer


def train(run: RunLog, train: Records, validation: Records) -> None:
    """Train one architecture on the labels, and measure it."""
    if not run.is_made:
        fit(run, train)
        run.made()
    measure(run, validation)


def fit(run: RunLog, train: Records) -> None:
    """Train the architecture; what is reached from here decides its weights."""
    model = fresh_model(run)
    trainer = make_trainer(run, model, checkpoints="teacher")
    history = trainer.fit(train, run.step.settings.model.epochs)
    run.table("history", pd.DataFrame(history))
    save_model(run, model)


def measure(run: RunLog, validation: Records) -> None:
    """Log what the model answers, also in the other ways of answering that are compared."""
    forget_models()
    model = models.load(run.logged(MODEL))
    for mode in run.step.measuring.compare_inference:
        otherwise = run.params.model_copy(update={"inference": mode})
        answers, _ = inference.predict([model], validation, otherwise, run.params.seed)
        log_gap(run, mode, answers)
    log_model(run, model, validation)
