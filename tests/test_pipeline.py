"""The whole of smoke.yaml, every notebook executed through papermill as ``make run`` does it."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import papermill
import pytest
from smoke_runs import TIMINGS, run

from yt8m_lib import params
from yt8m_lib.cli import main
from yt8m_lib.experiment.kernels import OwnKernelManager
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.methods import ensembling, export, weight_search
from yt8m_lib.methods.sizes import GRAPH_BYTES
from yt8m_lib.report import findings, tables
from yt8m_lib.report.claims import CLAIMS
from yt8m_lib.scoring import metrics
from yt8m_lib.scoring.predictions import Predictions, report_half, selection_half
from yt8m_lib.settings import PHASES, ROOT


def test_it_ends_in_the_four_tables_with_every_family(smoke):
    settings, printed = smoke
    found = dict(tables.read(settings))
    for name in tables.TABLES:
        assert tables.TITLES[name] in printed
        assert (settings.folder / "tables" / f"{name}.md").exists()
    teaching = {model.family for model in settings.models.values() if model.traits.teaches}
    assert set(found["averaging"]["family"]) == teaching
    assert set(found["distillation"]["family"]) == teaching
    assert {"linear", "float16", "kmeans", "quantile"} == set(found["quantization"]["codec"])
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
        for made in finished.values():
            assert made.has(f"{phase}.ipynb")
            tags = experiment.client.get_run(made.run_id).data.tags
            assert {"pipeline", "parents", "data", "code_version", "seed"} <= set(tags)
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


def test_what_stands_is_what_was_asked_for_last(smoke, tmp_path):
    """A run, a variant of it, the run again: its own tables and its own model."""
    original, first = smoke
    shutil.copytree(original.results, tmp_path / "results")  # which is written to in its stead
    settings = original.model_copy(update={"results": str(tmp_path / "results")})
    members = (settings.folder / "model" / "yt8m.json").read_text()
    run(settings.results, "--set", "ensembling.trials=2")
    changed = (settings.folder / "model" / "yt8m.json").read_text()
    assert changed != members
    for folder in ("", "tables", "model"):
        if folder:
            shutil.rmtree(settings.folder / folder)
        again = run(settings.results)
        assert again.count("nothing to do") == len(PHASES)
        shown = again[again.index("Table 1") :].replace(settings.results, original.results)
        assert shown == first[first.index("Table 1") :]
        assert (settings.folder / "model" / "yt8m.json").read_text() == members
    assert (original.folder / "model" / "yt8m.json").read_text() == members


def scrambled(answers: Predictions) -> Predictions:
    """The same answers where choices are made, and nonsense on the report half."""
    confidences = answers.confidences.copy()
    reported = ~selection_half(answers.ids)
    confidences[reported] = np.sort(np.random.default_rng(0).random(confidences[reported].shape))
    confidences[reported] = confidences[reported][:, ::-1]
    return dataclasses.replace(answers, confidences=confidences)


def test_no_choice_reads_the_report_half(smoke):
    """Nonsense there changes which teachers are chosen and which weights are found by nothing."""
    experiment = Experiment(smoke[0])

    def answers_of(keys) -> dict[str, Predictions]:
        runs = {key.split("/")[1]: experiment.find(key) for key in keys}
        both = {n: Predictions.load(r.file("predictions.npz")) for n, r in runs.items()}
        return {name: scrambled(answers) for name, answers in both.items()}

    for step in experiment.plan.soft_targets():
        recorded = experiment.find(step.key)
        found = answers_of(step.parents["candidates"])
        size = step.settings.teachers if step.round == 1 else len(found)
        chosen = ensembling.best_combination(found, size)
        assert list(chosen["members"][0]) == recorded.json("soft_targets")["teachers"]
        assert list(chosen["gap"]) == list(recorded.table("combinations")["gap"])
    step = experiment.plan["ensembling/ensemble"]
    members = answers_of(step.parents["members"])
    runs = {name: experiment.find(f"quantization/{name}") for name in members}
    sizes = {n: int(r.metrics["size_bytes"]) + GRAPH_BYTES for n, r in runs.items()}
    budget, seed = step.settings.budget_bytes, experiment.plan.seed(step)
    found = weight_search.random_search(members, sizes, budget, step.settings.trials, seed)
    recorded = experiment.find(step.key).table("members").set_index("model")["weight"]
    assert found.weights == {name: w for name, w in recorded.items() if w}
    name = next(iter(members))  # and the nonsense is seen where values are reported
    assert metrics.gap(report_half(members[name])) != runs[name].metrics["gap"]


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
    main([*command, "--set", f"other_choices={{itself: {table}}}"])
    assert "effect itself 95 %" in capsys.readouterr().out
    assert (table.parent / "other_choices.png").exists()
    main([*command, "--json"])
    assert len(json.loads(capsys.readouterr().out)) == len(found)


def test_the_shipped_model_is_the_reported_one(smoke, capsys):
    settings, _ = smoke
    found = Experiment(settings).find("ensembling/ensemble")
    answers = Predictions.load(found.file("predictions.npz"))
    assert metrics.gap(report_half(answers)) == found.metrics["gap"]
    pattern = f"{settings.folder}/data/validation-*.tfrecord"
    main(["evaluate", str(settings.folder / "model"), pattern, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["videos"] == settings.synthetic.validation_videos
    for name, value in metrics.evaluate(answers).items():
        assert printed[name] == pytest.approx(value, abs=1e-6), name


def test_a_budget_is_filled_from_finished_students(smoke, tmp_path, capsys):
    settings, _ = smoke
    command = ["ensemble", "params/smoke.yaml", "--set", f"results={settings.results}"]
    main(command)
    printed = capsys.readouterr().out
    assert "Gain" in printed and "over 1 repeat(s)" in printed
    assert "budget" in printed and (settings.folder / "tables" / "budget.png").exists()
    whole = Experiment(settings).find("ensembling/ensemble").metrics["saved_model_bytes"]
    budget, folder = round(whole / 2), tmp_path / "small"
    main([*command, "--budget", str(budget), "--output", str(folder)])
    assert export.bytes_on_disk(folder) <= budget
    main(["evaluate", str(folder), f"{settings.folder}/data/validation-*.tfrecord", "--json"])
    last = capsys.readouterr().out
    assert json.loads(last[last.index("{") :])["gap"] > 0
    with pytest.raises(SystemExit):
        main([*command, "--budget", "10", "--output", str(folder)])
    assert "no member fits into 10 bytes" in capsys.readouterr().err


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


def test_tables_before_a_run_say_what_to_run(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["tables", "params/smoke.yaml", "--set", f"results={tmp_path}"])
    assert "yt8m run params/smoke.yaml" in capsys.readouterr().err


def test_tables_print_json(smoke, capsys):
    main(["tables", "params/smoke.yaml", "--set", f"results={smoke[0].results}", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == set(tables.TABLES)
    frame = pd.DataFrame(printed["quantization"])
    assert (frame["bytes_quantized"] <= frame["bytes_float32"]).all()
    assert not frame[TIMINGS].isna().any().any()
