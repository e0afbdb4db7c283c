"""What the paper does not say: students taught otherwise, and the ladder of the system's steps."""

import numpy as np
import pytest
import tensorflow as tf
from test_findings import Everything

from yt8m_lib import params
from yt8m_lib.experiment.answers import LADDER
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.methods.losses import AS_PUBLISHED, EPSILON, Softening, mixed_cross_entropy
from yt8m_lib.report import figures, findings, question_figures, questions, tables
from yt8m_lib.report.effects import effects_of
from yt8m_lib.scoring.intervals import Estimate


def made_of(value, spread=0.0001):
    draws = value + spread * np.random.default_rng(0).standard_normal(1000)
    return Estimate(value, draws, videos=90)


def some_targets():
    draw = np.random.default_rng(1)
    soft = draw.random((5, 8)).astype(np.float32)
    soft[:, 5:] = 0  # not stored
    return soft, (draw.random((5, 8)) < 0.3).astype(np.float32), draw.random((5, 8), np.float32)


def test_a_student_sees_the_likeliest_soft_targets_alone():
    soft, *_ = some_targets()
    seen = Softening(top_k=2).of(tf.constant(soft)).numpy()
    for row, source in zip(seen, soft, strict=True):
        best = np.argsort(-source)[:2]
        assert row[best].tolist() == source[best].tolist() and np.count_nonzero(row) == 2
    np.testing.assert_array_equal(Softening(top_k=99).of(tf.constant(soft)), soft)
    np.testing.assert_array_equal(AS_PUBLISHED.of(tf.constant(soft)), soft)


def test_the_loss_at_a_temperature_follows_its_definition():
    soft, labels, answers = some_targets()

    def softened(p):
        logits = (np.log(p + EPSILON) - np.log(1 - p + EPSILON)) / 3
        return 1 / (1 + np.exp(-logits))

    def entropy(targets, p):
        each = targets * np.log(p + EPSILON) + (1 - targets) * np.log(1 - p + EPSILON)
        return -each.sum(axis=1).mean()

    taught = entropy(np.where(soft > 0, softened(soft), 0), softened(answers))
    expected = 0.4 * entropy(labels, answers) + 0.6 * 9 * taught
    tensors = map(tf.constant, (labels, soft, answers))
    loss = mixed_cross_entropy(*tensors, 0.4, softening=Softening(temperature=3.0))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_compared_student_shares_its_twins_seed_and_differs_in_one_thing():
    plan = Plan(params.load("params/students.yaml"))
    plan.data_digest = "digest"
    twin = plan["distillation/NetVLAD-mid-S1"]
    compared = {step.name: step for step in plan.students(compared=True)}
    for step in compared.values():
        assert plan.seed(step) == plan.seed(plan[step.twin])
    few, long = compared["NetVLAD-mid-k20"].settings, compared["NetVLAD-mid-4x"].settings
    assert few == twin.settings.model_copy(update={"top_k": 20})
    assert (long.model.epochs, long.label_weight) == (4 * twin.settings.model.epochs, 1)
    assert long.model.rate_decay_videos == 4 * long.training.rate_decay_videos


def test_what_is_not_given_leaves_an_identity_as_it_was():
    settings = Plan(params.load("params/demo.yaml"))["distillation/DBoF-mid-S1"].settings
    assert not {"top_k", "temperature"} & set(settings.model_dump())
    plan = Plan(params.load("params/demo.yaml"))
    plain = plan["teachers/LSTM-mid"].settings
    scaled = Plan(params.load("params/gru.yaml"))["teachers/GRU-mid"].settings
    assert scaled.model_dump()["model"]["options"] == {"reset_after": False, "input_scale": 10}
    assert plain.model_dump()["model"]["options"] == {"reset_after": False}
    assert plain.model.options["input_scale"] == 1


def test_more_soft_targets_than_are_stored_are_refused():
    student = "distillation.compare={A: {model: DBoF-mid, taught_by: dbof, top_k: 101}}"
    with pytest.raises(params.ParamsError, match="A: top_k is 101, and only 100"):
        params.load("params/demo.yaml", [student])


def test_each_question_is_the_mean_difference_from_its_twins():
    gaps = {"NetVLAD-mid-k20": 0.5, "NetVLAD-low-k20": 0.3, "DBoF-low-4x": 0.7}
    experiment = Everything(
        params.load("params/students.yaml"),
        gap=lambda key, _: made_of(gaps.get(key.split("/")[1], 0.1)),
        missing=LADDER,
    )
    found = questions.answers_of(experiment)
    assert found["NetVLAD: 20 soft targets a video, not all that are stored"].value == (
        pytest.approx(0.3)
    )
    assert found["DBoF: 4 times the epochs, labels alone"].value == pytest.approx(0.3)
    assert found["DBoF: temperature 2, not 1"].value == pytest.approx(0)
    assert not {"7-1", "7-0.5"} & set(effects_of(experiment))  # claim 7 is about lambda alone
    table = questions.asked([found])
    assert len(table) == 12 + 1 and set(table["seeds"]) == {1}  # and seconds, decoded once
    assert question_figures.draw_asked(table).axes


def test_lambda_alone_is_the_papers_question():
    experiment = Everything(params.load("params/study.yaml"), missing=LADDER)
    assert set(questions.answers_of(experiment)) == {questions.DECODED_ONCE}


def a_ladder(first=0.5):
    return {name: made_of(first + 0.01 * place) for place, name in enumerate(LADDER)}


def test_each_rung_stands_on_the_one_before_and_what_stands_aside_on_none():
    table = questions.ladder([a_ladder(), a_ladder(0.52)]).set_index("step")
    assert table["gap"].iloc[0] == pytest.approx(0.51) and np.isnan(table["gain"].iloc[0])
    last, aside = LADDER["tuned_students"], LADDER["students_and_teachers"]
    assert table["gain"][aside] == pytest.approx(0.01)
    assert table["gain"][last] == pytest.approx(0.02)  # over the students, not over what is aside
    assert set(table["seeds"]) == {2}
    text = tables.as_text(table.reset_index())
    assert "[0." in text and "[+0.5" not in text  # a GAP has no sign
    assert question_figures.draw_ladder(table.reset_index()).axes


def test_repeats_from_before_a_question_was_asked_do_not_answer_it():
    old, new = {"11": made_of(0.1)}, {"11": made_of(0.2), "a question": made_of(0.3)}
    assert questions.asked([old, new])["seeds"].tolist() == [1]
    assert questions.ladder([old, a_ladder()])["seeds"].iloc[0] == 1
    assert findings.table([old, new])["seeds"].tolist() == [2]
    assert not len(questions.ladder([old])) and not len(questions.asked([old]))


def test_a_repeat_is_saved_with_what_was_asked(tmp_path):
    found = {"11": made_of(0.1), "NetVLAD: temperature 2, not 1": made_of(0.3)} | a_ladder()
    findings.save(3, found, tmp_path / "repeat-3.npz")
    number, again = findings.load(tmp_path / "repeat-3.npz")
    assert number == 3 and again.keys() == found.keys()


def test_seconds_of_older_repeats_are_of_decoding_once(tmp_path):
    findings.save(0, {"4": made_of(0.02), "11": made_of(0.1)}, tmp_path / "repeat-0.npz")
    _, old = findings.load(tmp_path / "repeat-0.npz")
    assert set(old) == {"11", questions.DECODED_ONCE}
    new = old | {"4": made_of(0.08)}
    findings.save(1, new, tmp_path / "repeat-1.npz")
    assert set(findings.load(tmp_path / "repeat-1.npz")[1]) == set(new)
    table = findings.table([old, new]).set_index("part")
    assert table["seeds"].to_dict() == {"4": 1, "11": 2}


def test_a_table_without_rows_has_no_picture():
    for name in ("averaging", "quantization", "distillation", "ensemble", "ladder", "asked"):
        assert figures.draw(name, questions.asked([])) is None
