"""Faults of shards, of lists and of the paths that name them."""

import csv
import gzip
import os
import stat
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from torture.faults import (
    SkippedError,
    Workshop,
    experiment_folder,
    fault,
    refused,
    works,
)
from torture.mutations import IN_RECORDS, framed, sound

VIDEO_LEVEL = ("--set", "synthetic=null", "--set", "data.level=video")


def shard(path: Path, prefix: str = "v", level: str = "frame", change: str = "") -> Path:
    """Write a small sound shard, one of whose records is changed where a change is named."""
    records = []
    for i, record in enumerate(sound(level)):
        video = tf.train.SequenceExample.FromString(record)
        video.context.feature["id"].bytes_list.value[:] = [f"{prefix}{i:03d}".encode()]
        if change and i == 2:
            IN_RECORDS[change](video, 1)
        records.append(framed(video.SerializeToString(deterministic=True)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(records))
    return path


def predict(workshop: Workshop, pattern: object, output: object = None, own_process: bool = False):
    """Tag videos with the finished run's model."""
    model = experiment_folder(workshop.finished) / "model"
    output = output or workshop.folder / "out.csv"
    run = workshop.yt8m if own_process else workshop.here  # which starts TensorFlow once
    return run("predict", model, pattern, "--output", output)


def only_data(workshop: Workshop, *settings: str):
    """Run the data phase alone on shards of real form."""
    more = [part for setting in settings for part in ("--set", setting)]
    results = workshop.folder / "results"
    return workshop.run(results, "--only", "data", *VIDEO_LEVEL, *more)


def _changed(name: str, change: str, *words: str) -> None:
    done = f"`predict` on two shards, in the second {change}"

    @fault(name, done, "one line that names the shard, no CSV")
    def check(workshop: Workshop) -> None:
        shard(workshop.folder / "a.tfrecord")
        shard(workshop.folder / "b.tfrecord", "w", change=change)
        refused(predict(workshop, workshop.folder / "*.tfrecord"), "b.tfrecord", *words)
        assert sorted(os.listdir(workshop.folder)) == ["a.tfrecord", "b.tfrecord"]

    check.__name__ = f"changed {name}"


_changed("two ids", "two ids", "id")
_changed("no id", "no id", "id")
_changed("records of 2017", "a record of 2017", "video_id")
_changed("features in floats", "frames as floats", "float")
_changed("frame cut", "a frame cut", "bytes each")
_changed("frames left out", "frames left out", "audio")
_changed("id that is not UTF-8", "an id in latin-1", "UTF-8")


@fault("unlabelled in evaluate", "`evaluate` on a shard with an unlabelled video", "one line")
def unlabelled(workshop: Workshop) -> None:
    file = shard(workshop.folder / "a.tfrecord", change="no labels")
    model = experiment_folder(workshop.finished) / "model"
    refused(workshop.here("evaluate", model, file), "labels", "a.tfrecord")


def _bytes(name: str, change: Callable[[bytes], bytes], *words: str) -> None:
    @fault(name, f"`predict` on two shards, the second {name}", "one line that names the shard")
    def check(workshop: Workshop) -> None:
        shard(workshop.folder / "a.tfrecord")
        bad = shard(workshop.folder / "b.tfrecord", "w")
        bad.write_bytes(change(bad.read_bytes()))
        refused(predict(workshop, workshop.folder / "*.tfrecord"), "b.tfrecord", *words)

    check.__name__ = f"bytes {name}"


_bytes("cut in a record", lambda shard: shard[: len(shard) * 6 // 10])
_bytes("cut in a header", lambda shard: shard + shard[:7])
_bytes("a bit flipped", lambda shard: shard[:9000] + bytes([shard[9000] ^ 1]) + shard[9001:])
_bytes("compressed", gzip.compress, "compressed")
_bytes("empty", lambda shard: b"")
_bytes("text", lambda shard: b"id,labels\n" * 50)


@fault("mixed levels", "`predict` on a frame-level and a video-level shard", "one line")
def mixed_levels(workshop: Workshop) -> None:
    shard(workshop.folder / "a.tfrecord")
    shard(workshop.folder / "b.tfrecord", "w", "video")
    refused(predict(workshop, workshop.folder / "*.tfrecord"), "b.tfrecord")


@fault("folder for a shard", "`inspect` on a folder", "one line that names it")
def folder_for_a_shard(workshop: Workshop) -> None:
    (workshop.folder / "shards").mkdir()
    refused(workshop.here("inspect", workshop.folder / "shards"), "shards", "folder")


@fault("web address for a shard", "`inspect http://...`", "one line that names it")
def web_address(workshop: Workshop) -> None:
    refused(workshop.here("inspect", "http://example.org/a.tfrecord"), "http")


# --- The two sides ---


@fault("shard on both sides", "one shard in `data.train` and `data.validation`", "refused")
def shard_on_both_sides(workshop: Workshop) -> None:
    for i in range(3):
        shard(workshop.folder / f"v{i}.tfrecord", f"s{i}-", "video")
    sides = (f"data.train={workshop.folder}/*.tfrecord", f"data.validation={workshop.folder}/v1*")
    refused(only_data(workshop, *sides), "v1.tfrecord")


@fault("videos on both sides", "the same ids in two shards, one on each side", "refused")
def videos_on_both_sides(workshop: Workshop) -> None:
    shard(workshop.folder / "train" / "a.tfrecord", level="video")
    shard(workshop.folder / "validation" / "b.tfrecord", level="video")
    sides = [f"data.{side}={workshop.folder}/{side}/*" for side in ("train", "validation")]
    refused(only_data(workshop, *sides), "b.tfrecord", "5")


@fault("videos twice on a side", "the same ids in two training shards", "refused")
def videos_twice(workshop: Workshop) -> None:
    shard(workshop.folder / "train" / "a.tfrecord", level="video")
    shard(workshop.folder / "train" / "b.tfrecord", level="video")
    shard(workshop.folder / "validation" / "c.tfrecord", "w", "video")
    sides = [f"data.{side}={workshop.folder}/{side}/*" for side in ("train", "validation")]
    refused(only_data(workshop, *sides), "b.tfrecord")


@fault("same name in two folders", "training shards of one name in two folders", "refused at once")
def same_name(workshop: Workshop) -> None:
    for i, place in enumerate(("train/a", "train/b", "validation/c")):
        name = "x.tfrecord" if i < 2 else "y.tfrecord"
        shard(workshop.folder / place / name, f"s{i}-", "video")
    sides = [f"data.{side}={workshop.folder}/{side}/*/*" for side in ("train", "validation")]
    refused(only_data(workshop, *sides), "x.tfrecord")


# --- Paths ---

ODD = ("brackets [1]", "percent %20", "question ?", "blank in it", "star *", "comma, 'quote'", "#1")


def _odd(name: str) -> None:
    @fault(f"folder named {name}", "results, shards, a list in it", "all work; paths are paths")
    def check(workshop: Workshop) -> None:
        folder = workshop.folder / name
        files = [shard(folder / f"v{i}.tfrecord", f"s{i}-") for i in range(2)]
        works(workshop.here("inspect", files[0]), "1 shards, 5 videos, 0 damaged")
        listed = workshop.file(f"{name}/list.txt", "\ufeff# shards\nv0.tfrecord\n\nv1.tfrecord\n")
        works(workshop.here("inspect", listed), "2 shards, 10 videos, 0 damaged")
        works(workshop.run(folder / "results", "--only", "data"))
        assert (folder / "results" / "mlflow.db").exists()

    check.__name__ = f"folder {name}"


for odd in ODD:
    _odd(odd)


@fault("tilde", "`inspect '~/*.tfrecord'`, quoted", "the home folder's shards are read")
def tilde(workshop: Workshop) -> None:
    shard(workshop.folder / "a.tfrecord")
    ended = workshop.yt8m("inspect", "~/*.tfrecord", env={"HOME": str(workshop.folder)})
    works(ended, "1 shards, 5 videos, 0 damaged")


@fault("list that names a shard twice", "`inspect list.txt`", "refused, naming the shard")
def listed_twice(workshop: Workshop) -> None:
    shard(workshop.folder / "a.tfrecord")
    listed = workshop.file("list.txt", "a.tfrecord\na.tfrecord\n")
    refused(workshop.here("inspect", listed), "a.tfrecord")


@fault("ids that a CSV must quote", "`predict` on ids with comma, newline, quote and =", "as given")
def odd_ids(workshop: Workshop) -> None:
    ids = ["cats, dogs", "two\nlines", 'a "b"', "=1+1", "plain"]
    records = []
    for record, name in zip(sound("frame"), ids, strict=True):
        video = tf.train.SequenceExample.FromString(record)
        video.context.feature["id"].bytes_list.value[:] = [name.encode()]
        records.append(framed(video.SerializeToString(deterministic=True)))
    works(predict(workshop, workshop.file("a.tfrecord", b"".join(records))))
    with open(workshop.folder / "out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert all(len(row) == 2 for row in rows), rows
    assert [row[0].lstrip("'") for row in rows[1:]] == ids, rows


# --- Where the answers go ---


@fault("output is a link", "`predict --output` on a link", "the file it leads to is written")
def output_is_a_link(workshop: Workshop) -> None:
    file, link = shard(workshop.folder / "a.tfrecord"), workshop.folder / "link.csv"
    link.symlink_to(workshop.file("far.csv", ""))
    works(predict(workshop, file, link))
    assert link.is_symlink() and (workshop.folder / "far.csv").stat().st_size


@fault("output is a device", "`predict --output` on a copy of /dev/null", "it stays a device")
def output_is_a_device(workshop: Workshop) -> None:
    device = workshop.folder / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        raise SkippedError("making a device is not permitted here") from None
    works(predict(workshop, shard(workshop.folder / "a.tfrecord"), device))
    assert stat.S_ISCHR(device.stat().st_mode)


@fault("output is a pipe", "`predict --output /dev/stdout` into a pipe", "the CSV arrives")
def output_is_a_pipe(workshop: Workshop) -> None:
    works(predict(workshop, shard(workshop.folder / "a.tfrecord"), "/dev/stdout", True), "v004,")


@fault("output is a folder", "`predict --output` on a folder", "one line before the work")
def output_is_a_folder(workshop: Workshop) -> None:
    (workshop.folder / "out").mkdir()
    file = shard(workshop.folder / "a.tfrecord")
    refused(predict(workshop, file, workshop.folder / "out"), "folder")
    assert sorted(os.listdir(workshop.folder)) == ["a.tfrecord", "out"]
