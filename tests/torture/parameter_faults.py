"""Faults of parameter files, which are refused when the file is read, hours before they matter."""

from collections.abc import Callable

from torture.experiment import FILE
from torture.faults import Workshop, fault, refused

BASE = f"based_on: {FILE}\n"


def _setting(name: str, override: str, *words: str) -> Callable:
    """A fault of one setting, refused by its key."""

    @fault(name, f"`--set {override}`", "one line that names the key and the value", cheap=True)
    def check(workshop: Workshop) -> None:
        refused(workshop.here("tables", FILE, "--set", override), *words)

    check.__name__ = f"setting {override}"
    return check


_setting("negative seed", "seed=-1", "seed")
_setting("frames the wrong way round", "synthetic.frames=[10, 6]", "frames")
_setting("epochs beyond reason", "families.netvlad.epochs=1e26", "epochs")
_setting("rate that is no number", "families.netvlad.rate=.nan", "rate")
_setting("infinite rate", "families.netvlad.rate=.inf", "rate")
_setting("infinite clip norm", "training.clip_norm=.inf", "clip_norm")
_setting("unknown key", "training.fames=8", "training.fames", "frames")
_setting("text for a number", "training.frames=many", "training.frames", "many")
_setting("data beside stand-in data", "data.files=*.tfrecord", "data.files", "synthetic")
_setting("setting without a value", "training.frames", "KEY=VALUE")
_setting("setting inside a value", "seed.more=1", "seed")


def _file(name: str, done: str, content: str | bytes, *words: str) -> Callable:
    """A fault of a whole file, refused by its name."""

    @fault(name, done, "one line that names the file", cheap=True)
    def check(workshop: Workshop) -> None:
        refused(workshop.here("tables", workshop.file("odd.yaml", content)), "odd.yaml", *words)

    check.__name__ = f"file {name}"
    return check


_file("section twice", "a YAML with a section twice", f"{BASE}seed: 3\nseed: 4\n", "seed", "line")
_file(
    "model twice",
    "a YAML with a model twice",
    f"{BASE}models:\n  a: {{architecture: logistic}}\n  a: {{architecture: lstm, hidden: 4}}\n",
    "a",
    "line",
)
_file("UTF-16", "a YAML saved as UTF-16", f"{BASE}seed: 3\n".encode("utf-16"), "UTF-8")
_file("latin-1", "a YAML saved as latin-1", f"{BASE}# Übung\n".encode("latin-1"), "UTF-8")
_file("no YAML", "a YAML with an open bracket", f"{BASE}models: {{\n", "YAML")
_file("a list", "a YAML that is a list", "- seed\n", "key")
_file("empty file", "an empty YAML", "", "key")
_file("binary file", "a shard in place of the YAML", bytes(range(256)), "")


@fault("missing file", "a YAML's name misspelt", "one line with the nearest name", cheap=True)
def missing_file(workshop: Workshop) -> None:
    refused(workshop.here("tables", "params/smok.yaml"), "smok.yaml", "params/smoke.yaml")


@fault("folder for a file", "a folder in place of the YAML", "one line", cheap=True)
def folder_for_a_file(workshop: Workshop) -> None:
    refused(workshop.here("tables", workshop.folder), str(workshop.folder))


@fault("models of no phase", "`--models` without `--only`", "one line", cheap=True)
def models_of_no_phase(workshop: Workshop) -> None:
    refused(workshop.here("run", FILE, "--models", "LSTM-mid"), "--only")


@fault("budget that nothing fits", "`--set ensembling.budget_bytes=10`", "one line before any work")
def budget_that_nothing_fits(workshop: Workshop) -> None:
    more = ("--set", "ensembling.budget_bytes=10")
    refused(workshop.run(workshop.folder / "results", "--only", "data", *more), "budget")
