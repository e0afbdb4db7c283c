"""The pictures beside the tables: one function a picture, data in, a Matplotlib figure out.

Intervals are 95 %, effects stand against a line at zero, and what the paper found is a light bar or
line behind ours.
"""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yt8m_lib.families import FAMILIES
from yt8m_lib.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    LINES,
    ORANGE,
    PAPER,
    PINK,
    SKY,
    YELLOW,
    add_legend,
    canvas,
    draw_published,
    draw_ranges,
    family_colours,
    name_rows,
    styles,
)
from yt8m_lib.report.claims import CLAIMS, Claim, by_family
from yt8m_lib.report.question_figures import draw_asked, draw_ladder

VERDICTS = {"reproduced": GREEN, "opposite": ORANGE, "no effect": BLUE, "undecided": GREY}
FARTHEST = 0.05  # effect on GAP at the ends of an axis of claims


def draw_averaging(table: pd.DataFrame) -> Figure:
    """Table 1: gain of averaging, over the teacher and over the same training without it."""
    figure, (axes,) = canvas(rows=len(table))
    gains = {family: c for family, c in by_family(1).items() if c.direction == "gain"}
    for claim in {claim.published: claim for claim in gains.values()}.values():
        claimed = [family for family, c in gains.items() if c.published == claim.published]
        titles = " and ".join(FAMILIES[family].title for family in claimed)
        rows = np.flatnonzero(table["family"].isin(claimed))
        draw_published(axes, rows, claim.published, f"paper, {titles}: {claim.paper}")
    colours = family_colours(table["family"])
    draw_ranges(axes, table, "gain", colours, shift=-0.13, label="over the model before")
    draw_ranges(axes, table, "gain_over_control", colours, 0.13, "over the control", filled=False)
    name_rows(axes, table["model"], table.get("verdict"))
    axes.set_xlabel("gain in GAP")
    add_legend(figure, axes)
    return figure


def draw_distillation(table: pd.DataFrame) -> Figure:
    """Table 3: gain of each student over the same architecture trained on labels alone."""
    figure, (axes,) = canvas(rows=len(table))
    first, claim = np.flatnonzero(table["round"] == 1), CLAIMS["6-model"]
    draw_published(axes, first, claim.published, f"paper, one architecture: {claim.paper}")
    colours = family_colours(table["family"])
    for number, part in table.reset_index(drop=True).groupby("round"):
        chosen = [colours[i] for i in part.index]
        draw_ranges(axes, part, "gain", chosen, 0, f"round {number}", filled=number == 1)
    name_rows(axes, table["model"], table.get("verdict"))
    axes.set_xlabel("gain in GAP")
    add_legend(figure, axes)
    return figure


def draw_quantization(table: pd.DataFrame) -> Figure:
    """Table 2: change of GAP, size and inference time, stored against float32."""
    figure, axes = canvas(rows=len(table), columns=[2, 1, 1])
    colours = [BLUE if codec == "linear" else YELLOW for codec in table["codec"]]
    draw_ranges(axes[0], table, "gap_change", colours, 0, interval="change")
    papers = {"size_ratio": 0.25, "on_call_ratio": 1.065}
    for plot, (column, paper) in zip(axes[1:], papers.items(), strict=True):
        plot.axvline(1, color=GREY, linewidth=0.8)
        plot.axvline(paper, color=PAPER, linewidth=5, label=f"paper: {paper}")
        plot.scatter(table[column], range(len(table)), c=colours, zorder=3)
    axes[2].scatter(
        table["time_ratio"], range(len(table)), c="white", edgecolors=colours, zorder=3,
        label="decoded once",
    )  # fmt: skip
    for plot in axes[1:]:
        plot.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    axes[2].margins(x=0.12)
    axes[1].set_xlim(0, max(1.2, 1.1 * table["size_ratio"].max()))
    name_rows(axes[0], table["model"].str.cat(table["codec"], sep=", "), ticks=4)
    for plot, words in zip(axes, ["change in GAP", "bytes", "seconds"], strict=True):
        plot.set_xlabel(words if plot is axes[0] else f"{words} / float32's")
    return figure


def draw_ensemble(table: pd.DataFrame) -> Figure:
    """Table 4: GAP of members, ensembles and baselines, and the members' weights."""
    figure, (gaps, weights) = canvas(rows=len(table), columns=[2, 1])
    together = table["model"].str.startswith("ensemble").to_numpy()
    baseline = (table["weight"].isna() & ~together).to_numpy()
    members = ~together & ~baseline
    rows = np.arange(len(table))
    lowest = table["gap"][~baseline].min()
    span = max(table["gap"].max() - lowest, 0.002)
    gaps.set_xlim(lowest - 0.25 * span, table["gap"].max() + 0.3 * span)
    for kind, colour in ((members, BLUE), (together, ORANGE), (baseline, GREY)):
        gaps.scatter(table["gap"][kind], rows[kind], color=colour, zorder=3)
    _write_gaps(gaps, table["gap"])
    weights.barh(rows[members], table["weight"][members], color=SKY, height=0.5)
    sizes = [f"\n{b / 1e6:,.1f} MB" if b == b and b else "" for b in table["bytes"]]
    name_rows(gaps, [f"{model}{size}" for model, size in zip(table["model"], sizes, strict=True)])
    for row, word in enumerate(table.get("verdict", [])):
        if isinstance(word, str):
            weights.text(0.02, row, word, transform=weights.get_yaxis_transform(), va="center")
    gaps.set_xlabel("GAP")
    weights.set_xlabel("weight")
    return figure


def _write_gaps(axes: Axes, gaps: pd.Series) -> None:
    """Write each GAP beside its point, or with an arrow where the point lies left of the plot."""
    for row, gap in enumerate(gaps):
        outside = gap < axes.get_xlim()[0]  # a baseline far below would squeeze all the others
        at = (0.01, row) if outside else (gap, row)
        axes.annotate(
            f"◂ {gap:.4f}" if outside else f"{gap:.4f}", at, (0 if outside else 7, 0),
            xycoords=axes.get_yaxis_transform() if outside else "data",
            textcoords="offset points", va="center", color=GREY if outside else "black",
        )  # fmt: skip


def draw_findings(table: pd.DataFrame) -> Figure:
    """Every claim's effect on GAP with its interval, beside what was published."""
    part = table[table["videos"] > 0].reset_index(drop=True) if len(table) else table
    figure, axes = _canvas_of_claims(part, rows=0.8)
    if len(part):
        part = part.rename(columns={"low": "effect_low", "high": "effect_high"})
        draw_ranges(axes, part, "effect", [VERDICTS[v] for v in part["verdict"]], 0)
        _name_claims(axes, part, part["verdict"])
    return figure


def draw_other_choices(table: pd.DataFrame) -> Figure:
    """Every claim's effect on GAP, and under other choices; of ``findings.other_choices``."""
    effects = [name for name in table if name.startswith("effect") and f"{name}_low" in table]
    part = table
    if len(table):  # bytes and seconds are on another scale
        part = table[~table["part"].isin(("3-size", "4"))].reset_index(drop=True)
    figure, axes = _canvas_of_claims(part, rows=1.1)
    shifts, colours = np.linspace(-0.25, 0.25, len(effects)), cycle((BLUE, ORANGE, GREEN, PINK))
    for effect, shift, colour in zip(effects, shifts, colours, strict=False):
        draw_ranges(axes, part, effect, [colour] * len(part), shift)
        label = effect.removeprefix("effect").strip() or "as is"
        axes.plot([], [], "o-", color=colour, label=label)
    if len(part):
        _name_claims(axes, part)
    add_legend(figure, axes)
    return figure


def _canvas_of_claims(part: pd.DataFrame, rows: float) -> tuple[Figure, Axes]:
    """Room for some rows a claim, each with its published effect or its margin in light."""
    figure, (axes,) = canvas(rows=rows * len(part))
    for row, name in enumerate(part["part"] if len(part) else ()):
        if CLAIMS[name].published:
            low, high = _as_published(CLAIMS[name])
            width = max(high - low, 0.0002)
            axes.barh(row, width, left=low, height=0.7, color=PAPER, zorder=0.5)
    return figure, axes


def _as_published(claim: Claim) -> tuple[float, float]:
    """From where to where an effect agrees with what was published; the margin, where that is 0."""
    if claim.direction == "no gain":
        return -FARTHEST, claim.margin
    low, high = claim.published or (0.0, 0.0)
    return (-claim.margin, claim.margin) if low == high == 0 else (low, high)


def _name_claims(axes: Axes, part: pd.DataFrame, notes: Sequence[Any] | None = None) -> None:
    """Name the rows by their claims; effects of a thousandth and of some hundredths both show."""
    texts = (text.removeprefix("... ") for text in part["text"])
    name_rows(axes, [f"{p}  {text}" for p, text in zip(part["part"], texts, strict=True)], notes)
    axes.set_xscale("symlog", linthresh=0.002, linscale=1)
    marks = [-FARTHEST, -0.01, -0.002, 0, 0.002, 0.01, FARTHEST]
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks], fontsize=8)
    axes.set_xlabel("effect on GAP, 95 % interval\n(light: as published, or the margin)")


DRAWINGS: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "averaging": draw_averaging,
    "quantization": draw_quantization,
    "distillation": draw_distillation,
    "ensemble": draw_ensemble,
    "findings": draw_findings,
    "other_choices": draw_other_choices,
    "ladder": draw_ladder,
    "asked": draw_asked,
}


def draw(name: str, table: pd.DataFrame) -> Figure | None:
    """The picture of a table by its name; None where the table has no row."""
    return DRAWINGS[name](table) if len(table) else None


# --- What happened on the way to the tables ---


def draw_learning_curves(table: pd.DataFrame) -> Figure:
    """Loss, and GAP where it was measured, after each epoch; columns model, epoch, loss, gap."""
    shown = [c for c in ("loss", "gap") if c in table and table[c].notna().any()]
    models = list(dict.fromkeys(table["model"])) if len(table) else []
    figure, axes = canvas(rows=max(6, 0.75 * len(models)), columns=[1] * max(1, len(shown)))
    for plot, column in zip(axes, shown, strict=False):
        for model, (colour, dash) in zip(models, styles(models), strict=True):
            part = table[table["model"] == model]
            plot.plot(
                part["epoch"], part[column], color=colour, linestyle=dash, label=model,
                marker="." if len(part) == 1 else None,
            )  # fmt: skip
        plot.set(xlabel="epoch", ylabel={"loss": "training loss", "gap": "GAP"}[column])
        plot.grid(axis="y", color=LINES)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    if models:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, handlelength=3)
    return figure


def draw_labels_a_video(counts: Sequence[int]) -> Figure:
    """Share of the videos with 0, 1, 2, ... labels; ``counts[n]`` videos have n."""
    figure, (axes,) = canvas(rows=6)
    counts = np.asarray(counts)
    axes.bar(range(len(counts)), 100 * counts / max(counts.sum(), 1), color=BLUE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    mean = (np.arange(len(counts)) * counts).sum() / max(counts.sum(), 1)
    axes.set(xlabel=f"labels of a video (mean {mean:.2f})", ylabel="% of the videos")
    return figure


def draw_class_frequencies(counts: Sequence[int]) -> Figure:
    """Videos of each class, most frequent first, both axes logarithmic."""
    figure, (axes,) = canvas(rows=6)
    ordered = np.sort(np.asarray(counts))[::-1]
    ordered = ordered[ordered > 0]
    axes.loglog(np.arange(1, len(ordered) + 1), ordered, ".", color=BLUE, markersize=4)
    unseen = len(counts) - len(ordered)
    words = f"; {unseen:,} of {len(counts):,} have no video" if unseen else ""
    axes.set(xlabel=f"rank of the class{words}", ylabel="videos of the class")
    axes.grid(color=LINES)
    return figure


def draw_weights_codes(values: np.ndarray, stored: np.ndarray) -> Figure:
    """One variable's values before the codec, after it, and by how much they differ."""
    values, stored = np.ravel(values), np.ravel(stored)
    figure, (before, error) = canvas(rows=6, columns=[3, 2])
    low, high = values.min(), values.max()
    before.hist(values, bins=128, range=(low, high), color=SKY, label="float32")
    levels, times = np.unique(stored, return_counts=True)
    words = f"stored, {len(levels):,} levels"
    before.plot(levels, times, ".", color=ORANGE, markersize=3, label=words)
    before.set(xlabel="weight", ylabel="weights of a bar, or of a level", yscale="log")
    before.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    error.hist(stored - values, bins=64, color=GREY)
    error.xaxis.set_major_locator(MaxNLocator(3))
    error.ticklabel_format(axis="x", scilimits=(-2, 3))
    error.set(xlabel="stored - float32", ylabel="weights")
    return figure


def draw_combinations(table: pd.DataFrame) -> Figure:
    """GAP of every combination of teachers, a row a family; columns members, gap, family."""
    families = table["family"] if "family" in table else pd.Series("", index=table.index)
    names = list(dict.fromkeys(families))
    figure, (axes,) = canvas(rows=2 * len(names))
    for row, (family, colour) in enumerate(zip(names, family_colours(names), strict=True)):
        part = table[families == family].sort_values("gap", ascending=False)
        axes.scatter(part["gap"], [row] * len(part), s=260, marker="|", color=colour, alpha=0.6)
        best = part.iloc[0]
        axes.scatter(best["gap"], row, s=60, color=colour, zorder=3)
        members = best["members"]
        members = members if isinstance(members, str) else " + ".join(members)
        words = f"best of {len(part)}: {members}, {best['gap']:.4f}"
        axes.text(0.01, row - 0.3, words, transform=axes.get_yaxis_transform(), fontsize=9)
    name_rows(axes, names)
    axes.set_xlabel("GAP at equal weight, selection half")
    return figure


def draw_search(table: pd.DataFrame) -> Figure:
    """GAP of every trial of the weight search and the best so far; trial 0 is the flat average."""
    figure, (axes,) = canvas(rows=6)
    flat, best = table["gap"].iloc[0], table["gap"].max()
    room = max(best - flat, 0.0005)
    axes.scatter(table["trial"], table["gap"], s=9, color=SKY, label="a trial")
    axes.step(table["trial"], table["gap"].cummax(), where="post", color=BLUE, label="best so far")
    axes.axhline(flat, color=GREY, linewidth=1, linestyle="--", label=f"flat {flat:.4f}")
    axes.set_ylim(flat - 2 * room, best + 0.3 * room)
    below = int((table["gap"] < flat - 2 * room).sum())
    words = f"trial ({below:,} of {len(table):,} lie below the picture)" if below else "trial"
    axes.set(xlabel=words, ylabel=f"GAP, selection half (best {best:.4f})")
    add_legend(figure, axes)
    return figure
