"""What each figure of the benchmark is, and what it is meant to reach."""

import math
from dataclasses import dataclass

from yt8m_lib.benchmark.timing import Found


@dataclass(frozen=True)
class Goal:
    """What a figure is to reach.

    Attributes:
        value: the goal; NaN for a figure that has none.
        at_least: whether more is better.
        words: what the figure is.
    """

    value: float
    at_least: bool
    words: str

    def judge(self, figure: float) -> str:
        """Whether a figure reaches it, in a word."""
        if math.isnan(self.value):
            return ""
        return (
            "met" if (figure >= self.value) == self.at_least or figure == self.value else "missed"
        )

    def __str__(self) -> str:
        if math.isnan(self.value):
            return ""
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


def _step(model: str, goal: float, how: str = "16 videos of 300 frames") -> Goal:
    return Goal(goal, True, f"training step of {model}, {how}: limit / step")


GOALS = {
    "reader_ratio": Goal(0.5, True, "reader, shuffled: raw read / reader"),
    "reader_ordered_ratio": Goal(math.nan, True, "reader, in order"),
    "reader_cached_ratio": Goal(0.5, True, "reader, shuffled, from the cache on disk"),
    "step_ratio_NetVLAD1": _step("NetVLAD1", 0.5),
    "step_ratio_FVNet": _step("FVNet", 0.5),
    "step_ratio_DBoF1": _step("DBoF1", 0.5),
    "step_ratio_RNN1": _step("RNN1 (LSTM)", math.nan),
    "step_ratio_RNN1_128": _step("RNN1 (LSTM)", 0.4, "128 videos of 60 frames"),
    "step_ratio_RNN3": _step("RNN3 (GRU)", math.nan),
    "step_ratio_RNN3_128": _step("RNN3 (GRU)", 0.4, "128 videos of 60 frames"),
    "step_times_lstm": Goal(6.9, False, "step of RNN1 / step of NetVLAD1, 16 videos"),
    "step_times_gru": Goal(4.2, False, "step of RNN3 / step of NetVLAD1, 16 videos"),
    "gap_ratio": Goal(1.9, False, "GAP of 232,072 videos / sort of its values"),
    "metrics_ratio": Goal(math.nan, False, "all metrics of 20,000 videos / sort of all values"),
    "metrics_times_plain": Goal(20, True, "GAP in plain loops / all metrics"),
    "search_ratio": Goal(3.1, False, "one weighting of 9 members / sort"),
    "search_setup_ratio": Goal(math.nan, False, "set-up of the search / sort"),
    "search_setup_gigabytes": Goal(1.0, False, "memory of that set-up, GB"),
    "search_minutes": Goal(5.0, False, "set-up and 500 trials on 232,072 videos, minutes"),
    "soft_targets_seconds": Goal(
        math.nan, False, "choosing and writing 10,000 videos' soft targets, seconds"
    ),
    "soft_targets_gigabytes": Goal(1400, False, "soft targets of all 4.77 million videos, GB"),
    "inference_ratio_load_16": Goal(1.0, False, "8 bits decoded once / float32, 16 videos"),
    "inference_ratio_load_128": Goal(1.0, False, "8 bits decoded once / float32, 128 videos"),
    "inference_ratio_call_16": Goal(math.nan, False, "8 bits decoded each call, 16 videos"),
    "inference_ratio_call_128": Goal(1.3, False, "8 bits decoded each call, 128 videos"),
    "encode_seconds_fvnet": Goal(6.1, False, "storing FVNet in 8 bits, seconds"),
    "start_seconds": Goal(8.0, False, "yt8m run with nothing to do, seconds"),
    "help_seconds": Goal(0.5, False, "yt8m --help, seconds"),
}
BY_NETVLAD = {"step_times_lstm": "RNN1", "step_times_gru": "RNN3"}


def add_times(found: Found) -> None:
    """Add the steps of recurrent models in steps of NetVLAD1, where both were measured."""
    base = found.limits.get("step_seconds_NetVLAD1")
    for key, model in BY_NETVLAD.items():
        seconds = found.limits.get(f"step_seconds_{model}")
        if base and seconds:
            found.figures[key] = seconds / base
