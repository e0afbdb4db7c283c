"""What is done already, kept in a file, so that a killed harness does not do it again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yt8m_lib.files import write_text


class State:
    """Results of finished pieces of work by name, of one seed and size.

    Args:
        folder: where the state and what the parts leave lie.
        identity: what the results depend on; a state of another identity is begun anew.
    """

    def __init__(self, folder: Path, **identity: Any):
        self.folder, self.path = folder, folder / "state.json"
        self.identity, self.done = identity, {}
        if self.path.exists():
            kept = json.loads(self.path.read_text())
            if kept["identity"] == identity:
                self.done = kept["done"]

    def __contains__(self, name: str) -> bool:
        return name in self.done

    def keep(self, name: str, result: Any) -> Any:
        """Write down a result, whole; returns it."""
        self.done[name] = result
        write_text(self.path, json.dumps({"identity": self.identity, "done": self.done}, indent=1))
        return result

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of a piece of work: what is kept, or else of doing it now."""
        return self.done[name] if name in self.done else self.keep(name, work())

    def under(self, prefix: str) -> dict[str, Any]:
        """All results whose names start so."""
        return {name: result for name, result in self.done.items() if name.startswith(prefix)}
