"""Each picture shows what its data say: the rows, the points, what the paper found."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from yt8m_lib.catalogue import CODECS
from yt8m_lib.families import FAMILIES
from yt8m_lib.report import bits, figures, tables
from yt8m_lib.report.claims import CLAIMS, Claim

MODELS = ["NetVLAD-high", "FVNet-mid", "DBoF-mid", "LSTM-mid"]
OF_MODELS = ["netvlad", "fvnet", "dbof", "rnn"]  # their families
GAIN = np.array([-0.001, 0.0005, 0.002, 0.004])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(figure):
    """The harness: a figure that renders; its texts, all together."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    return " | ".join(text for text in texts if text)


def with_interval(table, value, interval=None, at=GAIN):
    ends = {f"{interval or value}_low": at - 0.001, f"{interval or value}_high": at + 0.002}
    return table.assign(**{value: at}, **ends)


def ranges(axes):
    """Each row's interval: (height, low, high)."""
    found = []
    for collection in axes.collections:
        for (low, y), (high, _) in collection.get_segments():
            found.append((round(y), low, high))
    return sorted(found)


def points(axes):
    """Positions of the single points that stand in the axes."""
    lines = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    return [line.get_xdata()[0] for line in lines]


def test_averaging_shows_both_gains_and_the_papers():
    table = pd.DataFrame({"model": MODELS, "family": OF_MODELS, "verdict": "undecided"})
    table = with_interval(with_interval(table, "gain"), "gain_over_control", at=GAIN / 2)
    figure = figures.draw_averaging(table)
    text = drawn(figure)
    axes = figure.axes[0]
    assert all(model in text for model in MODELS) and text.count("undecided") == 4
    assert points(axes) == pytest.approx([*GAIN, *GAIN / 2])
    assert ranges(axes)[0] == (0, pytest.approx(-0.002), pytest.approx(0.001))
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + 0.35) for bar in axes.patches]
    expected = [[0.002, 0.001, 2], [0.002, 0.001, 3]]  # DBoF and RNN alone
    np.testing.assert_allclose(bars, expected)


def test_averaging_marks_the_families_that_the_paper_makes_a_claim_of(monkeypatch):
    monkeypatch.setitem(CLAIMS, "1-fvnet", Claim("it helps", "gain", (0.01, 0.02), ("fvnet",)))
    table = pd.DataFrame({"model": [*MODELS, "Toy"], "family": [*OF_MODELS, "toy"]})
    at = np.array([*GAIN, 0.003])
    figure = figures.draw_averaging(
        with_interval(with_interval(table, "gain", at=at), "gain_over_control", at=at)
    )
    text = drawn(figure)
    assert "paper, FVNet: +0.01 to +0.02" in text
    assert "paper, DBoF and RNN: +0.002 to +0.003" in text
    axes = figure.axes[0]
    assert sorted(bar.get_y() + 0.35 for bar in axes.patches) == pytest.approx([1, 2, 3])
    colours = [line.get_color() for line in axes.lines if len(line.get_xdata()) == 1][:5]
    assert colours == [*(FAMILIES[name].colour for name in OF_MODELS), "#7A7A7A"]


def test_every_table_has_a_picture():
    assert list(figures.DRAWINGS) == [*tables.TABLES, *tables.FINDINGS]


def test_distillation_marks_the_papers_range_on_the_first_round():
    table = pd.DataFrame({"model": MODELS, "family": OF_MODELS, "round": [1, 1, 1, 2]})
    figure = figures.draw_distillation(with_interval(table, "gain"))
    assert "round 2" in drawn(figure)
    axes = figure.axes[0]
    assert points(axes) == pytest.approx(GAIN)
    assert [bar.get_y() + 0.35 for bar in axes.patches] == pytest.approx([0, 1, 2])
    assert axes.patches[0].get_x() + axes.patches[0].get_width() == pytest.approx(0.002)


def test_quantization_shows_gap_size_and_time():
    table = pd.DataFrame({"model": MODELS, "codec": ["linear", "linear", "kmeans", "quantile"]})
    table = table.assign(
        size_ratio=[0.25, 0.26, 0.27, 0.28], on_call_ratio=[1.0, 1.1, 1.2, 1.3], time_ratio=1.0
    )
    figure = figures.draw_quantization(with_interval(table, "gap_change", "change"))
    assert "DBoF-mid, kmeans" in drawn(figure)
    gaps, sizes, times = figure.axes
    assert points(gaps) == pytest.approx(GAIN)
    for axes, column in ((sizes, "size_ratio"), (times, "on_call_ratio")):
        assert axes.collections[0].get_offsets()[:, 0].tolist() == table[column].tolist()
    assert times.lines[1].get_xdata()[0] == 1.065


def test_ensemble_shows_every_gap_and_the_members_weights():
    table = pd.DataFrame(
        {
            "model": [*MODELS, "ensemble (flat)", "ensemble (tuned)", "class prior"],
            "weight": [0.4, 0.3, 0.3, 0.0, 1, 1, np.nan],
            "bytes": [2e6, 3e6, 1e6, 1e6, 7e6, 7e6, np.nan],
            "gap": [0.731, 0.732, 0.701, 0.699, 0.751, 0.752, 0.31],
            "verdict": [np.nan] * 4 + ["reproduced", "no effect", np.nan],
        }
    )
    figure = figures.draw_ensemble(table)
    text = drawn(figure)
    assert all(f"{gap:.4f}" in text for gap in table["gap"])
    assert "◂ 0.3100" in text and "FVNet-mid\n3.0 MB" in text and "no effect" in text
    weights = figure.axes[1]
    assert [bar.get_width() for bar in weights.patches] == [0.4, 0.3, 0.3, 0.0]


PARTS = ["1-dbof", "1-netvlad", "3-size", "14"]  # bytes are on another scale and not drawn


def test_findings_show_each_claims_effect_and_verdict():
    table = pd.DataFrame({"part": PARTS, "text": "... it helps", "verdict": "no effect"})
    table = table.assign(videos=[9, 9, 0, 9], effect=GAIN, low=GAIN - 0.001, high=GAIN + 0.002)
    figure = figures.draw_findings(table)
    text = drawn(figure)
    axes = figure.axes[0]
    assert "1-dbof  it helps" in text and text.count("no effect") == 3 and "3-size" not in text
    assert points(axes) == pytest.approx(GAIN[[0, 1, 3]])
    published, margin = axes.patches[:2]
    assert (published.get_x(), published.get_width()) == pytest.approx((0.002, 0.001))
    assert (margin.get_x(), margin.get_width()) == pytest.approx((-0.0005, 0.001))


def test_effects_of_other_choices_stand_in_the_same_row():
    table = with_interval(pd.DataFrame({"part": PARTS, "text": "it helps"}), "effect")
    figure = figures.draw_other_choices(with_interval(table, "effect clean labels", at=2 * GAIN))
    text = drawn(figure)
    kept = GAIN[[0, 1, 3]]
    assert "clean labels" in text and "as is" in text and "3-size" not in text
    assert points(figure.axes[0]) == pytest.approx([*kept, *(2 * kept)])
    assert [row for row, _, _ in ranges(figure.axes[0])] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("columns", [["loss"], ["loss", "gap"]])
def test_learning_curves_draw_each_model_apart(columns):
    names = [f"{kind}-{i}" for kind in MODELS for i in range(3)]
    parts = [pd.DataFrame({"model": n, "epoch": [1, 2, 3], "loss": 3, "gap": 0.5}) for n in names]
    figure = figures.draw_learning_curves(pd.concat(parts)[["model", "epoch", *columns]])
    text = drawn(figure)
    assert all(name in text for name in names)
    assert [len(axes.lines) for axes in figure.axes] == [12] * len(columns)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 12


def test_learning_curves_of_nothing_are_empty():
    assert not figures.draw_learning_curves(pd.DataFrame()).axes[0].lines


def test_labels_a_video_are_shares_with_their_mean():
    figure = figures.draw_labels_a_video([0, 6, 3, 1])
    assert "mean 1.50" in drawn(figure)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0, 60, 30, 10]


def test_class_frequencies_are_ranked_and_the_unseen_counted():
    figure = figures.draw_class_frequencies([5, 0, 100, 7])
    assert "1 of 4 have no video" in drawn(figure)
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [1, 2, 3] and line.get_ydata().tolist() == [100, 7, 5]


@pytest.mark.parametrize("codec", ["linear", "quantile", "float16"])
def test_weights_are_shown_before_and_after_the_codec(codec):
    values = np.random.default_rng(0).normal(size=(100, 30)).astype(np.float32)
    stored = CODECS[codec].decode(CODECS[codec].encode(values))
    figure = figures.draw_weights_codes(values, stored)
    levels = len(np.unique(stored))
    assert f"{levels:,} levels" in drawn(figure)
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == values.size
    assert figure.axes[0].lines[0].get_ydata().sum() == values.size


@pytest.mark.parametrize("joined", [True, False])
def test_combinations_name_each_familys_best(joined):
    trios = list(combinations("abcd", 3))
    table = pd.DataFrame({"members": trios * 2, "family": ["dbof"] * 4 + ["rnn"] * 4})
    table["gap"] = [0.5, 0.7, 0.6, 0.4, 0.1, 0.2, 0.3, 0.35]
    if joined:
        table["members"] = table["members"].map(" + ".join)
    figure = figures.draw_combinations(table)
    text = drawn(figure)
    assert "best of 4: a + b + d, 0.7000" in text and "best of 4: b + c + d, 0.3500" in text
    assert [len(c.get_offsets()) for c in figure.axes[0].collections] == [4, 1, 4, 1]


def test_search_shows_trials_the_best_so_far_and_the_flat_average():
    table = pd.DataFrame({"trial": range(4), "gap": [0.70, 0.20, 0.72, 0.71]})
    figure = figures.draw_search(table)
    text = drawn(figure)
    assert "1 of 4 lie below" in text and "flat 0.7000" in text and "best 0.7200" in text
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.70, 0.70, 0.72, 0.72]
    low, high = figure.axes[0].get_ylim()
    assert low < 0.70 and high > 0.72


def test_codecs_stand_at_their_bits_beside_the_bound():
    names = ["linear", "entropy_4", "allocated_4", "nf4", "float16"]
    widths = np.array([8.0, 4.0, 4.0, 4.25, 16.0])
    table = pd.DataFrame({"model": "a", "codec": names, "bits": widths})
    table = table.assign(relative_error=4.0**-widths, gap_change=-0.001)
    figure = bits.draw_codecs(table)
    text = drawn(figure)
    kinds = ("linear", "entropy", "allocated", "nf4")
    assert all(kind in text for kind in kinds) and "float16" not in text  # beyond the picture
    errors, changes = figure.axes
    bound = errors.lines[0]
    np.testing.assert_allclose(bound.get_ydata(), 4.0 ** -bound.get_xdata())
    spots = np.concatenate([c.get_offsets() for c in errors.collections])
    assert sorted(spots[:, 0]) == sorted(widths[:-1])
    assert len(changes.collections) == 4
