"""What lies beside an exported model for people: ``model_card.md`` and ``labels.csv``.

The card opens with the front matter that model hubs read, then says what the model is, how good,
how large, how to call it, and what it cannot do.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from yt8m_lib.data.vocabulary import class_names
from yt8m_lib.files import write_text
from yt8m_lib.methods.signatures import name_of_floats
from yt8m_lib.scoring.intervals import Estimate
from yt8m_lib.settings import Params
from yt8m_lib.streams import YOUTUBE_8M, frames_type, width_of

CARD, LABELS = "model_card.md", "labels.csv"
LABEL_COLUMNS = ("index", "name", "train_videos")

REAL = """\
Trained on YouTube-8M (Abu-El-Haija et al., 2016), by Google, under
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/): https://research.google.com/youtube8m.
Whoever publishes this model names that source. Its labels were made by machine from what stands
beside a video, and often miss."""
STAND_IN = """\
Trained on generated videos alone, so its classes mean nothing. It shows how the system works and is
of no other use."""

USE = """\
```python
import tensorflow as tf

model = tf.saved_model.load("FOLDER")  # of this card
tag = model.signatures["serving_default"]
answer = tag(frames=frames, num_frames=num_frames)  # {frames}, int32 [B]
answer["classes"], answer["confidences"]  # [B, 20], the most confident first
```

A frame is a row, {streams}. Class numbers are those of `labels.csv`. The first call
decodes the weights.
"""

LIMITS = """\
- It was trained on videos of at most {frames} frames, and reads as many as it is given.
- `num_frames` has to be from 1 to T; features of another width are refused.
- A confidence is no probability that was calibrated; compare it within one model."""


def write_labels(folder: Path, params: Params, counts: np.ndarray | None) -> None:
    """Write ``labels.csv``: number, name ("" where unknown) and training videos of each class.

    Args:
        folder: of the exported model.
        params: the experiment's, with ``data.vocabulary_file``.
        counts: how many training videos have each class, [V]; None where that is not known.
    """
    names = class_names(params.data.vocabulary_file, params.data.classes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LABEL_COLUMNS)
    for number, name in enumerate(names):
        writer.writerow([number, name, "" if counts is None else int(counts[number])])
    write_text(folder / LABELS, text.getvalue())


def write_card(
    folder: Path,
    params: Params,
    members: Mapping[str, float],
    nbytes: int,
    gap: Estimate | None = None,
) -> None:
    """Write ``model_card.md``.

    Args:
        folder: of the exported model.
        params: the experiment's.
        members: how much each model counts, by its name.
        nbytes: of the exported model.
        gap: GAP of the exported file on videos that decided nothing; None where not measured.
    """
    front = yaml.safe_dump(_front_matter(params, gap), sort_keys=False)
    write_text(folder / CARD, f"---\n{front}---\n\n{_body(params, members, nbytes, gap)}")


def _front_matter(params: Params, gap: Estimate | None) -> dict:
    own = bool(params.data.licence)
    licence = "other" if own else "cc-by-4.0"
    front = {
        "license": "apache-2.0" if params.synthetic else licence,
        "library_name": "tensorflow",
        "pipeline_tag": "video-classification",
        "tags": ["video-tagging", *([] if own else ["youtube-8m"]), "ensemble", "quantized"],
    }
    if gap is None:
        return front
    data = {
        "name": f"held-out videos of {params.experiment}",
        "type": "own" if own else "youtube-8m",
    }
    metric = {"name": "GAP@20", "type": "gap", "value": round(gap.value, 4)}
    task = {"name": "video tagging", "type": "video-classification"}
    results = [{"task": task, "dataset": data, "metrics": [metric]}]
    return front | {"model-index": [{"name": params.experiment, "results": results}]}


def _body(params: Params, members: Mapping[str, float], nbytes: int, gap: Estimate | None) -> str:
    facts = (("GAP@20", _measured(gap)), ("bytes on disk", f"{nbytes:,}"))
    weights = [(name, f"{weight:.3f}") for name, weight in members.items()]
    kind = "one model" if len(members) == 1 else f"{len(members)} models in one graph"
    return f"""\
# {params.experiment}: a video tagger in one TensorFlow SavedModel

Tags videos with {params.data.classes:,} classes from their frames' features: {kind}, made by yt8m
after Skalic and Austin, "Building A Size Constrained Predictive Models for Video Classification"
(2018).

{_table(("", ""), facts)}

{_table(("member", "weight"), weights)}

## Data and licence

{_data(params)}

## Use

{USE.format(frames=_shape(params), streams=_streams(params))}
{_table(("signature", "takes", "answers"), _signatures(params))}

## Limits

{LIMITS.format(frames=_frames(params))}
"""


def _data(params: Params) -> str:
    if params.synthetic:
        return STAND_IN
    return params.data.licence or REAL


def _shape(params: Params) -> str:
    """Type and shape of frames, such as ``uint8 [B, T, 1152]``."""
    streams = params.data.streams
    return f"{frames_type(streams)} [B, T, {width_of(streams)}]"


def _streams(params: Params) -> str:
    """What a frame is made of, in words."""
    streams = params.data.streams
    if streams == YOUTUBE_8M:
        return (
            "one a second: 1024 image features, then 128 audio features, as YouTube-8M\n"
            "stores them: bytes that stand for [-2, 2]"
        )
    parts = []
    for s in streams:
        of = f" (bytes of [{s.range[0]:g}, {s.range[1]:g}])" if s.storage == "uint8" else ""
        parts.append(f"{s.width} features of `{s.name}`{of}")
    return ", then ".join(parts)


def _signatures(params: Params) -> Sequence[Sequence[str]]:
    """Name of each signature, what it takes, what it answers."""
    streams = params.data.streams
    floats, width = name_of_floats(streams), width_of(streams)
    within = " in [-2, 2]" if streams == YOUTUBE_8M else ""
    return (
        (
            "`serving_default`",
            f"`frames` {_shape(params)}, `num_frames` int32 [B]",
            "`classes` and `confidences` [B, 20], all `predictions` [B, V]",
        ),
        ("`top_k`", "the same, `k` int32", "`classes` and `confidences` [B, k]"),
        (
            f"`{floats}`",
            f"`{floats}` float32 [B, T, {width}]{within}, `num_frames` int32 [B, 1]",
            "`predictions` [B, V]",
        ),
        (
            "`records`",
            "`records` string [B]: serialised examples",
            "`ids`, and as `serving_default`",
        ),
    )


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (titles, ["---"] * len(titles), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _frames(params: Params) -> int:
    if params.synthetic:
        return params.synthetic.frames[1]
    return params.data.frames if params.data.level == "video" else params.data.max_frames


def _measured(gap: Estimate | None) -> str:
    if gap is None:
        return "not measured"
    low, high = gap.interval()
    return (
        f"{gap.value:.4f} [{low:.4f}, {high:.4f}] on {gap.videos:,} held-out videos that decided "
        "nothing (95 % bootstrap over videos)"
    )
