"""The final ensemble (sec. 4.3): search its weights, export one model, measure that file."""

from pathlib import Path

import numpy as np
import pandas as pd

from yt8m_lib import ensembling, export, inference, metrics, models, quantization
from yt8m_lib.params import Params
from yt8m_lib.phases.common import forget_models
from yt8m_lib.plan import Step
from yt8m_lib.predictions import Predictions, report_half
from yt8m_lib.records import Records
from yt8m_lib.tracking import Experiment, Finished, RunLog


def build(experiment: Experiment, step: Step, run: RunLog, validation: Records) -> None:
    """Search weights on the selection half, export one SavedModel, measure it on the other half."""
    params = experiment.params
    members = {
        key.split("/", 1)[1]: experiment.find(key)
        for key in step.parents
        if key.startswith("quantization/")
    }
    answers = {name: Predictions.load(r.file("predictions.npz")) for name, r in members.items()}
    sizes = {name: int(r.metrics["size_bytes"]) for name, r in members.items()}
    needed = {name: size + export.GRAPH_BYTES for name, size in sizes.items()}
    budget, trials = params.ensembling.budget_bytes, params.ensembling.trials
    run.say(export.which_fit(sizes, budget))
    search = ensembling.random_search(answers, needed, budget, trials, experiment.plan.seed(step))
    flat_names = ensembling.fit_budget(needed, budget)
    flat = ensembling.combine(answers, ensembling.flat_weights(flat_names))
    folder = params.folder / "model"
    size = _export(experiment, members, search.weights, folder)
    tuned, seconds = _predict_exported(folder, validation, params)
    table = pd.DataFrame(
        [(n, search.weights.get(n, 0.0), sizes[n]) for n in members],
        columns=["model", "weight", "bytes"],
    )
    run.table("members", table)
    run.table("search", search.trials)
    run.save("predictions.npz", tuned.save)
    run.save("flat.npz", flat.save)
    run.save("class_prior.npz", _class_prior(experiment, tuned).save)
    run.file(folder, "model")
    run.metrics(
        **metrics.evaluate(report_half(tuned)),
        gap_flat=metrics.gap(report_half(flat)),
        flat_bytes=sum(sizes[name] for name in flat_names),
        gap_selection=search.gap,
        size_bytes=sum(sizes[name] for name in search.weights),
        saved_model_bytes=size,
        inference_seconds=seconds,
    )


def _export(
    experiment: Experiment, members: dict[str, Finished], weights: dict[str, float], folder: Path
) -> int:
    params = experiment.params
    forget_models()
    parts = []
    for name in weights:
        student = experiment.find(experiment.plan[f"quantization/{name}"].parents[0])
        model = models.load(student.file("model.keras"))
        parts.append(export.Member(model, quantization.load(members[name].file("weights.npz"))))
    tagger = export.Tagger(parts, list(weights.values()))
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
        inference.kept(params),
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
