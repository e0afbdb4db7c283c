"""Which code decides a result, as hashes: work is done again when that code changed, and only then.

A result is decided by a function and by the definitions that it reaches: those it names, those they
name, and so on through the library. Docstrings, comments, annotations and whatever is not reached
count for nothing. What is imported by name at run time (a family's layers, a codec, a record kind,
a metric) cannot be seen in the code: whoever asks adds those modules.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

PACKAGE = "yt8m_lib"
LIBRARY = Path(__file__).resolve().parent

# Settings stand in a step's own record, and the others carry results without changing them. They
# count for a root of their own, such as the report.
LEFT_OUT = tuple(
    f"{PACKAGE}.{name}"
    for name in (
        "settings", "model_settings", "data_settings", "values", "params", "families", "catalogue",
        "errors", "files", "bounded_cache", "sources", "costs", "cli", "experiment", "report",
        "data.faults", "data.nearby",
    )
)  # fmt: skip


def digest_of(value: Any) -> str:
    """A short hash of anything that JSON can write."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_digests(*roots: str) -> dict[str, str]:
    """A hash of the reached definitions of each module.

    Args:
        roots: where to start, ``module:function`` or ``module`` for all that a module defines.

    Returns:
        Hashes by module name without the package, such as ``methods.training``.

    Raises:
        ValueError: when a root is not there.
    """
    reached: dict[str, set[str]] = {}
    waiting = [_root(root) for root in roots]
    left_out = [name for name in LEFT_OUT if not any(root.startswith(name) for root in roots)]
    while waiting:
        module, name = waiting.pop()
        if name in reached.setdefault(module, set()):
            continue
        reached[module].add(name)
        found = _module(module).references(name)
        waiting += [place for place in found if not _is_in(place[0], left_out)]
    return {
        module.removeprefix(f"{PACKAGE}."): digest_of(_module(module).dumps(names))
        for module, names in sorted(reached.items())
    }


def _root(root: str) -> tuple[str, str]:
    module, _, name = root.partition(":")
    if _file(module) is None or (name and name not in _module(module).definitions):
        raise ValueError(f"there is no code {root!r}")
    return module, name or WHOLE


def _is_in(module: str, names: list[str]) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in names)


WHOLE = "*"  # stands for all definitions of a module
_ALWAYS = "(always)"  # statements that run when a module is imported


class _Module:
    """One module's definitions, and what each of them names.

    Attributes:
        definitions: the nodes of functions, classes and assigned names at the module's top.
        imports: what each imported name stands for, as a dotted path.
    """

    def __init__(self, name: str, source: str):
        tree = _WithoutCosts().visit(ast.parse(source))
        self.name, self._source, self._body = name, source, tree.body
        self.definitions: dict[str, list[ast.stmt]] = {_ALWAYS: []}
        self.imports: dict[str, str] = {}
        self._references: dict[str, frozenset[tuple[str, str]]] = {}
        self._dumps: dict[int, str] = {}
        for statement in tree.body:
            for defined in _names_defined_by(statement):
                self.definitions.setdefault(defined, []).append(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = ((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)
                self.imports |= dict(names)
            elif isinstance(node, ast.Import):
                self.imports |= {a.asname: a.name for a in node.names if a.asname}

    def nodes(self, name: str) -> list[ast.stmt]:
        """The statements behind a name; those of the whole module for ``WHOLE``."""
        if name == WHOLE:
            return [node for nodes in self.definitions.values() for node in nodes]
        return self.definitions.get(name, [])

    def references(self, name: str) -> frozenset[tuple[str, str]]:
        """The definitions, in this module and in others, that a definition names.

        Annotations count here: what a function is handed is known by nothing else.
        """
        if name not in self._references:
            self._references[name] = frozenset(self._find_references(name))
        return self._references[name]

    def _find_references(self, name: str) -> Iterator[tuple[str, str]]:
        yield self.name, _ALWAYS
        if name in self.imports and name not in self.definitions:  # only passed on by this module
            yield from _resolved(self.imports[name])
        for node in self.nodes(name):
            for path in _paths(node, frozenset()):
                first, *rest = path.split(".")
                if first in self.definitions:
                    yield self.name, first
                elif first in self.imports:
                    yield from _resolved(".".join([self.imports[first], *rest]))

    def dumps(self, names: set[str]) -> list[str]:
        """The code of definitions, without what decides no result."""
        nodes = {id(node): node for name in names for node in self.nodes(name)}
        return sorted(self._dump(node) for node in nodes.values())

    def _dump(self, node: ast.stmt) -> str:
        if id(node) not in self._dumps:
            self._dumps[id(node)] = digest_of(ast.dump(_Plain().visit(self._twins[id(node)])))
        return self._dumps[id(node)]

    @cached_property
    def _twins(self) -> dict[int, ast.stmt]:
        """Each statement once more, to be changed: parsing again is faster than copying."""
        again = _WithoutCosts().visit(ast.parse(self._source)).body
        return {id(node): twin for node, twin in zip(self._body, again, strict=True)}


class _WithoutCosts(ast.NodeTransformer):
    """Takes out each ``cost`` and ``..._cost``: what equations need is counted, not computed."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return None if f"_{node.name}".endswith("_cost") else self.generic_visit(node)


class _Plain(ast.NodeTransformer):
    """Takes out what decides no result: docstrings, and annotations of arguments and returns."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
            if isinstance(node, ast.FunctionDef):
                node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return self.generic_visit(node)


def _names_defined_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom) or _is_text(statement):
        return []
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return [_ALWAYS]


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, or a text that nobody reads."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _paths(node: ast.AST, local: frozenset[str]) -> Iterator[str]:
    """Every name in a piece of code with its attributes, such as ``models.build``.

    Arguments and variables of a function are left out, whatever else may have their name.
    """
    if isinstance(node, ast.Attribute | ast.Name):
        names, inner = [], node
        while isinstance(inner, ast.Attribute):
            names.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            if inner.id not in local:
                yield ".".join([inner.id, *reversed(names)])
        else:
            yield from _paths(inner, local)
        return
    inside = local | _own_names(node) if isinstance(node, ast.FunctionDef | ast.Lambda) else local
    for child in ast.iter_child_nodes(node):
        # Annotations and defaults are read outside of the function.
        yield from _paths(child, local if isinstance(child, ast.arguments) else inside)


def _own_names(function: ast.FunctionDef | ast.Lambda) -> set[str]:
    """Arguments and variables of a function."""
    body = function.body if isinstance(function.body, list) else [function.body]
    return {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)} | {
        node.id
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _resolved(path: str) -> Iterator[tuple[str, str]]:
    """The module and the definition in it that a dotted path of this library names."""
    if path.split(".")[0] != PACKAGE:
        return
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if _file(module) is not None:
            yield module, parts[length] if length < len(parts) else WHOLE
            return


@cache
def _module(name: str) -> _Module:
    return _Module(name, _file(name).read_text())


@cache
def _file(module: str) -> Path | None:
    """Where a module's code lies; None if it is no module with a file."""
    if module.split(".")[0] != PACKAGE:  # registered from elsewhere, such as a test
        file = getattr(sys.modules.get(module), "__file__", None)
        return Path(file) if file else None
    path = LIBRARY.joinpath(*module.split(".")[1:])
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def forget() -> None:
    """Read all code anew at the next question, as after an edit in a running notebook."""
    for cached in (code_digests, _module, _file):
        cached.cache_clear()
