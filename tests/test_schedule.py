"""Tasks shared out among workers, on graphs small enough to be done by hand."""

import numpy as np
import pytest

from yt8m_lib import params
from yt8m_lib.experiment import schedule
from yt8m_lib.experiment.plan import Plan

# a takes 2 and everything waits for it; b, c and d go side by side; e waits for b and c.
TIMES = {"a": 2.0, "b": 3.0, "c": 5.0, "d": 4.0, "e": 1.0}
PARENTS = {"b": ("a",), "c": ("a",), "d": ("a",), "e": ("b", "c", "b")}


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        # c first, as e hangs on it: 2 to 7; then b (3 + 1 ahead), d (4 ahead), then e
        (1, {"a": 2, "c": 7, "b": 10, "d": 14, "e": 15}),
        (2, {"a": 2, "c": 7, "b": 5, "d": 9, "e": 8}),
        (3, {"a": 2, "c": 7, "b": 5, "d": 6, "e": 8}),
        (9, {"a": 2, "c": 7, "b": 5, "d": 6, "e": 8}),
    ],
)
def test_tasks_end_when_a_free_worker_takes_the_most_urgent_one(workers, expected):
    assert schedule.finish_times(TIMES, PARENTS, workers) == expected


def test_the_critical_path_is_the_longest_chain():
    assert schedule.critical_path(TIMES, PARENTS) == ["a", "c", "e"]
    assert schedule.critical_path({"a": 1.0, "b": 2.0}, {}) == ["b"]
    assert schedule.critical_path({}, {}) == []


def test_an_experiments_own_graph_keeps_to_its_bounds():
    steps = Plan(params.load("params/paper.yaml")).steps
    parents = {key: step.parent_keys for key, step in steps.items()}
    draw = np.random.default_rng(1).exponential(size=len(steps))
    times = dict(zip(steps, draw, strict=True))
    path = schedule.critical_path(times, parents)
    longest = sum(times[key] for key in path)
    assert path[-1] == "report/report"
    for workers in (1, 2, 4, 64):
        ends = schedule.finish_times(times, parents, workers)
        assert ends.keys() == steps.keys()
        for key, step in steps.items():
            assert all(ends[key] >= ends[parent] + times[key] - 1e-9 for parent in step.parent_keys)
        last, all_work = max(ends.values()), sum(times.values())
        assert max(longest, all_work / workers) <= last + 1e-9
        assert last <= all_work / workers + longest + 1e-9  # Graham's bound
    assert last == pytest.approx(longest)  # with a worker for every task


@pytest.mark.parametrize(
    ("parents", "words"), [({"a": ("b",), "b": ("a",)}, "circle: a, b"), ({"a": ("x",)}, "no task")]
)
def test_tasks_that_cannot_be_done_are_refused(parents, words):
    with pytest.raises(ValueError, match=words):
        schedule.finish_times({"a": 1.0, "b": 1.0}, parents, 2)
