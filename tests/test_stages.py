"""The stage graph, by hand: what can run, what one notebook takes, what a failure leaves."""

import math
from dataclasses import dataclass

import pytest

from yt8m_lib import params
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.experiment.stages import Stages


@dataclass(frozen=True)
class Node:
    """As much of a step as the graph looks at."""

    key: str
    parent_keys: tuple[str, ...] = ()

    @property
    def phase(self):
        return self.key.split("/")[0]


A, B, C = Node("teachers/a"), Node("teachers/b"), Node("teachers/c")
AVERAGED = Node("averaging/a", ("teachers/a",))
SOFT = Node("distillation/soft", ("averaging/a", "teachers/b"))
STUDENT = Node("distillation/student", ("distillation/soft",))
GRAPH = [A, B, C, AVERAGED, SOFT, STUDENT]


def everything(ready):
    return ready


def one(ready):
    return min(ready, 1)


def keys(steps):
    return [step.key for step in steps]


def test_a_notebook_of_a_whole_phase_holds_steps_with_what_they_wait_for():
    stages = Stages(GRAPH)
    taken = []
    while steps := stages.take(everything, chains=True):
        taken.append(keys(steps))
        stages.end(steps, [], False, "")
    assert taken == [
        ["teachers/a", "teachers/b", "teachers/c"],
        ["averaging/a"],
        ["distillation/soft", "distillation/student"],
    ]
    assert not stages.waiting and not stages.failures


def test_a_step_runs_as_soon_as_its_own_parents_are_there():
    stages = Stages(GRAPH)
    first, second, third = (stages.take(one, chains=False) for _ in range(3))
    assert [keys(first), keys(second), keys(third)] == [[A.key], [B.key], [C.key]]
    assert stages.take(one, chains=False) == []
    stages.end(first, [], False, "")
    assert stages.take(one, chains=False) == [AVERAGED]
    assert stages.take(one, chains=False) == []  # soft targets wait for both
    stages.end(second, [], False, "")
    stages.end([AVERAGED], [], False, "")
    assert stages.take(one, chains=False) == [SOFT]


def test_parents_that_are_not_to_run_are_taken_as_there():
    assert Stages([STUDENT]).take(one, chains=False) == [STUDENT]


def test_a_failure_stops_what_depends_on_it_and_nothing_else():
    stages = Stages(GRAPH)
    steps = stages.take(everything, chains=True)
    stages.end(steps, [B, C], True, "b failed")  # a is finished, c was not reached
    assert stages.failures == {B.key: "b failed"}
    assert keys(stages.take(everything, chains=True)) == [C.key]
    stages.end([C], [], False, "")
    assert keys(stages.take(everything, chains=True)) == [AVERAGED.key]
    stages.end([AVERAGED], [], False, "")
    assert stages.take(everything, chains=True) == []
    assert stages.waiting == [SOFT.key, STUDENT.key]


def test_a_notebook_that_begins_nothing_is_not_tried_again_step_by_step():
    stages = Stages([A, B])
    stages.end(stages.take(everything, chains=True), [A, B], False, "no such module")
    assert set(stages.failures) == {A.key, B.key} and not stages.waiting


def test_a_notebook_that_fails_after_its_last_step_is_told_of_and_hinders_nothing():
    stages = Stages(GRAPH)
    stages.end(stages.take(everything, chains=True), [], False, "its figure")
    assert stages.failures == {"teachers": "its figure"}
    assert keys(stages.take(everything, chains=True)) == [AVERAGED.key]


@pytest.mark.parametrize("workers", [1, 2, 5, 64])
@pytest.mark.parametrize("name", ["smoke", "paper", "demo"])
def test_every_experiment_is_worked_off_in_an_order_that_can_run(name, workers):
    plan = Plan(params.load(f"params/{name}.yaml"))
    stages, done, running = Stages(plan.steps.values()), set(), []
    while True:
        while len(running) < workers:
            steps = stages.take(lambda ready: math.ceil(ready / (2 * workers)), chains=False)
            if not steps:
                break
            assert all(done.issuperset(step.parent_keys) for step in steps)
            running.append(steps)
        if not running:
            break
        ended = running.pop(0)
        stages.end(ended, [], False, "")
        done |= {step.key for step in ended}
    assert done == plan.steps.keys()
