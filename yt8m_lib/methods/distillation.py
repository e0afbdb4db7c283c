"""Distillation (sec. 3.1, 4.2): a family's best teachers predict soft targets for every video."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from yt8m_lib.data import soft_targets
from yt8m_lib.data.record_kinds import ids_of, kind_for
from yt8m_lib.data.records import Records, in_order
from yt8m_lib.data.shards import sidecar_paths
from yt8m_lib.methods import inference
from yt8m_lib.scoring.ranking import top
from yt8m_lib.settings import Params
from yt8m_lib.sources import digest_of


def write_soft_targets(
    teachers: Sequence[keras.Model],
    files: Sequence[str],
    params: Params,
    folder: str | Path,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Predict every training video with the teachers at equal weight (sec. 3.1).

    Each training shard gets a sidecar shard of the same name. It holds, for each video, the
    ``distillation.top_k`` most confident classes and their confidences as float16; a student counts
    all other classes as 0. A sidecar of these teachers and these videos is checked and kept, so
    that a call that was killed goes on where it stopped.

    Args:
        teachers: built models.
        files: the training shards.
        params: the experiment's settings.
        folder: where the sidecars go; each set of teachers needs a folder of its own.
        say: receives lines of progress.

    Returns:
        The sidecars' paths, in the order of ``files``.
    """
    sidecars = sidecar_paths(files, folder)
    tf.io.gfile.makedirs(str(folder))
    forward, made_by = None, fingerprint(teachers, params)
    for number, (file, sidecar) in enumerate(zip(files, sidecars, strict=True), 1):
        if _is_kept(sidecar, file, params, made_by, say):
            continue
        batches = Records([file], params.data).batches(params.inference_batch, by_length=True)
        forward = forward or inference.mean_of(teachers, params, batches.element_spec)
        predicted = _predict_shard(forward, batches, params)
        soft_targets.write_soft_targets(sidecar, *predicted, teachers=made_by)
        if number % max(1, len(files) // 10) == 0:
            say(f"soft targets: {number} of {len(files)} shards")
    return sidecars


def fingerprint(teachers: Sequence[keras.Model], params: Params) -> str:
    """A hash of what decides soft targets: the teachers' weights, and how they are asked."""
    total = hashlib.sha256()
    for teacher in teachers:
        for variable in teacher.variables:
            values = np.ascontiguousarray(variable.numpy())
            total.update(f"{values.dtype} {values.shape}".encode())
            total.update(values.tobytes())
        total.update(b"next teacher")
    asked = [params.inference, params.training.frames, params.distillation.top_k, params.seed]
    total.update(digest_of([asked, params.data.model_dump(mode="json")]).encode())
    return total.hexdigest()[:32]


def _is_kept(
    sidecar: str, file: str, params: Params, made_by: str, say: Callable[[str], None]
) -> bool:
    """Whether a sidecar is there and right; says what is wrong where it is not."""
    if not tf.io.gfile.exists(sidecar):
        return False
    ids = ids_of(file, kind_for(params.data))
    fault = soft_targets.fault_of(sidecar, ids, params.data.classes, made_by)
    if fault:
        say(f"{sidecar}: {fault}; predicted again")
    return not fault


def _predict_shard(
    forward: Callable, batches: tf.data.Dataset, params: Params
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids [N], most confident classes [N, k] and their confidences, float16 [N, k]."""
    top_k = params.distillation.top_k
    k = params.data.classes if top_k == "all" else min(top_k, params.data.classes)
    ids, classes, confidences, places = [], [], [], []
    for number, batch in enumerate(batches):
        best, values = top(forward(batch, tf.constant([params.seed, number])).numpy(), k)
        ids.append(batch["id"].numpy())
        classes.append(best)
        confidences.append(values.astype(np.float16))
        places.append(batch.get("place"))
    order = in_order(places)
    return tuple(np.concatenate(parts)[order] for parts in (ids, classes, confidences))
