"""What an experiment will take: counted by hand here, and as ``yt8m plan`` prints it."""

import json

import numpy as np
import pytest

from yt8m_lib import params
from yt8m_lib.cli import main
from yt8m_lib.costs import Cost, ModelCosts
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.experiment.forecast import Forecast, Task, forecast
from yt8m_lib.experiment.machine import Pace, given, measured
from yt8m_lib.experiment.plan import Plan
from yt8m_lib.experiment.videos import videos_of
from yt8m_lib.experiment.workload import Workload
from yt8m_lib.report import bill

GIVEN = ["--tflops", "10", "--read-gbps", "1"]


def workload(file="params/smoke.yaml", *overrides) -> Workload:
    """An experiment whose models all cost the same round numbers."""
    settings = params.load(file, overrides)
    cost = Cost(products=1000, data_products=500, kept=10, weights=100)
    costs = dict.fromkeys(settings.models, ModelCosts(cost, cost, stored=100, plain=400))
    return Workload(settings, videos_of(settings), costs, Plan(settings).steps)


def test_the_work_of_a_teacher_is_its_epochs_and_its_answers():
    made = workload()
    step = made.steps["teachers/LightVLAD-b20"]
    work = made.of(step)
    trained, own, drawn = work.passes
    assert (trained.steps, trained.seen) == (2 * 20, 2 * 384)  # batches of 20: 19 and a short one
    assert own.seen == drawn.seen == 256 and drawn.drawn and not own.drawn
    assert work.seen == 2 * 384 + 2 * 256
    flops = [one.flops(made.costs) for one in work.passes]
    assert flops == [768 * 2 * (3000 - 500), 256 * 2000, 256 * 2000]
    assert work.checkpoint == 4 * 3 * 100 and work.judged == 512


def test_the_work_of_averaging_and_of_averaged_students_follows_the_settings():
    made = workload()
    averaging = made.of(made.steps["averaging/DBoF-mid"])
    trained, *answers = averaging.passes
    assert trained.seen == 384 and trained.averages == 3 and len(answers) == 4
    assert averaging.checkpoint == 4 * (3 + 3) * 100
    student = made.of(made.steps["distillation/DBoF-mid-S1"])
    assert [one.goes for one in student.passes if one.training] == [2, 1]
    plain = made.of(made.steps["distillation/FVNet-mid-S1"])
    assert [one.goes for one in plain.passes if one.training] == [2] and len(plain.passes) == 2


def test_soft_targets_are_of_all_training_videos_by_as_many_teachers_as_asked_for():
    made = workload()
    first = made.of(made.steps["distillation/netvlad-teachers"])
    assert [one.seen for one in first.passes] == [384] * 2
    assert first.kept >= 384 * 20 * 4
    second = made.of(made.steps["distillation/netvlad-teachers-2"])
    assert len(second.passes) == 1  # the one first-round student of the family


def test_records_are_read_each_epoch_or_once_where_they_stay_in_memory():
    cached, read = workload(), workload("params/smoke.yaml", "data.cache=false")
    step = cached.steps["teachers/LightVLAD-mid"]
    assert cached.read(step) == cached.videos.all_bytes
    assert read.read(step) == (2 * 384 + 2 * 256) * read.videos.nbytes
    assert cached.memory(step) > 384 * 8 * 1152


def test_videos_come_from_the_parameters_the_record_the_shards_or_the_paper(tmp_path):
    stand_in = videos_of(params.load("params/smoke.yaml"))
    assert (stand_in.train, stand_in.validation, stand_in.frames) == (384, 256, 8)
    paper = params.load("params/paper.yaml")
    assert videos_of(paper).train == 4_769_202 and "assumed" in videos_of(paper).source
    counted = {"train_videos": 7.0, "validation_videos": 3.0, "bytes": 1000.0}
    assert videos_of(paper, counted).nbytes == 100 and "counted" in videos_of(paper, counted).source
    frames = np.zeros((5, 1152), np.uint8)
    for name in ("train0", "train1", "held0"):
        count = 4 if name == "train0" else 3
        write_frame_records(tmp_path / name, [FrameVideo(b"abcd", [1], frames)] * count)
    globs = [f"data.train={tmp_path}/train*", f"data.validation={tmp_path}/held0"]
    own = videos_of(params.load("params/paper.yaml", globs))
    assert (own.train, own.validation) == (7, 3) and "estimated" in own.source
    assert own.train_bytes == sum(f.stat().st_size for f in tmp_path.glob("train*"))


def test_a_steps_seconds_are_overhead_operations_bytes_and_time_steps():
    pace = Pace(trace=9, overhead=1, flop=0.001, byte=0.01, time_step=0.1)
    cost = Cost(products=10, data_products=5, weights=2, kernel_reads=3, time_steps=4)
    moved = 2 * 3 * 4 + 2 * 4 * 7
    assert cost.moved(training=True) == moved
    expected = 1 + 0.001 * 8 * 50 + 0.01 * moved + 0.1 * 8
    assert pace.step(cost, batch=8, training=True) == pytest.approx(expected)
    assert pace.step(cost, 8, training=False) == pytest.approx(1 + 0.16 + 0.12 + 0.4)


def test_a_measured_machine_gives_back_what_was_measured_and_the_line_between():
    points = [
        {"family": "rnn", "model": name, "training": True, "flops": flops, "moved": 0}
        | {"seconds": seconds, "trace": trace}
        for name, flops, seconds, trace in (("a", 100, 3.0, 4.0), ("b", 300, 5.0, 6.0))
    ]
    numbers = dict.fromkeys(
        ("notebook", "task", "start", "inspect", "write", "judge", "weigh", "code"), 1.0
    )
    found = measured({"steps": points, "copied_per_second": 1.0} | numbers)
    pace = found.pace("rnn", training=True)
    assert (pace.overhead, pace.flop, pace.trace) == pytest.approx((2, 0.01, 5))
    assert pace.step(Cost(products=200, data_products=500), 1, True) == pytest.approx(4)
    steeper = [points[0], points[1] | {"seconds": 30.0}]  # which would start from below 0
    pace = measured({"steps": steeper, "copied_per_second": 1.0} | numbers).pace("rnn", True)
    assert pace.overhead == 0 and pace.flop == pytest.approx(0.03)


def test_records_that_come_slowly_make_a_step_longer_and_fast_ones_do_not():
    made = workload("params/smoke.yaml", "data.cache=false")
    step, families = made.steps["teachers/DBoF-mid"], dict.fromkeys(made.params.models, "dbof")
    work, read = made.of(step), made.read(step)
    slow, fast, unlimited = (
        given(10, gigabytes).seconds(work, families, made.costs, read)
        for gigabytes in (read / 1e12, 1e3, None)
    )
    assert slow > 990 and fast == unlimited < slow


def task(key: str, seconds: float, took: float | None, *parents: str) -> Task:
    return Task(key, key.split("/")[0], "", parents, 10, 1e9, 10**12, 2e9, 1e6, 5, seconds, took)


@pytest.fixture
def small() -> Forecast:
    """Data, two teachers of which one is finished, and a report."""
    tasks = (
        task("data/data", 100.0, 80.0),
        task("teachers/a", 200.0, 150.0, "data/data"),
        task("teachers/b", 300.0, None, "data/data"),
        task("report/report", 5.0, None, "teachers/a", "teachers/b"),
    )
    return Forecast(tasks, notebook=10.0, machine="a machine", videos="10 videos")


def test_what_is_finished_takes_no_time_again_but_took_some(small):
    assert [t.key for t in small.left] == ["teachers/b", "report/report"]
    assert small.wall(1) == 300 + 5 + 2 * 10
    assert small.wall(2) == 310 + 15
    assert small.critical_path() == [("teachers/b", 310.0), ("report/report", 15.0)]
    assert small.wall(2, finished=True) == 90 + 310 + 15
    assert small.critical_path(finished=True)[0] == ("data/data", 90.0)
    assert [row["finished"] for row in bill.rows(small)] == [1, 1, 0, 2]
    assert [row["seconds_took"] for row in bill.rows(small)] == [80, 150, None, 230]


def test_the_figure_shows_every_number_of_workers_and_the_floor(small):
    (axes,) = bill.draw_workers(small, "small").axes
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    minutes = lines["a notebook a task"]
    assert minutes[0] == pytest.approx((90 + 160 + 310 + 15) / 60)
    assert minutes[-1] == pytest.approx((90 + 310 + 15) / 60)
    in_sequence = lines["one after the other, a notebook a phase"]
    assert in_sequence == pytest.approx((80 + 150 + 300 + 5 + 3 * 10) / 60)
    assert (
        axes.get_ylabel() == "minutes"
        and len(minutes) == len(bill.WORKERS)
        and "partly measured" in axes.get_xlabel()
    )
    assert "critical path: 6.92 min" in lines


def test_repeats_share_their_data():
    settings = params.load("params/smoke.yaml", ["repeats=2"])
    made = workload()
    plan = forecast({0: {}, 1: {"teachers/DBoF-mid": 7.0}}, made, given(1, None))
    assert len(plan.tasks) == 2 * len(Plan(settings).steps) - 1
    tasks = {t.key: t for t in plan.tasks}
    assert tasks["teachers/DBoF-mid@1"].parents == ("data/data",)
    assert tasks["averaging/DBoF-mid@1"].parents == ("teachers/DBoF-mid@1", "data/data")
    assert [t.key for t in plan.tasks if t.is_finished] == ["teachers/DBoF-mid@1"]


@pytest.mark.parametrize(
    ("value", "words"), [(0, ""), (999, "999 B"), (1.17e12, "1.17 TB"), (999_700, "1 MB")]
)
def test_amounts_are_read_at_a_glance(value, words):
    assert bill.amount(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(45, "45 s"), (600, "10 min"), (25_560, "7.1 h"), (864_000, "10 d"), (None, ""), (0, "")],
)
def test_durations_are_read_at_a_glance(seconds, words):
    assert bill.duration(seconds) == words


def test_the_papers_plan_stands_beside_the_winners_bill_and_leaves_nothing_behind(tmp_path, capsys):
    figure, results = tmp_path / "workers.png", tmp_path / "results"
    where = ["--set", f"results={results}", "--figure", str(figure)]
    main(["plan", "params/paper.yaml", *GIVEN, "--workers", "8", *where])
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) < 100 and not results.exists() and figure.stat().st_size > 10_000
    for words in ("60 GPU-days", "assumed, as no data is named", "With 8 workers", "critical path"):
        assert words in printed
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["data", "1", "0"],
        ["teachers", "16", "0"],
    ]


def test_a_plan_for_programs_adds_up_and_knows_what_is_finished(smoke, capsys):
    settings, _ = smoke
    where = ["--set", f"results={settings.results}", "--json"]
    main(["plan", "params/smoke.yaml", *GIVEN, *where])
    whole = json.loads(capsys.readouterr().out)
    assert all(t["took"] is not None for t in whole["tasks"]) and whole["seconds_left"] == 0
    assert "counted" in whole["videos"]
    for name in ("steps", "finished", "videos", "flops", "disk_bytes"):
        *parts, total = (row[name] for row in whole["phases"])
        assert sum(parts) == total > 0
    main(["plan", "params/smoke.yaml", *GIVEN, *where, "--set", "ensembling.trials=31"])
    rest = json.loads(capsys.readouterr().out)
    left = [t["step"] for t in rest["tasks"] if t["took"] is None]
    assert left == ["ensembling/ensemble", "report/report"] and rest["seconds_left"] > 0


@pytest.mark.parametrize(
    "wrong", [["--workers", "0"], ["--tflops", "-1"], ["--tflops", "inf"], ["--read-gbps", "x"]]
)
def test_numbers_that_are_none_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["plan", "params/smoke.yaml", *wrong])
    assert exit_.value.code == 2 and "wanted" in capsys.readouterr().err


def test_a_glob_that_matches_nothing_is_refused_before_anything_is_counted(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["plan", "params/paper.yaml", *GIVEN, "--set", "data.files=/nowhere/*.tfrecord"])
    assert exit_.value.code == 1 and "no file matches" in capsys.readouterr().err
