"""The stage graph: which steps can run now, and which of them one notebook takes together.

An edge leads from a step to each that reads its result: teachers stand side by side, averaging
follows its teacher, soft targets follow their family's candidates, then students, quantisation, the
ensemble and the report.
"""

from collections.abc import Callable, Iterable, Sequence

from yt8m_lib.experiment.step import Step


class Stages:
    """The steps that are still to be made, with what has become of them.

    Args:
        steps: in an order in which they can run. A parent that is not among them is taken as there.

    Attributes:
        failures: by the keys of failed steps, or the name of a phase whose notebook failed after
            its last step: why.
    """

    def __init__(self, steps: Iterable[Step]):
        self._waiting = {step.key: step for step in steps}
        self._running: set[str] = set()
        self.failures: dict[str, str] = {}

    @property
    def waiting(self) -> list[str]:
        """Keys of the steps that have not been started."""
        return list(self._waiting)

    def take(self, share: Callable[[int], int], chains: bool) -> list[Step]:
        """Start steps of one phase, for one notebook; none where nothing can run now.

        Args:
            share: how many of so many steps that can run it takes.
            chains: whether one notebook may hold a step together with those that it waits for.
        """
        missing = self._waiting.keys() | self._running | self.failures.keys()
        found: list[Step] = []
        for step in self._waiting.values():
            inside = {other.key for other in found} if chains else set()
            own_phase = not found or step.phase == found[0].phase
            if own_phase and not missing.intersection(step.parent_keys) - inside:
                found.append(step)
        taken = found[: share(len(found))]
        for step in taken:
            self._running.add(self._waiting.pop(step.key).key)
        return taken

    def end(self, taken: Sequence[Step], unfinished: Sequence[Step], begun: bool, why: str) -> None:
        """Note how a notebook ended: of those that did not run, the first failed, the rest wait.

        Args:
            taken: its steps, in order.
            unfinished: those of them that it left unfinished.
            begun: whether the first of these was begun at all; else the notebook itself is at
                fault, and none of them is tried again.
            why: what went wrong; "" for nothing.
        """
        self._running -= {step.key for step in taken}
        if not why:
            return
        failed = unfinished[:1] if begun else unfinished
        self.failures |= {step.key: why for step in failed}
        if taken and not unfinished:
            self.failures[taken[0].phase] = why
        again = {step.key: step for step in unfinished if step not in failed}
        self._waiting = again | self._waiting
