"""What the pictures share: colours, the canvas, rows with their names and intervals.

Colours are those of Okabe and Ito, told apart by the colour-blind too.
"""

import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from yt8m_lib.families import FAMILIES

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
YELLOW, SKY, GREY, LINES = "#E69F00", "#56B4E9", "#7A7A7A", "#E6E6E6"
PAPER = "#F3D9A4"  # what the paper found
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
WIDTH = 8  # inches, 800 pixels as saved


def canvas(rows: float, columns: Sequence[int] = (1,)) -> tuple[Figure, list[Axes]]:
    """A figure of plots side by side.

    Args:
        rows: how many rows of text it has room for.
        columns: relative width of each plot.
    """
    height = 1.3 + 0.42 * max(rows, 2)
    figure, axes = plt.subplots(
        1, len(columns), figsize=(WIDTH, height), squeeze=False, layout="constrained",
        gridspec_kw={"width_ratios": columns},
    )  # fmt: skip
    for plot in axes[0]:
        plot.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def draw_ranges(
    axes: Axes, table: pd.DataFrame, value: str, colours: Sequence[str], shift: float,
    label: str = "", filled: bool = True, interval: str = "",
) -> None:  # fmt: skip
    """Draw a point and its interval for each row; a row stands where the table's index says.

    Args:
        axes: to draw on.
        table: with a column of values and their intervals' ends.
        value: the column of values.
        colours: of each row.
        shift: how far below the row's middle to draw, in rows.
        label: in the legend; "" for none.
        filled: whether the points are filled.
        interval: the ends are in ``<interval>_low`` and ``<interval>_high``; ``value`` by default.
    """
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


def name_rows(
    axes: Axes, names: Sequence[str], notes: Sequence[Any] | None = None, ticks: int = 6
) -> None:
    """Name the rows, the first above, on every plot of the figure.

    Args:
        axes: the plot that shows the names.
        names: of the rows.
        notes: a text to the right of each row; what is no text is left out.
        ticks: how many numbers its horizontal axis has at most.
    """
    for plot in axes.figure.axes:
        plot.set_yticks(range(len(names)), names if plot is axes else [""] * len(names))
        plot.set_ylim(len(names) - 0.4, -0.6)
        plot.tick_params(axis="y", length=0)
        plot.xaxis.set_major_locator(MaxNLocator(ticks if plot is axes else 4))
        plot.grid(axis="x", color=LINES, zorder=0)
        plot.set_axisbelow(True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}"))
    for row, note in enumerate([] if notes is None else notes):
        if isinstance(note, str):  # a verdict that a file left empty is read as not a number
            at = axes.get_yaxis_transform()
            axes.annotate(note, (1.01, row), xycoords=at, va="center", fontsize=9)


def draw_published(
    axes: Axes, rows: Sequence[int], published: tuple[float, float], label: str
) -> None:
    """Draw the range that the paper found as a light bar behind each of some rows."""
    low, high = published
    for number, row in enumerate(rows):
        axes.barh(
            row, high - low, left=low, height=0.7, color=PAPER, zorder=0.5,
            label=None if number else label,
        )  # fmt: skip


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of some axes above the figure, where they have anything to name."""
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=3, frameon=False)


def family_colours(families: Sequence[str]) -> list[str]:
    """The colour of each family by its name; grey where there is no such family."""
    return [FAMILIES[name].colour if name in FAMILIES else GREY for name in families]


def styles(models: Sequence[str]) -> list[tuple[str, Any]]:
    """A colour and a dash for each model.

    Models of one kind, whose names begin with the same letters, share a colour.
    """
    colours = cycle([BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY])
    kinds: dict[str, tuple[str, Any]] = {}
    found = []
    for model in models:
        kind = re.match(r"[A-Za-z]*", model)[0]
        if kind not in kinds:
            kinds[kind] = (next(colours), cycle(DASHES))
        colour, dashes = kinds[kind]
        found.append((colour, next(dashes)))
    return found
