"""An exported model as one of MLflow: what ``mlflow models serve`` needs, beside it."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from yt8m_lib.phases import yt8m_tagger
from yt8m_lib.settings import ROOT
from yt8m_lib.streams import Stream, frames_type, width_of

NEEDED = ("tensorflow", "keras", "mlflow", "numpy")
INT32, FLOAT32 = np.dtype("int32"), np.dtype("float32")
ANSWER = Schema(
    [TensorSpec(INT32, (-1, -1), "classes"), TensorSpec(FLOAT32, (-1, -1), "confidences")]
)


def add_mlflow(folder: str | Path, streams: Sequence[Stream]) -> None:
    """Add to an exported model what makes it a model of MLflow too; nothing in it is pickled."""
    width, kind = width_of(streams), np.dtype(frames_type(streams))
    takes = [TensorSpec(kind, (-1, -1, width), "frames"), TensorSpec(INT32, (-1,), "num_frames")]
    example = {"frames": np.zeros([1, 1, width], kind), "num_frames": np.ones([1], np.int32)}
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            made,
            loader_module=Path(yt8m_tagger.__file__).stem,
            code_paths=[yt8m_tagger.__file__],
            pip_requirements=_requirements(),
            signature=ModelSignature(Schema(takes), ANSWER),
            input_example=example,
        )
        for path in made.iterdir():
            place = Path(folder) / path.name
            if path.is_dir():
                shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(path, place)


def _requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = (line.split("#")[0].strip() for line in lines)
    return [line for line in pinned if line.split("==")[0] in NEEDED]
