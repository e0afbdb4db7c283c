"""The cache of files that were fetched from elsewhere."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yt8m_lib.bounded_cache import BoundedCache
from yt8m_lib.settings import ROOT


def fetching(content: str, name: str = "a", fetched: list | None = None):
    """Fetches a file of this content; notes that it did."""

    def fetch(folder: Path) -> Path:
        (folder / name).write_text(content)
        if fetched is not None:
            fetched.append(content)
        return folder / name

    return fetch


def entries(folder: Path) -> dict[str, int]:
    found = (path for path in folder.glob("[!.]*/*/*"))
    return {path.parent.parent.name: path.stat().st_size for path in found}


def test_what_is_there_is_not_fetched_again(tmp_path):
    fetched = []
    for _ in range(2):
        path = BoundedCache(tmp_path, 100).get("run/0/a", fetching("once", fetched=fetched))
        assert path.read_text() == "once" and fetched == ["once"]
    assert not [path for path in tmp_path.iterdir() if path.name[1:2].isdigit()]  # no scratch left


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = BoundedCache(tmp_path, 100)
    for name in ("1", "2", "3", "1", "4"):
        cache.get(f"{name}/0/a", fetching("x" * 30))
    assert set(entries(tmp_path)) == {"1", "3", "4"}


def test_what_is_being_read_stays_and_goes_afterwards(tmp_path):
    reader, other = BoundedCache(tmp_path, 100), BoundedCache(tmp_path, 100)
    held = reader.get("read/0/a", fetching("x" * 60))
    other.get("one/0/a", fetching("y" * 60))
    assert held.read_text() == "x" * 60  # though both are more than the bound
    reader.get("two/0/a", fetching("z" * 60))  # reads something else now
    other.get("three/0/a", fetching("w" * 10))
    assert "read" not in entries(tmp_path)


def test_a_file_larger_than_the_bound_is_read_and_goes_with_the_next(tmp_path):
    cache = BoundedCache(tmp_path, 100)
    assert cache.get("large/0/a", fetching("x" * 1000)).read_text() == "x" * 1000
    assert cache.get("small/0/a", fetching("y")).read_text() == "y"
    assert entries(tmp_path) == {"small": 1}


def test_a_folder_is_one_entry(tmp_path):
    def fetch(folder: Path) -> Path:
        (folder / "model" / "inner").mkdir(parents=True)
        (folder / "model" / "inner" / "weights").write_text("w" * 90)
        return folder / "model"

    cache = BoundedCache(tmp_path, 100)
    assert (cache.get("run/0/model", fetch) / "inner" / "weights").read_text() == "w" * 90
    cache.get("other/0/a", fetching("x" * 90))
    assert not (tmp_path / "run" / "0" / "model").exists()


def test_a_fetch_that_fails_leaves_nothing(tmp_path):
    def fails(folder: Path) -> Path:
        (folder / "a").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        BoundedCache(tmp_path, 100).get("run/0/a", fails)
    assert not entries(tmp_path) and not list(tmp_path.glob(".[0-9]*"))


HAMMER = """
import random, sys
from pathlib import Path
from yt8m_lib.bounded_cache import BoundedCache

cache, draw = BoundedCache(Path(sys.argv[1]), 30_000), random.Random(sys.argv[2])
for _ in range(200):
    name = str(draw.randrange(12))

    def fetch(folder, name=name):
        (folder / "a").write_text(name * 5000)
        return folder / "a"

    path = cache.get(f"{name}/0/a", fetch)
    assert path.read_text() == name * 5000
"""


def test_processes_share_it(tmp_path):
    command = [sys.executable, "-c", HAMMER, str(tmp_path)]
    several = [subprocess.Popen([*command, str(seed)], cwd=ROOT) for seed in range(3)]
    assert [process.wait() for process in several] == [0, 0, 0]
    BoundedCache(tmp_path, 30_000).get("last/0/a", fetching("x"))
    assert sum(entries(tmp_path).values()) <= 30_000


def test_what_may_be_about_to_be_opened_stays_whatever_it_takes(tmp_path):
    cache = BoundedCache(tmp_path, 100, held=3)
    for name in ("1", "2", "3", "4"):
        cache.get(f"{name}/0/a", fetching("x" * 60))
    assert set(entries(tmp_path)) == {"2", "3", "4"}


def test_half_a_copy_of_a_killed_process_is_fetched_anew(tmp_path):
    beside = tmp_path / ".fetching" / "run-0-a"
    beside.mkdir(parents=True)
    (beside / "other").write_text("half of it")
    path = BoundedCache(tmp_path, 100).get("run/0/a", fetching("whole"))
    assert path.read_text() == "whole" and not list((tmp_path / ".fetching").iterdir())


def fetch_slowly(folder, log):
    def fetch(beside):
        with open(log, "a") as file:
            file.write("fetched\n")
        time.sleep(0.5)
        (beside / "a").write_text("x")
        return beside / "a"

    BoundedCache(folder, 100).get("run/0/a", fetch)


def test_processes_that_want_the_same_fetch_it_once(tmp_path):
    context, where = multiprocessing.get_context("spawn"), (tmp_path / "cache", tmp_path / "log")
    several = [context.Process(target=fetch_slowly, args=where) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert (tmp_path / "log").read_text() == "fetched\n"
