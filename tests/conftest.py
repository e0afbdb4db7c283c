"""What all tests share: where the reference data lies, which test runs when, a quiet TensorFlow."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A developer's own store of runs, and who he is there: no test writes to it.
OWN = ("MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "MLFLOW_EXPERIMENT_", "MLFLOW_RUN_ID")
for name in [name for name in os.environ if name.startswith(OWN)]:
    del os.environ[name]
matplotlib.use("Agg")  # here alone: a variable would reach the notebooks, and blank their pictures

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


@pytest.hookimpl(trylast=True)  # when the tests that will not run are out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put one test that uses the run of smoke.yaml first and the others that use it last.

    The first of two workers makes that run, which takes minutes, while the second goes through all
    tests that can do without it; then both take what is left.
    """
    smoke = [item for item in items if "smoke" in getattr(item, "fixturenames", ())]
    rest = [item for item in items if item not in smoke]
    items[:] = smoke[:1] + rest + smoke[1:]


def shared(*parts: str) -> Path:
    """A file of the reference data; skips the test where there is none.

    The golden files in ``tests/golden`` come first, so that a clone alone runs the same tests as
    one with the reference data beside it. Everything else is beside the checkout, in ``shared``.
    """
    for path in (TESTS.joinpath(*parts), ROOT.parent.joinpath("shared", *parts)):
        if path.exists():
            return path
    pytest.skip(f"no reference data beside the checkout: shared/{'/'.join(parts)}")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Fills a folder once for all workers: ``made_once(name, make)`` returns the folder.

    The worker that asks first calls ``make(folder)``; another one waits until that has ended, and
    fails if it failed.
    """
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        temporary = temporary.parent  # all workers of this session share it

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, state = temporary / name, temporary / f"{name}.state"
        with open(temporary / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not state.exists():
                state.write_text("failed")
                folder.mkdir()
                make(folder)
                state.write_text("made")
        assert state.read_text() == "made", f"{folder} could not be made: see the first failure"
        return folder

    return made


@pytest.fixture(scope="session")
def smoke(made_once: Callable[..., Path]) -> tuple[Any, str]:
    """One finished run of smoke.yaml for all tests: its parameters, and what it printed."""
    from smoke_runs import run

    from yt8m_lib import params

    folder = made_once("smoke", lambda folder: (folder / "printed.txt").write_text(run(folder)))
    settings = params.load("params/smoke.yaml", [f"results={folder}"])
    return settings, (folder / "printed.txt").read_text()
