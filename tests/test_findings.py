"""Claims, their verdicts, and what a study compares."""

import numpy as np
import pandas as pd
import pytest

from yt8m_lib import families, params
from yt8m_lib.experiment.answers import alone
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.families import Family
from yt8m_lib.report import ReportError, findings, tables
from yt8m_lib.report.claims import CLAIMS, Claim, verdict
from yt8m_lib.report.effects import effects_of
from yt8m_lib.report.seeds import _room, needs, of_another_repeat, over_repeats
from yt8m_lib.scoring.intervals import Estimate

NONE = Estimate(0.0, np.zeros(10), videos=100)


def test_margins_are_half_the_published_effect_or_the_smallest_of_interest():
    assert CLAIMS["1-dbof"].margin == 0.001
    assert CLAIMS["6-rnn"].margin == 0.00645
    assert CLAIMS["11"].margin == 0.00025
    assert {CLAIMS[part].margin for part in ("1-netvlad", "5", "7-0.4", "13-rnn")} == {0.0005}
    assert {int(part.split("-")[0]) for part in CLAIMS} == set(range(1, 15))


class Everything:
    """An experiment in which every run is finished and answers as ``gap`` says.

    Of the answers in ``missing`` no GAP was logged.
    """

    def __init__(self, settings, gap=lambda key, answers: NONE, missing=()):
        self.params, self.plan = settings, Plan(settings)
        self._gap, self._missing = gap, missing

    def find(self, key):
        return Run(lambda answers="predictions": self._gap(key, answers), self._missing)

    def finished(self, phase):
        return {step.name: self.find(step.key) for step in self.plan.of(phase)}


class Run:
    def __init__(self, gap, missing):
        self.gap, self.has_gap = gap, lambda name: name not in missing
        sizes = {"size_bytes": 1, "size_bytes_float32": 4}
        self.metrics = sizes | {"seconds_quantized": 3.0, "seconds_float32": 2.0}
        self.metrics["seconds_on_call"] = 3.0
        self.metrics |= {f"gap_selection_{alone(f)}": len(f) for f in families.teaching()}

    def json(self, name):
        return {"soft_targets": {"teachers": ["A", "B"], "folder": "somewhere"}}[name]


def numbered():
    """A ``gap`` under which each run answers with a power of two, and what it was asked so far.

    An effect then tells which two answers were compared.
    """
    seen: dict[tuple, int] = {}

    def gap(key, answers):
        number = seen.setdefault((key, answers), len(seen))
        return Estimate(float(2**number), np.zeros(10), videos=100)

    def of(key, answers="predictions"):
        return 2 ** seen[(key, answers)]

    return gap, of


@pytest.mark.parametrize("name", ["study", "study_video_level"])
def test_a_study_tests_every_part_of_every_claim(name):
    study = Everything(params.load(f"params/{name}.yaml"))
    assert set(effects_of(study)) == set(CLAIMS)


def test_each_part_compares_the_runs_that_it_should():
    gap, of = numbered()
    smoke = Everything(params.load("params/smoke.yaml"), gap)
    effects = effects_of(smoke)
    ensemble = "ensembling/ensemble"
    expected = {
        "1-rnn-control": [
            (of(f"averaging/{m}"), of(f"averaging/{m}", "unaveraged"))
            for m in ("LSTM-mid", "GRU-mid")
        ],
        "1-netvlad": [(of("averaging/LightVLAD-mid"), of("teachers/LightVLAD-mid"))],
        "3-gap": [
            (of(f"quantization/{name}"), of(f"distillation/{name}"))
            for name in smoke.params.distillation.students
        ],
        "5": [(of("quantization/FVNet-mid-S1-quantile"), of("quantization/FVNet-mid-S1"))],
        "7-0.6": [(of("distillation/LightVLAD-mid-L6"), of("distillation/LightVLAD-mid-S1"))],
        "8-model": [(of("distillation/LightVLAD-mid-S2"), of("distillation/LightVLAD-mid-S1"))],
        "9-dbof": [(of("distillation/DBoF-mid-X1"), of("distillation/DBoF-mid-S1"))],
        "10-dbof": [
            (of(f"teachers/{m}"), of(f"teachers/{m}", "random_frames"))
            for m in ("DBoF-mid", "DBoF-low")
        ],
        "11": [(of(ensemble), of(ensemble, "flat"))],
        "12-small": [(of("teachers/LightVLAD-b20"), of("teachers/LightVLAD-mid"))],
        "12-large": [(of("teachers/LightVLAD-b64"), of("teachers/LightVLAD-mid"))],
        "13-netvlad": [(of("teachers/NetVLAD-high"), of("teachers/NetVLAD-low"))],
        # The best here is the family with the longest name.
        "14": [(of(ensemble), of(ensemble, alone(max(families.teaching(), key=len))))],
    }
    for part, pairs in expected.items():
        assert effects[part].value == np.mean([after - before for after, before in pairs]), part
    assert effects["3-size"].value == -0.75 and effects["4"].value == 0.5


@pytest.fixture
def toy():
    """A family that no claim names, with the best ensemble of its own; gone when the test ends."""
    layers = families.FAMILIES["dbof"].layers
    traits = {"pools_frames": True, "classifier": "logistic"}
    families.register(Family("a_toy_family", "Toy", ("toy",), layers, **traits))
    yield "a_toy_family"
    del families.FAMILIES["a_toy_family"]


def test_the_best_single_family_is_the_best_of_all_that_are_there(toy):
    gap, of = numbered()
    smoke = params.load("params/smoke.yaml")
    effects = effects_of(Everything(smoke, gap))
    assert effects["14"].value == of("ensembling/ensemble") - of("ensembling/ensemble", alone(toy))


def test_an_ensemble_without_a_claimed_family_does_not_test_that_claim(toy):
    study = params.load("params/study.yaml")
    effects = effects_of(Everything(study, missing=[alone("rnn")]))
    assert set(CLAIMS) - set(effects) == {"14"}
    assert findings.decided(findings.table([effects])).endswith("not tested here: 14")
    assert "14" in effects_of(Everything(study, missing=[alone(toy)]))


def test_a_family_without_a_claim_gets_no_verdict(toy):
    settings = ["models.Toy.architecture=toy", "models.Toy.clusters=4", "models.Toy.hidden=8"]
    smoke = params.load("params/smoke.yaml", [*settings, "averaging.shown=[Toy]"])
    table = tables.averaging_table(Everything(smoke)).set_index("model")
    assert table["verdict"]["Toy"] == table["paper"]["Toy"] == ""
    assert table["verdict"]["DBoF-mid"] == "no effect"


def test_a_student_is_compared_with_the_same_architecture_before():
    gap, of = numbered()
    table = tables.distillation_table(Everything(params.load("params/smoke.yaml"), gap))
    table = table.set_index("model")
    assert table["gap_before"]["DBoF-mid-S1"] == of("averaging/DBoF-mid")
    assert table["gap_before"]["LightVLAD-mid-S2"] == of("distillation/LightVLAD-mid-S1")
    assert table["gap_after"]["LightVLAD-mid-S2"] == of("distillation/LightVLAD-mid-S2")
    assert set(table["teachers"]) == {"A + B"}
    assert "LightVLAD-mid-L6" not in table.index  # only compared with the students


def test_tables_that_were_not_made_are_named_with_the_command(tmp_path):
    smoke = params.load("params/smoke.yaml", [f"results={tmp_path}"])
    with pytest.raises(ReportError, match=r"averaging.csv is not there yet: yt8m run"):
        dict(tables.read(smoke))
    made = pd.DataFrame({"model": ["A"], "gain": [0.1], "gain_low": [0.0], "gain_high": [0.2]})
    for name in tables.TABLES:
        tables.write(made, name, smoke)
    assert list(dict(tables.read(smoke))) == list(tables.TITLES) == list(tables.TABLES)
    text = (smoke.folder / "tables" / "averaging.md").read_text()
    assert text.startswith("Table 1. Weight averaging (sec. 4.1): smoke, ")
    assert "+0.1000" in text and "[+0.0000, +0.2000]" in text


def test_what_is_compared_alone_shares_its_twins_seed():
    plan = Plan(params.load("params/study.yaml"))
    batches = [plan[f"teachers/NetVLAD-low{end}"] for end in ("", "-b32", "-b102")]
    assert len({plan.seed(step) for step in batches}) == 1
    steps = [plan[f"distillation/NetVLAD-low-{end}"] for end in ("S1", "L4", "L6", "S2")]
    seeds = [plan.seed(step) for step in steps]
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3]
    again = Plan(params.load("params/study.yaml", ["repeat=1"]))
    assert again.seed(again["teachers/NetVLAD-low"]) != plan.seed(plan["teachers/NetVLAD-low"])


def a_repeat(**effects: float) -> dict[str, Estimate]:
    noise = np.linspace(-0.0001, 0.0001, 1000)
    return {part: Estimate(value, value + noise, videos=100) for part, value in effects.items()}


def test_a_repeat_made_elsewhere_counts_as_one_made_here(tmp_path):
    repeats = [a_repeat(**{"11": 0.002 + d, "5": d}) for d in (-0.0007, 0.0, 0.0007)]
    findings.save(1, repeats[1], tmp_path / "repeat-1.npz")
    number, again = findings.load(tmp_path / "repeat-1.npz")
    assert number == 1
    expected = findings.table(repeats)
    together = findings.table([repeats[0], again, repeats[2]])
    pd.testing.assert_frame_equal(together, expected, check_exact=False, atol=1e-8)
    with pytest.raises(ReportError, match="does not, 5"):
        findings.table([repeats[0], a_repeat(**{"11": 0.1})])
    with pytest.raises(ReportError, match="other videos or resamples than another, 11"):
        findings.table([a_repeat(**{"11": 0.1}), {"11": Estimate(0.1, np.zeros(1000), 9, "x")}])


def test_the_table_judges_over_repeats_and_says_what_an_open_claim_needs():
    repeats = [a_repeat(**{"11": 0.004 + d, "5": d}) for d in (-0.0007, 0.0, 0.0007)]
    table = findings.table(repeats).set_index("part")
    assert table["verdict"].to_dict() == {"5": "undecided", "11": "reproduced"}
    assert table["seeds"].eq(3).all() and table["needs"]["11"] == ""
    assert table["needs"]["5"].endswith("seeds")
    words = findings.decided(table.reset_index())
    assert "1 of 14 claims are decided (1 by the rule before 2026-11-27); undecided: 5" in words
    assert not len(findings.table([]))


def test_the_amended_claims_keep_their_margins_and_show_both_verdicts():
    touched = {part: claim for part, claim in CLAIMS.items() if claim.first_direction}
    assert set(touched) == {
        "2-dbof", "2-rnn", "2-dbof-both", "2-rnn-both", "7-0.4", "7-0.6", "8-model",
    }  # fmt: skip
    assert {(c.direction, c.first_direction, c.margin) for c in touched.values()} == {
        ("no gain", "none", 0.0005)
    }
    loss = [a_repeat(**{"8-model": d, "11": 0.1}) for d in (-0.004, -0.0041, -0.0039)]
    table = findings.table(loss).set_index("part")
    assert table.loc["8-model", ["verdict", "first_verdict"]].tolist() == ["reproduced", "opposite"]
    assert table["first_verdict"]["11"] == "" and table["paper"]["8-model"] == "no gain"
    unsure = [a_repeat(**{"8-model": d, "11": 0.1}) for d in (-0.001, 0.0002, -0.0022)]
    words = findings.decided(findings.table(unsure))
    assert words.startswith("1 of 14 claims are decided (1 by the rule before 2026-11-27)")


def test_room_for_no_gain_ends_at_the_margin_above():
    claim = Claim("no gain", "no gain", (0.0, 0.0))
    assert _room(claim, 0.0002) == pytest.approx(0.0003)
    assert _room(claim, -0.001) == pytest.approx(0.0015)


def test_what_would_decide_a_claim_grows_with_its_interval():
    claim = Claim("no change", "none", (0.0, 0.0))
    wide, wider = (Estimate(0.0, np.linspace(-w, w, 1000), videos=100) for w in (0.001, 0.002))
    assert needs(claim, [wide]) == "361 videos"  # (0.95 * 0.001 / 0.0005)**2 times
    assert needs(claim, [wider]) == "1,444 videos"
    assert needs(claim, [Estimate(0.0005, wide.resamples)]).startswith("over 1,000 times")


def test_what_would_decide_a_claim_over_seeds_follows_students_t():
    claim = Claim("better", "gain")

    def two(noise):  # a standard deviation of 0.00141 between seeds, 0.001 from zero
        draws = np.linspace(-noise, noise, 1000)
        return [Estimate(value, value + draws, videos=100) for value in (0.0, 0.002)]

    assert needs(claim, two(0.0)) == "11 seeds"  # t is 2.23: 0.00095; of 10, 0.00101
    assert needs(claim, two(0.0005)) == "13 seeds"
    assert needs(claim, two(0.004)) == "2,888 videos and 18 seeds"
    bytes_ = [Estimate(value, np.zeros(10)) for value in (0.0, 0.002)]
    assert needs(claim, bytes_) == "11 seeds"


def test_effects_outside_an_earlier_record_are_named():
    record = pd.DataFrame({"part": ["1-dbof", "11", "14"], "low": 0, "high": 1})
    record = record.assign(repeat_low=[np.nan, -5, -5], repeat_high=[np.nan, 5, 5])
    again = pd.DataFrame({"part": ["11", "14", "1-dbof"], "effect": [4.0, 6.0, 2.0]})
    assert list(findings.outside(again, record)["part"]) == ["14", "1-dbof"]
    there, here = record.assign(videos=[90, 90, 0]), again.assign(videos=[90, 0, 90])
    assert len(findings.outside(here, there)) == 2
    with pytest.raises(ReportError, match="part 1-dbof was measured on 91 videos there, on 90"):
        findings.outside(here, there.assign(videos=[91, 90, 0]))
    with pytest.raises(ReportError, match="it has 500 classes, these effects 200"):
        findings.outside(here.assign(classes=200), there.assign(classes=500))


def test_a_record_says_under_which_settings_it_was_made():
    table = pd.DataFrame({"part": ["11"], "effect": [4.0]})
    study, again, other = (
        findings.signed(table, params.load("params/study.yaml", overrides))
        for overrides in (
            [],
            ["seed=7", "repeat=3", "training.threads=1"],
            ["training.frames=9"],
        )
    )
    assert not findings.has_other_settings(again, study)
    assert findings.has_other_settings(other, study)
    assert findings.has_other_settings(study, table) is None
    assert "settings" not in tables.as_text(study)


def test_another_repeat_lies_where_it_is_expected_as_often_as_that_says():
    rng = np.random.default_rng(0)
    for seeds in (2, 4):
        inside = []
        for _ in range(400):
            values = rng.normal(size=seeds + 1)
            first = [Estimate(value, np.zeros(1)) for value in values[1:]]
            low, high = of_another_repeat(first)
            inside.append(low <= values[0] <= high)
        assert 0.92 <= np.mean(inside) <= 0.98


def test_over_repeats_covers_the_true_effect_about_as_often_as_it_says():
    """Three seeds around a true effect of 1, unsure by seed alone, by videos alone, by both."""
    rng = np.random.default_rng(0)
    for by_seed, by_videos in [(1, 0), (0, 1), (1, 1)]:
        covered = []
        for _ in range(300):
            shared = by_videos * rng.normal()  # the videos at hand favour all seeds alike
            draws = by_videos * rng.normal(size=1000)
            values = 1 + shared + by_seed * rng.normal(size=3)
            effects = [Estimate(value, value + draws) for value in values]
            low, high = over_repeats(effects).interval()
            covered.append(low <= 1 <= high)
        assert 0.91 <= np.mean(covered) <= 0.99


def test_over_one_repeat_is_that_repeat():
    one = Estimate(0.5, np.array([0.4, 0.6]))
    assert over_repeats([one]).interval() == one.interval()


@pytest.mark.parametrize(
    ("low", "high", "gain", "loss", "none", "no_gain"),
    [
        (0.002, 0.004, "reproduced", "opposite", "opposite", "opposite"),
        (-0.004, -0.002, "opposite", "reproduced", "opposite", "reproduced"),
        (-0.0005, 0.0008, "no effect", "no effect", "reproduced", "reproduced"),
        (0.0001, 0.0009, "reproduced", "no effect", "reproduced", "reproduced"),
        (-0.0009, -0.0001, "no effect", "reproduced", "reproduced", "reproduced"),
        (-0.002, 0.003, "undecided", "undecided", "undecided", "undecided"),
        (-0.003, 0.001, "undecided", "undecided", "undecided", "reproduced"),
        (0.0005, 0.003, "reproduced", "opposite", "undecided", "undecided"),
        (0.0, 0.003, "undecided", "undecided", "undecided", "undecided"),
        (0.0, 0.0, "no effect", "no effect", "reproduced", "reproduced"),
    ],
)
def test_verdict_follows_the_interval(low, high, gain, loss, none, no_gain):
    effect, margin = (low + high) / 2, 0.001
    assert verdict(effect, low, high, "no gain", margin) == no_gain
    assert verdict(effect, low, high, "gain", margin) == gain
    assert verdict(effect, low, high, "loss", margin) == loss
    assert verdict(effect, low, high, "none", margin) == none


@pytest.mark.parametrize(
    "bad",
    [
        (0, 1, -1, "gain", 0.1),
        (np.nan, 0, 1, "gain", 0.1),
        (0, 0, 1, "up", 0.1),
        (0, 0, 1, "gain", -0.1),
    ],
)
def test_verdict_refuses_what_is_no_interval(bad):
    with pytest.raises(ValueError, match=r"interval|direction"):
        verdict(*bad)


def test_effects_stand_with_those_under_other_choices(tmp_path):
    columns = {"text": "helps", "paper": "better", "low": -0.1, "high": 0.2}
    own = pd.DataFrame({"part": ["1-dbof", "5", "14"], "effect": [0.01, 0.02, 0.03]})
    other = pd.DataFrame({"part": ["14", "1-dbof"], "effect": [0.3, 0.1]})
    other.assign(**columns).to_csv(tmp_path / "findings.csv")
    records = {"clean": str(tmp_path / "findings.csv")}
    joined = findings.other_choices(own.assign(**columns), records)
    assert list(joined["part"]) == ["1-dbof", "14"]
    assert list(joined["effect"]) == [0.01, 0.03]
    assert list(joined["effect clean"]) == [0.1, 0.3]
    assert set(joined["effect clean_low"]) == {-0.1} and set(joined["effect_high"]) == {0.2}
    assert not len(findings.other_choices(own, {}))
