"""Notebooks as Slurm jobs, one a step, through submitit.

What a site asks for besides (partition, account) Slurm reads from its own variables, such as
SBATCH_PARTITION and SBATCH_ACCOUNT.
"""

import shutil

from typing_extensions import override

from yt8m_lib.experiment.executors import ExecutorError, Machines, SideBySide
from yt8m_lib.experiment.notebooks import NotebookTask, attempt

try:
    import submitit
except ImportError:
    raise ExecutorError('submitit is not installed here: pip install -e ".[slurm]"') from None

HOURS = 24.0  # that a job may take, where `hours` does not say


class Slurm(SideBySide):
    """Jobs of this machine's Slurm; ``--address local`` runs them here, to try it out."""

    takes_address = True

    def __init__(self, machines: Machines):
        super().__init__(machines)
        if machines.address not in (None, "local"):
            raise ExecutorError(f"--address {machines.address}: only `local` means anything here")
        if not machines.address and not shutil.which("sbatch"):
            raise ExecutorError(
                "there is no Slurm here (no sbatch on the PATH): run this where jobs are "
                "submitted, or try it on this machine alone with --address local"
            )
        self._cluster = machines.address or "slurm"
        self._running: set[submitit.Job] = set()

    @override
    def standard_workers(self, threads: int) -> int:
        return 64  # jobs in the queue at a time

    @override
    def run(self, task: NotebookTask) -> str:
        wanted, logs = task.resources, task.output.parent.parent / "slurm"
        executor = submitit.AutoExecutor(folder=logs, cluster=self._cluster)
        executor.update_parameters(
            name=task.output.stem,
            timeout_min=int(60 * (wanted.hours or HOURS)),
            **({"gpus_per_node": wanted.gpus} if wanted.gpus else {}),
            **({"mem_gb": wanted.memory / 2**30} if wanted.memory else {}),
        )
        job = executor.submit(attempt, task)
        self._running.add(job)
        try:
            return job.result()
        except submitit.core.utils.UncompletedJobError as error:
            return f"job {job.job_id} ended early ({job.state}): {error}"
        finally:
            self._running.discard(job)

    @override
    def interrupt(self) -> None:
        for job in list(self._running):
            job.cancel()
