import errno
import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from yt8m_lib import commands
from yt8m_lib.cli import main
from yt8m_lib.data import inspection, shards
from yt8m_lib.data.records import FrameVideo, write_frame_records
from yt8m_lib.settings import ROOT

# Parameters, bytes in float32, bytes with 8-bit codes, of the released code. Its LSTM cells have
# one kernel where Keras has two: three tables of 1,024 bytes less than ours.
PUBLISHED = {
    "NetVLAD1": (321_541_224, 1_286_164_896, 321_750_004),
    "NetVLAD2": (242_731_144, 970_924_576, 242_913_716),
    "FVNet": (369_073_284, 1_476_293_136, 369_244_940),
    "DBoF1": (37_188_652, 148_754_608, 37_340_336),
    "DBoF2": (59_315_756, 237_263_024, 59_521_200),
    "DBoF3": (32_998_372, 131_993_488, 33_139_232),
    "RNN1": (19_171_094, 76_684_376, 19_211_352 + 3 * 1024),
    "RNN2": (19_171_094, 76_684_376, 19_211_352 + 3 * 1024),
    "RNN3": (15_367_958, 61_471_832, 15_405_144),
}


def test_sizes_are_the_published_ones_to_the_byte(capsys):
    main(["sizes", "params/paper.yaml", "--json"])
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    for name, expected in PUBLISHED.items():
        found = [rows[name][key] for key in ("parameters", "bytes_float32", "bytes_stored")]
        assert tuple(found) == expected, name
    together = rows["published ones together"]
    assert together["bytes_float32"] == 4_466_234_312
    assert together["bytes_stored"] == 1_117_737_276 + 6 * 1024


def test_sizes_say_that_the_nine_do_not_fit_and_which_do(capsys):
    main(["sizes", "params/paper.yaml"])
    printed = capsys.readouterr().out
    assert "over the budget of 1,000,000,000; these fit: NetVLAD1" in printed
    assert "three tables" in printed


@pytest.fixture
def files(tmp_path):
    frames = np.zeros((2, 1152), np.uint8)
    paths = [tmp_path / f"validate{i:02d}.tfrecord" for i in range(6)]
    for path in paths:
        write_frame_records(path, [FrameVideo(b"abcd", [1, 2], frames)] * 3)
    return paths


def test_inspect_counts_and_fails_on_a_damaged_shard(files, capsys):
    pattern = str(files[0].parent / "*.tfrecord")
    main(["inspect", pattern])
    assert "6 shards, 18 videos, 0 damaged" in capsys.readouterr().out
    damaged = bytearray(files[2].read_bytes())
    damaged[-20] ^= 1
    files[2].write_bytes(damaged)
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", pattern])
    assert exit_.value.code == 1
    assert "6 shards, 17 videos, 1 damaged" in capsys.readouterr().out


def test_inspect_takes_the_test_files_that_have_no_labels(tmp_path, capsys):
    frames = np.zeros((2, 1152), np.uint8)
    write_frame_records(tmp_path / "test.tfrecord", [FrameVideo(b"abcd", None, frames)])
    main(["inspect", str(tmp_path / "test.tfrecord")])
    assert "1 videos, 0 damaged" in capsys.readouterr().out
    table = inspection.inspect([str(tmp_path / "test.tfrecord")])
    assert "feature labels missing" in table["bad"][0]


def test_split_writes_lists_and_moves_nothing(files, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in files}
    arguments = ["split", str(tmp_path / "*.tfrecord"), "--hold-out", "2"]
    main([*arguments, "--output", str(tmp_path / "a")])
    main([*arguments, "--output", str(tmp_path / "b")])
    train, held = (shards.find(str(tmp_path / "a" / f"{n}.txt")) for n in ("train", "validation"))
    assert len(held) == 2 and sorted([*train, *held]) == [str(path) for path in files]
    assert held == shards.find(str(tmp_path / "b" / "validation.txt"))
    assert {path: path.stat().st_mtime_ns for path in files} == before
    with pytest.raises(SystemExit):
        main(["split", str(tmp_path / "*.tfrecord"), "--output", str(tmp_path / "c")])
    assert "cannot hold out 800 of the 6 shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "params/dem.yaml"], "did you mean 'params/demo.yaml'"),
        (["run", "params/video_level.yaml"], "real data has no default place"),
        (["run", "params/demo.yaml", "--set", "data.clases=1"], "did you mean 'classes'"),
        (["tables", "params/demo.yaml", "--set", "results=nowhere"], "yt8m run params/demo.yaml"),
        (["synthesize", "params/paper.yaml"], "no `synthetic` section"),
        (["inspect", "/nowhere/*.tfrecord"], "nothing matches it"),
        (["evaluate", "params", "/nowhere"], "holds no exported model"),
        (["findings", "params/smoke.yaml", "--add", "params/smoke.yaml"], "is no repeat"),
    ],
)
def test_bad_input_is_one_line_and_no_traceback(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 1 and words in error and "Traceback" not in error


def test_inspect_takes_the_vocabulary_of_other_years(tmp_path, capsys):
    frames = np.zeros((2, 1152), np.uint8)
    write_frame_records(tmp_path / "a.tfrecord", [FrameVideo(b"abcd", [4000], frames)])
    command = ["inspect", str(tmp_path / "a.tfrecord")]
    main([*command, "--vocabulary", "4716"])
    assert "1 videos, 0 damaged" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(command)
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--vocabulary", "0"])
    assert exit_.value.code == 2 and "whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["run", "params/smoke.yaml"], "finished models are kept"),
        (["inspect", "nothing"], "nothing half-written is left"),
    ],
)
def test_ctrl_c_is_one_line(command, words, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, command[0], interrupted)
    with pytest.raises(SystemExit) as exit_:
        main(command)
    assert exit_.value.code == 130 and words in capsys.readouterr().err


def wrapped(action):
    """The error of an action, as a library wraps it."""
    try:
        try:
            action()
        except Exception as error:
            raise RuntimeError("it did not work") from error
    except RuntimeError as error:
        return error


def test_what_the_surroundings_refuse_is_one_line_and_other_faults_are_not(monkeypatch, capsys):
    def fail(error):
        def action(_):
            raise error

        monkeypatch.setattr(commands, "inspect", action)

    fail(PermissionError(errno.EACCES, "Permission denied", "/there"))
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", "x"])
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "yt8m: /there: Permission denied\n"
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA max_page_count = 1")
        fail(wrapped(lambda: database.execute("CREATE TABLE videos (id)")))
    with pytest.raises(SystemExit):
        main(["inspect", "x"])
    assert capsys.readouterr().err == "yt8m: database or disk is full\n"
    with closing(sqlite3.connect(":memory:")) as database:
        fail(wrapped(lambda: database.execute("SELECT * FROM videos")))
    with pytest.raises(RuntimeError):
        main(["inspect", "x"])
    fail(FileNotFoundError(errno.ENOENT, "No such file", "/there"))
    with pytest.raises(FileNotFoundError):
        main(["inspect", "x"])


def test_a_reader_that_stops_early_is_no_traceback():
    script = (
        "from yt8m_lib import cli, commands\n"
        "commands.inspect = lambda _: print('line\\n' * 100_000)\n"
        "cli.main(['inspect', 'x'])\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_cut_repeat_is_one_line(tmp_path, capsys):
    whole = io.BytesIO()
    np.savez(whole, a=np.zeros(1000))
    for size in (0, 20, 4000):
        (tmp_path / "repeat-1.npz").write_bytes(whole.getvalue()[:size])
        with pytest.raises(SystemExit) as exit_:
            main(["findings", "params/smoke.yaml", "--add", str(tmp_path / "repeat-1.npz")])
        assert exit_.value.code == 1 and "is no repeat" in capsys.readouterr().err


def test_help_lists_every_command_without_importing_tensorflow():
    script = (
        "import sys\nfrom yt8m_lib.cli import main\n"
        "try:\n    main(['--help'])\nfinally:\n    assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for name in ("run", "synthesize", "inspect", "evaluate", "predict", "tables", "sizes"):
        assert f"\n    {name} " in done.stdout
