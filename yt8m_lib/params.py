"""Parameter files: reading one, laying it over the file it is based on, saying what is wrong.

This is the only module that reads YAML. Unknown keys, wrong types, missing files and empty globs
are refused before anything runs, with the key, the value and the nearest valid name.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from yt8m_lib.errors import UserError, nearest
from yt8m_lib.files import expanded, is_remote, matches, write_text
from yt8m_lib.settings import ROOT, Params

# Settings that are paths or globs: ``/data [1] #2: a/*.tfrecord`` is one, and no YAML.
PATHS = (
    "results", "data.files", "data.train", "data.validation", "data.vocabulary_file",
    "data.cache_folder", "distillation.soft_targets", "tracking.uri", "tracking.artifacts",
)  # fmt: skip


class ParamsError(UserError):
    """A parameter file that cannot be run; the message names key, value and remedy."""


def load(path: str | Path, overrides: Iterable[str] = ()) -> Params:
    """Read and check a parameter file.

    Args:
        path: the YAML file; a relative path is tried from the working directory, then the project.
        overrides: ``KEY=VALUE`` strings with dotted keys, as given to ``--set``.

    Raises:
        ParamsError: naming the file, key, value and remedy.
    """
    return check(read(path, overrides), path)


def read(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that a file and ``KEY=VALUE`` strings give, before they are checked.

    Raises:
        ParamsError: for a file that cannot be read, or a string that is none of these.
    """
    path = find_file(path)
    raw = _read(path)
    raw = _laid_over(raw, path) if "based_on" in raw else raw
    raw.setdefault("experiment", path.stem)
    for override in overrides:
        _apply(raw, override)
    return raw


def check(settings: dict[str, Any], path: str | Path) -> Params:
    """Check the settings that ``read`` gave.

    Raises:
        ParamsError: naming the file, key, value and remedy.
    """
    try:
        return Params.model_validate(settings)
    except ValidationError as error:
        lines = [f"  {_explain(issue)}" for issue in error.errors()]
        raise ParamsError("\n".join([f"{find_file(path)}:", *lines])) from None


def write(settings: dict[str, Any], path: Path, comment: str) -> None:
    """Write settings as a file that ``read`` reads the same."""
    about = "".join(f"# {line}\n" for line in comment.splitlines())
    write_text(path, about + _dumped(settings))


def _dumped(settings: dict[str, Any]) -> str:
    """YAML with what holds no more than values in one line, as people write it."""
    return yaml.safe_dump(
        settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = _parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 text ({error}): save it as UTF-8") from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected `key: value` lines, found {type(raw).__name__}")
    return raw


def _parse(text: str) -> Any:
    """Read YAML in which no key is given twice.

    Raises:
        yaml.YAMLError, ValueError: naming the lines.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_twice(node, "", set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_twice(node: yaml.Node, around: str, seen: set[yaml.Node]) -> None:
    """Of two equal keys, YAML takes the later one and says nothing."""
    if node in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(node)  # which aliases may name many times
    lines: dict[str, int] = {}
    for part in node.value:
        if isinstance(node, yaml.SequenceNode):
            _refuse_twice(part, around, seen)
            continue
        key, value = part
        name, line = f"{around}{key.value}", key.start_mark.line + 1
        if name in lines and key.tag != "tag:yaml.org,2002:merge":
            raise ValueError(f"{name} is given twice, in lines {lines[name]} and {line}")
        lines[name] = line
        _refuse_twice(value, f"{name}.", seen)


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
        if not is_remote(value) and not matches(str(ROOT / value)):
            raise ParamsError(f"{key}: no file matches {value!r} (seen from {ROOT})")


def find_file(path: str | Path) -> Path:
    """The absolute path of a parameter file, seen from the working directory or the project.

    Raises:
        ParamsError: when it is at neither place, with the nearest name.
    """
    for candidate in (Path(expanded(str(path))), ROOT / path):
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
    node[last] = _value(key, value)


def _value(key: str, text: str) -> Any:
    """What ``--set`` gives: YAML, but paths as they are written, whatever YAML would make of them.

    Raises:
        ParamsError: where a key is given twice within it.
    """
    quoted = len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]
    if key in PATHS and text not in ("", "null") and not quoted:
        return text
    try:
        return _parse(text)
    except yaml.YAMLError:
        return text
    except (ValueError, RecursionError) as error:
        raise ParamsError(f"--set {key}={text}: {error}") from None


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
