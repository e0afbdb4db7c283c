"""The pictures of what the paper does not say: the ladder of steps, and other ways to teach."""

import pandas as pd
from matplotlib.figure import Figure

from yt8m_lib.experiment.answers import LADDER
from yt8m_lib.report.canvas import BLUE, GREY, ORANGE, canvas, draw_ranges, name_rows
from yt8m_lib.report.questions import ASIDE


def draw_ladder(table: pd.DataFrame) -> Figure:
    """GAP after each step of the system with its interval; the gain that it brought beside it."""
    figure, (axes,) = canvas(rows=0.9 * len(table))
    for row in table.itertuples():
        colour = (
            GREY if row.step == LADDER[ASIDE] else ORANGE if row.Index == table.index[-1] else BLUE
        )
        axes.hlines(row.Index, row.gap_low, row.gap_high, color=colour, linewidth=2)
        axes.plot(row.gap, row.Index, "o", color=colour, markersize=6)
        axes.annotate(
            f"{row.gap:.4f}", (row.gap, row.Index), (0, 7), textcoords="offset points",
            ha="center", fontsize=8,
        )  # fmt: skip
    if len(table):
        gains = [f"{gain:+.4f}" if gain == gain else "" for gain in table["gain"]]
        name_rows(axes, table["step"], gains)
        seeds = table["seeds"].iloc[0]
        axes.set_xlabel(
            f"GAP on {table['videos'].iloc[0]:,} videos, 95 % interval, {seeds} "
            f"repeat{'s' if seeds > 1 else ''}\n(right: gain over the step before)"
        )
    return figure


def draw_asked(table: pd.DataFrame) -> Figure:
    """The effect of each other way of teaching on a student's GAP, with its interval."""
    table = table[table["videos"] > 0].reset_index(drop=True)  # not what is about seconds
    figure, (axes,) = canvas(rows=0.9 * len(table))
    draw_ranges(axes, table, "effect", [BLUE] * len(table), 0)
    name_rows(axes, table["question"])
    axes.set_xlabel("effect on a student's GAP, 95 % interval")
    return figure
