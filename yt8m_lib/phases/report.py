"""The report: the paper's four tables, each claim's verdict, and their figures."""

from functools import partial

import matplotlib.pyplot as plt
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
    found = findings.signed(findings.table(made), params)
    _log(run, "findings", found)
    more = {
        "ladder": questions.ladder(made),
        "asked": questions.asked(made),
        "other_choices": findings.other_choices(found, params.other_choices),
    }
    for name, table in more.items():
        if len(table):
            _log(run, name, table)
    for repeat, effects in repeats.items():
        run.save(f"repeat-{repeat}.npz", partial(findings.save, repeat, effects))
    for ensemble in run.experiment.finished("ensembling").values():
        run.metrics(**ensemble.metrics)


def _log(run: RunLog, name: str, table: pd.DataFrame) -> None:
    run.table(name, table)
    if figure := figures.draw(name, table):
        run.figure(name, figure)
        plt.close(figure)  # else a notebook would show it where the tables are made
    run.save(f"{name}.md", lambda path: write_text(path, tables.page(table, name, run.params)))
