"""The final ensemble (sec. 4.3): search its weights, export one model, measure that file."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from yt8m_lib import models
from yt8m_lib.data.records import Records
from yt8m_lib.experiment.plan import Step
from yt8m_lib.experiment.tracking import Experiment, FinishedRun, RunLog
from yt8m_lib.methods import ensembling, export, inference, quantization
from yt8m_lib.settings import FAMILIES, Params
from yt8m_lib.phases.common import forget_models, log_answers, log_gap
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions, report_half

Search = Callable[[Iterable[str]], ensembling.SearchResult]


def build(experiment: Experiment, step: Step, run: RunLog, validation: Records) -> None:
    """Search weights on the selection half, export one SavedModel, measure it on the other half."""
    params = experiment.params
    members = {
        key.split("/", 1)[1]: experiment.find(key)
        for key in step.parents
        if key.startswith("quantization/")
    }
    answers = {name: _answers(run) for name, run in members.items()}
    sizes = {name: int(r.metrics["size_bytes"]) for name, r in members.items()}
    needed = {name: size + export.GRAPH_BYTES for name, size in sizes.items()}
    budget, trials = params.ensembling.budget_bytes, params.ensembling.trials

    def search(names: Iterable[str]) -> ensembling.SearchResult:
        some, seed = {name: answers[name] for name in names}, experiment.plan.seed(step)
        return ensembling.random_search(some, needed, budget, trials, seed)

    run.say(export.which_fit(sizes, budget))
    found = search(answers)
    folder = params.folder / "model"
    size = _export(experiment, members, found.weights, folder)
    tuned, seconds = _predict_exported(folder, validation, params)
    flat = ensembling.fit_budget(needed, budget)
    log_answers(run, tuned)
    log_gap(run, "flat", ensembling.combine(answers, ensembling.flat_weights(flat)))
    log_gap(run, "class_prior", _class_prior(experiment, tuned))
    fitting = {name: answers[name] for name in answers if needed[name] <= budget}
    _log_parts(experiment, run, fitting, search)
    run.table("members", _members(found.weights, sizes))
    run.table("search", found.trials)
    run.file(folder, "model")
    run.metrics(
        **metrics.evaluate(report_half(tuned)),
        flat_bytes=sum(sizes[name] for name in flat),
        gap_selection=found.gap,
        size_bytes=sum(sizes[name] for name in found.weights),
        saved_model_bytes=size,
        inference_seconds=seconds,
    )


def _members(weights: dict[str, float], sizes: dict[str, int]) -> pd.DataFrame:
    rows = [(name, weights.get(name, 0.0), size) for name, size in sizes.items()]
    return pd.DataFrame(rows, columns=["model", "weight", "bytes"])


def _log_parts(
    experiment: Experiment, run: RunLog, answers: dict[str, Predictions], search: Search
) -> None:
    """Log what parts of the ensemble reach, and each family before and after distillation."""
    for name, part in _parts(experiment.params, list(answers)).items():
        found = search(part)
        run.metrics(**{f"gap_selection_{name}": found.gap})
        log_gap(run, name, ensembling.combine(answers, found.weights))
    for name, some in _families(experiment).items():
        log_gap(run, name, ensembling.combine(some, ensembling.flat_weights(some)))


def _parts(params: Params, names: list[str]) -> dict[str, list[str]]:
    """Which members are searched alone, to see what the others add."""
    students = params.distillation.students
    parts = {"first_round": [name for name in names if students[name].round == 1]}
    for family in FAMILIES:
        parts[f"{family}_alone"] = [
            name for name in names if params.models[students[name].model].family == family
        ]
    return {name: part for name, part in parts.items() if 0 < len(part) < len(names)}


def _families(experiment: Experiment) -> dict[str, dict[str, Predictions]]:
    """Each family's first-round students of its own teachers, and the same models before that."""
    params, groups = experiment.params, {}
    for name, student in params.distillation.students.items():
        family = params.models[student.model].family
        if student.round == 1 and student.taught_by == family:
            step = experiment.plan[f"distillation/{name}"]
            pair = {"students": step.key, "teachers": step.parents[1]}
            for kind, key in pair.items():
                group = groups.setdefault(f"{family}_{kind}", {})
                group[key] = _answers(experiment.find(key))
    return groups


def _answers(run: FinishedRun) -> Predictions:
    return Predictions.load(run.file("predictions.npz"))


def _export(
    experiment: Experiment, members: dict[str, FinishedRun], weights: dict[str, float], folder: Path
) -> int:
    params = experiment.params
    forget_models()
    parts = []
    for name in weights:
        student = experiment.find(experiment.plan[f"quantization/{name}"].parents[0])
        model = models.load(student.file("model.keras"))
        parts.append(export.Member(model, quantization.load(members[name].file("weights.npz"))))
    tagger = export.EnsembleGraph(parts, list(weights.values()))
    return export.save(tagger, folder, params, {"members": weights}, params.ensembling.budget_bytes)


def _predict_exported(
    folder: Path, validation: Records, params: Params
) -> tuple[Predictions, float]:
    """What the exported model itself answers: the reported GAP is that of the shipped file."""
    function, _ = inference.load_exported(folder)
    return inference.predict_with(
        lambda batch, _: function(frames=batch["frames"], num_frames=batch["num_frames"])[
            "predictions"
        ],
        validation.batches(params.inference_batch),
        inference.classes_kept(params),
        params.seed,
    )


def _class_prior(experiment: Experiment, like: Predictions) -> Predictions:
    """The same answer for every video: how often each class occurs in training."""
    data = experiment.find("data/data")
    counts = np.load(data.file("label_counts.npy"))
    shares = (counts / data.metrics["train_videos"]).astype(np.float32)
    order = np.argsort(-shares, kind="stable")[: like.k]
    rows = np.tile(order, (len(like), 1))
    return Predictions(
        like.ids,
        rows.astype(np.uint16),
        shares[rows],
        like.label_classes,
        like.label_offsets,
    )
