"""Parameter files: reading one, laying it over the file it is based on, saying what is wrong.

This is the only module that reads YAML. Unknown keys, wrong types, missing files and empty globs
are refused before anything runs, with the key, the value and the nearest valid name.
"""

import glob
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from yt8m_lib.errors import UserError, nearest
from yt8m_lib.files import is_remote
from yt8m_lib.settings import ROOT, Params


class ParamsError(UserError):
    """A parameter file that cannot be run; the message names key, value and remedy."""


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Params:
    """Read and check a parameter file.

    Args:
        path: the YAML file; a relative path is tried from the working directory, then the project.
        overrides: ``KEY=VALUE`` strings with dotted keys, as given to ``--set``.

    Raises:
        ParamsError: naming the file, key, value and remedy.
    """
    path = find_file(path)
    raw = _read(path)
    raw = _laid_over(raw, path) if "based_on" in raw else raw
    raw.setdefault("experiment", path.stem)
    for override in overrides:
        _apply(raw, override)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {_explain(issue)}" for issue in error.errors()]
        raise ParamsError("\n".join([f"{path}:", *lines])) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected `key: value` lines, found {type(raw).__name__}")
    return raw


def _laid_over(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The settings of a file laid over those of the file that it is ``based_on``.

    Groups of settings are merged key by key, anything else is replaced, and ``null`` takes a
    setting out.
    """
    name = raw.pop("based_on")
    beside = path.parent / str(name)
    base = _read(beside if beside.is_file() else find_file(name))
    if "based_on" in base:
        raise ParamsError(f"{path}: based_on: {name} is itself based on a file; name that one")
    base.pop("experiment", None)
    return _merged(base, raw)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            both[key] = _merged(base[key], value)
        else:
            both[key] = value
    return {key: value for key, value in both.items() if value is not None}


def check_data(params: Params) -> None:
    """Refuse an experiment whose data is not there.

    Raises:
        ParamsError: when no data is named, or a glob matches no file.
    """
    if params.synthetic:
        return
    data = params.data
    globs = {"data.files": data.files, "data.train": data.train, "data.validation": data.validation}
    given = {key: value for key, value in globs.items() if value}
    if not given:
        raise ParamsError(
            f"{params.experiment}: no data is named, and real data has no default place. Give the "
            "shards as `make run PARAMS=... DATA='/path/to/*.tfrecord'`, or as "
            "`--set data.files=GLOB`, or as `--set data.train=GLOB --set data.validation=GLOB`."
        )
    for key, value in given.items():
        if not is_remote(value) and not glob.glob(str(ROOT / value), recursive=True):
            raise ParamsError(f"{key}: no file matches {value!r} (seen from {ROOT})")


def find_file(path: str | Path) -> Path:
    """The absolute path of a parameter file, seen from the working directory or the project.

    Raises:
        ParamsError: when it is at neither place, with the nearest name.
    """
    for candidate in (Path(path), ROOT / path):
        if candidate.is_file():
            return candidate.resolve()
    there = [f"params/{p.name}" for p in sorted((ROOT / "params").glob("*.yaml"))]
    raise ParamsError(f"no parameter file {str(path)!r}{nearest(str(path), there)}")


def _apply(raw: dict, override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign or not key:
        raise ParamsError(f"--set takes KEY=VALUE, got {override!r}")
    *path, last = key.split(".")
    node = raw
    for part in path:
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ParamsError(f"--set {override}: {part!r} is a value, not a group of settings")
        node = child
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        node[last] = value  # a glob such as *.tfrecord is no YAML


def _explain(issue: Any) -> str:
    key = ".".join(str(part) for part in issue["loc"]) or "(file)"
    if issue["type"] == "extra_forbidden":
        return f"{key}: unknown key{nearest(issue['loc'][-1], _valid_keys(issue['loc'][:-1]))}"
    if issue["type"] == "missing":
        return f"{key}: missing"
    value = issue["input"]
    shown = "" if isinstance(value, dict) else f" (got {value!r})"
    message = re.sub(r"^Value error, ", "", issue["msg"])
    if issue["type"] == "literal_error" and isinstance(value, str):
        message += nearest(value, re.findall(r"'([^']+)'", issue["ctx"]["expected"]))
    return f"{key}: {message}{shown}"


def _valid_keys(location: tuple) -> list[str]:
    model: Any = Params
    for part in location:
        if part in model.model_fields:  # else it is a key of a dict, such as a model's name
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> Any:
    """The settings class inside an annotation such as ``dict[str, Model]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)
