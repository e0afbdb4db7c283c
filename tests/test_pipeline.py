"""The whole of smoke.yaml, every notebook executed through papermill as ``make run`` does it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import papermill
import pytest

from yt8m_lib import params
from yt8m_lib.cli import main
from yt8m_lib.experiment.running import OwnKernelManager, PhaseError
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.settings import FAMILIES, PHASES, ROOT
from yt8m_lib.report import findings, tables
from yt8m_lib.report.claims import CLAIMS

TIMINGS = ["seconds_float32", "seconds_quantized", "time_ratio"]


def command(results, *more: str, name: str = "run") -> list[str]:
    where = ["--set", f"results={results}"]
    return [sys.executable, "-m", "yt8m_lib", name, "params/smoke.yaml", *where, *more]


def run(results, *more: str) -> str:
    done = subprocess.run(command(results, *more), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    printed = run(results)
    return params.load("params/smoke.yaml", [f"results={results}"]), printed


def test_it_ends_in_the_four_tables_with_every_family(smoke):
    settings, printed = smoke
    found = dict(tables.read(settings))
    for name in tables.TITLES:
        assert tables.TITLES[name] in printed
        assert (settings.folder / "tables" / f"{name}.md").exists()
    assert set(found["averaging"]["family"]) == set(FAMILIES)
    assert set(found["distillation"]["family"]) == set(FAMILIES)
    assert {"linear", "float16", "kmeans", "quantile"} == set(found["quantization"]["scheme"])
    ensemble = found["ensemble"].set_index("model")
    assert {"ensemble (flat)", "ensemble (tuned)", "class prior"} <= set(ensemble.index)
    members = ensemble.loc[list(settings.distillation.students)]
    assert abs(members["weight"].sum() - 1) < 1e-6
    assert found["distillation"]["round"].max() == 2


def test_intervals_hold_their_effects(smoke):
    for table, stem in [
        ("averaging", "gain"),
        ("distillation", "gain"),
        ("quantization", "change"),
    ]:
        frame = dict(tables.read(smoke[0]))[table]
        effect = frame["gap_change" if stem == "change" else stem]
        assert ((frame[f"{stem}_low"] <= effect) & (effect <= frame[f"{stem}_high"])).all()
    averaging = dict(tables.read(smoke[0]))["averaging"]
    gain = averaging["gap_after"] - averaging["gap_before"]
    assert (gain - averaging["gain"]).abs().max() < 1e-12


def test_everything_is_tracked(smoke):
    experiment = Experiment(smoke[0])
    for phase in PHASES:
        finished = experiment.finished(phase)
        assert set(finished) == {step.name for step in experiment.plan.of(phase)}
        for run in finished.values():
            assert run.has(f"{phase}.ipynb")
            assert {"pipeline", "parents", "data", "code_version", "seed"} <= set(run.tags)
    teacher = experiment.find("teachers/LSTM-mid")
    assert {"gap", "hit_at_1", "perr", "map", "size_bytes", "loss"} <= set(teacher.metrics)
    ensemble = experiment.find("ensembling/ensemble")
    assert ensemble.metrics["saved_model_bytes"] <= smoke[0].ensembling.budget_bytes
    assert not list((smoke[0].folder / "scratch").iterdir())
    compared = experiment.find("averaging/DBoF-mid")
    assert {"gap_unaveraged", "gap_checkpoints", "gap_shadow_checkpoints"} <= set(compared.metrics)


def test_a_second_run_reuses_everything(smoke):
    settings, first = smoke
    second = run(settings.results)
    assert second.count("nothing to do") == len(PHASES)
    assert second[second.index("Table 1") :] == first[first.index("Table 1") :]


def test_another_repeat_takes_the_same_data_and_other_seeds(smoke):
    printed = run(smoke[0].results, "--only", "data", "--set", "repeats=2")
    assert printed.count("data: 1 of 1 finished") == 2 and "repeat 1 (" in printed
    second = params.load("params/smoke.yaml", [f"results={smoke[0].results}", "repeat=1"])
    assert not Experiment(second, "teachers").finished()
    assert len(findings.repeats(smoke[0])) == 1


def test_findings_have_a_row_for_each_part_and_lie_within_their_own_record(smoke, capsys):
    settings, _ = smoke
    table = settings.folder / "tables" / "findings.csv"
    command = ["findings", "params/smoke.yaml", "--set", f"results={settings.results}"]
    main([*command, "--against", str(table)])
    printed = capsys.readouterr().out
    assert "of 14 claims are decided" in printed and f"of {table} (0 of " in printed
    found = pd.read_csv(table).set_index("part")
    assert set(CLAIMS) - set(found.index) == {"9-rnn", "13-rnn"}  # which smoke.yaml leaves out
    assert ((found["low"] <= found["effect"]) & (found["effect"] <= found["high"])).all()
    ensemble = dict(tables.read(settings))["ensemble"].set_index("model")["gap"]
    gain = ensemble["ensemble (tuned)"] - ensemble["ensemble (flat)"]
    assert found["effect"]["11"] == pytest.approx(gain, abs=1e-12)
    main([*command, "--set", f"beside={{itself: {table}}}"])
    assert "effect itself 95 %" in capsys.readouterr().out
    assert (table.parent / "beside.png").exists()
    main([*command, "--json"])
    assert len(json.loads(capsys.readouterr().out)) == len(found)


def test_the_shipped_model_is_the_reported_one(smoke, capsys):
    settings, _ = smoke
    pattern = f"{settings.folder}/data/validation-*.tfrecord"
    main(["evaluate", str(settings.folder / "model"), pattern, "--json"])
    on_all = json.loads(capsys.readouterr().out)
    found = Experiment(settings).find("ensembling/ensemble").metrics
    halves = sorted([found["gap"], found["gap_selection"]])
    assert halves[0] - 0.1 < on_all["gap"] < halves[1] + 0.1
    assert on_all["videos"] == settings.synthetic.validation_videos


def test_a_notebook_runs_from_its_own_folder_as_in_jupyterlab(smoke, tmp_path):
    overrides = {"params_file": "params/smoke.yaml", "overrides": f"results={smoke[0].results}"}
    papermill.execute_notebook(
        ROOT / "notebooks" / "averaging.ipynb",
        tmp_path / "out.ipynb",
        parameters=overrides,
        cwd=ROOT / "notebooks",
        progress_bar=False,
        kernel_manager_class=OwnKernelManager,
    )
    outputs = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    shown = [o for c in outputs for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert shown


def test_killed_with_its_whole_group_it_ends_in_the_same_tables(smoke, tmp_path):
    """Kill in the middle of a training, run again, and compare with the unbroken run."""
    shutil.copytree(smoke[0].folder / "data", tmp_path / "smoke" / "data")
    only = ("--only", "data"), ("--only", "teachers", "--models", "LightVLAD-mid", "LSTM-mid")
    run(tmp_path, *only[0])
    killed = subprocess.Popen(
        command(tmp_path, *only[1]), cwd=ROOT, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while "LightVLAD-mid] done" not in (line := killed.stdout.readline()):
        assert line, "it ended before it could be killed"
    time.sleep(1.0)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    printed = run(tmp_path, *only[1])
    assert "unfinished run(s) of a killed process" in printed
    settings = params.load("params/smoke.yaml", [f"results={tmp_path}"])
    resumed = Experiment(settings, "teachers").finished()
    unbroken = Experiment(smoke[0], "teachers").finished()
    for name in ("LightVLAD-mid", "LSTM-mid"):
        for metric in ("gap", "perr", "loss"):
            assert resumed[name].metrics[metric] == unbroken[name].metrics[metric]


def test_a_failing_notebook_is_one_clear_error(smoke, tmp_path):
    shutil.copytree(smoke[0].folder / "data", tmp_path / "smoke" / "data")
    with pytest.raises(PhaseError, match=r"teachers.ipynb, cell .*MissingRunError"):
        pipeline.run(
            "params/smoke.yaml", [f"results={tmp_path}"], only=["teachers"], models=["GRU-mid"]
        )


def test_tables_before_a_run_say_what_to_run(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["tables", "params/smoke.yaml", "--set", f"results={tmp_path}"])
    assert "yt8m run params/smoke.yaml" in capsys.readouterr().err


def test_tables_print_json(smoke, capsys):
    main(["tables", "params/smoke.yaml", "--set", f"results={smoke[0].results}", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == set(tables.TITLES)
    frame = pd.DataFrame(printed["quantization"])
    assert (frame["bytes_quantized"] <= frame["bytes_float32"]).all()
    assert not frame[TIMINGS].isna().any().any()
