"""How much each member of an ensemble counts, under a budget of bytes (sec. 9).

The paper searches at random. Two other ways take as many trials, to see what that leaves. All look
at the selection half of the videos alone.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from yt8m_lib.methods.ensembling import Scorer, fit_budget
from yt8m_lib.scoring.predictions import Predictions


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search over ensemble weights found.

    Attributes:
        weights: of the members that are used, the largest first; they sum to 1.
        gap: the GAP of that ensemble on the selection half.
        trials: a row for each trial, in the order of the search: ``trial``, ``gap``, ``best`` (the
            highest GAP so far), ``bytes``, then each member's weight under its name.
    """

    weights: dict[str, float]
    gap: float
    trials: pd.DataFrame


def random_search(
    members: Mapping[str, Predictions],
    sizes: Mapping[str, int],
    budget: int,
    trials: int = 500,
    seed: int = 0,
) -> SearchResult:
    """Look for the weights of the best ensemble that fits into a budget (sec. 9: 500 trials).

    Trial 0 is the flat average. The others draw fresh weights and vary the best weights so far, in
    turn. Where a trial's members are too large together, those of lowest weight that do not fit
    beside the others are left out.

    Args:
        members: predictions of the same videos, by name.
        sizes: bytes of each member.
        budget: bytes of a whole ensemble.
        trials: how many weightings to try.
        seed: decides the random draws.

    Raises:
        EnsembleError: when no member fits, or no video is in the selection half.
        ValueError: when a size is missing, or the videos differ.
    """
    missing = [name for name in members if name not in sizes]
    if missing or trials < 1:
        raise ValueError(f"{trials} trials; no size given of {', '.join(missing) or 'none'}")
    fit_budget({name: sizes[name] for name in members}, budget)  # refuse early, naming all sizes
    names = [name for name in members if sizes[name] <= budget]
    scorer = Scorer([members[name] for name in names])
    rng = np.random.default_rng(seed)
    tried, gaps = [], []
    for trial in range(trials):
        best = tried[int(np.argmax(gaps))] if gaps else None
        weights = _draw_weights(rng, trial, best, len(names))
        tried.append(_fitted_to_budget(weights, names, sizes, budget))
        gaps.append(scorer.gap(tried[-1]))
    return _result(names, sizes, np.stack(tried), np.array(gaps))


def greedy_search(
    members: Mapping[str, Predictions],
    sizes: Mapping[str, int],
    budget: int,
    picks: int = 40,
) -> SearchResult:
    """Fill a budget pick by pick: each time the member whose one more vote raises GAP the most.

    A member may be picked again, which raises its weight and costs no bytes; so a member whose
    bytes buy less than another's is left out. From "Ensemble selection from libraries of models"
    (Caruana et al. 2004), with a budget.

    Args:
        members: predictions of the same videos, by name; the same model may be there at several
            sizes, under several names.
        sizes: bytes of each member.
        budget: bytes of a whole ensemble.
        picks: how many votes to give at most.

    Returns:
        The best ensemble on the way; its ``trials`` has a row a pick.

    Raises:
        EnsembleError: when no member fits, or no video is in the selection half.
    """
    fit_budget({name: sizes[name] for name in members}, budget)  # refuse, naming all sizes
    names = [name for name in members if sizes[name] <= budget]
    scorer = Scorer([members[name] for name in names])
    nbytes, votes = np.array([sizes[name] for name in names]), np.zeros(len(names))
    tried, gaps = [], []
    for _ in range(picks):
        room = budget - nbytes[votes > 0].sum()
        free = np.flatnonzero((votes > 0) | (nbytes <= room))
        found = [scorer.gap((votes + np.eye(len(names))[i]) / (votes.sum() + 1)) for i in free]
        votes[free[int(np.argmax(found))]] += 1
        tried.append(votes / votes.sum())
        gaps.append(max(found))
    return _result(names, sizes, np.stack(tried), np.array(gaps))


def powell_search(
    members: Mapping[str, Predictions], sizes: Mapping[str, int], budget: int, trials: int = 500
) -> SearchResult:
    """The same search by a well-known optimiser, from the flat average: Powell's method.

    It minimises along one direction after the other and needs no gradient, which GAP does not have.

    Args:
        members: as for ``random_search``; nothing is drawn.
        sizes: as there.
        budget: as there.
        trials: weightings tried at most.

    Raises:
        EnsembleError: as ``random_search``.
    """
    fit_budget({name: sizes[name] for name in members}, budget)
    names = [name for name in members if sizes[name] <= budget]
    scorer = Scorer([members[name] for name in names])
    tried, gaps = [], []

    def lost(weights: np.ndarray) -> float:
        if len(gaps) == trials:  # the method looks at its limit between two directions alone
            raise StopIteration
        given = weights if weights.any() else np.ones(len(names))
        tried.append(_fitted_to_budget(given, names, sizes, budget))
        gaps.append(scorer.gap(tried[-1]))
        return 1 - gaps[-1]

    with suppress(StopIteration):
        minimize(lost, np.full(len(names), 0.5), method="Powell", bounds=[(0, 1)] * len(names))
    return _result(names, sizes, np.stack(tried), np.array(gaps))


def _draw_weights(
    rng: np.random.Generator, trial: int, best: np.ndarray | None, count: int
) -> np.ndarray:
    """Draw weights [M] for a trial, at least one above 0; their sum is any number.

    Args:
        rng: where the draws come from.
        trial: its number; odd ones draw fresh weights, even ones vary the best.
        best: the weights [M] with the highest GAP so far; None before the first trial.
        count: the number of members, M.
    """
    if best is None:
        return np.ones(count)
    if trial % 2:  # uniform over all mixtures of a random share of the members
        weights = rng.exponential(size=count) * (rng.random(count) < rng.uniform(0.3, 1))
        return weights if weights.any() else np.ones(count)
    invited = (rng.random(count) < 0.1) * rng.exponential(1 / count, count)
    return best * rng.lognormal(0, 0.3, count) + invited


def _fitted_to_budget(
    weights: np.ndarray, names: Sequence[str], sizes: Mapping[str, int], budget: int
) -> np.ndarray:
    """The weights [M] with 0 for members that do not fit beside heavier ones; they sum to 1."""
    order = [names[i] for i in np.argsort(-weights, kind="stable") if weights[i] > 0]
    fitting = fit_budget(sizes, budget, order)
    weights = np.where(np.isin(names, fitting), weights, 0)
    return weights / weights.sum()


def _result(
    names: Sequence[str], sizes: Mapping[str, int], tried: np.ndarray, gaps: np.ndarray
) -> SearchResult:
    best = int(np.argmax(gaps))
    order = np.argsort(-tried[best], kind="stable")
    table = {
        "trial": np.arange(len(gaps)),
        "gap": gaps,
        "best": np.maximum.accumulate(gaps),
        "bytes": (tried > 0) @ np.array([sizes[name] for name in names]),
    }
    weights = {names[i]: float(tried[best, i]) for i in order if tried[best, i] > 0}
    table |= {name: tried[:, i] for i, name in enumerate(names)}
    return SearchResult(weights, float(gaps[best]), pd.DataFrame(table))
