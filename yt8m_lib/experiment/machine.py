"""How long a machine takes for what is counted: a machine measured here, or one described."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yt8m_lib.costs import Cost, ModelCosts
from yt8m_lib.experiment.workload import Pass, Work

# What the memory of machines moves for each operation that they can do, in float32: a V100 64 bytes
# for 1,000 operations, an A100 79, an H100 50, two cores of a laptop about 50.
BYTES_A_FLOP = 0.06
# On a machine that is only described, an accelerator is assumed that kernels are launched on.
GIVEN_STEP, GIVEN_TIME_STEP, GIVEN_TRACE = 0.005, 0.0002, 15.0
GIVEN_NOTEBOOK, GIVEN_TASK, GIVEN_START = 25.0, 5.0, 1.0


@dataclass(frozen=True)
class Pace:
    """Seconds of a model's steps: ``overhead + flops / rate + bytes / copy rate + time steps``.

    Attributes:
        trace: seconds before the first step, in which its graph is made.
        overhead: seconds a step, whatever the model.
        flop: seconds an operation.
        byte: seconds a byte that the optimiser or a recurrence moves.
        time_step: seconds a time step of a recurrence.
    """

    trace: float
    overhead: float
    flop: float
    byte: float = 0.0
    time_step: float = 0.0

    def step(self, cost: Cost, batch: int, training: bool, averages: int = 0) -> float:
        """Seconds of one step."""
        return (
            self.overhead
            + self.flop * batch * cost.flops(training)
            + self.byte * cost.moved(training, averages)
            + self.time_step * cost.time_steps * (2 if training else 1)
        )


@dataclass(frozen=True)
class Machine:
    """A machine's speeds.

    Attributes:
        paces: of each family, when it is trained and when it answers.
        notebook: seconds that a notebook takes besides its steps.
        task: seconds that a step takes besides what is counted: loading, saving, logging.
        start: seconds until an epoch's first batch is there.
        read: bytes of records read a second, at most; 0 where reading is part of every step.
        inspect: bytes of records checked a second.
        write: frames of stand-in data written a second.
        judge: seconds to measure a video's answer.
        weigh: seconds to try a weighting on a video's answer.
        code: seconds to store a weight with a codec.
        words: where these numbers come from.
    """

    paces: Mapping[tuple[str, bool], Pace]
    notebook: float
    task: float
    start: float
    read: float
    inspect: float
    write: float
    judge: float
    weigh: float
    code: float
    words: str
    shared: Pace = field(default=Pace(GIVEN_TRACE, 0.0, 0.0))  # of families that were not measured

    def pace(self, family: str, training: bool) -> Pace:
        """The pace of a family's steps."""
        return self.paces.get((family, training), self.shared)

    def seconds(
        self, work: Work, families: Mapping[str, str], costs: Mapping[str, ModelCosts], read: float
    ) -> float:
        """Seconds of one step's work, without its notebook's start.

        Args:
            work: of the step.
            families: of the models, by name.
            costs: of the models, by name.
            read: bytes of records that it reads while models work.
        """
        steps = sum(self._steps(one, families[one.model], costs) for one in work.passes)
        traces = {(one.model, one.training, one.drawn, one.averages): one for one in work.passes}
        traced = sum(self.pace(families[o.model], o.training).trace for o in traces.values())
        reading = read / self.read if self.read and not work.inspected else 0.0
        return (
            max(steps, reading)  # videos are read while models work
            + traced
            + self.task
            + work.inspected / self.inspect
            + work.written / self.write
            + work.judged * self.judge
            + work.weighed * self.weigh
            + work.coded * self.code
        )

    def _steps(self, one: Pass, family: str, costs: Mapping[str, ModelCosts]) -> float:
        pace = self.pace(family, one.training)
        step = pace.step(one.cost(costs), one.batch, one.training, one.averages)
        return one.goes * self.start + one.steps * step


def given(tflops: float, gigabytes: float | None) -> Machine:
    """A machine that multiplies at so many TFLOP/s and reads records at so many GB/s.

    What nobody says of it is assumed: what its memory moves, and seconds to launch a step.
    """
    flop = 1e-12 / tflops
    pace = Pace(GIVEN_TRACE, GIVEN_STEP, flop, flop / BYTES_A_FLOP, GIVEN_TIME_STEP)
    return Machine(
        paces={},
        shared=pace,
        notebook=GIVEN_NOTEBOOK,
        task=GIVEN_TASK,
        start=GIVEN_START,
        read=1e9 * (gigabytes or 0.0),
        inspect=1e8,
        write=5e4,
        judge=5e-4,
        weigh=1e-6,
        code=3e-8,
        words=f"a machine of {tflops:g} TFLOP/s that {_reading(gigabytes)}; assumed of it: memory "
        f"of {1e3 * tflops * BYTES_A_FLOP:,.0f} GB/s, {1e3 * GIVEN_STEP:g} ms to launch a step and "
        f"{1e3 * GIVEN_TIME_STEP:g} ms a time step of a recurrence",
    )


def _reading(gigabytes: float | None) -> str:
    return f"reads records at {gigabytes:g} GB/s" if gigabytes else "is never short of records"


def measured(found: Mapping[str, Any], gigabytes: float | None = None) -> Machine:
    """The machine that ``methods.calibration`` measured.

    Args:
        found: what that returned, and ``notebook``, the seconds of a notebook's start.
        gigabytes: records that can be read a second; as fast as they can be parsed for None.
    """
    paces = paces_of(found["steps"], found["copied_per_second"])
    numbers = ("notebook", "task", "start", "inspect", "write", "judge", "weigh", "code")
    count = len({m["model"] for m in found["steps"]})
    words = f"this machine, on which a few steps of {count} models were measured"
    if gigabytes:
        words += f", if it {_reading(gigabytes)}"
    read = 1e9 * (gigabytes or 0.0)
    return Machine(paces=paces, read=read, words=words, **{name: found[name] for name in numbers})


def paces_of(
    steps: Sequence[Mapping[str, Any]], copied_per_second: float
) -> dict[tuple[str, bool], Pace]:
    """The pace of each family's training and answers.

    Args:
        steps: measured ones, as ``methods.calibration`` returns them.
        copied_per_second: bytes read and written.
    """
    found: dict[tuple[str, bool], list] = {}
    for step in steps:
        found.setdefault((step["family"], step["training"]), []).append(step)
    return {kind: _through(own, 1 / copied_per_second) for kind, own in found.items()}


def _through(points: Sequence[Mapping[str, Any]], byte: float) -> Pace:
    """The pace of which the measured steps of a family are the ends."""
    points = sorted(points, key=lambda point: point["flops"])
    trace = sum(point["trace"] for point in points) / len(points)
    low, high = points[0], points[-1]
    # Copies that alone would take longer than half of what was measured were made beside the rest.
    byte = min([byte, *(p["seconds"] / 2 / p["moved"] for p in points if p["moved"])])
    at_low, at_high = (p["seconds"] - byte * p["moved"] for p in (low, high))
    rise = high["flops"] - low["flops"]
    flop = (at_high - at_low) / rise if rise > 0 else at_low / max(low["flops"], 1)
    flop = min(max(flop, 0.0), at_low / max(low["flops"], 1))  # neither falling nor from below 0
    return Pace(trace, max(at_low - flop * low["flops"], 0.0), flop, byte)
