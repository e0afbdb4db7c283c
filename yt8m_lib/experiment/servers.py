"""A store of runs that all machines see: a server of MLflow, or a database behind no server.

Which one is asked for by the settings, else by MLflow's own variable; where neither names one, runs
are recorded in the results folder. It is asked once a process, and does not take minutes to fail.
"""

import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from yt8m_lib.errors import UserError
from yt8m_lib.settings import ROOT, Params
from yt8m_lib.values import SERVERS, check_store

VARIABLE = "MLFLOW_TRACKING_URI"
SECONDS = 10  # within which a server answers, if it does
ASKED = "/api/2.0/mlflow/experiments/search"


class StoreError(UserError):
    """The store of runs cannot be used; the message names it and says what to do."""


def address(params: Params) -> str | None:
    """Address of the server or database that runs are recorded with; None for the results folder.

    Raises:
        StoreError: when MLflow's variable holds none.
    """
    given = params.tracking.uri or os.environ.get(VARIABLE)
    if not given:
        return None
    try:
        check_store(given)
    except ValueError as error:
        raise StoreError(f"{VARIABLE}: {error}. Unset it to record runs under results/") from None
    return given.rstrip("/") if is_server(given) else given


def is_server(store: str) -> bool:
    """Whether an address is that of a server rather than of a database."""
    return urlsplit(store).scheme in SERVERS


def shown(store: str) -> str:
    """An address as messages show it: without password or token."""
    parts = urlsplit(store)
    user = f"{parts.username}@" if parts.username and not is_server(store) else ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=user + host, query="").geturl()


def where_to_compare(params: Params) -> str:
    """Where people look at the runs, in words for the end of a run."""
    store = address(params)
    if store is None:
        return "make ui"
    return shown(store) if is_server(store) else f"{VARIABLE}={shown(store)} make ui"


def place_of_files(params: Params, store: str) -> str | None:
    """Where the files of a new experiment go; None for the server's own default.

    Raises:
        StoreError: when nobody says so, for a database, which holds none.
    """
    place = params.tracking.artifacts
    if place:
        return place if "://" in place or place.startswith("mlflow-") else (ROOT / place).as_uri()
    if is_server(store):
        return None
    raise StoreError(
        f"{shown(store)} is a database, which holds no files: give a place for them that all "
        "machines see as `tracking.artifacts`, such as s3://bucket/yt8m or a shared folder"
    )


@cache
def check(store: str) -> None:
    """Refuse a store that does not answer, or not to us; asks once a process.

    Raises:
        StoreError: with its address, why, and what to do.
    """
    if is_server(store):
        _check_server(store)
    else:
        _check_database(store)


def _check_server(store: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    # MLflow's own clients try again for minutes: good within a run, bad for a slip in an address.
    bounds = {"max_retries": 1, "backoff_factor": 1, "timeout": SECONDS, "raise_on_status": False}
    try:
        creds = get_default_host_creds(store)
        answer = http_request(creds, ASKED, "POST", json={"max_results": 1}, **bounds)
    except MlflowException as error:
        raise StoreError(
            f"{shown(store)} does not answer ({_reason(error)}). Is the server running, and is "
            f"`tracking.uri` or {VARIABLE} its address?"
        ) from None
    if answer.status_code in (401, 403):
        raise StoreError(
            f"{shown(store)} does not let us in ({answer.status_code}). Credentials come from "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if answer.status_code != 200 or not answer.text.lstrip().startswith("{"):
        raise StoreError(
            f"{shown(store)} is no server of MLflow, or not in order: it answered "
            f"{answer.status_code} to {ASKED}"
        )


def _check_database(store: str) -> None:
    import sqlalchemy

    engine = None
    try:
        engine = sqlalchemy.create_engine(store, connect_args=_bounds(store))
        engine.connect().close()
    except ImportError as error:
        raise StoreError(
            f"{shown(store)}: its driver {error.name} is not installed. For PostgreSQL: "
            "pip install -e '.[postgres]'"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StoreError(
            f"{shown(store)} cannot be opened ({_reason(error)}). Is the database running, and are "
            "the credentials in PGPASSWORD or ~/.pgpass?"
        ) from None
    finally:
        if engine is not None:
            engine.dispose()


def _bounds(store: str) -> dict[str, Any]:
    return {"connect_timeout": SECONDS} if store.startswith(("postgresql", "mysql")) else {}


def _reason(error: Exception) -> str:
    """What an error comes down to: its innermost words, on one line."""
    words = str(getattr(error, "orig", None) or error)
    for mark in ("Caused by ", "failed with exception "):
        words = words.rpartition(mark)[2]
    return " ".join(words.split()).rstrip(")")[-300:]
