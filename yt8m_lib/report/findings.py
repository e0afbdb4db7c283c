"""Each claim of the paper, tested on an experiment: effect, interval, verdict.

An effect is the mean over all pairs of models that a part of a claim compares, on the report half,
and the mean over the experiment's repeats, each trained from other seeds on the same videos.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import FAMILIES, ROOT, Model, Params
from yt8m_lib.report.claims import CLAIMS, NUMBERS, Claim
from yt8m_lib.scoring.intervals import RESAMPLES, Estimate

Effects = Iterator[tuple[str, Estimate]]
EffectOf = dict[str, Estimate]  # of each part of a claim, in one repeat
ROUNDING = 1e-6  # of effects kept in single precision
MOST = 1000  # times as many videos or seeds: nobody asks for more


def repeats(params: Params) -> dict[int, EffectOf]:
    """The effects of an experiment's finished repeats (all phases but the report), by number."""
    started = Experiment(params).repeats("teachers")
    parts = (Experiment(params.model_copy(update={"repeat": repeat})) for repeat in started)
    return {p.params.repeat: effects(p) for p in parts if p.is_complete(but="report")}


def save(repeat: int, found: EffectOf, path: str | Path) -> None:
    """Write one repeat's effects with their resamples as one ``.npz`` file."""
    arrays = {part: np.float32([e.value, *e.resamples]) for part, e in found.items()}
    videos = np.array([(effect.videos, effect.digest) for effect in found.values()])
    np.savez_compressed(path, repeat=repeat, videos=videos, **arrays)


def load(path: str | Path) -> tuple[int, EffectOf]:
    """Read what ``save`` wrote: the repeat's number and its effects, in single precision."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name].astype(float) for name in file.files if name in CLAIMS}
        effects = {
            part: Estimate(float(array[0]), array[1:], int(videos), str(digest))
            for (part, array), (videos, digest) in zip(arrays.items(), file["videos"], strict=True)
        }
        return int(file["repeat"]), effects


def table(found: Sequence[EffectOf]) -> pd.DataFrame:
    """A row for each part of a claim that these repeats of one study test.

    Columns: claim, part, text, said, effect, low, high, margin, seeds, videos (of the report half;
    0 where bytes or seconds are compared), verdict, needs: what would decide it, and repeat_low,
    repeat_high: where one more repeat is expected (``of_another_repeat``; NaN of one seed).

    Raises:
        ValueError: where the repeats test different parts, or on different videos.
    """
    if not found:
        return pd.DataFrame()
    first, *others = map(set, found)
    for other in others:
        if other != first:
            raise ValueError(
                "these repeats are not of one study: one tests parts of claims that another does "
                f"not, {', '.join(sorted(other ^ first))}"
            )
    return pd.DataFrame([_row(p, [f[p] for f in found]) for p in CLAIMS if p in first])


def decided(table: pd.DataFrame) -> str:
    """How many claims are decided, and which are not or were not tested."""
    open_ = sorted(set(table["claim"][table["verdict"] == "undecided"]))
    tested = set(table["claim"])
    untested = sorted(set(NUMBERS) - tested)
    words = f"{len(tested) - len(open_)} of {len(NUMBERS)} claims are decided"
    if open_:
        words += f"; undecided: {', '.join(map(str, open_))}"
    return words + (f"; not tested here: {', '.join(map(str, untested))}" if untested else "")


def outside(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """The parts whose effect lies where an earlier record of the same study expects none.

    That is outside ``repeat_low`` to ``repeat_high``, as one part in 20 is by chance; outside
    ``low`` to ``high`` where the record is of one seed.
    """
    known = reference.reindex(columns=["part", "low", "high", "repeat_low", "repeat_high"])
    low, high = (known[f"repeat_{end}"].fillna(known[end]) for end in ("low", "high"))
    record = known[["part"]].assign(recorded_low=low - ROUNDING, recorded_high=high + ROUNDING)
    both = table[["part", "effect"]].merge(record, on="part")
    return both[~both["effect"].between(both["recorded_low"], both["recorded_high"])]


def beside(table: pd.DataFrame, records: dict[str, str]) -> pd.DataFrame:
    """Each part's effect, and what it is in the same study under another choice.

    Args:
        table: the study's own.
        records: by a name of the choice, the ``findings.csv`` of the study made under it; a
            relative path is from the project's folder.

    Returns:
        Columns part, text, said, effect with its interval, then ``effect <choice>`` with its own,
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
        "repeat_low": repeat_low,
        "repeat_high": repeat_high,
    }


def needs(claim: Claim, by_repeat: Sequence[Estimate]) -> str:
    """About how many videos, or seeds, or both would decide a claim, were the effect as it seems.

    Doubt by videos shrinks with the root of their number, doubt by seeds as Student's t says. Seeds
    alone are asked for where doubt by videos leaves them room; else each may take half of it.
    """
    mean, count = Estimate.mean(by_repeat), len(by_repeat)
    size, margin = abs(mean.value), claim.margin
    room = abs(size - margin) if claim.direction == "none" else max(size, margin - size)
    room = max(room, 1e-9)
    low, high = mean.interval()
    share = ((high - low) / 2 / room) ** 2  # of the room's square that doubt by videos takes
    if count == 1:
        return _number(mean.videos or 1, share, "videos" if mean.videos else "seeds")
    wanted, share = [], share if mean.videos else 0.0
    if share >= 1:
        wanted.append(_number(mean.videos, 2 * share, "videos"))
        share = 0.5
    spread = spread_of_mean(by_repeat) * np.sqrt(count)
    for seeds in range(2, MOST * count):
        if (_student(seeds) * spread) ** 2 / seeds <= (1 - share) * room**2:
            break
    return " and ".join([*wanted, _number(seeds, 1, "seeds")])


def _number(count: int, times: float, unit: str) -> str:
    if times > MOST:
        return f"over {MOST:,} times the {unit}"
    return f"{np.ceil(count * times):,.0f} {unit}"


# --- Uncertainty over repeats, and of what is not measured on videos ---


def mean_estimate(values: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Mean of measurements that are not of videos (sizes, times), they themselves drawn anew."""
    values = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    return Estimate(float(values.mean()), values[draws].mean(axis=1))


def over_repeats(effects: Sequence[Estimate], seed: int = 0) -> Estimate:
    """Mean of an effect over repeats (seeds) of an experiment, unsure by both videos and seeds.

    Videos are drawn alike for all repeats. Drawing the few seeds anew would give far too narrow an
    interval: of three, the 95 % interval is their range, which holds the true mean 3 times in 4.
    So their mean is drawn from Student's t about it, which knows how few they are.
    """
    mean = Estimate.mean(effects)
    if len(effects) == 1:
        return mean
    drawn = np.repeat(mean.resamples, 20)  # t of few seeds has wide tails: they need many draws
    noise = np.random.default_rng([seed, 1]).standard_t(len(effects) - 1, len(drawn))
    resamples = drawn + spread_of_mean(effects) * noise
    return Estimate(mean.value, resamples, mean.videos, mean.digest)


def of_another_repeat(effects: Sequence[Estimate]) -> tuple[float, float]:
    """Where 95 % of further repeats' effects lie on the same videos, by Student's t over seeds.

    An interval of the mean is narrower the more seeds there are, this one is not: a repeat made
    anew is compared with it. NaN where there is one repeat only.
    """
    count = len(effects)
    if count == 1:
        return np.nan, np.nan
    mean = float(np.mean([effect.value for effect in effects]))
    reach = _student(count) * spread_of_mean(effects) * np.sqrt(count + 1)
    return mean - reach, mean + reach


def _student(seeds: int) -> float:
    """How many standard errors Student's t of so many seeds reaches to either side, at 95 %."""
    return float(stdtrit(seeds - 1, 0.975))


def spread_of_mean(effects: Sequence[Estimate]) -> float:
    """Standard error of the mean of several repeats' effects."""
    return float(np.std([e.value for e in effects], ddof=1) / np.sqrt(len(effects)))


# --- What each claim compares, in one repeat ---


def effects(experiment: Experiment) -> EffectOf:
    """The effect of each part of a claim that one repeat of an experiment tests."""
    found: dict[str, list[Estimate]] = {}
    for compare in (_averaging, _quantization, _distillation, _inference, _sizes, _ensemble):
        for part, effect in compare(experiment):
            found.setdefault(part, []).append(effect)
    means = {part: Estimate.mean(found[part]) for part in CLAIMS if part in found}
    return means | _costs(experiment)


def _averaging(experiment: Experiment) -> Effects:
    """Claims 1 and 2: a model before, after, and after the same training averaged otherwise."""
    for step in experiment.plan.of("averaging"):
        run, family = experiment.find(step.key), step.tags["family"]
        yield f"1-{family}", run.gap() - experiment.find(step.parents[0]).gap()
        yield f"1-{family}-control", run.gap() - run.gap("unaveraged")
        if experiment.params.averaging.checkpoints:
            yield f"2-{family}", run.gap("checkpoints") - run.gap()
            yield f"2-{family}-both", run.gap("shadow_checkpoints") - run.gap()


def _quantization(experiment: Experiment) -> Effects:
    """Claims 3 and 5: a student's answers with stored weights against float32 and other schemes."""
    for step in experiment.plan.of("quantization"):
        answers = experiment.find(step.key).gap()
        if step.tags["scheme"] == "linear":
            yield "3-gap", answers - experiment.find(step.parents[0]).gap()
        elif step.tags["scheme"] == "quantile":
            yield "5", answers - experiment.find(f"quantization/{step.tags['student']}").gap()


def _costs(experiment: Experiment) -> dict[str, Estimate]:
    """Claims 3 and 4: bytes and seconds of the students in 8 bits, as a share of float32's."""
    steps = [s for s in experiment.plan.of("quantization") if s.tags["scheme"] == "linear"]
    runs = [experiment.find(step.key).metrics for step in steps]
    pairs = {
        "3-size": ("size_bytes", "size_bytes_float32"),
        "4": ("seconds_quantized", "seconds_float32"),
    }
    return {
        part: mean_estimate([run[new] / run[old] - 1 for run in runs])
        for part, (new, old) in pairs.items()
        if runs
    }


def _distillation(experiment: Experiment) -> Effects:
    """Claims 6 to 9: students against their architecture's teacher, and against each other."""
    params, known = experiment.params, experiment.params.distillation.students
    gaps = {name: experiment.find(f"distillation/{name}").gap() for name in known}
    own = {
        student.model: name
        for name, student in known.items()
        if student.round == 1 and params.models[student.model].family == student.taught_by
    }
    for name, student in known.items():
        family = params.models[student.model].family
        if own.get(student.model) == name:
            teacher = experiment.plan[f"distillation/{name}"].parents[1]
            for part in (f"6-{family}", "6-model"):
                yield part, gaps[name] - experiment.find(teacher).gap()
        elif student.round == 2 and student.model in own:
            yield "8-model", gaps[name] - gaps[own[student.model]]
        elif student.taught_by != family and student.model in own:
            yield f"9-{family}", gaps[name] - gaps[own[student.model]]
    for name, student in params.distillation.compare.items():
        step = experiment.plan[f"distillation/{name}"]
        if step.twin and student.label_weight is not None:
            change = experiment.find(step.key).gap() - experiment.find(step.twin).gap()
            yield f"7-{student.label_weight:g}", change


def _inference(experiment: Experiment) -> Effects:
    """Claim 10: the same weights on all frames and on random ones."""
    for step in experiment.plan.of("teachers"):
        if "random_frames" in step.settings.get("compare_inference", ()):
            run = experiment.find(step.key)
            yield f"10-{step.tags['family']}", run.gap() - run.gap("random_frames")


def _sizes(experiment: Experiment) -> Effects:
    """Claims 12 and 13: models that differ in batch alone, or in size alone."""
    models = experiment.params.models

    def gap(name: str) -> Estimate:
        return experiment.find(f"teachers/{name}").gap()

    for names in _alike(models, {"batch"}, lambda model: model.batch):
        if len(names) == 3:
            small, middle, large = names
            yield "12-small", gap(small) - gap(middle)
            yield "12-large", gap(large) - gap(middle)
    for names in _alike(
        models, {"clusters", "hidden"}, lambda model: (model.clusters, model.hidden)
    ):
        yield f"13-{models[names[0]].family}", gap(names[-1]) - gap(names[0])


def _alike(models: dict[str, Model], but: set[str], order: Callable) -> list[list[str]]:
    """Groups of models that are alike in all but some settings, each group in an order of these."""
    groups: dict[str, list[str]] = {}
    for name, model in models.items():
        groups.setdefault(model.model_dump_json(exclude=but), []).append(name)
    return [sorted(g, key=lambda n: order(models[n])) for g in groups.values() if len(g) > 1]


def _ensemble(experiment: Experiment) -> Effects:
    """Claims 6 (a family's flat averages), 8 (the ensemble), 11 and 14."""
    if "ensembling/ensemble" not in experiment.plan.steps:
        return
    run = experiment.find("ensembling/ensemble")
    yield "11", run.gap() - run.gap("flat")
    if run.has("first_round_gap.npz"):
        yield "8-ensemble", run.gap() - run.gap("first_round")
    families = [family for family in FAMILIES if run.has(f"{family}_alone_gap.npz")]
    if len(families) == len(FAMILIES):
        best = max(families, key=lambda family: run.metrics[f"gap_selection_{family}_alone"])
        yield "14", run.gap() - run.gap(f"{best}_alone")
    for family in FAMILIES:
        if run.has(f"{family}_students_gap.npz"):
            yield "6-together", run.gap(f"{family}_students") - run.gap(f"{family}_teachers")
