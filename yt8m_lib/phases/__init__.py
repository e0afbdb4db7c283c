"""What each phase does for one of its steps: read what earlier steps made, work, log.

The verbs of the paper lie in ``methods`` and know nothing of MLflow; here they meet the
experiment's record. A phase imports no other phase: it finds what those logged. A phase that trains
parts in two: ``fit`` decides a model's weights, ``measure`` says what they are worth, and is done
again by itself when only that has changed.
"""

import fcntl
import os
import shlex

from yt8m_lib import params as params_files
from yt8m_lib.experiment import locks
from yt8m_lib.experiment.tracking import DRIVER, Experiment
from yt8m_lib.settings import Params


def start(phase: str, params_file: str, overrides: str = "", models: str = "") -> Experiment:
    """Open a phase from its notebook.

    Args:
        phase: the phase's name.
        params_file: such as ``params/demo.yaml``; relative paths are seen from the project's root.
        overrides: ``KEY=VALUE`` settings, separated by blanks, quoted as in a shell.
        models: names that narrow the phase down, separated by blanks or commas.
    """
    params = params_files.load(params_file, shlex.split(overrides))
    params_files.check_data(params)
    if phase != "report":  # which only draws what was logged
        from yt8m_lib.methods import devices

        training = params.training
        devices.prepare(training.deterministic, training.replicas, training.threads)
        _check_budget(params)
    if os.environ.get(DRIVER):
        locks.hold(params, "kernel.lock", fcntl.LOCK_SH)
    return Experiment(params, phase, models.replace(",", " ").split())


def _check_budget(params: Params) -> None:
    """Refuse a budget that no student fits, before anything is trained.

    Raises:
        EnsembleError: with the size of each.
    """
    from yt8m_lib.methods import ensembling, sizes

    students = {student.model for student in params.distillation.students.values()}
    if students:
        table = sizes.model_sizes(params).set_index("model")["bytes_stored"]
        needed = {name: table[name] + sizes.GRAPH_BYTES for name in sorted(students)}
        ensembling.fit_budget(needed, params.ensembling.budget_bytes)
