"""What a plan says: a table by phase, a few sentences, and hours against workers as a figure."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from yt8m_lib.experiment.forecast import Forecast, Task, training_days
from yt8m_lib.report.canvas import BLUE, GREEN, GREY, LINES, ORANGE, add_legend, canvas
from yt8m_lib.settings import Params

WORKERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# What the winners say that theirs took (PUBLISHED: a model on one GPU each), in days.
WINNERS, WINNERS_MODEL = 60, (1.5, 3.5)
PATH_SHOWN = 8  # tasks of the critical path that are named
COLUMNS = ("phase", "steps", "done", "videos", "read", "FLOP", "memory", "disk", "time", "took")


def amount(value: float, unit: str = "B") -> str:
    """A number with its unit in three digits, such as 1.17 TB; "" for none."""
    if not value:
        return ""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if value < 999.5 or prefix == "E":
            break
        value /= 1000
    return f"{value:.3g} {prefix}{unit}".rstrip()


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 45 s, 12.3 min, 7.1 h, or days from 100 hours on."""
    if seconds is None:
        return ""
    for size, unit in ((360_000, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / {'d': 86400, 'h': 3600, 'min': 60}[unit]:,.3g} {unit}"
    return f"{seconds:.0f} s" if seconds else ""


def rows(plan: Forecast) -> list[dict[str, Any]]:
    """A row a phase, and the sum: numbers in bytes, operations and seconds."""
    parts = [_row(name, tasks, plan) for name, tasks in plan.by_phase.items()]
    total = _row("together", list(plan.tasks), plan)
    # What a phase takes includes its notebooks, so the sum is that of the phases.
    total["seconds"] = sum(part["seconds"] for part in parts)
    return [*parts, total]


def _row(name: str, tasks: list[Task], plan: Forecast) -> dict[str, Any]:
    took = [task.took for task in tasks if task.is_finished]
    return {
        "phase": name,
        "steps": len(tasks),
        "finished": len(took),
        "videos": sum(task.videos for task in tasks),
        "bytes_read": round(sum(task.read for task in tasks)),
        "flops": sum(task.flops for task in tasks),
        "memory_bytes": round(max((task.memory for task in tasks), default=0)),
        "disk_bytes": round(sum(task.kept for task in tasks)),
        "checkpoint_bytes": max((task.checkpoint for task in tasks), default=0),
        "seconds": plan.seconds_of(tasks),
        "seconds_left": plan.seconds_of([task for task in tasks if not task.is_finished]),
        "seconds_took": sum(took) if took else None,
    }


def as_text(plan: Forecast, params: Params, workers: int) -> str:
    """The whole plan for people, no line longer than 99 characters."""
    table = rows(plan)
    lines = [COLUMNS, *map(_cells, table)]
    if table[-1]["seconds_took"] is None:
        lines = [line[:-1] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    said = (wrap(line, 99, subsequent_indent="  ") for line in sentences(plan, params, workers))
    return "\n".join([*texts, "", *(part for parts in said for part in parts)])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["phase"],
        f"{row['steps']:,}",
        f"{row['finished']:,}",
        amount(row["videos"], ""),
        amount(row["bytes_read"]),
        amount(row["flops"], ""),
        amount(row["memory_bytes"]),
        amount(row["disk_bytes"]),
        duration(row["seconds"]),
        duration(row["seconds_took"]),
    )


def sentences(plan: Forecast, params: Params, workers: int) -> list[str]:
    """What follows from the plan, a sentence or two a line."""
    largest = max(plan.tasks, key=lambda task: task.memory)
    checkpoint = max((task.checkpoint for task in plan.tasks), default=0)
    one, many = plan.wall(1), plan.wall(workers)
    lines = [
        f"Videos: {plan.videos}.",
        f"Time: for {plan.machine}.",
        f"Memory: {amount(largest.memory)} for {largest.key}, the largest task. Disk: a running "
        f"task's checkpoint adds up to {amount(checkpoint)}.",
    ]
    if not plan.left:
        return [*lines, "All of it is finished: `yt8m run` would reuse it."]
    done = len(plan.tasks) - len(plan.left)
    lines.append(
        f"{'Left' if done else 'In all'}: {len(plan.left)} steps, {duration(one)} one after the "
        "other."
    )
    if workers > 1:
        share = f", {one / many:.2g} times as fast" if many else ""
        cores = params.training.threads
        where = f"on {cores} core(s) of this machine" if cores else "with a machine of its own"
        lines.append(f"With {workers} workers, each {where}: {duration(many)}{share}.")
    return [*lines, *_path(plan.critical_path()), *_winners(plan, params)]


def _path(path: list[tuple[str, float]]) -> list[str]:
    """The critical path, its longest tasks named."""
    total = sum(seconds for _, seconds in path)
    shown = sorted(path, key=lambda one: -one[1])[:PATH_SHOWN]
    named = [f"{key} {duration(seconds)}" for key, seconds in path if (key, seconds) in shown]
    words = f"No number of workers is done before {duration(total)}, the critical path:"
    return [f"{words} {', '.join(named)}."]


def _winners(plan: Forecast, params: Params) -> list[str]:
    """The winners' own bill, where the published models are trained as published."""
    days = training_days(plan.tasks, params)
    if not days or params.synthetic:
        return []
    all_days = plan.seconds_of(plan.tasks) / 86400
    return [
        f"The winners' bill: about {WINNERS} GPU-days, {' to '.join(map(str, WINNERS_MODEL))} "
        "days a model on one GPU of 2018.",
        f"Ours: {all_days:.3g} days, {days[0]:.2g} to {days[-1]:.2g} for a published model's "
        "training.",
    ]


def as_json(plan: Forecast, params: Params, workers: int) -> dict[str, Any]:
    """The plan for programs; seconds, bytes and operations."""
    days = training_days(plan.tasks, params)
    return {
        "experiment": params.experiment,
        "videos": plan.videos,
        "machine": plan.machine,
        "notebook_seconds": plan.notebook,
        "phases": rows(plan),
        "workers": workers,
        "seconds_left": plan.wall(1),
        "seconds_with_workers": plan.wall(workers),
        "critical_path": [{"step": k, "seconds": s} for k, s in plan.critical_path()],
        "published_models_days": days,
        "winners_gpu_days": WINNERS,
        "tasks": [
            {"step": task.key, "seconds": task.seconds, "took": task.took, "videos": task.videos}
            | {"flops": task.flops, "bytes_read": round(task.read), "waits_for": task.parents}
            | {"memory_bytes": round(task.memory), "disk_bytes": round(task.kept)}
            for task in plan.tasks
        ],
    }


def draw_workers(plan: Forecast, title: str, workers: Sequence[int] = WORKERS) -> Figure:
    """Hours until all is done against workers, with the critical path as the floor.

    Finished tasks take what they took, others what is planned.
    """
    times = {count: plan.wall(count, finished=True) for count in workers}
    floor = sum(seconds for _, seconds in plan.critical_path(finished=True))
    units = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
    size, unit = next((one for one in units if times[workers[0]] > 2 * one[0]), units[-1])
    figure, (axes,) = canvas(rows=9)
    ideal = [max(times[workers[0]] / count, 1e-9) / size for count in workers]
    axes.plot(workers, ideal, color=GREY, linestyle=":", label="a share of the work each")
    axes.axhline(floor / size, color=ORANGE, label=f"critical path: {duration(floor)}")
    axes.plot(
        workers, [t / size for t in times.values()], "o-", color=BLUE, label="a notebook a task"
    )
    label = "one after the other, a notebook a phase"
    axes.plot([1], [plan.in_sequence / size], "D", color=GREEN, label=label)
    for count in {workers[0], _enough(times)}:
        axes.annotate(
            duration(times[count]), (count, times[count] / size), (4, 6),
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.6 * floor / size)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xticks([count for count in workers if count & (count - 1) == 0])
    axes.grid(color=LINES)
    done = sum(task.is_finished for task in plan.tasks)
    how = "measured" if done == len(plan.tasks) else "planned" if not done else "partly measured"
    axes.set_xlabel(f"workers ({title}: {len(plan.tasks)} tasks, {how} times)")
    axes.set_ylabel(unit)
    add_legend(figure, axes)
    return figure


def _enough(times: dict[int, float]) -> int:
    """The first number of workers after which more help by less than a twentieth."""
    least = min(times.values())
    return next(count for count, seconds in times.items() if seconds <= 1.05 * least)
