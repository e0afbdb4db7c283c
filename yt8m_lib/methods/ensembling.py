"""Which models to combine, and how much each counts (published system, sec. 8 and 9).

Every choice here is made on the selection half of the videos alone, so the GAP on the report half
says how good the choice is for videos that it did not see.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from yt8m_lib.errors import UserError
from yt8m_lib.scoring.metrics import POOL, gap_of_pool
from yt8m_lib.scoring.predictions import (
    Predictions,
    align,
    average,
    check_same_videos,
    selection_half,
)
from yt8m_lib.scoring.ranking import blocks, top


class EnsembleError(UserError):
    """No ensemble can be made of these models; the message says why."""


def best_combination(candidates: Mapping[str, Predictions], size: int = 3) -> pd.DataFrame:
    """Rank all combinations of ``size`` candidates at equal weight (sec. 8: the best three teach).

    Args:
        candidates: models' predictions of the same videos, by name.
        size: models in a combination.

    Returns:
        Columns ``members`` (tuple of names, in the order given) and ``gap`` on the selection half,
        the highest first. Of combinations with equal GAP, the one that names earlier candidates
        comes first.

    Raises:
        EnsembleError: when there are fewer candidates than ``size``, or no video is in the
            selection half.
        ValueError: when the candidates' videos differ.
    """
    names = list(candidates)
    if not 0 < size <= len(names):
        raise EnsembleError(
            f"no combination of {size} among {len(names)} models: {', '.join(names)}"
        )
    scorer = Scorer(list(candidates.values()))
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
    """Take members in order, passing over each one that does not fit beside those taken before.

    Args:
        sizes: bytes of each member.
        budget: bytes that all taken members may have together.
        order: names in the order in which they are tried; by default the order of ``sizes``.

    Returns:
        Names of the members taken, in that order.

    Raises:
        EnsembleError: when not a single one fits; the message gives every size.
    """
    taken, total = [], 0
    for name in sizes if order is None else order:
        if total + sizes[name] <= budget:
            taken.append(name)
            total += sizes[name]
    if not taken:
        listed = ", ".join(f"{name} {sizes[name]:,}" for name in sizes)
        raise EnsembleError(
            f"no member fits into {budget:,} bytes: {listed or 'none given'}; allow more as "
            "`ensembling.budget_bytes`"
        )
    return taken


def combine(members: Mapping[str, Predictions], weights: Mapping[str, float]) -> Predictions:
    """The weighted average of the members that have a weight above 0.

    Args:
        members: predictions of the same videos, by name.
        weights: by name; a member without one does not count.

    Raises:
        ValueError: when a weight belongs to no member, or no weight is above 0.
    """
    used = {name: weight for name, weight in weights.items() if weight}
    unknown = [name for name in used if name not in members]
    if unknown or not used:
        raise ValueError(f"weights {dict(weights)} for members {', '.join(members) or '(none)'}")
    return average([members[name] for name in used], list(used.values()))


def combine_full(
    batches: Iterable[tuple[Sequence, Mapping[str, np.ndarray], np.ndarray]],
    combinations: Mapping[str, Mapping[str, float]],
    k: int,
) -> dict[str, Predictions]:
    """Several weighted averages of the same models' full answers, each cut to its k best classes.

    That is how an exported model answers. ``combine`` gives another measure: a class that a model
    did not keep counts as 0 there, so its values stand beside those of ``combine`` alone.

    Args:
        batches: B ids, each model's confidences [B, V] by its name, and multi-hot labels [B, V].
        combinations: weights of models that sum to 1, by a name for their average.
        k: how many of each video's most confident classes to keep.

    Returns:
        The answers of each average, by its name.
    """
    parts: dict[str, list[Predictions]] = {name: [] for name in combinations}
    for ids, answers, labels in batches:
        for name, weights in combinations.items():
            mean = sum(np.float32(weight) * answers[model] for model, weight in weights.items())
            parts[name].append(Predictions.from_dense(ids, mean, labels, k))
    return {name: Predictions.concatenate(found) for name, found in parts.items()}


class Scorer:
    """The GAP on the selection half of M models at any weights, for one small product a video.

    Only the classes among some model's 20 best are looked at in a video. A class that is in no
    model's 20 best could still enter the last places of the average's 20 best; here it does not
    count, in ``combine`` it does.
    """

    def __init__(self, models: Sequence[Predictions]):
        check_same_videos(models)
        chosen = selection_half(models[0].ids)
        if not chosen.any():
            raise EnsembleError(
                f"none of the {len(chosen)} validation videos is in the selection half: more are "
                "needed"
            )
        models = [model.select(chosen) for model in models]
        self.positives = len(models[0].label_classes)
        self.blocks = []  # pairs of confidences [n, C, M] and whether the class is a label [n, C]
        for rows in blocks(len(models[0])):
            classes, values = align(models, rows, POOL)
            found = models[0].select(rows).labelled(classes)
            found[:, 1:] &= classes[:, 1:] > classes[:, :-1]  # the filling of a row is no hit
            self.blocks.append((values, found))

    def gap(self, weights: np.ndarray) -> float:
        """GAP of the models' sum at some weights [M]."""
        confidences, hits = [], []
        for values, found in self.blocks:
            best, highest = top(values @ weights.astype(np.float32), POOL)
            confidences.append(highest.ravel())
            hits.append(np.take_along_axis(found, best.astype(np.intp), axis=1).ravel())
        return gap_of_pool(np.concatenate(confidences), np.concatenate(hits), self.positives)
