"""Our models with the weights of the golden files, which several test files start from."""

import numpy as np
from conftest import shared

from yt8m_lib import checkpoints, models
from yt8m_lib.models.video_model import VideoModel
from yt8m_lib.settings import Model

HIDDEN, CLASSES = 24, 40
SETTINGS = {
    "NetVLADModelLF": {"architecture": "netvlad", "clusters": 8},
    "LightVLAD": {"architecture": "lightvlad", "clusters": 8},
    "NetFVModelLF": {"architecture": "fvnet", "clusters": 8},
    "GatedDbofModelLF": {"architecture": "gated_dbof", "clusters": 16},
    "SoftDbofModelLF": {"architecture": "soft_dbof", "clusters": 16},
    "Lstmbidirect": {"architecture": "lstm"},
    "GRUbidirect": {"architecture": "gru"},
}


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of a golden file; skips the test where there is none."""
    with np.load(shared("golden", f"{name}.npz")) as arrays:
        return {key: arrays[key] for key in arrays.files}


def released_variables(golden: dict[str, np.ndarray], kind: str = "var") -> dict[str, np.ndarray]:
    """The released code's variables, or its arrays of another kind, by the variables' names."""
    start = f"{kind}:"
    return {key.removeprefix(start): a for key, a in golden.items() if key.startswith(start)}


def golden_model(name: str, golden: dict[str, np.ndarray]) -> VideoModel:
    """Our model of a golden architecture, holding the golden weights."""
    model = models.build(Model(**SETTINGS[name], hidden=HIDDEN), CLASSES)
    checkpoints.assign(model, released_variables(golden))
    return model


def inputs_of(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The videos that the golden predictions are of."""
    return {"frames": golden["input_bytes"], "num_frames": golden["num_frames"]}
