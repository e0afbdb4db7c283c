"""The folder of copies: its bound, what goes first, what is in use, and several processes."""

import multiprocessing
import os
from pathlib import Path

import pytest

from yt8m_lib.bounded_cache import BoundedCache


def writer(size, said=None):
    def fetch(path):
        path.write_bytes(b"x" * size)
        if said is not None:
            said.append(size)

    return fetch


def names(cache):
    return {path.name.split("-", 1)[1] for path in cache.folder.iterdir() if path.name[0] != "."}


def test_a_copy_is_made_once_and_what_was_not_used_for_longest_goes_first(tmp_path):
    cache, made = BoundedCache(tmp_path / "copies", 100, held=1), []
    for key in ("gs://b/one", "gs://b/two", "gs://b/one", "gs://b/three"):
        path = cache.get(key, writer(40, made))
        assert path.read_bytes() == b"x" * 40
        os.utime(path, ns=(len(made) * 10**9, len(made) * 10**9 + len(key)))  # time goes on
    assert len(made) == 3
    assert names(cache) == {"one", "three"} and cache.nbytes == 80


def test_keys_that_end_alike_do_not_meet(tmp_path):
    cache = BoundedCache(tmp_path, 100)
    one = cache.get("1 gs://a/x", writer(3))
    other = cache.get("2 gs://a/x", writer(5))
    assert one != other and (one.stat().st_size, other.stat().st_size) == (3, 5)


def test_what_is_in_use_stays_until_others_were_asked_for(tmp_path):
    cache = BoundedCache(tmp_path, 100, held=2)
    for number in range(4):
        cache.get(f"k{number}", writer(60))
    assert names(cache) == {"k1", "k2", "k3"}  # two were in use when the last one came
    other = BoundedCache(tmp_path, 100, held=1)  # as another process has it
    other.get("k4", writer(60))
    assert names(cache) == {"k2", "k3", "k4"}


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    cache = BoundedCache(tmp_path, 100)

    def fail(path):
        path.write_bytes(b"half")
        raise OSError("the line went dead")

    with pytest.raises(OSError, match="went dead"):
        cache.get("k", fail)
    assert names(cache) == set() and not list(tmp_path.glob(".*.part"))
    assert cache.get("k", writer(4)).read_bytes() == b"xxxx"


def test_half_a_copy_of_a_killed_process_is_written_anew(tmp_path):
    cache = BoundedCache(tmp_path, 100)
    (tmp_path / f".{cache._name('k')}.part").write_bytes(b"half of it")
    assert cache.get("k", writer(4)).read_bytes() == b"xxxx"
    assert not list(tmp_path.glob(".*.part"))


def work(folder, start, log):
    """Ask for ten files in an order of one's own, many times, and read each whole."""
    cache = BoundedCache(folder, 50, held=1)
    for number in range(60):
        key = f"k{(start + number * (number + 1) // 2) % 10}"  # some far more often than others

        def fetch(path, key=key):
            with open(log, "a") as file:
                file.write(f"{key}\n")
            path.write_bytes(key.encode() * 5)

        path = cache.get(key, fetch)
        assert path.read_bytes() == key.encode() * 5, key


def test_processes_share_a_folder_and_none_sees_half_a_file_or_none(tmp_path):
    folder, log = tmp_path / "copies", tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(folder, n, log)) for n in (0, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert BoundedCache(folder, 50).nbytes <= 50
    assert len(log.read_text().split()) < 120, "nothing was ever found there"


def one_slow(folder, log):
    def fetch(path: Path):
        with open(log, "a") as file:
            file.write("made\n")
        path.write_bytes(b"x" * 2**22)

    BoundedCache(folder, 2**23).get("k", fetch)


def test_two_that_ask_for_the_same_file_copy_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=one_slow, args=(tmp_path / "copies", tmp_path / "log"))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "log").read_text() == "made\n"
