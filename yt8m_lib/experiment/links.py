"""Where MLflow shows an experiment's runs the way one wants to see them."""

from yt8m_lib.experiment import servers, views
from yt8m_lib.settings import Params

LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves


def of_runs(params: Params, number: str) -> str:
    """How to serve an experiment's runs, and on a line of its own their page, by falling GAP.

    Args:
        params: of the experiment.
        number: MLflow's identifier of it.
    """
    store = servers.address(params) or ""
    remote = servers.is_server(store)
    page = f"{store if remote else LOCAL}/{views.page(number)}"
    return page if remote else f"{servers.where_to_compare(params)}, then open\n{page}"
