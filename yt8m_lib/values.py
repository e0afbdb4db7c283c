"""What settings are made of: names of things that exist, numbers in bounds, paths."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from yt8m_lib import families
from yt8m_lib.catalogue import CODECS, RECORD_KINDS
from yt8m_lib.errors import nearest
from yt8m_lib.files import expanded


def _known(name: str, valid: Iterable[str]) -> str:
    valid = list(valid)
    if name not in valid:
        raise ValueError(f"there is no {name!r}{nearest(name, valid)}")
    return name


FamilyName = Annotated[str, AfterValidator(lambda name: _known(name, families.FAMILIES))]
TeachingFamily = Annotated[str, AfterValidator(lambda name: _known(name, families.teaching()))]
Architecture = Annotated[str, AfterValidator(lambda name: _known(name, families.architectures()))]
Codec = Annotated[str, AfterValidator(CODECS.check)]
RecordKind = Annotated[str, AfterValidator(RECORD_KINDS.check)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
Key = Annotated[str, Field(min_length=1, max_length=200)]  # of a feature in the records
Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(gt=0, le=100)]


def _number(value: Any) -> Any:
    """YAML's ``yes`` and ``true`` are 1 to Python."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


# Whole numbers, each kind with a bound that only a slip goes beyond.
Whole = Annotated[int, BeforeValidator(_number)]
Positive = Annotated[Whole, Field(gt=0, le=10**9)]
NotNegative = Annotated[Whole, Field(ge=0, le=10**9)]
Bytes = Annotated[Whole, Field(gt=0, le=10**15)]
Epochs = Annotated[Whole, Field(gt=0, le=100_000)]
Size = Annotated[Whole, Field(ge=0, le=10**6)]  # of a layer
Frames = Annotated[Whole, Field(gt=0, le=100_000)]  # of one video, in seconds

# Paths and globs, with ``~`` as the home folder.
Place = Annotated[str, Field(min_length=1), AfterValidator(expanded)]

# What an address of a store of runs begins with: a server of MLflow, or a database that it can use.
SERVERS = ("http", "https")
DATABASES = ("postgresql", "mysql", "mssql", "sqlite")


def check_store(address: str) -> None:
    """Refuse what is no address of a store of runs.

    Raises:
        ValueError: naming what one begins with.
    """
    scheme, sign, _ = address.partition("://")
    if not sign or scheme.split("+")[0] not in (*SERVERS, *DATABASES):
        raise ValueError(
            f"{address!r} is no address of a store of runs: one begins with "
            f"{', '.join(f'{name}://' for name in (*SERVERS, *DATABASES))}"
        )


def check_no_secret(name: str, address: str) -> None:
    """Refuse an address that carries a password, or in front of a server's name a token.

    Raises:
        ValueError: naming the setting, and where credentials come from; not the address.
    """
    parts = urlsplit(address)
    token = parts.username is not None and parts.scheme in SERVERS
    if parts.password is not None or token or "password" in parse_qs(parts.query):
        raise ValueError(
            f"`{name}` holds a password, and parameter files are kept and shared. Take it out: "
            "credentials come from the environment, MLFLOW_TRACKING_USERNAME with "
            "MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN for a server, PGPASSWORD or "
            "~/.pgpass for PostgreSQL"
        )


# A setting that says where things lie or how often they are done, and changes no result: it is left
# out when settings are written as values, and so out of the identity of what is made with them.
T = TypeVar("T")
Unidentified = Annotated[T, Field(exclude=True)]


class Settings(BaseModel):
    """Settings that refuse unknown keys and cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)
