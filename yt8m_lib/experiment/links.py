"""Where MLflow shows an experiment's runs the way one wants to see them."""

from yt8m_lib.experiment import servers
from yt8m_lib.settings import Params

LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves


def of_runs(params: Params, note: str) -> str:
    """How to serve an experiment's runs, and on a line of its own their page, by falling GAP.

    Args:
        params: of the experiment.
        note: Markdown that its pages are to show.
    """
    from mlflow import MlflowClient  # takes seconds to import

    from yt8m_lib.experiment import views
    from yt8m_lib.experiment.store import connect, create_experiment

    client = MlflowClient(tracking_uri=connect(params))
    number = create_experiment(client, params)
    views.put_up(client, number, params, note)
    store = servers.address(params) or ""
    remote = servers.is_server(store)
    page = f"{store if remote else LOCAL}/{views.page(number)}"
    return page if remote else f"{servers.where_to_compare(params)}, then open\n{page}"
