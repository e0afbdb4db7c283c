"""Pictures of one video: its frames as a heat map, and its tags over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from yt8m_lib.report.canvas import canvas

SHOWN = 128  # features of a stream that are drawn
TAGS = 4


def draw_frames(arrays: Mapping[str, np.ndarray]) -> Figure:
    """A video's frames as a heat map: seconds to the right, the first features of each stream down.

    Args:
        arrays: [T, D] of each stream, by its name.
    """
    figure, plots = canvas(rows=8, columns=[1] * len(arrays))
    for axes, (name, array) in zip(plots, arrays.items(), strict=True):
        shown = array[:, :SHOWN].T
        reach = np.quantile(np.abs(shown), 0.99)
        axes.imshow(shown, aspect="auto", cmap="RdBu", vmin=-reach, vmax=reach)
        axes.set_title(f"{name}: {min(SHOWN, array.shape[1])} of {array.shape[1]} features")
        axes.set_xlabel("second")
    return figure


def draw_tags_over_time(stretches: Sequence[Mapping[str, Any]]) -> Figure:
    """The confidence of a video's most confident tags in each of its stretches.

    Args:
        stretches: of one video, as ``yt8m predict --window ... --output FILE.json`` writes them.
    """
    best: dict[str, dict[float, float]] = {}
    for stretch in stretches:
        middle = (stretch["start"] + stretch["end"]) / 2
        for tag in stretch["tags"]:
            best.setdefault(tag["tag"], {})[middle] = tag["confidence"]
    ordered = sorted(best, key=lambda tag: -max(best[tag].values()))[:TAGS]
    figure, (axes,) = canvas(rows=8)
    for tag in ordered:
        axes.plot(list(best[tag]), list(best[tag].values()), marker="o", markersize=3, label=tag)
    axes.set_ylim(0, 1)
    axes.set_xlabel("second, middle of the stretch")
    axes.set_ylabel("confidence")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
