"""The pictures beside the tables: one function a picture, data in, a Matplotlib figure out.

Colours are those of Okabe and Ito, told apart by the colour-blind too. Intervals are 95 %, effects
stand against a line at zero, and what the paper found is a light bar or line behind ours.
"""

import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from yt8m_lib.report.claims import CLAIMS

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
YELLOW, SKY, GREY = "#E69F00", "#56B4E9", "#7A7A7A"
PAPER = "#F3D9A4"  # what the paper found
COLOURS = {"netvlad": BLUE, "fvnet": ORANGE, "dbof": GREEN, "rnn": PINK}
VERDICTS = {"reproduced": GREEN, "opposite": ORANGE, "no effect": BLUE, "undecided": GREY}
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
WIDTH = 8  # inches, 800 pixels as saved


def averaging(table: pd.DataFrame) -> Figure:
    """Table 1: gain of averaging, over the teacher and over the same training without it."""
    figure, (axes,) = _canvas(rows=len(table))
    claimed = table["family"].isin(["dbof", "rnn"])
    words = f"paper, DBoF and RNN: {CLAIMS['1-dbof'].paper}"
    _paper(axes, np.flatnonzero(claimed), *CLAIMS["1-dbof"].published, words)
    colours = [COLOURS.get(family, GREY) for family in table["family"]]
    _ranges(axes, table, "gain", colours, shift=-0.13, label="over the model before")
    _ranges(axes, table, "gain_over_control", colours, 0.13, "over the control", filled=False)
    _rows(axes, table["model"], table.get("verdict"))
    axes.set_xlabel("gain in GAP")
    _legend(figure, axes)
    return figure


def distillation(table: pd.DataFrame) -> Figure:
    """Table 3: gain of each student over the same architecture trained on labels alone."""
    figure, (axes,) = _canvas(rows=len(table))
    first = np.flatnonzero(table["round"] == 1)
    words = f"paper, one architecture: {CLAIMS['6-model'].paper}"
    _paper(axes, first, *CLAIMS["6-model"].published, words)
    colours = [COLOURS.get(family, GREY) for family in table["family"]]
    for number, part in table.reset_index(drop=True).groupby("round"):
        chosen = [colours[i] for i in part.index]
        _ranges(axes, part, "gain", chosen, 0, f"round {number}", filled=number == 1)
    _rows(axes, table["model"], table.get("verdict"))
    axes.set_xlabel("gain in GAP")
    _legend(figure, axes)
    return figure


def quantization(table: pd.DataFrame) -> Figure:
    """Table 2: change of GAP, size and inference time, stored against float32."""
    figure, axes = _canvas(rows=len(table), columns=[2, 1, 1])
    colours = [BLUE if scheme == "linear" else YELLOW for scheme in table["scheme"]]
    _ranges(axes[0], table, "gap_change", colours, 0, interval="change")
    for place, (column, paper) in enumerate({"size_ratio": 0.25, "time_ratio": 1.065}.items(), 1):
        axes[place].axvline(1, color=GREY, linewidth=0.8)
        axes[place].axvline(paper, color=PAPER, linewidth=5, label=f"paper: {paper}")
        axes[place].scatter(table[column], range(len(table)), c=colours, zorder=3)
        axes[place].legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    axes[2].margins(x=0.12)
    axes[1].set_xlim(0, max(1.2, 1.1 * table["size_ratio"].max()))
    _rows(axes[0], table["model"].str.cat(table["scheme"], sep=", "), ticks=4)
    for plot, words in zip(axes, ["change in GAP", "bytes", "seconds"], strict=True):
        plot.set_xlabel(words if plot is axes[0] else f"{words} / float32's")
    return figure


def ensemble(table: pd.DataFrame) -> Figure:
    """Table 4: GAP of members, ensembles and baselines, and the members' weights."""
    figure, (gaps, weights) = _canvas(rows=len(table), columns=[2, 1])
    together = table["model"].str.startswith("ensemble").to_numpy()
    baseline = (table["weight"].isna() & ~together).to_numpy()
    rows = np.arange(len(table))
    lowest = table["gap"][~baseline].min()
    span = max(table["gap"].max() - lowest, 0.002)
    gaps.set_xlim(lowest - 0.25 * span, table["gap"].max() + 0.3 * span)
    for kind, colour in ((~together & ~baseline, BLUE), (together, ORANGE), (baseline, GREY)):
        gaps.scatter(table["gap"][kind], rows[kind], color=colour, zorder=3)
    for row, gap in enumerate(table["gap"]):
        outside = gap < gaps.get_xlim()[0]  # a baseline far below would squeeze all the others
        at = (0.01, row) if outside else (gap, row)
        gaps.annotate(
            f"◂ {gap:.4f}" if outside else f"{gap:.4f}", at, (0 if outside else 7, 0),
            xycoords=gaps.get_yaxis_transform() if outside else "data",
            textcoords="offset points", va="center", color=GREY if outside else "black",
        )  # fmt: skip
    members = ~together & ~baseline
    weights.barh(rows[members], table["weight"][members], color=SKY, height=0.5)
    sizes = [f"\n{b / 1e6:,.1f} MB" if b == b and b else "" for b in table["bytes"]]
    _rows(gaps, [f"{model}{size}" for model, size in zip(table["model"], sizes, strict=True)])
    for row, word in enumerate(table.get("verdict", [])):
        if isinstance(word, str):
            weights.text(0.02, row, word, transform=weights.get_yaxis_transform(), va="center")
    gaps.set_xlabel("GAP")
    weights.set_xlabel("weight")
    return figure


def findings(table: pd.DataFrame) -> Figure:
    """Every claim's effect on GAP with its interval, beside what was published."""
    part = table[table["videos"] > 0].reset_index(drop=True) if len(table) else table
    figure, axes = _claims(part, rows=0.8)
    if len(part):
        part = part.rename(columns={"low": "effect_low", "high": "effect_high"})
        _ranges(axes, part, "effect", [VERDICTS[v] for v in part["verdict"]], 0)
        _name_claims(axes, part, part["verdict"])
    return figure


def beside(table: pd.DataFrame) -> Figure:
    """Every claim's effect on GAP, and under other choices; columns as ``findings.beside`` has."""
    effects = [name for name in table if name.startswith("effect") and f"{name}_low" in table]
    part = table
    if len(table):  # bytes and seconds are on another scale
        part = table[~table["part"].isin(("3-size", "4"))].reset_index(drop=True)
    figure, axes = _claims(part, rows=1.1)
    shifts, colours = np.linspace(-0.25, 0.25, len(effects)), cycle((BLUE, ORANGE, GREEN, PINK))
    for effect, shift, colour in zip(effects, shifts, colours, strict=False):
        _ranges(axes, part, effect, [colour] * len(part), shift)
        label = effect.removeprefix("effect").strip() or "as is"
        axes.plot([], [], "o-", color=colour, label=label)
    if len(part):
        _name_claims(axes, part)
    _legend(figure, axes)
    return figure


def _claims(part: pd.DataFrame, rows: float) -> tuple[Figure, Axes]:
    """Room for so many rows a claim, each with its published effect or its margin in light."""
    figure, (axes,) = _canvas(rows=rows * len(part))
    for row, name in enumerate(part["part"] if len(part) else ()):
        if CLAIMS[name].published:
            low, high = CLAIMS[name].published
            ends = (-CLAIMS[name].margin, CLAIMS[name].margin) if low == high == 0 else (low, high)
            width = max(ends[1] - ends[0], 0.0002)
            axes.barh(row, width, left=ends[0], height=0.7, color=PAPER, zorder=0.5)
    return figure, axes


def _name_claims(axes: Axes, part: pd.DataFrame, notes: Sequence[Any] | None = None) -> None:
    """Name the rows by their claims; effects of a thousandth and of some hundredths both show."""
    texts = (text.removeprefix("... ") for text in part["text"])
    _rows(axes, [f"{p}  {text}" for p, text in zip(part["part"], texts, strict=True)], notes)
    axes.set_xscale("symlog", linthresh=0.002, linscale=1)
    marks = [-0.05, -0.01, -0.002, 0, 0.002, 0.01, 0.05]
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks], fontsize=8)
    axes.set_xlabel("effect on GAP, 95 % interval\n(light: as published, or the margin)")


def learning_curves(table: pd.DataFrame) -> Figure:
    """Loss, and GAP where it was measured, after each epoch; columns model, epoch, loss, gap."""
    shown = [c for c in ("loss", "gap") if c in table and table[c].notna().any()]
    models = list(dict.fromkeys(table["model"])) if len(table) else []
    figure, axes = _canvas(rows=max(6, 0.75 * len(models)), columns=[1] * max(1, len(shown)))
    for plot, column in zip(axes, shown, strict=False):
        for model, (colour, dash) in zip(models, _styles(models), strict=True):
            part = table[table["model"] == model]
            plot.plot(
                part["epoch"], part[column], color=colour, linestyle=dash, label=model,
                marker="." if len(part) == 1 else None,
            )  # fmt: skip
        plot.set(xlabel="epoch", ylabel={"loss": "training loss", "gap": "GAP"}[column])
        plot.grid(axis="y", color="#E6E6E6")
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    if models:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, handlelength=3)
    return figure


def labels_a_video(counts: Sequence[int]) -> Figure:
    """Share of the videos with 0, 1, 2, ... labels; ``counts[n]`` videos have n."""
    figure, (axes,) = _canvas(rows=6)
    counts = np.asarray(counts)
    axes.bar(range(len(counts)), 100 * counts / max(counts.sum(), 1), color=BLUE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    mean = (np.arange(len(counts)) * counts).sum() / max(counts.sum(), 1)
    axes.set(xlabel=f"labels of a video (mean {mean:.2f})", ylabel="% of the videos")
    return figure


def class_frequencies(counts: Sequence[int]) -> Figure:
    """Videos of each class, most frequent first, both axes logarithmic."""
    figure, (axes,) = _canvas(rows=6)
    ordered = np.sort(np.asarray(counts))[::-1]
    ordered = ordered[ordered > 0]
    axes.loglog(np.arange(1, len(ordered) + 1), ordered, ".", color=BLUE, markersize=4)
    unseen = len(counts) - len(ordered)
    words = f"; {unseen:,} of {len(counts):,} have no video" if unseen else ""
    axes.set(xlabel=f"rank of the class{words}", ylabel="videos of the class")
    axes.grid(color="#E6E6E6")
    return figure


def weights_codes(values: np.ndarray, stored: np.ndarray) -> Figure:
    """One variable's values before the codec, after it, and by how much they differ."""
    values, stored = np.ravel(values), np.ravel(stored)
    figure, (before, error) = _canvas(rows=6, columns=[3, 2])
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


def combinations(table: pd.DataFrame) -> Figure:
    """GAP of every combination of teachers, a row a family; columns members, gap, family."""
    families = table["family"] if "family" in table else pd.Series("", index=table.index)
    names = list(dict.fromkeys(families))
    figure, (axes,) = _canvas(rows=2 * len(names))
    for row, family in enumerate(names):
        part = table[families == family].sort_values("gap", ascending=False)
        colour = COLOURS.get(family, GREY)
        axes.scatter(part["gap"], [row] * len(part), s=260, marker="|", color=colour, alpha=0.6)
        best = part.iloc[0]
        axes.scatter(best["gap"], row, s=60, color=colour, zorder=3)
        members = best["members"]
        members = members if isinstance(members, str) else " + ".join(members)
        words = f"best of {len(part)}: {members}, {best['gap']:.4f}"
        axes.text(0.01, row - 0.3, words, transform=axes.get_yaxis_transform(), fontsize=9)
    _rows(axes, names)
    axes.set_xlabel("GAP at equal weight, selection half")
    return figure


def search(table: pd.DataFrame) -> Figure:
    """GAP of every trial of the weight search and the best so far; trial 0 is the flat average."""
    figure, (axes,) = _canvas(rows=6)
    flat, best = table["gap"].iloc[0], table["gap"].max()
    room = max(best - flat, 0.0005)
    axes.scatter(table["trial"], table["gap"], s=9, color=SKY, label="a trial")
    axes.step(table["trial"], table["gap"].cummax(), where="post", color=BLUE, label="best so far")
    axes.axhline(flat, color=GREY, linewidth=1, linestyle="--", label=f"flat {flat:.4f}")
    axes.set_ylim(flat - 2 * room, best + 0.3 * room)
    below = int((table["gap"] < flat - 2 * room).sum())
    words = f"trial ({below:,} of {len(table):,} lie below the picture)" if below else "trial"
    axes.set(xlabel=words, ylabel=f"GAP, selection half (best {best:.4f})")
    _legend(figure, axes)
    return figure


# --- What the pictures share --------------------------------------------------------------------


def _canvas(rows: float, columns: Sequence[int] = (1,)) -> tuple[Figure, list[Axes]]:
    """A figure of plots side by side, of such widths, with room for so many rows."""
    height = 1.3 + 0.42 * max(rows, 2)
    figure, axes = plt.subplots(
        1, len(columns), figsize=(WIDTH, height), squeeze=False, layout="constrained",
        gridspec_kw={"width_ratios": columns},
    )  # fmt: skip
    for plot in axes[0]:
        plot.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _ranges(
    axes: Axes, table: pd.DataFrame, value: str, colours: Sequence[str], shift: float,
    label: str = "", filled: bool = True, interval: str = "",
) -> None:  # fmt: skip
    """A point and its interval a row, the first row above; rows stand where the index says."""
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    interval = interval or value
    lows, highs = table[f"{interval}_low"], table[f"{interval}_high"]
    for row, colour, at, low, high in zip(
        table.index, colours, table[value], lows, highs, strict=True
    ):
        axes.hlines(row + shift, low, high, color=colour, linewidth=2, zorder=2)
        axes.plot(
            at, row + shift, "o", color=colour, markerfacecolor=colour if filled else "white",
            markersize=6, zorder=3,
        )  # fmt: skip
    if label:  # in grey: the colour tells the family, the filling what is compared
        axes.plot(
            [], [], "o-", color=GREY, markerfacecolor=GREY if filled else "white", label=label
        )


def _rows(
    axes: Axes, names: Sequence[str], notes: Sequence[Any] | None = None, ticks: int = 6
) -> None:
    """Name the rows, the first above, on every plot of the figure; notes go to the right."""
    for plot in axes.figure.axes:
        plot.set_yticks(range(len(names)), names if plot is axes else [""] * len(names))
        plot.set_ylim(len(names) - 0.4, -0.6)
        plot.tick_params(axis="y", length=0)
        plot.xaxis.set_major_locator(MaxNLocator(ticks if plot is axes else 4))
        plot.grid(axis="x", color="#E6E6E6", zorder=0)
        plot.set_axisbelow(True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}"))
    for row, note in enumerate([] if notes is None else notes):
        if isinstance(note, str):  # a verdict that a file left empty is read as not a number
            at = axes.get_yaxis_transform()
            axes.annotate(note, (1.01, row), xycoords=at, va="center", fontsize=9)


def _paper(axes: Axes, rows: Sequence[int], low: float, high: float, label: str) -> None:
    """What the paper found, a bar behind each of these rows."""
    for number, row in enumerate(rows):
        axes.barh(
            row, high - low, left=low, height=0.7, color=PAPER, zorder=0.5,
            label=None if number else label,
        )  # fmt: skip


def _legend(figure: Figure, axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=3, frameon=False)


def _styles(models: Sequence[str]) -> list[tuple[str, Any]]:
    """A colour for each kind of model (the letters its name begins with), a dash for each of it."""
    colours = cycle([BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY])
    kinds: dict[str, tuple[str, Any]] = {}
    styles = []
    for model in models:
        kind = re.match(r"[A-Za-z]*", model)[0]
        if kind not in kinds:
            kinds[kind] = (next(colours), cycle(DASHES))
        colour, dashes = kinds[kind]
        styles.append((colour, next(dashes)))
    return styles
