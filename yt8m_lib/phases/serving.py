"""An exported model as one of MLflow: what ``mlflow models serve`` needs, beside it."""

import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from yt8m_lib.phases import yt8m_tagger
from yt8m_lib.settings import FEATURES, ROOT

NEEDED = ("tensorflow", "keras", "mlflow", "numpy")
UINT8, INT32, FLOAT32 = np.dtype("uint8"), np.dtype("int32"), np.dtype("float32")
SIGNATURE = ModelSignature(
    Schema(
        [
            TensorSpec(UINT8, (-1, -1, FEATURES), "frames"),
            TensorSpec(INT32, (-1,), "num_frames"),
        ]
    ),
    Schema([TensorSpec(INT32, (-1, -1), "classes"), TensorSpec(FLOAT32, (-1, -1), "confidences")]),
)
EXAMPLE = {"frames": np.zeros([1, 1, FEATURES], np.uint8), "num_frames": np.ones([1], np.int32)}


def add_mlflow(folder: str | Path) -> None:
    """Add to an exported model what makes it a model of MLflow too; nothing in it is pickled."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            made,
            loader_module=Path(yt8m_tagger.__file__).stem,
            code_paths=[yt8m_tagger.__file__],
            pip_requirements=_requirements(),
            signature=SIGNATURE,
            input_example=EXAMPLE,
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
