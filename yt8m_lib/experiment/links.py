"""Addresses of MLflow's pages that show an experiment's runs the way one wants to see them."""

from urllib.parse import quote

from yt8m_lib.experiment import servers
from yt8m_lib.settings import Params

LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves


def of_runs(params: Params) -> str:
    """How to serve an experiment's runs, and on a line of its own their page, by falling GAP."""
    from mlflow import MlflowClient  # takes seconds to import

    from yt8m_lib.experiment.store import connect, create_experiment

    number = create_experiment(MlflowClient(tracking_uri=connect(params)), params)
    store = servers.address(params) or ""
    remote = servers.is_server(store)
    page = f"{store if remote else LOCAL}/#/experiments/{number}/runs?{_by('gap')}"
    return page if remote else f"{servers.where_to_compare(params)}, then open\n{page}"


def _by(metric: str) -> str:
    """The part of an address that sorts runs by a metric, the highest first."""
    return f"orderByKey={quote(f'metrics.`{metric}`')}&orderByAsc=false"
