"""The report: the paper's four tables, each claim's verdict, and their figures."""

from functools import partial

import pandas as pd

from yt8m_lib.experiment.runs import RunLog
from yt8m_lib.files import write_text
from yt8m_lib.report import figures, findings, questions, tables


def write(run: RunLog) -> None:
    """Make the tables and their figures, which stand in the experiment's folder once all is there.

    The findings are of all repeats that are finished by now.
    """
    params = run.params
    for name, make_table in tables.TABLES.items():
        _log(run, name, make_table(run.experiment))
    repeats = findings.repeats(params)
    made = list(repeats.values())
    found = findings.table(made)
    _log(run, "findings", found)
    _log(run, "ladder", questions.ladder(made))
    if len(asked := questions.asked(made)):
        _log(run, "asked", asked)
    if params.other_choices:
        _log(run, "other_choices", findings.other_choices(found, params.other_choices))
    for repeat, effects in repeats.items():
        run.save(f"repeat-{repeat}.npz", partial(findings.save, repeat, effects))
    run.metrics(**run.experiment.find("ensembling/ensemble").metrics)


def _log(run: RunLog, name: str, table: pd.DataFrame) -> None:
    run.table(name, table)
    run.figure(name, figures.DRAWINGS[name](table))
    run.save(f"{name}.md", lambda path: write_text(path, tables.page(table, name, run.params)))
