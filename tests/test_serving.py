"""The shipped model as others find it: by MLflow's registry, over HTTP, and by its card."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest
import tensorflow as tf
import yaml

from yt8m_lib.cli import main
from yt8m_lib.experiment import registry
from yt8m_lib.experiment.store import connect
from yt8m_lib.experiment.tracking import Experiment
from yt8m_lib.methods import export

CHAMPION = f"models:/{registry.NAME}@{registry.CHAMPION}"


@pytest.fixture
def videos():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 5, 1152), dtype=np.uint8)
    return {"frames": frames, "num_frames": np.array([5, 2], np.int32)}


@pytest.fixture
def wanted(smoke, videos):
    model = tf.saved_model.load(str(smoke[0].folder / "model"))
    answer = model.signatures["serving_default"](**{n: tf.constant(v) for n, v in videos.items()})
    return answer["classes"].numpy()


def test_the_champion_of_an_experiment_answers_as_the_shipped_file(smoke, videos, wanted):
    connect(smoke[0])
    model = mlflow.pyfunc.load_model(CHAMPION)
    np.testing.assert_array_equal(model.predict(videos)["classes"], wanted)
    assert model.input_example["frames"].shape == (1, 1, 1152)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        model.predict(videos | {"frames": videos["frames"][:, :, :1024]})


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_mlflow_serves_it_over_http(smoke, videos, wanted, tmp_path):
    port, body = free_port(), {name: value.tolist() for name, value in videos.items()}
    command = ["mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            env=os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": connect(smoke[0])},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as server,
    ):
        try:
            answer = asked(f"http://127.0.0.1:{port}/invocations", {"inputs": body}, server)
        finally:
            os.killpg(server.pid, 15)
    assert answer["predictions"]["classes"] == wanted.tolist()


def asked(address: str, body: dict, server: subprocess.Popen) -> dict:
    """What a server answers once it is up."""
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    while server.poll() is None:
        try:
            with urllib.request.urlopen(request) as answer:
                return json.loads(answer.read())
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the server ended")


def test_the_card_says_what_was_measured(smoke):
    settings, _ = smoke
    run = Experiment(settings).find("ensembling/ensemble")
    folder = settings.folder / "model"
    _, front, body = (folder / "model_card.md").read_text().split("---\n", 2)
    (result,) = yaml.safe_load(front)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == round(run.metrics["gap"], 4)
    low, high = run.gap().interval()
    assert f"{run.metrics['gap']:.4f} [{low:.4f}, {high:.4f}]" in body
    assert f"{export.bytes_of_graph(folder):,}" in body
    for name, weight in json.loads((folder / "yt8m.json").read_text())["members"].items():
        assert f"| {name} | {weight:.3f} |" in body
    signatures = tf.saved_model.load(str(folder)).signatures
    assert all(f"| `{name}` |" in body for name in signatures)


def test_labels_say_how_many_training_videos_have_each_class(smoke, capsys):
    settings, _ = smoke
    lines = (settings.folder / "model" / "labels.csv").read_text().splitlines()
    assert lines[0] == "index,name,train_videos" and len(lines) == settings.data.classes + 1
    counts = Experiment(settings).find("data/data").array("label_counts.npy")
    assert [int(line.split(",")[2]) for line in lines[1:]] == counts.tolist()
    shards = f"{settings.folder}/data/validation-*.tfrecord"
    main(["evaluate", str(settings.folder / "model"), shards, "--json"])
    assert set(json.loads(capsys.readouterr().out)["by_frequency"]) == {
        "frequent",
        "middle",
        "rare",
    }
