"""Exported models by one name in MLflow's registry; ``champion`` is the best of an experiment."""

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from yt8m_lib.experiment.runs import RunLog

NAME, CHAMPION = "yt8m-tagger", "champion"
EXPERIMENT, CHOSEN_BY = "experiment", "gap_selection"
ABOUT = (
    "Video taggers: one SavedModel each, all members of an ensemble in one graph. The alias "
    f"`{CHAMPION}` is the best one, by GAP on the selection half, of the experiment that ran last."
)


def register(run: RunLog) -> str:
    """Register the model that a run exported as its artifact ``model``; returns its version.

    The experiment's best version by now gets the alias. It is chosen on the selection half, so that
    the GAP on the report half says how good the choice is.
    """
    client, experiment = run.experiment.client, run.params.experiment
    try:
        client.create_registered_model(NAME, description=ABOUT)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    tags = {EXPERIMENT: experiment, "repeat": str(run.params.repeat)}
    # Seen from the run, a version is found wherever the results folder is moved.
    made = client.create_model_version(NAME, f"runs:/{run.run_id}/model", run.run_id, tags)
    best = max(versions(client, experiment), key=lambda version: _gap(client, version))
    client.set_registered_model_alias(NAME, CHAMPION, best.version)
    return made.version


def versions(client: MlflowClient, experiment: str) -> list[ModelVersion]:
    """All registered versions that an experiment made."""
    found = client.search_model_versions(f"name = '{NAME}'", max_results=10_000)
    return [version for version in found if version.tags.get(EXPERIMENT) == experiment]


def forget(client: MlflowClient, experiment: str) -> None:
    """Take all versions of an experiment out of the registry."""
    for version in versions(client, experiment):
        client.delete_model_version(NAME, version.version)


def _gap(client: MlflowClient, version: ModelVersion) -> float:
    """What a version is chosen by; less than any other's where its run did not end."""
    run = client.get_run(version.run_id)
    unfinished = run.info.status in ("FAILED", "KILLED")
    return -1.0 if unfinished else run.data.metrics.get(CHOSEN_BY, -1.0)
