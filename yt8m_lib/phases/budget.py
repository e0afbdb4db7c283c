"""The best model of so many bytes, from what an experiment has finished: nothing is trained again.

Candidates are the students as their codecs stored them, each under the name of its run; a parameter
file that compares codecs gives a student several sizes to choose from.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from yt8m_lib import models
from yt8m_lib.experiment.answers import LABEL_COUNTS, MODEL, PREDICTIONS, STORED
from yt8m_lib.experiment.runs import FinishedRun
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.methods import codecs, ensembling, export, sizes, weight_search
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.ensembling import EnsembleError
from yt8m_lib.methods.export import BudgetError
from yt8m_lib.methods.weight_search import SearchResult
from yt8m_lib.phases import serving
from yt8m_lib.report.seeds import over_repeats
from yt8m_lib.scoring.intervals import Estimate, gap_estimate
from yt8m_lib.scoring.predictions import Predictions, report_half
from yt8m_lib.settings import Params

SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the largest budget of the curve


class Candidates:
    """The finished students of an experiment, as they are stored.

    Args:
        experiment: opened to be read.

    Raises:
        EnsembleError: when no student is finished.
    """

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.runs: dict[str, FinishedRun] = experiment.finished("quantization")
        if not self.runs:
            raise EnsembleError(
                f"{experiment.params.experiment} has no finished student: run it first, or up to "
                "its phase quantization"
            )
        self.answers = {
            name: Predictions.load(run.file(f"{PREDICTIONS}.npz"))
            for name, run in self.runs.items()
        }
        graph = _graph_bytes(experiment)
        self.sizes = {
            name: int(run.metrics["size_bytes"]) + graph for name, run in self.runs.items()
        }

    def shipped(self) -> tuple[dict[str, float], int] | None:
        """The members that the experiment's own ensemble gave weight, and its bytes on disk.

        None where that phase is not finished.
        """
        for run in self.experiment.finished("ensembling").values():
            weights = run.table("members").set_index("model")["weight"]
            return dict(weights[weights > 0]), int(run.metrics["saved_model_bytes"])
        return None

    def gap(self, weights: Mapping[str, float]) -> Estimate:
        """GAP of an ensemble's stored answers on the report half."""
        return gap_estimate(report_half(ensembling.combine(self.answers, weights)))

    def best(self, budget: int) -> SearchResult:
        """The ensemble of at most so many bytes on disk with the highest GAP, selection half."""
        return weight_search.greedy_search(self.answers, self.sizes, budget)

    def curve(self, largest: int | None = None) -> pd.DataFrame:
        """What growing budgets buy.

        Args:
            largest: the last budget; all students together where not given.

        Returns:
            A row a budget, from 1/32 of the largest on: ``budget``, ``bytes`` of the ensemble,
            ``gap`` on the report half with its interval ``gap_low`` to ``gap_high``, and
            ``members``. Budgets that nothing fits are left out.
        """
        largest, rows = largest or self.bytes_of_all(), []
        for budget in (round(share * largest) for share in SHARES):
            if min(self.sizes.values()) <= budget:
                found = self.best(budget)
                gap = self.gap(found.weights)
                low, high = gap.interval()
                nbytes = sum(self.sizes[name] for name in found.weights)
                rows.append((budget, nbytes, gap.value, low, high, ", ".join(found.weights)))
        columns = ["budget", "bytes", "gap", "gap_low", "gap_high", "members"]
        return pd.DataFrame(rows, columns=columns)

    def fill(self, budget: int, folder: str | Path) -> tuple[SearchResult, int]:
        """Write the best ensemble of at most so many bytes; returns it and its bytes on disk.

        How large a member's part of the graph is, is an estimate: where it was too small, members
        are chosen again for a little less.
        """
        allowed = budget
        while True:
            found = self.best(allowed)
            try:
                return found, self._export(found, budget, folder)
            except BudgetError as error:
                allowed -= error.over

    def _export(self, found: SearchResult, budget: int, folder: str | Path) -> int:
        """Write an ensemble as one SavedModel of at most so many bytes; returns its bytes."""
        parts, decode = [], self.experiment.params.quantization.decode
        for name in found.weights:
            student = self.experiment.plan[f"quantization/{name}"].parents["student"]
            stored = codecs.load(self.runs[name].file(STORED))
            model = models.load(self.experiment.find(student).file(MODEL))
            parts.append(Member(model, stored, decode))
        graph = EnsembleGraph(parts, list(found.weights.values()))
        params, about = self.experiment.params, {"members": found.weights}
        counts = self.experiment.find("data/data").array(LABEL_COUNTS)
        export.save(graph, folder, params, about, budget, counts)
        export.add_measured(folder, params, self.gap(found.weights))
        serving.add_mlflow(folder, params.data.streams)
        return export.bytes_on_disk(folder)

    def bytes_of_all(self) -> int:
        """Bytes of every student together, each as the experiment ships it."""
        shipped = self.experiment.params.quantization.codec
        plan = self.experiment.plan
        return sum(
            size
            for name, size in self.sizes.items()
            if plan[f"quantization/{name}"].codec == shipped
        )


def at_equal_bytes(params: Params) -> tuple[pd.DataFrame, Estimate | None]:
    """What the best members of an experiment gain on its own ensemble, at that one's bytes on disk.

    Both answer with what is stored of their members' answers.

    Returns:
        A row a finished repeat: ``repeat``, ``gap`` of the experiment's ensemble and its ``bytes``,
        ``gap best`` and ``bytes best`` of the best members, ``gain`` with its interval over videos,
        and ``members``; and the mean gain over videos and seeds, None where no repeat is finished.
    """
    rows, gains = [], []
    for repeat in Experiment(params).repeats("ensembling"):
        candidates = Candidates(Experiment(params.model_copy(update={"repeat": repeat})))
        if not (shipped := candidates.shipped()):
            continue
        weights, nbytes = shipped
        found = candidates.best(nbytes)
        before, after = candidates.gap(weights), candidates.gap(found.weights)
        gains.append(after - before)
        low, high = gains[-1].interval()
        taken, names = sum(candidates.sizes[n] for n in found.weights), ", ".join(found.weights)
        values = (before.value, nbytes, after.value, taken, gains[-1].value, low, high, names)
        rows.append((repeat, *values))
    columns = ["repeat", "gap", "bytes", "gap_best", "bytes_best", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=[*columns, "members"]), over_repeats(gains) if gains else None


def _graph_bytes(experiment: Experiment) -> int:
    """Bytes of a member's part of the graph: as in the model that was exported, if one was."""
    for run in experiment.finished("ensembling").values():
        used = (run.table("members")["weight"] > 0).sum()
        around = run.metrics["saved_model_bytes"] - run.metrics["size_bytes"]
        return round(1.1 * around / used)
    return sizes.GRAPH_BYTES
