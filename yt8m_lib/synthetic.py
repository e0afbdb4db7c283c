"""Stand-in data: videos that look to a model and a metric much like YouTube-8M's.

Calibrated on measured facts of the real data alone ("Known of the real data", sec. 12 of the
published system), never on a finding of the paper. A video has an *anchor* class, the classes above
it in a hierarchy, and others of its family and vertical; its mean is a noisy sum of its classes'
prototypes, each class showing in one of several modes, so that what is linear in the mean is
learnable and what is not is left to better models. Frames scatter around the mean as in
``within_video``.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from yt8m_lib import shards, within_video
from yt8m_lib.params import AUDIO, FEATURES, RGB, Params, Synthetic
from yt8m_lib.record_files import FrameVideo, write_frame_records

# Measured on real records (sec. 12).
LABELS_A_VIDEO = (24.7, 22.6, 18.6, 15.6, 8.8, 4.6, 2.5, 1.25, 0.64, 0.32, 0.17, 0.08)  # % of 1..12
SLOPES = ((100, -0.93), (1000, -1.19), (np.inf, -1.55))  # log-log, up to this rank
VERTICAL_SHARES = (  # share of labels by the vocabulary's first vertical, %
    28.0, 20.7, 12.1, 7.3, 5.8, 4.6, 4.4, 3.3, 2.8, 2.6, 1.8, 1.3,
    1.1, 1.0, 0.8, 0.44, 0.37, 0.27, 0.26, 0.23, 0.21, 0.13, 0.13, 0.07,
)  # fmt: skip
RGB_SPREAD, AUDIO_SPREAD = (0.75, 0.41, 80), (0.94, 0.62, 15)  # of video means: at the first
# feature, at the last, and after how many features the difference has fallen to 1/e
NORM_SPREAD = 0.35  # of the log norm of rgb means: kurtosis 4.8, norms 5.5 / 12.6 / 30.7

# Chosen so that measured facts come out; the fact is named.
TREE_CAPACITY = 0.75  # share of a class's videos that classes below it may claim: 3 labels a video
PARENT_IN_VERTICAL = 0.85  # 69 % of co-occurring pairs share a vertical; so do the labels of
SAME_FAMILY, SAME_VERTICAL = 0.7, 0.15  # 60 % of 3-label videos; 8,882 label sets in 20,252 videos
INHERITED = 0.5  # share of a prototype that comes from the class above
MODES, MODE_SHARE = 3, 0.5  # in how many ways a class looks, and their share of a prototype
SIGNAL = (
    0.19  # share of classes in a mean's variance: ridge regression on 15,000 real means reaches
)
# GAP 0.610 (0.720 with 500 classes; a network with a hidden layer 0.748, logistic regression 0.718)
_CHUNK = 64  # videos whose frames are made at a time

_frames_around = tf.function(within_video.frames_around, reduce_retracing=True)


class World(NamedTuple):
    """The classes, V of them, in order of frequency."""

    frequency: np.ndarray  # [V], sums to 1
    vertical: np.ndarray  # [V]
    parent: np.ndarray  # [V], -1 for the top of a family
    family: np.ndarray  # [V], the class at its top
    anchor: np.ndarray  # [V], how often a class is a video's most specific one; sums to 1
    prototypes: np.ndarray  # float32 [V, MODES, 1152]


def write(params: Params) -> tuple[list[str], list[str]]:
    """Write the stand-in data of an experiment under its folder, ``data/``.

    The same settings give the same bytes. Shards that an earlier call with the same settings
    finished are kept, so a killed call goes on where it was.

    Returns:
        Paths of the training and of the validation shards.
    """
    settings, folder = params.synthetic or Synthetic(), params.folder / "data"
    _prepare(folder, shards.manifest(params))
    world = make_world(params.data.vocabulary, params.seed)
    counts = {"train": settings.train_videos, "validation": settings.validation_videos}
    written: dict[str, list[str]] = {name: [] for name in counts}
    with tqdm(total=sum(counts.values()), desc="stand-in videos", unit=" videos") as progress:
        for split, (name, count) in enumerate(counts.items()):
            for shard, videos in enumerate(shards.shares(count, settings.shards)):
                path = folder / f"{name}-{shard:05d}.tfrecord"
                if not path.exists():
                    generator = np.random.default_rng([params.seed, split, shard])
                    prefix = f"{name[0]}{shard:04d}"
                    write_frame_records(
                        path, make_videos(world, settings, videos, generator, prefix)
                    )
                written[name].append(str(path))
                progress.update(videos)
    return written["train"], written["validation"]


def make_world(classes: int, seed: int) -> World:
    """Draw the classes that a stand-in data set is about."""
    generator = np.random.default_rng([seed, classes])
    frequency = _frequencies(classes)
    shares = np.array(VERTICAL_SHARES[: max(2, min(len(VERTICAL_SHARES), classes // 8))])
    vertical = generator.choice(len(shares), classes, p=shares / shares.sum())
    parent, left = _hierarchy(frequency, vertical, generator)
    prototypes = generator.standard_normal((classes, MODES + 1, FEATURES), dtype=np.float32)
    own = (1 - MODE_SHARE) ** 0.5 * prototypes[:, 0]  # [V, 1152]
    modes = MODE_SHARE**0.5 * prototypes[:, 1:]  # [V, MODES, 1152]
    for c in np.flatnonzero(parent >= 0):  # parents come first: they are more frequent
        own[c] = INHERITED**0.5 * own[parent[c]] + (1 - INHERITED) ** 0.5 * own[c]
    family = np.arange(classes)
    for c in np.flatnonzero(parent >= 0):
        family[c] = family[parent[c]]
    return World(frequency, vertical, parent, family, left / left.sum(), own[:, None] + modes)


def make_videos(
    world: World, settings: Synthetic, count: int, generator: np.random.Generator, prefix: str
) -> Iterator[FrameVideo]:
    """Videos one after the other, as they are written to one shard."""
    true, listed = draw_labels(world, settings, count, generator)
    means = draw_means(world, true, generator)
    num_frames = generator.integers(*settings.frames, count, endpoint=True, dtype=np.int32)
    seeds = generator.integers(2**62, size=count, dtype=np.uint64)
    chunks = [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]

    def frames_of(chunk: slice) -> np.ndarray:
        parts = (means[chunk], num_frames[chunk], seeds[chunk])
        return _frames_around(*map(tf.constant, parts), settings.frames[1]).numpy()

    with ThreadPoolExecutor(1) as pool:  # makes the next chunks while this one is written
        for chunk, frames in zip(chunks, pool.map(frames_of, chunks), strict=True):
            for i, video in enumerate(frames, chunk.start):
                yield FrameVideo(f"{prefix}{i:05d}".encode(), listed[i], video[: num_frames[i]])


def draw_labels(
    world: World, settings: Synthetic, count: int, generator: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """Label sets of ``count`` videos: what they show, and what the annotation says."""
    share = np.array(LABELS_A_VIDEO) / sum(LABELS_A_VIDEO)
    shares = share[: len(world.frequency)]
    number = generator.choice(len(shares), count, p=shares / shares.sum()) + 1
    anchors = generator.choice(len(world.anchor), count, p=world.anchor)
    # Videos of classes deep in the hierarchy have more labels; the numbers' distribution is kept.
    depth = [len(_chain(world, anchor)) for anchor in anchors] + generator.random(count)
    number = np.sort(number)[np.argsort(np.argsort(depth))]
    shown = number + generator.negative_binomial(number, 1 - min(settings.missing_labels, 0.9))
    others = _others(world, anchors, 2 * int(shown.max()), generator)
    true = [_united(world, [anchors[i], *others[i]], shown[i]) for i in range(count)]
    kept = [generator.permutation(labels)[:n] for labels, n in zip(true, number, strict=True)]
    return true, [_mislabelled(world, labels, settings.wrong_labels, generator) for labels in kept]


def draw_means(world: World, labels: list[list[int]], generator: np.random.Generator) -> np.ndarray:
    """Video means that show these labels: float32 [videos, 1152]."""
    content = np.empty((len(labels), FEATURES), np.float32)
    for i, shown in enumerate(labels):
        strength = generator.uniform(0.4, 1.6, len(shown)).astype(np.float32)
        mode = generator.integers(MODES, size=len(shown))
        content[i] = strength @ world.prototypes[shown, mode]
    content /= np.sqrt((content**2).mean(axis=1, keepdims=True))
    noise = generator.standard_normal(content.shape, dtype=np.float32)
    means = spread() * (SIGNAL**0.5 * content + (1 - SIGNAL) ** 0.5 * noise)
    scale = np.exp(NORM_SPREAD * generator.standard_normal(len(labels)) - NORM_SPREAD**2)
    means[:, :RGB] *= scale[:, None]
    return means.astype(np.float32)


def spread() -> np.ndarray:
    """Standard deviation of video means, by feature: float32 [1152]."""
    parts = [
        last + (first - last) * np.exp(-np.arange(size) / fall)
        for size, (first, last, fall) in ((RGB, RGB_SPREAD), (AUDIO, AUDIO_SPREAD))
    ]
    return np.concatenate(parts).astype(np.float32)


def _frequencies(classes: int) -> np.ndarray:
    """A power law in three pieces: [classes], sums to 1."""
    rank = np.arange(1, classes + 1)
    log, start, level = np.empty(classes), 1, 0.0
    for end, slope in SLOPES:
        piece = (rank >= start) & (rank <= end)
        log[piece] = level + slope * np.log(rank[piece] / start)
        level, start = level + slope * np.log(min(end, classes) / start), end
    return np.exp(log) / np.exp(log).sum()


def _hierarchy(
    frequency: np.ndarray, vertical: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hang classes under more frequent ones of their vertical that have videos to spare.

    Returns:
        Each class's parent (-1 for none) and the frequency that no child claims, both [V].
    """
    parent, left = np.full(len(frequency), -1), frequency.copy()
    for c in range(1, len(frequency)):
        spare = left[:c] - (1 - TREE_CAPACITY) * frequency[:c]
        able = spare >= frequency[c]
        if generator.random() < PARENT_IN_VERTICAL:
            able &= vertical[:c] == vertical[c]
        able = np.flatnonzero(able)
        if len(able):
            parent[c] = generator.choice(able, p=spare[able] / spare[able].sum())
            left[parent[c]] -= frequency[c]
    return parent, left


def _chain(world: World, anchor: int) -> list[int]:
    """A class and those above it, upwards."""
    chain = [int(anchor)]
    while world.parent[chain[-1]] >= 0:
        chain.append(int(world.parent[chain[-1]]))
    return chain


def _united(world: World, classes: Sequence[int], count: int) -> list[int]:
    """The first ``count`` classes of these and those above them."""
    labels: dict[int, None] = {}
    for c in classes:
        labels |= dict.fromkeys(_chain(world, c))
        if len(labels) >= count:
            break
    return list(labels)[:count]


def _others(
    world: World, anchors: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Further classes of each video, of its family, its vertical or any: [videos, count]."""
    level = generator.random((len(anchors), count))
    anything = _drawn_from(np.zeros_like(world.vertical), world.anchor, anchors, count, generator)
    vertical = _drawn_from(world.vertical, world.anchor, anchors, count, generator)
    family = _drawn_from(world.family, world.anchor, anchors, count, generator)
    others = np.where(level < SAME_FAMILY + SAME_VERTICAL, vertical, anything)
    return np.where(level < SAME_FAMILY, family, others)


def _drawn_from(
    group: np.ndarray,
    weight: np.ndarray,
    classes: np.ndarray,
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw classes of the same group as each given class, by weight: [len(classes), count]."""
    order = np.argsort(group, kind="stable")  # the groups' classes side by side
    ends = np.cumsum(weight[order])
    sizes = np.bincount(group, weight)
    starts = np.cumsum(sizes) - sizes
    mine = group[classes][:, None]
    place = starts[mine] + sizes[mine] * generator.random((len(classes), count))
    return order[np.minimum(np.searchsorted(ends, place, side="right"), len(order) - 1)]


def _mislabelled(
    world: World, labels: np.ndarray, share: float, generator: np.random.Generator
) -> list[int]:
    """The labels, a share of them replaced by another class of the same vertical; sorted."""
    result = {int(label) for label in labels}
    for label in labels[generator.random(len(labels)) < share]:
        wrong = int(
            _drawn_from(world.vertical, world.anchor, np.array([label]), 1, generator)[0, 0]
        )
        if wrong not in result:
            result = result - {int(label)} | {wrong}
    return sorted(result)


def _prepare(folder: Path, manifest: dict[str, Any]) -> None:
    """Make the folder ready: shards of other settings are deleted, those of the same kept."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "manifest.json"
    if file.exists() and json.loads(file.read_text()) == manifest:
        return
    for shard in folder.glob("*.tfrecord"):
        shard.unlink()
    shards.write_beside(file, json.dumps(manifest, indent=1))
