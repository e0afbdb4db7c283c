"""Executing a notebook with papermill, in a kernel of this very Python."""

import logging
import sys
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from yt8m_lib.experiment import forked_kernels
from yt8m_lib.experiment.notebooks import PhaseError
from yt8m_lib.settings import ROOT


class OwnKernelManager(AsyncKernelManager):
    """Starts notebooks on this very Python, whatever kernels are installed elsewhere."""

    transport_encryption = "required"  # else the kernel warns of other users of this machine

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel of the running interpreter."""
        # Else it complains of the interrupt that ends it.
        quiet = "--log-level=CRITICAL"
        argv = [sys.executable, "-m", "ipykernel_launcher", quiet, "-f", "{connection_file}"]
        about: dict[str, Any] = {"supported_encryption": ["curve"]}
        if forked_kernels.IS_SAFE:
            about["kernel_provisioner"] = {"provisioner_name": forked_kernels.PROVISIONER}
        return KernelSpec(argv=argv, display_name="yt8m", language="python", metadata=about)


def run(notebook: Path, output: Path, parameters: dict[str, str]) -> None:
    """Execute a notebook.

    Args:
        notebook: whose cell tagged `parameters` is replaced.
        output: where the executed one goes.
        parameters: what that cell is given.

    Raises:
        PhaseError: when it fails, saying in which cell.
    """
    _pass_on_output()
    _check_parameters(notebook, parameters)
    try:
        papermill.execute_notebook(
            notebook,
            output,
            parameters=parameters,
            cwd=ROOT,
            progress_bar=False,
            log_output=True,
            request_save_on_cell_execute=True,
            kernel_manager_class=OwnKernelManager,
        )
    except papermill.PapermillExecutionError as error:
        raise PhaseError(
            f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"The notebook with its traceback: {output}"
        ) from None
    except KeyboardInterrupt:
        # The kernel ends by it, too; else asyncio would complain that nobody asked after its cell.
        logging.getLogger("asyncio").disabled = True
        raise
    except DeadKernelError:
        raise PhaseError(
            f"{notebook.name}: its process died (out of memory?). Finished models are kept: "
            "the same command goes on from there."
        ) from None


def _check_parameters(notebook: Path, given: dict[str, str]) -> None:
    """Refuse what the notebook does not ask for: papermill would paste it into a cell as it is.

    Raises:
        PhaseError: naming the parameters that differ by name or type.
    """
    asked = papermill.inspect_notebook(str(notebook))
    names = {name: about["inferred_type_name"] for name, about in asked.items()}
    if names != {name: type(value).__name__ for name, value in given.items()}:
        listed = ", ".join(f"{name}: {kind}" for name, kind in names.items()) or "none"
        raise PhaseError(
            f"{notebook}: its cell tagged `parameters` has {listed}; it is to have "
            f"{', '.join(f'{name}: str' for name in given)}"
        )


def _pass_on_output() -> None:
    """Print what notebooks print, and nothing else of papermill's own messages."""
    logger = logging.getLogger("papermill")
    if logger.handlers:
        return
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_is_progress)
    logger.addHandler(handler)


def _is_progress(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().strip(), ()  # lines come with and without end
    return record.msg.startswith("[")
