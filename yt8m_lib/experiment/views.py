"""What MLflow's pages of an experiment show: saved views of its runs, and a note above them.

MLflow keeps a saved view as a tag of the experiment, JSON with a name and a state; its page opens
one by the tag's last part. That is no documented interface, seen in MLflow 3.17.
"""

import json
import time
from dataclasses import dataclass

import mlflow

from yt8m_lib.settings import Params

TAG = "mlflow.sharedViewState."
NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class View:
    """A saved view of an experiment's runs.

    Attributes:
        name: as the page lists it.
        metrics: the columns shown; the runs are in the order of the first.
        params: further columns.
        where: which runs, in MLflow's search language; all if empty.
        rising: whether the smallest comes first.
    """

    name: str
    metrics: tuple[str, ...]
    params: tuple[str, ...] = ("family",)
    where: str = ""
    rising: bool = False

    def state(self) -> str:
        """The state of the page, as it keeps it."""
        columns = [f"metrics.`{name}`" for name in self.metrics]
        return json.dumps(
            {
                "searchFilter": self.where,
                "orderByKey": columns[0],
                "orderByAsc": self.rising,
                "selectedColumns": columns + [f"params.`{name}`" for name in self.params],
            }
        )


VIEWS = {
    "runs": View("All runs by GAP", ("gap", "size_bytes", "seconds"), ("phase", "family")),
    "teachers": View(
        "Teachers by GAP",
        ("gap", "gap_selection", "size_bytes_float32", "seconds"),
        where="params.phase = 'teachers'",
    ),
    "students": View(
        "Students: gain",
        ("gain", "gain_low", "gain_high", "gap"),
        ("family", "taught_by", "round"),
        where="params.phase = 'distillation' and params.kind = 'student'",
    ),
    "codecs": View(
        "Codecs: bytes",
        ("size_bytes", "gap", "bits", "relative_error"),
        ("student", "codec"),
        where="params.phase = 'quantization'",
        rising=True,
    ),
    "ensemble": View(
        "Ensemble",
        ("gap", "gap_flat", "saved_model_bytes"),
        ("phase",),
        where="params.phase = 'ensembling'",
    ),
}


def put_up(client: mlflow.MlflowClient, number: str, params: Params, note: str = "") -> None:
    """Give an experiment its saved views and its note; what people changed of a view is replaced.

    A note of an earlier run stands where no other is given.

    Args:
        client: of the store of runs.
        number: MLflow's identifier of the experiment.
        params: of the experiment.
        note: Markdown below the note's first lines.
    """
    tags = client.get_experiment(number).tags
    for key, view in VIEWS.items():
        known = json.loads(tags.get(TAG + key, "{}"))
        if known.get("name") != view.name or known.get("state") != view.state():
            now = int(1000 * time.time())
            made = {"name": view.name, "createdAt": now, "updatedAt": now, "state": view.state()}
            client.set_experiment_tag(number, TAG + key, json.dumps(made))
    if NOTE in tags and not note:
        return
    links = ", ".join(f"[{v.name}]({page(number, key)})" for key, v in VIEWS.items())
    words = f"**{params.experiment}**, {params.data.classes:,} classes. {links}."
    client.set_experiment_tag(number, NOTE, f"{words}\n\n{note}".strip())


def page(number: str, view: str = "runs") -> str:
    """The address of a view, from where MLflow is served."""
    return f"#/experiments/{number}/runs?viewStateShareKey={view}"
