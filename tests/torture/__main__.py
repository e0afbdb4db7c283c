"""``make torture``: kills, mutated shards, metrics by definition and faults; up to an hour.

What is done is kept in ``results/torture/`` and not done again after a kill. A whole run writes its
record to ``results/reference/torture/``; the exit status is 1 where something failed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torture import (  # noqa: F401
    data_faults,
    faults,
    kills,
    metric_cases,
    mutated_shards,
    parameter_faults,
    result_faults,
    surroundings_faults,
)
from torture.state import State
from yt8m_lib.files import write_text
from yt8m_lib.settings import ROOT
from yt8m_lib.sources import digest_of

RECORD = ROOT / "results" / "reference" / "torture"
SIZES = {  # whole, quick
    "kills": (30, 2),
    "mutated_shards": (2000, 100),
    "metric_cases": (10_000, 700),
}
PARTS = ("metric_cases", "mutated_shards", "kills", "faults")
CHUNKS = {"metric_cases": 700, "mutated_shards": 100}  # done between two looks at the state


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for; returns the exit status."""
    options = _options(arguments)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # what is broken here is nobody's own store
    sizes = {name: both[options.quick] for name, both in SIZES.items()}
    folder = ROOT / "results" / ("torture-quick" if options.quick else "torture")
    state = State(folder, seed=options.seed, code=_code())
    started = time.monotonic()
    work: dict[str, Callable[[], Any]] = {
        "metric_cases": lambda: _chunks(
            state,
            "metric_cases",
            sizes,
            lambda first, n: metric_cases.check(options.seed, first, n),
        ),
        "mutated_shards": lambda: _chunks(
            state,
            "mutated_shards",
            sizes,
            lambda first, n: mutated_shards.check(options.seed * 10_000 + first, n),
        ),
        "kills": lambda: kills.check(state, options.seed, sizes["kills"], _say),
        "faults": lambda: _faults(state, options.quick),
    }
    found = {part: work[part]() for part in PARTS if part in options.parts}
    spent = state.keep("seconds", state.done.get("seconds", 0) + time.monotonic() - started)
    failures = [failure for part in found.values() for failure in part["failures"]]
    if {*options.parts} == {*PARTS} and not options.quick:
        _write_record(found, failures, options.seed, spent)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"torture: {len(failures)} failures, {spent:.0f} s, state kept in {folder}")
    return int(bool(failures))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (1)")
    parser.add_argument("--quick", action="store_true", help="each part in small; no record")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="these alone")
    return parser.parse_args(arguments)


def _code() -> str:
    """A digest of the library and the harness: results of other code are not kept."""
    files = [
        *(ROOT / "yt8m_lib").rglob("*.py"),
        *Path(__file__).parent.iterdir(),
        *(ROOT / "notebooks").glob("*.ipynb"),
        ROOT / "params" / "smoke.yaml",
    ]
    return digest_of([file.read_text() for file in sorted(files) if file.is_file()])


def _say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def _chunks(
    state: State, name: str, sizes: dict[str, int], check: Callable[[int, int], list[str]]
) -> dict[str, Any]:
    """Go through numbered cases, a chunk at a time."""
    todo = [n for n in range(0, sizes[name], CHUNKS[name]) if f"{name} {n}" not in state]
    counts = [min(CHUNKS[name], sizes[name] - first) for first in todo]
    with ThreadPoolExecutor(2) as pool:
        for first, found in zip(todo, pool.map(check, todo, counts), strict=True):
            state.keep(f"{name} {first}", found)
            _say(f"{name} from {first} of {sizes[name]}: {len(found)} failures")
    failures = [one for found in state.under(f"{name} ").values() for one in found]
    return {"count": sizes[name], "failures": failures}


def _faults(state: State, quick: bool) -> dict[str, Any]:
    """Bring about every fault; quick: the cheap ones alone."""
    wanted = [one for one in faults.FAULTS.values() if one.cheap or not quick]
    finished = None if quick else kills.unbroken(state)
    outcomes = {}
    for number, one in enumerate(wanted, 1):
        outcome = state.once(f"fault {one.name}", lambda f=one: faults.try_out(f, finished))
        outcomes[one.name] = outcome
        _say(f"fault {number}/{len(wanted)} {one.name}: {outcome[:200]}")
    failures = [
        f"fault {name}: {outcome[8:]}. Again: faults.try_out(FAULTS[{name!r}], finished)"
        for name, outcome in outcomes.items()
        if outcome.startswith("failed")
    ]
    return {"count": len(wanted), "outcomes": outcomes, "failures": failures}


def _write_record(found: dict[str, Any], failures: list[str], seed: int, seconds: float) -> None:
    outcomes = found["faults"]["outcomes"]
    skipped = {name: how for name, how in outcomes.items() if how.startswith("skipped")}
    record = {
        **{name: found["kills"][name] for name in ("kills", "restarts", "victims", "stages")},
        "mutated_shards": found["mutated_shards"]["count"],
        "metric_cases": found["metric_cases"]["count"],
        "faults": len(outcomes) - len(skipped),
        "faults_skipped": skipped,
        "failures": len(failures),
        "seed": seed,
        "seconds": round(seconds),
        "machine": f"{os.cpu_count()} cores",
    }
    write_text(RECORD / "torture.json", json.dumps(record, indent=1) + "\n")
    write_text(RECORD / "faults.md", faults.as_markdown(outcomes))
    _say(f"the record: {RECORD}")


if __name__ == "__main__":
    sys.exit(main())
