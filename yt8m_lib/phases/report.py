"""The report: the paper's four tables, each claim's verdict, and their figures."""

import pandas as pd

from yt8m_lib.experiment.tracking import Experiment, RunLog
from yt8m_lib.report import figures, findings, tables


def write(experiment: Experiment, run: RunLog) -> None:
    """Make the tables and their figures: files in the experiment's folder, and artifacts.

    The findings are of all repeats that are finished by now.
    """
    for name in tables.TITLES:
        _log(experiment, run, name, getattr(tables, name)(experiment))
    repeats = findings.repeats(experiment.params)
    found = findings.table(list(repeats.values()))
    _log(experiment, run, "findings", found)
    if experiment.params.beside:
        _log(experiment, run, "beside", findings.beside(found, experiment.params.beside))
    folder = experiment.params.folder / "tables"
    for repeat, effects in repeats.items():
        findings.save(repeat, effects, folder / f"repeat-{repeat}.npz")
    run.file(folder / f"repeat-{experiment.params.repeat}.npz")
    run.metrics(**experiment.find("ensembling/ensemble").metrics)


def _log(experiment: Experiment, run: RunLog, name: str, table: pd.DataFrame) -> None:
    run.table(name, table)
    run.figure(name, getattr(figures, name)(table))
    for path in tables.write(table, name, experiment.params):
        run.file(path)
