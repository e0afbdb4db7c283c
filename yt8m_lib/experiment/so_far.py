"""How far an experiment is, and the best of each phase: what the index of the notebooks shows."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from yt8m_lib import params as params_files
from yt8m_lib.data import shards
from yt8m_lib.experiment.runs import FinishedRun
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import PHASES, Params


def of(params_file: str) -> pd.DataFrame:
    """A row a phase: how many of its steps are finished, and its best model.

    Args:
        params_file: the experiment's, such as ``params/demo.yaml``.

    Returns:
        Columns phase, finished ("3 of 17"), best (its name), gap (report half) and megabytes; no
        best where none is finished. Best is who is on the selection half, where it was measured.
    """
    params = params_files.load(params_file)
    columns = ["phase", "finished", "best", "gap", "megabytes"]
    return pd.DataFrame(_rows(params), columns=columns).fillna("")


def _rows(params: Params) -> Iterator[dict[str, Any]]:
    experiment = Experiment(params)
    there = not params.synthetic or shards.is_written(params)
    for phase in PHASES:
        steps = experiment.plan.of(phase)
        finished = experiment.finished(phase) if there else {}
        row = {"phase": phase, "finished": f"{len(finished)} of {len(steps)}"}
        models = {name: run for name, run in finished.items() if "size_bytes" in run.metrics}
        if models and phase != "report":
            best = max(models, key=lambda name: _chosen_by(models[name]))
            measured = models[best].metrics
            size = measured.get("saved_model_bytes", measured["size_bytes"])
            row |= {"best": best, "gap": f"{measured['gap']:.4f}", "megabytes": f"{size / 1e6:.1f}"}
        yield row


def _chosen_by(run: FinishedRun) -> float:
    return run.metrics.get("gap_selection", run.metrics["gap"])
