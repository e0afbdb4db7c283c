"""What all tests share: where the reference data lies, and a quiet TensorFlow."""

import os
from pathlib import Path

import matplotlib
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
matplotlib.use("Agg")  # here alone: a variable would reach the notebooks, and blank their figures

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: of two workers one takes it, and the other all the rest."""
    items.sort(key=lambda item: item.path.stem != "test_pipeline")


def shared(*parts: str) -> Path:
    """A file of the reference data beside the checkout; skips the test where there is none."""
    path = ROOT.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"reference data {'/'.join(parts)} is not beside the checkout")
    return path
