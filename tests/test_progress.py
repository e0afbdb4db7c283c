"""The line that a finished step prints."""

from types import SimpleNamespace

import pytest

from yt8m_lib import params
from yt8m_lib.experiment import progress, so_far
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.settings import PHASES


class SomeDone:
    """An experiment of which some steps are finished, each after as many seconds."""

    def __init__(self, phase, running=1, **seconds):
        self.plan, self.phase = Plan(params.load("params/demo.yaml")), phase
        self._seconds, self._running = seconds, running

    def ended(self, steps):
        for step in steps:
            if step.phase in self._seconds:
                metrics = {"seconds": self._seconds[step.phase]}
                yield step, SimpleNamespace(metrics=metrics)

    def runs(self, status):
        return [None] * self._running


def line(experiment, key="teachers/NetVLAD-high", **metrics):
    return progress.line(experiment, experiment.plan[key], metrics, 21.4)


def test_a_line_says_what_was_made_and_how_far_it_is(monkeypatch):
    monkeypatch.setenv(progress.ASKED, "data,teachers,averaging")
    done = SomeDone("teachers", data=14, teachers=52)
    counted = line(done, gap=0.76808, size_bytes=2631296, size_bytes_float32=9e6)
    # Both take twice the demo's seconds, so ten averagings are to take 26 each.
    assert counted == "[18/28, about 4 min left] NetVLAD-high: GAP 0.7681, 2.6 MB, 21 s"
    assert "[18/28, about 2 min left]" in line(SomeDone("teachers", 2, data=14, teachers=52))


def test_a_notebook_by_itself_counts_its_phase(monkeypatch):
    monkeypatch.delenv(progress.ASKED, raising=False)
    done = SomeDone("ensembling", ensembling=60)
    model = {"gap": 0.7773, "size_bytes": 13.7e6, "saved_model_bytes": 15.27e6}
    assert line(done, "ensembling/ensemble", **model) == (
        "[1/1] ensemble: GAP 0.7773, 15.3 MB, 21 s"
    )


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("averaging/DBoF-mid", "DBoF-mid averaged"),
        ("quantization/FVNet-high-S1-kmeans", "FVNet-high-S1 as kmeans codes"),
        ("data/data", "data"),
    ],
)
def test_steps_have_the_names_that_people_call_them(key, title):
    done = SomeDone(key.split("/")[0])
    assert f" {title}: 21 s" in line(done, key)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "about 10 s"), (75, "about 80 s"), (600, "about 10 min"), (9000, "about 2.5 h")],
)
def test_time_is_told_no_finer_than_it_is_known(seconds, words):
    assert progress._in_words(seconds) == words


def test_the_index_shows_an_experiment_that_has_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "load", lambda file, load=params.load: load(
        file, [f"results={tmp_path}"]
    ))  # fmt: skip
    table = so_far.of("params/demo.yaml")
    assert list(table["phase"]) == list(PHASES) and set(table["best"]) == {""}
    assert table["finished"][1] == "0 of 17"
