"""What a run ends with on the screen: narrow tables, what came of it, and where to look next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from yt8m_lib.report import tables
from yt8m_lib.settings import Params

# Of each table the columns that fit a screen of 100 characters; the files hold them all.
NARROW = {
    "averaging": ("model", "gap_before", "gap_after", "gain", "gain_low", "gain_high", "verdict"),
    "quantization": (
        "model", "codec", "gap_quantized", "gap_change", "bytes_quantized", "size_ratio", "verdict",
    ),
    "distillation": (
        "model", "round", "gap_before", "gap_after", "gain", "gain_low", "gain_high", "verdict",
    ),
    "ensemble": ("model", "weight", "bytes", "gap", "verdict"),
}  # fmt: skip


def narrow(name: str, table: pd.DataFrame) -> str:
    """One of the four tables as text of at most 100 columns."""
    return tables.as_text(_cut(name, table))


def _cut(name: str, table: pd.DataFrame) -> pd.DataFrame:
    return table[[column for column in NARROW[name] if column in table]]


def conclusion(params: Params, compare: str) -> str:
    """What came of an experiment, in a few lines: its ensemble, its best model, the paper's claims.

    Args:
        params: of the experiment, whose tables are there.
        compare: where to look at the runs, in words.
    """
    made = dict(tables.read(params))
    lines = [*_models(params, made), *_claims(params)]
    lines += ["", f"tables and figures   {_near(params.folder / 'tables')}"]
    lines += [f"executed notebooks   {_near(params.folder / 'notebooks')}"]
    if (params.folder / "model").is_dir():
        lines.append(f"tag videos           yt8m predict {_near(params.folder / 'model')} FILES")
    lines += ["explore              make lab", "compare the runs     " + compare]
    return "\n".join(lines)


def note(params: Params) -> str:
    """The same as Markdown, with the narrow tables: what MLflow's pages of the experiment show."""
    made = dict(tables.read(params))
    parts = ["\n".join(f"- {line.strip()}" for line in [*_models(params, made), *_claims(params)])]
    for name, table in made.items():
        if len(table):
            parts += [f"**{tables.heading(name, params)}**", tables.as_markdown(_cut(name, table))]
    return "\n\n".join(parts)


def _models(params: Params, made: dict[str, pd.DataFrame]) -> Iterator[str]:
    ensemble = made["ensemble"].set_index("model")
    folder = params.folder / "model"
    if "ensemble (tuned)" in ensemble.index:
        gap = ensemble["gap"]["ensemble (tuned)"]
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        on_disk = f", {size:.1f} MB on disk as one SavedModel" if size else ""
        yield f"The ensemble has GAP {gap:.4f}{on_disk}."
    students = made["quantization"]
    if len(students):
        best = students.loc[students["gap_quantized"].idxmax()]
        size = best["bytes_quantized"] / 1e6
        gap = best["gap_quantized"]
        yield f"The best single student, {best['model']}, has {gap:.4f} in {size:.1f} MB."


def _claims(params: Params) -> Iterator[str]:
    """How many of the paper's claims came out which way."""
    file = params.folder / "tables" / "findings.csv"
    if not file.exists():
        return
    table = pd.read_csv(file, keep_default_na=False)
    if table.empty:
        return
    by_claim = table.groupby("claim")["verdict"].agg(set)
    open_ = [n for n, verdicts in by_claim.items() if "undecided" in verdicts]
    reproduced = [n for n, verdicts in by_claim.items() if verdicts == {"reproduced"}]
    others = [n for n in by_claim.index if n not in {*open_, *reproduced}]
    seeds = table["seeds"].max()
    yield f"Of the paper's claims, over {seeds} repeat{'s' if seeds > 1 else ''} of each training:"
    for words, claims in (
        ("reproduced", reproduced),
        ("not, or not in all parts", others),
        ("open: more videos or seeds would tell", open_),
    ):
        numbers = f" ({', '.join(map(str, claims))})" if claims else ""
        yield f"  {len(claims):2} {words}{numbers}"


def _near(path: Path) -> str:
    """A path as one types it: from the working directory where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
