"""Who does what when: tasks that wait for each other, shared out among workers. Pure functions."""

import heapq
from collections.abc import Mapping, Sequence

Parents = Mapping[str, Sequence[str]]


def finish_times(
    durations: Mapping[str, float], parents: Parents, workers: int
) -> dict[str, float]:
    """When each task ends if free workers always take the one that most still hangs on.

    That is the usual list schedule. It is not always the shortest one, but never twice as long.

    Args:
        durations: of each task, in any unit.
        parents: keys of the tasks that each task waits for.
        workers: how many tasks run at a time.

    Returns:
        By the tasks' keys, in the unit of the durations, from the start of the first.

    Raises:
        ValueError: for tasks that wait for each other in a circle, or for no known task.
    """
    urgency, children = _ahead(durations, parents), _children(durations, parents)
    missing = {key: len(set(parents.get(key, ()))) for key in durations}
    ready = [(-urgency[key], key) for key in durations if not missing[key]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    finished: dict[str, float] = {}
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, key = heapq.heappop(ready)
            heapq.heappush(running, (now + durations[key], key))
        now, key = heapq.heappop(running)
        finished[key] = now
        for child in children[key]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, (-urgency[child], child))
    return finished


def critical_path(durations: Mapping[str, float], parents: Parents) -> list[str]:
    """The longest chain of tasks that wait for each other, the first one first.

    No number of workers is done sooner than its durations' sum.
    """
    ahead, children = _ahead(durations, parents), _children(durations, parents)
    path: list[str] = []
    nexts = list(durations)
    while nexts:
        path.append(max(nexts, key=lambda key: ahead[key]))
        nexts = children[path[-1]]
    return path


def _ahead(durations: Mapping[str, float], parents: Parents) -> dict[str, float]:
    """The longest time from each task's start to the end of the last one that waits for it."""
    children, found = _children(durations, parents), {}
    for key in reversed(_in_order(durations, parents)):
        found[key] = durations[key] + max((found[child] for child in children[key]), default=0.0)
    return found


def _children(durations: Mapping[str, float], parents: Parents) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {key: [] for key in durations}
    for key in durations:
        for parent in dict.fromkeys(parents.get(key, ())):
            if parent not in children:
                raise ValueError(f"{key} waits for {parent}, which is no task")
            children[parent].append(key)
    return children


def _in_order(durations: Mapping[str, float], parents: Parents) -> list[str]:
    """All tasks, each after its parents."""
    children = _children(durations, parents)
    missing = {key: len(set(parents.get(key, ()))) for key in durations}
    order = [key for key in durations if not missing[key]]
    for key in order:  # which grows
        for child in children[key]:
            missing[child] -= 1
            if not missing[child]:
                order.append(child)
    if len(order) < len(durations):
        stuck = ", ".join(key for key in durations if key not in order)
        raise ValueError(f"these tasks wait for each other in a circle: {stuck}")
    return order
