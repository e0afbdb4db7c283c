"""From arrays on disk to tags with names: the notebook that walks through it, run as it is."""

import json

import papermill

from yt8m_lib.data.own_example import THINGS, write_example
from yt8m_lib.experiment.kernels import OwnKernelManager
from yt8m_lib.settings import ROOT


def test_the_notebook_packs_trains_and_tags(tmp_path):
    features, labels = write_example(tmp_path / "mine", videos=60)
    short = ["families.netvlad.epochs=2", "families.dbof.epochs=1", "families.baseline.epochs=1"]
    overrides = [f"results={tmp_path / 'results'}", *short, "averaging.epochs=1"]
    papermill.execute_notebook(
        ROOT / "notebooks" / "own_videos.ipynb",
        tmp_path / "out.ipynb",
        parameters={
            "folder": str(tmp_path),
            "features": str(features),
            "labels": str(labels),
            "overrides": " ".join(overrides),
        },
        cwd=ROOT / "notebooks",
        progress_bar=False,
        kernel_manager_class=OwnKernelManager,
    )
    outputs = [
        output
        for cell in json.loads((tmp_path / "out.ipynb").read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert " stretches: " in "".join(str(output.get("text")) for output in outputs[-2:])
    stretches = json.loads((tmp_path / "tags.json").read_text())
    assert {tag["tag"] for s in stretches for tag in s["tags"]} <= set(THINGS)
    assert all(0 < s["end"] - s["start"] <= 5 for s in stretches)
    assert (tmp_path / "results" / "own_videos" / "model" / "model_card.md").exists()
