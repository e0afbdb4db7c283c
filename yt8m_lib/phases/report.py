"""The report: the paper's four tables and their figures."""

from yt8m_lib import figures, tables
from yt8m_lib.tracking import Experiment, RunLog


def write(experiment: Experiment, run: RunLog) -> None:
    """Make the four tables and their figures: files in the experiment's folder, and artifacts."""
    for name in tables.TITLES:
        table = getattr(tables, name)(experiment)
        run.table(name, table)
        run.figure(name, getattr(figures, name)(table))
        for path in tables.write(table, name, experiment.params):
            run.file(path)
    run.metrics(**experiment.find("ensembling/ensemble").metrics)
