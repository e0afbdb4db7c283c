"""Which models to combine, and how much each counts (sec. 8 and 9).

Every choice here is made on the selection half of the videos, whichever videos are given, so that a
GAP on the report half stays an honest one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from yt8m_lib.scoring.metrics import POOL, gap_of_pool
from yt8m_lib.scoring.predictions import (
    Predictions,
    align,
    average,
    check_same_videos,
    selection_half,
)
from yt8m_lib.scoring.ranking import blocks, top


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search over ensemble weights found.

    Attributes:
        weights: of the members that are used, the largest first; they sum to 1.
        gap: theirs on the selection half.
        trials: one row a trial: trial, gap, best (so far), bytes, then each member's weight.
    """

    weights: dict[str, float]
    gap: float
    trials: pd.DataFrame


def best_combination(candidates: Mapping[str, Predictions], size: int = 3) -> pd.DataFrame:
    """Rank every combination of so many candidates at equal weight (sec. 8: the best three teach).

    Args:
        candidates: models' predictions of the same videos, by name.
        size: models in a combination.

    Returns:
        Columns ``members`` (tuple of names, in the order given) and ``gap`` on the selection half,
        best first; of equal ones the one that names earlier candidates.

    Raises:
        ValueError: where there are fewer candidates than that, or they differ in their videos.
    """
    names = list(candidates)
    if not 0 < size <= len(names):
        raise ValueError(f"no combination of {size} among {len(names)} models: {', '.join(names)}")
    scorer = _Scorer(list(candidates.values()))
    rows = []
    for chosen in combinations(range(len(names)), size):
        weights = np.isin(np.arange(len(names)), chosen) / size
        rows.append((tuple(names[i] for i in chosen), scorer.gap(weights)))
    table = pd.DataFrame(rows, columns=["members", "gap"])
    return table.sort_values("gap", ascending=False, kind="stable", ignore_index=True)


def flat_weights(names: Iterable[str]) -> dict[str, float]:
    """The same weight for every member, summing to 1."""
    names = list(names)
    return dict.fromkeys(names, 1 / len(names)) if names else {}


def fit_budget(
    sizes: Mapping[str, int], budget: int, order: Sequence[str] | None = None
) -> list[str]:
    """Take members in order, leaving out each that no longer fits.

    Args:
        sizes: bytes of each member.
        budget: bytes that all taken members may have together.
        order: who comes first; the order of ``sizes`` by default.

    Returns:
        Names of the members taken, in order.

    Raises:
        ValueError: where not a single one fits; names every size.
    """
    taken, total = [], 0
    for name in sizes if order is None else order:
        if total + sizes[name] <= budget:
            taken.append(name)
            total += sizes[name]
    if not taken:
        listed = ", ".join(f"{name} {sizes[name]:,}" for name in sizes)
        raise ValueError(f"no member fits into {budget:,} bytes: {listed or 'none given'}")
    return taken


def combine(members: Mapping[str, Predictions], weights: Mapping[str, float]) -> Predictions:
    """Weighted average of the members that have a weight above 0.

    Raises:
        ValueError: where a weight names no member, or no member has one.
    """
    used = {name: weight for name, weight in weights.items() if weight}
    unknown = [name for name in used if name not in members]
    if unknown or not used:
        raise ValueError(f"weights {dict(weights)} for members {', '.join(members) or '(none)'}")
    return average([members[name] for name in used], list(used.values()))


def random_search(
    members: Mapping[str, Predictions],
    sizes: Mapping[str, int],
    budget: int,
    trials: int = 500,
    seed: int = 0,
) -> SearchResult:
    """Look for the weights of the best ensemble that fits into a budget (sec. 9: 500 trials).

    Trial 0 is the flat average. The others draw fresh weights, or vary the best so far, in turn. A
    trial whose members are too large together drops those of lowest weight that do not fit.

    Args:
        members: predictions of the same videos, by name.
        sizes: bytes of each member.
        budget: bytes of a whole ensemble.
        trials: how many weightings to try.
        seed: of the draws.

    Raises:
        ValueError: where no member fits, a size is missing, or the videos differ.
    """
    missing = [name for name in members if name not in sizes]
    if missing or trials < 1:
        raise ValueError(f"{trials} trials; no size given of {', '.join(missing) or 'none'}")
    fit_budget({name: sizes[name] for name in members}, budget)  # refuse early, naming all sizes
    names = [name for name in members if sizes[name] <= budget]
    scorer = _Scorer([members[name] for name in names])
    rng = np.random.default_rng(seed)
    tried, gaps = [], []
    for trial in range(trials):
        best = tried[int(np.argmax(gaps))] if gaps else None
        tried.append(_within(_draw(rng, trial, best, len(names)), names, sizes, budget))
        gaps.append(scorer.gap(tried[-1]))
    return _result(names, sizes, np.stack(tried), np.array(gaps))


class _Scorer:
    """GAP of any weighting of M models on the selection half, at the price of one product a video.

    A video's candidates are the classes among any model's 20 best. A class that is in none of these
    could still enter the average's 20 best, in their last places; ``combine`` counts it.
    """

    def __init__(self, models: Sequence[Predictions]):
        check_same_videos(models)
        chosen = selection_half(models[0].ids)
        if not chosen.any():
            raise ValueError(f"none of {len(chosen)} videos is in the selection half")
        models = [model.select(chosen) for model in models]
        self.positives = len(models[0].label_classes)
        self.blocks = []  # of confidences [n, C, M] and whether the class is a label [n, C]
        for rows in blocks(len(models[0])):
            classes, values = align(models, rows, POOL)
            found = models[0].select(rows).labelled(classes)
            found[:, 1:] &= classes[:, 1:] > classes[:, :-1]  # the filling of a row is no hit
            self.blocks.append((values, found))

    def gap(self, weights: np.ndarray) -> float:
        """GAP of the weighted sum, weights [M]."""
        confidences, hits = [], []
        for values, found in self.blocks:
            best, highest = top(values @ weights.astype(np.float32), POOL)
            confidences.append(highest.ravel())
            hits.append(np.take_along_axis(found, best.astype(np.intp), axis=1).ravel())
        return gap_of_pool(np.concatenate(confidences), np.concatenate(hits), self.positives)


def _draw(rng: np.random.Generator, trial: int, best: np.ndarray | None, count: int) -> np.ndarray:
    """Raw weights [M] of a trial, at least one above 0."""
    if best is None:
        return np.ones(count)
    if trial % 2:  # uniform over all mixtures of a random share of the members
        weights = rng.exponential(size=count) * (rng.random(count) < rng.uniform(0.3, 1))
        return weights if weights.any() else np.ones(count)
    invited = (rng.random(count) < 0.1) * rng.exponential(1 / count, count)
    return best * rng.lognormal(0, 0.3, count) + invited


def _within(
    weights: np.ndarray, names: Sequence[str], sizes: Mapping[str, int], budget: int
) -> np.ndarray:
    """Weights [M] summing to 1, the lowest ones that do not fit the budget dropped."""
    order = [names[i] for i in np.argsort(-weights, kind="stable") if weights[i] > 0]
    kept = fit_budget(sizes, budget, order)
    weights = np.where(np.isin(names, kept), weights, 0)
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
