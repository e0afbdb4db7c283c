"""Running smoke.yaml as ``make run`` does it, in processes of its own."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

from yt8m_lib import params
from yt8m_lib.data import shards
from yt8m_lib.experiment import folders
from yt8m_lib.report import tables
from yt8m_lib.settings import ROOT, Params

# Columns of the tables that measure the machine, not the model.
TIMINGS = [
    "seconds_float32", "seconds_quantized", "time_ratio", "seconds_on_call", "on_call_ratio"
]  # fmt: skip


def command(results: str | Path, *more: str) -> list[str]:
    """The command that runs smoke.yaml into a folder of results."""
    where = ["--set", f"results={results}"]
    return [sys.executable, "-m", "yt8m_lib", "run", "params/smoke.yaml", *where, *more]


def run(results: str | Path, *more: str) -> str:
    """Run it; returns what it printed."""
    done = subprocess.run(command(results, *more), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def with_blank_shards(settings: Params) -> Params:
    """Settings whose stand-in data are there, but blank: enough for steps that read none."""
    folders.prepare(settings.folder)
    (settings.folder / "data").mkdir()
    for files in shards.stand_in_shards(settings).values():
        for file in files:
            Path(file).write_bytes(b"\0" * 40)
    return settings


def tables_of(results: str | Path) -> dict[str, pd.DataFrame]:
    """The finished tables of a run, without what measures the machine."""
    settings = params.load("params/smoke.yaml", [f"results={results}"])
    return {
        name: table.drop(columns={*TIMINGS} & {*table}) for name, table in tables.read(settings)
    }


def same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> None:
    """All tables are equal, figure by figure."""
    for name in tables.TABLES:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True, obj=name)
