"""Each claim of the paper, tested on an experiment: effect, interval, verdict.

An effect is the mean over the experiment's repeats, each trained from other seeds and measured on
the same videos; ``effects.py`` says what it is in one repeat.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.files import written_whole
from yt8m_lib.report import ReportError, questions
from yt8m_lib.report.claims import AMENDED, CLAIMS, NUMBERS
from yt8m_lib.report.effects import Effects, effects_of
from yt8m_lib.report.seeds import needs, of_another_repeat, over_repeats
from yt8m_lib.scoring.intervals import Estimate
from yt8m_lib.settings import ROOT, Params
from yt8m_lib.sources import digest_of

ROUNDING = 1e-6  # of effects that a file holds in single precision


def repeats(params: Params) -> dict[int, Effects]:
    """The effects of an experiment's finished repeats (all phases but the report), by number.

    Of parts of claims and, beside them, of what ``questions`` asks.
    """
    started = Experiment(params).repeats("teachers")
    parts = (Experiment(params.model_copy(update={"repeat": repeat})) for repeat in started)
    finished = [part for part in parts if part.is_complete(but="report")]
    return {p.params.repeat: effects_of(p) | questions.answers_of(p) for p in finished}


def save(repeat: int, found: Effects, path: str | Path) -> None:
    """Write one repeat's effects with their resamples as one ``.npz`` file."""
    arrays = {part: np.float32([e.value, *e.resamples]) for part, e in found.items()}
    videos = np.array([(effect.videos, effect.digest) for effect in found.values()])
    with written_whole(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, repeat=repeat, videos=videos, **arrays)


def load(path: str | Path) -> tuple[int, Effects]:
    """Read what ``save`` wrote.

    Returns:
        The repeat's number and its effects, in single precision.
    """
    with np.load(path, allow_pickle=False) as file:
        parts = [name for name in file.files if name not in ("repeat", "videos")]
        arrays = {part: file[part].astype(float) for part in parts}
        effects = {
            part: Estimate(float(array[0]), array[1:], int(videos), str(digest))
            for (part, array), (videos, digest) in zip(arrays.items(), file["videos"], strict=True)
        }
        if "4" in effects and questions.DECODED_ONCE not in effects:
            # From before decoding on each call was timed, which is what claim 4 is about.
            effects[questions.DECODED_ONCE] = effects.pop("4")
        return int(file["repeat"]), effects


def table(found: Sequence[Effects]) -> pd.DataFrame:
    """The verdict on each part of a claim that the repeats of one study test.

    Args:
        found: the effects of each repeat.

    Returns:
        A row for each part: claim, part, text, paper, effect, low, high, margin, seeds, videos (of
        the report half; 0 where bytes or seconds are compared), verdict, needs (what would decide
        it), first_verdict (that of the rule before the amendment, for claims that it touches),
        repeat_low and repeat_high (where one more repeat is expected, as
        ``of_another_repeat`` has it). Empty where there are no repeats.

    Raises:
        ReportError: where the repeats test different parts (but for claim 4, which some records do
            not have), or on different videos.
    """
    if not found:
        return pd.DataFrame()
    _check_one_study(found)
    by_part = {part: [one[part] for one in found if part in one] for part in CLAIMS}
    return pd.DataFrame([_row(part, some) for part, some in by_part.items() if some])


def _check_one_study(found: Sequence[Effects]) -> None:
    first, *others = ({p: one[p] for p in one if p in CLAIMS and p != "4"} for one in found)
    for other in others:
        differ = sorted(other.keys() ^ first.keys())
        if differ:
            raise ReportError(
                "these repeats are not of one study: one tests parts of claims that another does "
                f"not, {', '.join(differ)}"
            )
        moved = [part for part in first if not first[part].is_paired_with(other[part])]
        if moved:
            raise ReportError(
                "these repeats are not of one study: one was measured on other videos or resamples "
                f"than another, {', '.join(moved)}"
            )


def _row(part: str, by_repeat: Sequence[Estimate]) -> dict[str, object]:
    claim, effect = CLAIMS[part], over_repeats(by_repeat)
    (low, high), judged = effect.interval(), claim.judge(effect)
    repeat_low, repeat_high = of_another_repeat(by_repeat)
    return {
        "claim": int(part.split("-")[0]),
        "part": part,
        "text": claim.text,
        "paper": claim.paper,
        "effect": effect.value,
        "low": low,
        "high": high,
        "margin": claim.margin,
        "seeds": len(by_repeat),
        "videos": effect.videos,
        "verdict": judged,
        "needs": needs(claim, by_repeat) if judged == "undecided" else "",
        "first_verdict": claim.judge_at_first(effect),
        "repeat_low": repeat_low,
        "repeat_high": repeat_high,
    }


def signed(table: pd.DataFrame, params: Params) -> pd.DataFrame:
    """The same table with what it is of: columns ``classes`` and ``settings``, a hash of them.

    The seed and how many threads compute are no part of it: a repeat may be made elsewhere.
    """
    settings = params.model_dump(mode="json", exclude={"experiment": True, "seed": True})
    settings["training"].pop("threads", None)
    return table.assign(classes=params.data.classes, settings=digest_of(settings))


def decided(table: pd.DataFrame) -> str:
    """How many claims are decided, and which are not or were not tested."""
    open_ = sorted(set(table["claim"][table["verdict"] == "undecided"]))
    first = table["first_verdict"].where(table["first_verdict"] != "", table["verdict"])
    open_at_first = set(table["claim"][first == "undecided"])
    tested = set(table["claim"])
    untested = sorted(set(NUMBERS) - tested)
    words = f"{len(tested) - len(open_)} of {len(NUMBERS)} claims are decided"
    words += f" ({len(tested) - len(open_at_first)} by the rule before {AMENDED})"
    if open_:
        words += f"; undecided: {', '.join(map(str, open_))}"
    return words + (f"; not tested here: {', '.join(map(str, untested))}" if untested else "")


def outside(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """The parts whose effect lies where an earlier record of the same study expects none.

    That is outside ``repeat_low`` to ``repeat_high``, as one part in 20 is by chance; outside
    ``low`` to ``high`` where the record is of one seed.

    Args:
        table: of this study.
        reference: the earlier record, read from its ``findings.csv``.

    Returns:
        Columns part, effect, recorded_low and recorded_high.

    Raises:
        ReportError: where the record is of other data, measured on other videos or with other
            classes, and says nothing of where these effects are to lie.
    """
    _check_same_data(table, reference)
    known = reference.reindex(columns=["part", "low", "high", "repeat_low", "repeat_high"])
    low, high = (known[f"repeat_{end}"].fillna(known[end]) for end in ("low", "high"))
    record = known[["part"]].assign(recorded_low=low - ROUNDING, recorded_high=high + ROUNDING)
    both = table[["part", "effect"]].merge(record, on="part")
    return both[~both["effect"].between(both["recorded_low"], both["recorded_high"])]


def has_other_settings(table: pd.DataFrame, reference: pd.DataFrame) -> bool | None:
    """Whether a record was made under other settings; None where it does not say."""
    if "settings" not in reference:
        return None
    return set(table["settings"]) != set(reference["settings"])


def _check_same_data(table: pd.DataFrame, reference: pd.DataFrame) -> None:
    if "classes" in reference and set(reference["classes"]) != set(table["classes"]):
        raise ReportError(
            f"that record is of other data: it has {reference['classes'].iloc[0]:,} classes, these "
            f"effects {table['classes'].iloc[0]:,}"
        )
    columns = [one.reindex(columns=["part", "videos"]) for one in (table, reference)]
    both = columns[0].merge(columns[1], on="part", suffixes=("", "_recorded")).dropna()
    differ = both[both["videos"] != both["videos_recorded"]]
    if len(differ):
        first = differ.iloc[0]
        raise ReportError(
            f"that record is of other data: part {first['part']} was measured on "
            f"{first['videos_recorded']:,.0f} videos there, on {first['videos']:,.0f} here"
        )


def other_choices(table: pd.DataFrame, records: dict[str, str]) -> pd.DataFrame:
    """Each part's effect, and what it is in the same study under other choices.

    Args:
        table: the study's own.
        records: by a name of the choice, the ``findings.csv`` of the study made under it; a
            relative path is from the project's folder.

    Returns:
        Columns part, text, paper, effect with its interval, then ``effect <choice>`` with its own,
        for the parts that every record has; empty where there are no records.
    """
    if not (len(table) and records):
        return pd.DataFrame()
    ends = {"low": "effect_low", "high": "effect_high"}
    joined = table[["part", "text", "paper", "effect", *ends]].rename(columns=ends)
    for choice, path in records.items():
        other = pd.read_csv(ROOT / path)[["part", "effect", *ends]].rename(columns=ends)
        names = {name: name.replace("effect", f"effect {choice}") for name in other}
        joined = joined.merge(other.rename(columns=names), on="part")
    return joined
