"""One MLflow run of a step: reading a finished one, writing an open one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric, Run, RunTag

from yt8m_lib.experiment import answers
from yt8m_lib.experiment.run_files import files_of
from yt8m_lib.experiment.step import Step
from yt8m_lib.scoring.intervals import Estimate
from yt8m_lib.settings import Params

# Tags by which the record finds its own runs. All other tags are for people and decide nothing.
STEP, REPEAT = "yt8m.step", "yt8m.repeat"
MADE = "yt8m.made"  # the fingerprint that the result was made with
MEASURED = "yt8m.measured"  # what its measurements depend on; see ``Plan.measuring``
ACCEPTED = "yt8m.accepted"  # later fingerprints under which the result was accepted
SUPERSEDED = "yt8m.superseded"
REVISION = "yt8m.revision"  # how often it was measured again; not there for never


class FinishedRun:
    """A finished run, to read from.

    Attributes:
        run_id: MLflow's identifier.
        files: what it logged.
        metrics: the last value of each logged metric.
        started: when it began, in milliseconds since 1970.
        revision: how often it was measured again.
    """

    def __init__(self, run: Run, params: Params):
        self.run_id, self.metrics = run.info.run_id, run.data.metrics
        self.revision = int(run.data.tags.get(REVISION, 0))
        self.files = files_of(params, self.run_id, self.revision)
        self.started = run.info.start_time
        self.version = run.data.tags.get("code_version", "unknown")
        self._tags = run.data.tags

    @property
    def fingerprints(self) -> set[str]:
        """The fingerprint that it was made with, and those that it was accepted under."""
        accepted = self._tags.get(ACCEPTED, "").split()
        return {self._tags.get(MADE, ""), *accepted} - {""}

    @property
    def measured(self) -> str:
        """What its measurements depended on; "" while it is being measured again."""
        return self._tags.get(MEASURED, "")

    def file(self, name: str) -> Path:
        """Path of an artifact.

        Raises:
            FileNotFoundError: when the run did not log it, or it was deleted since.
        """
        if not self.has(name):
            raise FileNotFoundError(f"run {self.run_id} has no artifact {name}")
        return self.files.path(name)

    def has(self, name: str) -> bool:
        """Whether the run logged an artifact of this name."""
        return self.files.has(name)

    def table(self, name: str) -> pd.DataFrame:
        """A table that ``RunLog.table`` logged."""
        return pd.read_csv(self.file(f"{name}.csv"))

    def array(self, name: str) -> np.ndarray:
        """An array that the run logged as ``name``."""
        return np.load(self.file(name), allow_pickle=False)

    def json(self, name: str) -> Any:
        """What ``RunLog.json`` logged."""
        return json.loads(self.file(f"{name}.json").read_text(encoding="utf-8"))

    def gap(self, answer: str = answers.PREDICTIONS) -> Estimate:
        """GAP of one of the run's answers on the report half, with its resamples."""
        return Estimate.load(self.file(f"{answer}_gap.npz"))

    def has_gap(self, answer: str) -> bool:
        """Whether the GAP of an answer was logged."""
        return self.has(f"{answer}_gap.npz")


class RunLog:
    """An open run, to write to, with what its step needs to know.

    Attributes:
        experiment: the ``tracking.Experiment`` that opened it.
        step: what is to be done.
        params: the experiment's settings.
        seed: the step's own.
        is_made: whether the result is there already and is only to be measured again.
        files: what it logs.
        scratch: a folder of its own for checkpoints, which a killed run finds again.
    """

    def __init__(self, experiment: Any, step: Step, run_id: str, is_made: bool, revision: int = 0):
        self.experiment, self.step, self.run_id, self.is_made = experiment, step, run_id, is_made
        self.params: Params = experiment.params
        self.seed = experiment.plan.seed(step)
        self.scratch = self.params.folder / "scratch" / experiment.plan.fingerprint(step.key)
        steps = experiment.plan.of(step.phase, experiment.models)
        self._place = f"{step.phase} {steps.index(step) + 1}/{len(steps)} {step.name}"
        self._client, self.files = experiment.client, files_of(self.params, run_id, revision)
        self._started = self._made = time.monotonic()

    def parent(self, role: str) -> FinishedRun:
        """The finished run of the one parent with this role."""
        return self.experiment.find(self.step.parents[role])

    def parents(self, role: str) -> dict[str, FinishedRun]:
        """The finished runs of all parents with this role, by the names of their steps."""
        keys = self.step.parents[role]
        return {key.split("/", 1)[1]: self.experiment.find(key) for key in keys}

    def made(self) -> None:
        """Note that the result is there; what follows only measures it."""
        self._made = time.monotonic()

    @property
    def seconds(self) -> dict[str, float]:
        """How long the whole step and its measuring have taken."""
        now = time.monotonic()
        if self.is_made:
            return {"seconds_measuring": now - self._started}
        measuring = now - self._made if self._made > self._started else 0.0
        return {"seconds": now - self._started, "seconds_measuring": measuring}

    def say(self, line: str) -> None:
        """Print a line of progress, marked with the step it belongs to."""
        print(f"[{self._place}] {line}", flush=True)

    def metrics(self, **values: float) -> None:
        """Log final metrics."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id, metrics=[Metric(k, float(v), now, 0) for k, v in values.items()]
        )

    def epoch(self, row: dict[str, float], prefix: str = "") -> None:
        """Log what one epoch measured, for a curve that grows while training goes on."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(prefix + key, value, now, int(row["epoch"]))
            for key, value in row.items()
            if key != "epoch"
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def describe(self, **values: str) -> None:
        """Set tags, for people who look at the run."""
        self._client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in values.items()])

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all that is in it."""
        self.files.add(Path(path), folder or "")

    def save(self, name: str, write: Callable[[Path], Any]) -> None:
        """Log the file that ``write(path)`` makes."""
        with self.files.writing(name) as path:
            write(path)

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Log a table as ``<name>.csv``."""
        self.save(f"{name}.csv", lambda path: table.to_csv(path, index=False))

    def json(self, name: str, value: Any) -> None:
        """Log a value as ``<name>.json``."""
        text = json.dumps(value, indent=1)
        self.save(f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))

    def figure(self, name: str, figure: Any) -> None:
        """Log a matplotlib figure as ``<name>.png``."""
        self.save(f"{name}.png", lambda path: figure.savefig(path, dpi=120, bbox_inches="tight"))

    def logged(self, name: str) -> Path:
        """Path of a file that this run has logged before, such as the model to measure again."""
        return FinishedRun(self._client.get_run(self.run_id), self.params).file(name)


def runs(client: mlflow.MlflowClient, experiment_id: str, status: str) -> list[Run]:
    """All runs of an experiment with a status such as FINISHED, the newest first."""
    found: list[Run] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs(
            [experiment_id], f"attributes.status = '{status}'", page_token=token or None
        )
        found, token = found + list(page), page.token or None
    return found  # MLflow orders by start, the newest first
