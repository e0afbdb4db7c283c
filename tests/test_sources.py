"""Which code decides a result: a list of edits to the library, and what each must make again."""

import shutil

import pytest

from yt8m_lib import params, sources
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.settings import ROOT

TEACHERS = {"teachers/NetVLAD-low", "teachers/DBoF-low", "teachers/LSTM-mid"}
STUDENTS = {"distillation/FVNet-mid-S1", "distillation/LSTM-mid-S1"}
TRAINED = TEACHERS | STUDENTS | {"averaging/DBoF-low"}
CODED = {"quantization/FVNet-mid-S1", "ensembling/ensemble"}
LAST = {"report/report"}
WATCHED = TRAINED | CODED | LAST | {"data/data", "distillation/rnn-teachers"}

# A file, what is written into it, and which of the watched steps must be made again for it.
DOCSTRING = ('"""', '"""Reworded. ')
EDITS = {
    "a docstring of the settings": ("settings.py", DOCSTRING, set()),
    "a setting that nobody uses": ("settings.py", "\nUNUSED = 1\n", set()),
    "a docstring of the trainer": ("methods/training.py", DOCSTRING, set()),
    "a comment in the trainer": ("methods/training.py", "\n# A comment.\n", set()),
    "a type in the trainer": (
        "methods/training.py", ("label_weight: float = 1.0", "label_weight: float | int = 1.0"),
        set(),
    ),
    "how a step trains": (
        "methods/training.py", ("average.update()", "average.update() or 1"), TRAINED | {"rest"},
    ),
    "a function that nobody reaches": ("methods/training.py", "\ndef unused(): ...\n", set()),
    "how LSTMs compute": ("models/rnn.py", "\nraise\n", {
        "teachers/LSTM-mid", "distillation/LSTM-mid-S1", "distillation/rnn-teachers",
        "ensembling/ensemble",
    } | LAST),
    "what a layer costs": ("models/rnn.py", ("def cost(", "def cost(*_, "), set()),
    "how frames are shuffled": ("data/records.py", ("_BUFFER = 1024", "_BUFFER = 1025"), {"all"}),
    "what a bad record is called": ("data/faults.py", "\nraise\n", set()),
    "another record kind": ("data/video_level.py", "\nraise\n", set()),
    "a figure": ("report/figures.py", "\nWIDER = 1\n", LAST),
    "what the report does": ("phases/report.py", ("def write(", "def write(*_, "), LAST),
    "the codec": ("methods/codecs/linear.py", "\nraise\n", CODED | LAST),
    "another codec": ("methods/codecs/kmeans.py", "\nraise\n", LAST),
    "how soft targets are written": ("methods/distillation.py", "\nraise\n", {
        *STUDENTS, *CODED, *LAST, "distillation/rnn-teachers",
    }),
    "how runs are tracked": ("experiment/tracking.py", "\nraise\n", set()),
    "where a run's files are": ("experiment/run_files.py", "\nraise\n", set()),
    "the command line": ("cli.py", "\nraise\n", set()),
    "the shadow": ("methods/averaging.py", ("1.0 - 1.0 / time_constant", "0.5"), {
        "averaging/DBoF-low", "distillation/LSTM-mid-S1", "distillation/rnn-teachers",
        "ensembling/ensemble",
    } | LAST),
}  # fmt: skip


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the library to edit, which the digests are taken of."""
    copy = tmp_path / "yt8m_lib"
    shutil.copytree(ROOT / "yt8m_lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "LIBRARY", copy)
    sources.forget()
    yield copy
    sources.forget()


def plan() -> Plan:
    made = Plan(params.load("params/smoke.yaml"))
    made.data_digest = "the same"
    return made


def changed(before: Plan) -> set[str]:
    sources.forget()
    after = plan()
    return {key for key in WATCHED if before.fingerprint(key) != after.fingerprint(key)}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_makes_again_what_it_must_and_nothing_else(library, name):
    file, edit, expected = EDITS[name]
    before = plan()
    assert all(before.fingerprint(key) for key in WATCHED)
    source = (library / file).read_text()
    old, new = edit if isinstance(edit, tuple) else ("", "")
    assert old in source, f"{file} does not hold {old!r} any more"
    edited = source.replace(old, new, 1) if old else source + edit
    (library / file).write_text(edited)
    if "rest" in expected:
        expected = WATCHED - {"data/data"}
    assert changed(before) == (WATCHED if "all" in expected else expected)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scoring/metrics.py", "POOL = 20", "POOL = 21"),
        ("methods/inference.py", "seconds, places = 0.0, []", "seconds, places = 1.0, []"),
    ],
)
def test_measuring_code_measures_again_and_retrains_no_teacher(library, file, old, new):
    before = plan()
    measured = {key: before.measuring(key) for key in TRAINED}
    before.fingerprint("report/report")
    source = (library / file).read_text()
    assert old in source
    (library / file).write_text(source.replace(old, new))
    again = changed(before)
    assert not again & TEACHERS and "averaging/DBoF-low" not in again
    assert "distillation/rnn-teachers" in again  # teachers are chosen by what they answer
    after = plan()
    assert all(after.measuring(key) != value for key, value in measured.items())


def test_stand_in_data_follow_the_code_that_draws_them_and_no_docstring(library):
    from yt8m_lib.data import shards

    settings = params.load("params/smoke.yaml")
    before = shards.manifest(settings)
    file = library / "data" / "synthetic.py"
    file.write_text(file.read_text().replace(*DOCSTRING, 1))
    sources.forget()
    assert shards.manifest(settings) == before
    file.write_text(file.read_text().replace("SIGNAL = 0.24", "SIGNAL = 0.25"))
    sources.forget()
    assert shards.manifest(settings) != before


def test_a_root_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no code"):
        sources.code_digests("yt8m_lib.methods.training:nothing")
