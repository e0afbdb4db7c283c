"""Evaluation in parts: the same figures however shards were split, and parts that do not fit."""

import json

import numpy as np
import pytest
from test_predict import CLASSES, VOCABULARY, exported, refused, settings  # noqa: F401 - a fixture

from yt8m_lib.cli import main
from yt8m_lib.data.records import FrameVideo, write_frame_records

SIZES = (30, 7, 21, 12, 1)


@pytest.fixture(scope="module")
def model(settings, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("exported") / "model"
    return exported(settings, folder, counts=np.arange(CLASSES)[::-1])


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A glob of five shards of different sizes."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        videos = [
            FrameVideo(
                b"%d-%d" % (number, video),
                rng.choice(VOCABULARY, 3, replace=False),
                rng.integers(0, 256, (3, 1152), dtype=np.uint8),
            )
            for video in range(size)
        ]
        write_frame_records(folder / f"{number}.tfrecord", videos)
    return str(folder / "*.tfrecord")


def in_parts(model, shards, parts, folder, capsys):
    """The figures that are put together of so many parts, given last first."""
    files = [str(folder / f"{part}-of-{parts}.npz") for part in range(parts, 0, -1)]
    for part, file in zip(range(parts, 0, -1), files, strict=True):
        main(["evaluate-part", model, shards, "--part", f"{part}/{parts}", "--output", file])
    capsys.readouterr()
    main(["evaluate-together", model, *files, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_figures_do_not_depend_on_the_split(model, shards, tmp_path, capsys):
    whole = in_parts(model, shards, 1, tmp_path, capsys)
    assert whole["videos"] == sum(SIZES) and whole["by_frequency"]["rare"]["gap"] > 0
    for parts in (2, 3, 7):  # two of seven parts have no shard
        assert in_parts(model, shards, parts, tmp_path, capsys) == whole
    main(["evaluate", model, shards, "--json"])
    at_once = json.loads(capsys.readouterr().out)
    thirds, others = whole.pop("by_frequency"), at_once.pop("by_frequency")
    assert at_once == pytest.approx(whole, abs=1e-6)
    for third, values in thirds.items():
        assert others[third] == pytest.approx(values, abs=1e-6)
    main(["evaluate-together", model, str(tmp_path / "1-of-1.npz")])
    assert f"videos         {sum(SIZES)}" in capsys.readouterr().out


def test_parts_that_do_not_fit_are_refused(model, shards, settings, tmp_path, capsys):  # noqa: F811
    files = [str(tmp_path / f"{part}.npz") for part in (1, 2)]
    for part, file in enumerate(files, 1):
        main(["evaluate-part", model, shards, "--part", f"{part}/2", "--output", file])
    together = ["evaluate-together", model]
    assert "of 5 shards are in none of the parts" in refused([*together, files[0]], capsys)
    assert "a second time: give each" in refused([*together, *files, files[0]], capsys)
    fewer = shards.replace("*", "[0-3]")
    main(["evaluate-part", model, fewer, "--part", "2/2", "--output", files[1]])
    assert "or of other shards" in refused([*together, *files], capsys)
    other = exported(settings, tmp_path / "other")
    assert "another model's" in refused(["evaluate-together", other, files[0]], capsys)
    (tmp_path / "no.npz").write_bytes(b"none")
    assert "is no part of an" in refused([*together, str(tmp_path / "no.npz")], capsys)


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0"])
def test_a_part_is_one_of_so_many(part, model, shards, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate-part", model, shards, "--part", part, "--output", "x.npz"])
    assert "K from 1 to N, such as 2/4" in capsys.readouterr().err
