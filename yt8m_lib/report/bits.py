"""Pictures of what bytes buy: bits a weight against GAP, and a budget against GAP."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from yt8m_lib.report.canvas import BLUE, GREEN, GREY, ORANGE, PINK, SKY, YELLOW, add_legend, canvas
from yt8m_lib.report.claims import SMALLEST

WIDEST = 9  # bits a weight that is shown at most
COLOURS = (YELLOW, GREEN, BLUE, ORANGE, PINK, SKY, GREY, "black")


def draw_codecs(table: pd.DataFrame) -> Figure:
    """Table 2 by bits a weight: the error of the weights beside its bound, and the change of GAP.

    Dots are students, lines their mean. The bound is what no code of so many bits can beat on
    normally distributed values.
    """
    table = table[table["bits"] <= WIDEST].assign(
        kind=table["codec"].str.replace(r"_[\d.]+$", "", regex=True)
    )
    figure, (errors, changes) = canvas(rows=12, columns=[1, 1])
    bits = np.linspace(max(table["bits"].min() - 0.5, 1), WIDEST, 50)
    errors.plot(bits, 4.0**-bits, color=GREY, label="rate-distortion bound")
    for axes, column in ((errors, "relative_error"), (changes, "gap_change")):
        style = cycle(zip(COLOURS, "sDo^vP*X", strict=True))
        for (kind, rows), (colour, marker) in zip(
            table.groupby("kind", sort=False), style, strict=False
        ):
            mean = rows.groupby("codec")[["bits", column]].mean().sort_values("bits")
            axes.scatter(rows["bits"], rows[column], color=colour, s=6, alpha=0.6)
            axes.plot(
                mean["bits"],
                mean[column],
                color=colour,
                marker=marker,
                label=kind if axes is errors else "",
            )
        axes.set_xlabel("bits a weight, as stored")
    errors.set_yscale("log")
    changes.set_yscale("symlog", linthresh=2 * SMALLEST)
    changes.axhspan(-SMALLEST, SMALLEST, color=SKY, alpha=0.2)
    errors.set_ylabel("squared error / variance")
    changes.set_ylabel("change in GAP")
    add_legend(figure, errors)
    return figure


def draw_budget(table: pd.DataFrame) -> Figure:
    """What growing budgets buy: GAP against bytes."""
    figure, (axes,) = canvas(rows=10)
    megabytes = table["bytes"] / 1e6
    axes.fill_between(megabytes, table["gap_low"], table["gap_high"], color=SKY, alpha=0.3)
    axes.plot(megabytes, table["gap"], marker="o", color=BLUE)
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(FormatStrFormatter("%g"))  # 2, not 2 x 10^0
    axes.set_xlabel("MB on disk")
    axes.set_ylabel("GAP, 95 % interval")
    return figure
