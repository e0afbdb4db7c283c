"""The final ensemble (sec. 4.3): search its weights, export one model, measure that file.

Weights are chosen on the members' stored answers, each video's best classes. What is reported and
compared is measured in one way only: full answers of all classes, averaged, then cut. The tuned
ensemble's are the exported file's own; the flat one's and the parts' come from the same members.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from yt8m_lib import families, models
from yt8m_lib.data.records import Records, in_order
from yt8m_lib.experiment import answers as names
from yt8m_lib.experiment import registry
from yt8m_lib.experiment.runs import FinishedRun, RunLog
from yt8m_lib.experiment.steps import StudentStep
from yt8m_lib.methods import codecs, ensembling, export, inference, sizes, weight_search
from yt8m_lib.methods.ensemble_graph import EnsembleGraph, Member
from yt8m_lib.methods.exported import ExportedModel
from yt8m_lib.phases import ladder, serving
from yt8m_lib.phases.measuring import log_answers, log_gap
from yt8m_lib.phases.training import forget_models
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.intervals import gap_estimate
from yt8m_lib.scoring.predictions import Predictions, report_half
from yt8m_lib.settings import Params

Search = Callable[[Iterable[str]], weight_search.SearchResult]


def build(run: RunLog, validation: Records) -> None:
    """Search weights on the selection half, export one SavedModel, measure it on the other half."""
    params, settings = run.params, run.step.settings
    folder = params.folder / "model"
    export.check_place(folder)
    members = run.parents("members")
    answers = {name: _answers(member) for name, member in members.items()}
    stored = {name: int(member.metrics["size_bytes"]) for name, member in members.items()}
    needed = {name: size + sizes.GRAPH_BYTES for name, size in stored.items()}
    budget, trials = settings.budget_bytes, settings.trials

    def search(some: Iterable[str]) -> weight_search.SearchResult:
        chosen = {name: answers[name] for name in some}
        return weight_search.random_search(chosen, needed, budget, trials, run.seed)

    run.say(sizes.which_fit(stored, budget))
    found = search(answers)
    _export(run, members, found.weights, folder)
    tuned, seconds = _predict_exported(folder, validation, params)
    flat = ensembling.fit_budget(needed, budget)
    log_answers(run, tuned)
    log_gap(run, names.CLASS_PRIOR, _class_prior(run.parent("data"), tuned))
    parts = _search_parts(run, [name for name in answers if needed[name] <= budget], search)
    picks = max(1, trials // len(answers))  # each tries every member
    otherwise = {
        names.POWELL: weight_search.powell_search(answers, needed, budget, trials),
        names.GREEDY: weight_search.greedy_search(answers, needed, budget, picks),
    }
    for name, other in otherwise.items():
        run.metrics(**{f"gap_selection_{name}": other.gap, f"{name}_bytes": _bytes(other, stored)})
        parts[name] = other.weights
    weights = {names.FLAT: ensembling.flat_weights(flat)} | parts
    for name, combined in _combined(run, members, weights, validation).items():
        # The same ensemble is the same answers: another graph's rounding would not be a difference.
        log_gap(run, name, tuned if weights[name] == found.weights else combined)
    for name, some in _families(run).items():
        log_gap(run, name, ensembling.combine(some, ensembling.flat_weights(some)))
    for name, answered, nbytes in ladder.rungs(run, answers, found.weights, _bytes(found, stored)):
        log_gap(run, name, answered)
        run.metrics(**{f"{name}_bytes": nbytes})
    run.table("members", _members(found.weights, stored))
    run.table("search", found.trials)
    _finish(folder, params, tuned)
    run.file(folder, "model")
    run.metrics(
        **metrics.evaluate(report_half(tuned)),
        flat_bytes=sum(stored[name] for name in flat),
        gap_selection=found.gap,
        size_bytes=_bytes(found, stored),
        saved_model_bytes=export.bytes_on_disk(folder),
        inference_seconds=seconds,
    )
    registry.register(run)


def _bytes(found: weight_search.SearchResult, stored: dict[str, int]) -> int:
    return sum(stored[name] for name in found.weights)


def _members(weights: dict[str, float], stored: dict[str, int]) -> pd.DataFrame:
    rows = [(name, weights.get(name, 0.0), size) for name, size in stored.items()]
    return pd.DataFrame(rows, columns=["model", "weight", "bytes"])


def _search_parts(run: RunLog, members: list[str], search: Search) -> dict[str, dict[str, float]]:
    """The best weights of parts of the ensemble, to see what the other members add."""
    found = {name: search(part) for name, part in _parts(run.params, members).items()}
    run.metrics(**{f"gap_selection_{name}": part.gap for name, part in found.items()})
    return {name: part.weights for name, part in found.items()}


def _combined(
    run: RunLog,
    members: dict[str, FinishedRun],
    combinations: dict[str, dict[str, float]],
    validation: Records,
) -> dict[str, Predictions]:
    """What several ensembles answer, as if each were exported: on all frames, from all classes."""
    forget_models()
    params = run.params.model_copy(update={"inference": "valid_frames"})
    batches = validation.batches(params.inference_batch, by_length=True)
    forward, places = {}, []
    for name in {name: None for weights in combinations.values() for name in weights}:
        model, stored = _stored_model(run, members, name)
        for variable, values in zip(model.variables, codecs.decode_weights(stored), strict=True):
            variable.assign(values)
        forward[name] = inference.mean_of([model], params, batches.element_spec)
    seed = tf.zeros([2], tf.int32)  # nothing is drawn

    def answers() -> Iterator[tuple]:
        for batch in batches:
            each = {n: m(batch, seed).numpy() for n, m in forward.items()}
            rated = {n: inference.among_rated(one, batch) for n, one in each.items()}
            places.append(batch.get("place"))
            yield batch["id"].numpy(), rated, batch["labels"].numpy()

    found = ensembling.combine_full(answers(), combinations, inference.classes_kept(params))
    return {name: each.select(in_order(places)) for name, each in found.items()}


def _parts(params: Params, members: list[str]) -> dict[str, list[str]]:
    """Which members are searched alone, to see what the others add."""
    students = params.distillation.students
    parts = {names.FIRST_ROUND: [name for name in members if students[name].round == 1]}
    for family in families.teaching():
        parts[names.alone(family)] = [
            name for name in members if params.models[students[name].model].family == family
        ]
    return {name: part for name, part in parts.items() if 0 < len(part) < len(members)}


def _families(run: RunLog) -> dict[str, dict[str, Predictions]]:
    """Each family's first-round students of its own teachers, and the same models before that."""
    groups: dict[str, dict[str, Predictions]] = {}
    for key in run.step.parents["students"]:
        student: StudentStep = run.experiment.plan[key]
        if student.round == 1 and student.taught_by == student.family:
            pair = {
                names.students_of(student.family): key,
                names.teachers_of(student.family): student.parents["before"],
            }
            for name, member in pair.items():
                group = groups.setdefault(name, {})
                group[member] = _answers(run.experiment.find(member))
    return groups


def _answers(run: FinishedRun) -> Predictions:
    return Predictions.load(run.file(f"{names.PREDICTIONS}.npz"))


def _export(
    run: RunLog, members: dict[str, FinishedRun], weights: dict[str, float], folder: Path
) -> None:
    """Write the members that have a weight as one SavedModel."""
    forget_models()
    decode = run.step.settings.decode
    parts = [Member(*_stored_model(run, members, name), decode) for name in weights]
    graph = EnsembleGraph(parts, list(weights.values()))
    budget, counts = run.step.settings.budget_bytes, run.parent("data").array(names.LABEL_COUNTS)
    export.save(graph, folder, run.params, {"members": weights}, budget, counts)


def _finish(folder: Path, params: Params, answers: Predictions) -> None:
    """Say in the exported model how good it was found to be, and let MLflow serve it."""
    export.add_measured(folder, params, gap_estimate(report_half(answers)))
    serving.add_mlflow(folder, params.data.streams)


def _stored_model(run: RunLog, members: dict[str, FinishedRun], name: str) -> tuple:
    """A member's architecture, and its weights as its codec stored them."""
    students = dict(zip(members, run.step.parents["students"], strict=True))
    model = models.load(run.experiment.find(students[name]).file(names.MODEL))
    return model, codecs.load(members[name].file(names.STORED))


def _predict_exported(
    folder: Path, validation: Records, params: Params
) -> tuple[Predictions, float]:
    """What the exported model itself answers: the reported GAP is that of the shipped file."""
    model = ExportedModel(folder)
    return inference.predict_with(
        lambda batch, _: model(batch["frames"], batch["num_frames"]),
        validation.batches(params.inference_batch, by_length=True),
        inference.classes_kept(params),
        params.seed,
    )


def _class_prior(data: FinishedRun, like: Predictions) -> Predictions:
    """The same answer for every video: how often each class occurs in training."""
    counts = data.array(names.LABEL_COUNTS)
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
