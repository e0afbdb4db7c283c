"""The benchmark measures what it says, small; no test looks at seconds."""

import json

import numpy as np
import pytest

from yt8m_lib import benchmark_commands, params
from yt8m_lib.benchmark import computing, goals, reading, scores, timing
from yt8m_lib.cli import main
from yt8m_lib.scoring import metrics

SMOKE = params.load("params/smoke.yaml")


def quiet(line):
    pass


def test_calls_take_turns_and_the_first_turn_does_not_count():
    order = []
    seconds = timing.in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "abababab" and {*seconds} == {"a", "b"}


def test_every_part_gives_figures_that_have_goals(monkeypatch):
    monkeypatch.setattr(reading, "QUICK", 12)
    monkeypatch.setattr(scores, "HOLD_OUT", 2000)
    monkeypatch.setattr(scores, "MEASURED", 2000)
    monkeypatch.setattr(scores, "PLAIN", 20)
    monkeypatch.setattr(timing, "COPIED", 2**16)
    found = timing.Found()
    for part in (scores.gap, scores.all_metrics, scores.search, scores.soft_targets):
        found.add(part(True, quiet))
    found.add(reading.reader(SMOKE, True, quiet))
    wanted = {"gap_ratio", "metrics_times_plain", "search_minutes", "reader_cached_ratio"}
    assert wanted <= {*found.figures} <= {*goals.GOALS}
    values = np.array([*found.figures.values(), *found.limits.values()])
    assert np.isfinite(values).all() and (values >= 0).all()


def test_a_step_is_held_against_its_products_and_its_traffic(monkeypatch):
    monkeypatch.setattr(computing, "LONG", {"": (4, 6), "_128": (8, 3)})
    monkeypatch.setattr(timing, "COPIED", 2**16)
    monkeypatch.setattr(timing, "SIDE", 64)
    found = computing.steps(SMOKE, ["NetVLAD-low", "LSTM-mid"], True, quiet)
    ratios = {"step_ratio_NetVLAD-low", "step_ratio_LSTM-mid", "step_ratio_LSTM-mid_128"}
    assert {*found.figures} == ratios
    assert [(row["family"], row["training"]) for row in found.rows[:3]] == [
        ("netvlad", True), ("netvlad", False), ("rnn", True),
    ]  # fmt: skip
    train = found.rows[0]
    rate = 1e9 * found.limits["products_gigaflops"]
    copied = 1e9 * found.limits["copied_gigabytes"]
    # The limits are those of the last model; the first one's ratio follows from its own.
    last = found.rows[-2]
    limit = last["flops"] / rate + last["moved"] / copied
    assert found.figures["step_ratio_LSTM-mid_128"] == pytest.approx(limit / last["seconds"])
    assert train["moved"] > 0 and train["batch"] == 4
    assert "one model after the other:" in benchmark_commands._for_the_paper(SMOKE, found)
    assert benchmark_commands._for_the_paper(SMOKE, timing.Found()) == ""


def test_plain_loops_give_the_same_gap():
    draw = np.random.default_rng(1)
    confidences = draw.random((30, 50), np.float32)
    labels = draw.random((30, 50)) < 0.1
    assert scores.plain_gap(confidences, labels) == pytest.approx(metrics.gap(confidences, labels))


def test_goals_are_judged_from_their_side():
    assert goals.GOALS["reader_ratio"].judge(0.5) == "met"
    assert goals.GOALS["reader_ratio"].judge(0.49) == "missed"
    assert goals.GOALS["help_seconds"].judge(0.49) == "met"
    assert goals.GOALS["help_seconds"].judge(0.51) == "missed"
    assert goals.GOALS["metrics_ratio"].judge(3.0) == "" == str(goals.GOALS["metrics_ratio"])
    found = timing.Found(limits={"step_seconds_NetVLAD1": 2.0, "step_seconds_RNN3": 5.0})
    goals.add_times(found)
    assert found.figures == {"step_times_gru": 2.5}


def test_the_command_prints_and_records(monkeypatch, tmp_path, capsys):
    import mlflow

    monkeypatch.setattr(scores, "HOLD_OUT", 2000)
    elsewhere = params.load("params/paper.yaml", [f"results={tmp_path}"])
    monkeypatch.setattr(benchmark_commands, "load", lambda file: elsewhere)
    main(["benchmark", "--only", "gap", "--quick"])
    printed = capsys.readouterr()
    assert "gap_ratio" in printed.out and "<= 1.9" in printed.out
    assert "[benchmark] GAP of 200 videos" in printed.err
    main(["benchmark", "--only", "gap", "--quick", "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert {"gap_ratio", "sorted_values_per_second"} <= {*figures}
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("benchmark")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2 and runs[0].data.metrics["gap_ratio"] == figures["gap_ratio"]


def test_an_unknown_model_is_refused_before_anything_is_measured(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "--models", "NetVLAD9"])
    assert "has no model 'NetVLAD9'" in capsys.readouterr().err
