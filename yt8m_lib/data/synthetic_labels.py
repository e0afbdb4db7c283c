"""Classes and labels of stand-in data: how frequent they are, and which come together.

Classes form a hierarchy of families in 24 verticals. A video is about an *anchor* class; its labels
are that class and those above it, then others of its family, its vertical or any, each with those
above it. Since a class claims its share of its parent's videos, the frequencies come out as set.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yt8m_lib.settings import Synthetic

# Measured on real records ("Known of the real data", sec. 12 of the published system).
LABELS_A_VIDEO = (24.7, 22.6, 18.6, 15.6, 8.8, 4.6, 2.5, 1.25, 0.64, 0.32, 0.17, 0.08)  # % of 1..12
SLOPES = ((100, -0.93), (1000, -1.19), (np.inf, -1.55))  # log-log, up to this rank
VERTICAL_SHARES = (  # share of labels by the vocabulary's first vertical, %
    28.0, 20.7, 12.1, 7.3, 5.8, 4.6, 4.4, 3.3, 2.8, 2.6, 1.8, 1.3,
    1.1, 1.0, 0.8, 0.44, 0.37, 0.27, 0.26, 0.23, 0.21, 0.13, 0.13, 0.07,
)  # fmt: skip

# Chosen so that measured facts of 20,252 real videos come out (ours in brackets): 69 % (72) of the
# pairs of labels that occur together share a vertical, as do all labels of 60 % (53) of videos with
# three; 8,882 (8,914) distinct label sets; the likeliest companion of a class comes in 86 % (79) of
# its videos (median over classes).
TREE_CAPACITY = 0.75  # share of a class's videos that classes below it may claim
PARENT_IN_VERTICAL = 0.85  # classes that hang under one of their own vertical, others under any
SAME_FAMILY, SAME_VERTICAL = 0.7, 0.15  # of a video's other labels; the rest are of any vertical


class Classes(NamedTuple):
    """V classes in order of frequency."""

    frequency: np.ndarray  # [V], sums to 1
    vertical: np.ndarray  # [V]
    parent: np.ndarray  # [V], a more frequent class; -1 for the top of a family
    family: np.ndarray  # [V], the class at its top
    anchor: np.ndarray  # [V], how often a class is a video's most specific one; sums to 1


def draw_classes(count: int, generator: np.random.Generator) -> Classes:
    """Draw the classes that a stand-in data set is about."""
    frequency = _frequencies(count)
    shares = np.array(VERTICAL_SHARES[: max(2, min(len(VERTICAL_SHARES), count // 8))])
    vertical = generator.choice(len(shares), count, p=shares / shares.sum())
    parent, unclaimed = _hierarchy(frequency, vertical, generator)
    family = np.arange(count)
    for c in np.flatnonzero(parent >= 0):  # parents come first: they are more frequent
        family[c] = family[parent[c]]
    return Classes(frequency, vertical, parent, family, unclaimed / unclaimed.sum())


def draw_labels(
    classes: Classes, settings: Synthetic, count: int, generator: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """Draw the labels of ``count`` videos: what they show, and what the annotation says of it.

    The numbers of annotated labels are as measured. Beyond them videos show classes that the
    annotation lost (``missing_labels``, up to 0.9), and some labels are wrong (``wrong_labels``).

    Returns:
        For each video the classes that it shows, and for each video those that it is labelled with.
    """
    share = np.array(LABELS_A_VIDEO) / sum(LABELS_A_VIDEO)
    shares = share[: len(classes.frequency)]
    number = generator.choice(len(shares), count, p=shares / shares.sum()) + 1
    anchors = generator.choice(len(classes.anchor), count, p=classes.anchor)
    # Videos of classes deep in the hierarchy get the larger of the numbers that were drawn.
    depth = [len(_chain(classes, anchor)) for anchor in anchors] + generator.random(count)
    number = np.sort(number)[np.argsort(np.argsort(depth))]
    shown = number + generator.negative_binomial(number, 1 - min(settings.missing_labels, 0.9))
    others = _others(classes, anchors, 2 * int(shown.max()), generator)
    true = [_united(classes, [anchors[i], *others[i]], shown[i]) for i in range(count)]
    found = [generator.permutation(labels)[:n] for labels, n in zip(true, number, strict=True)]
    return true, [
        _mislabelled(classes, labels, settings.wrong_labels, generator) for labels in found
    ]


def _frequencies(count: int) -> np.ndarray:
    """Frequencies of classes by rank, a power law in three pieces: [count], sums to 1."""
    rank = np.arange(1, count + 1)
    log, start, level = np.empty(count), 1, 0.0
    for end, slope in SLOPES:
        piece = (rank >= start) & (rank <= end)
        log[piece] = level + slope * np.log(rank[piece] / start)
        level, start = level + slope * np.log(min(end, count) / start), end
    return np.exp(log) / np.exp(log).sum()


def _hierarchy(
    frequency: np.ndarray, vertical: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hang classes under more frequent ones of their vertical that have videos to spare.

    Returns:
        Each class's parent (-1 for none) and the frequency that no child claims, both [V].
    """
    parent, unclaimed = np.full(len(frequency), -1), frequency.copy()
    for c in range(1, len(frequency)):
        spare = unclaimed[:c] - (1 - TREE_CAPACITY) * frequency[:c]
        able = spare >= frequency[c]
        if generator.random() < PARENT_IN_VERTICAL:
            able &= vertical[:c] == vertical[c]
        able = np.flatnonzero(able)
        if len(able):
            parent[c] = generator.choice(able, p=spare[able] / spare[able].sum())
            unclaimed[parent[c]] -= frequency[c]
    return parent, unclaimed


def _chain(classes: Classes, anchor: int) -> list[int]:
    """A class, its parent, its parent's parent, and so on to the top of the family."""
    chain = [int(anchor)]
    while classes.parent[chain[-1]] >= 0:
        chain.append(int(classes.parent[chain[-1]]))
    return chain


def _united(classes: Classes, wanted: Sequence[int], count: int) -> list[int]:
    """The first ``count`` of these classes, where each is followed by those above it."""
    labels: dict[int, None] = {}
    for c in wanted:
        labels |= dict.fromkeys(_chain(classes, c))
        if len(labels) >= count:
            break
    return list(labels)[:count]


def _others(
    classes: Classes, anchors: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw further classes of each video, of its family, its vertical or any: [videos, count]."""
    level = generator.random((len(anchors), count))
    anything = _drawn_from(
        np.zeros_like(classes.vertical), classes.anchor, anchors, count, generator
    )
    vertical = _drawn_from(classes.vertical, classes.anchor, anchors, count, generator)
    family = _drawn_from(classes.family, classes.anchor, anchors, count, generator)
    others = np.where(level < SAME_FAMILY + SAME_VERTICAL, vertical, anything)
    return np.where(level < SAME_FAMILY, family, others)


def _drawn_from(
    group: np.ndarray,
    weight: np.ndarray,
    given: np.ndarray,
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw classes of the same group as each given class, by weight: [len(given), count]."""
    order = np.argsort(group, kind="stable")  # the groups' classes side by side
    ends = np.cumsum(weight[order])
    sizes = np.bincount(group, weight)
    starts = np.cumsum(sizes) - sizes
    mine = group[given][:, None]
    place = starts[mine] + sizes[mine] * generator.random((len(given), count))
    return order[np.minimum(np.searchsorted(ends, place, side="right"), len(order) - 1)]


def _mislabelled(
    classes: Classes, labels: np.ndarray, share: float, generator: np.random.Generator
) -> list[int]:
    """Replace a share of the labels by other classes of the same vertical; sorted."""
    result = {int(label) for label in labels}
    for label in labels[generator.random(len(labels)) < share]:
        wrong = int(
            _drawn_from(classes.vertical, classes.anchor, np.array([label]), 1, generator)[0, 0]
        )
        if wrong not in result:
            result = result - {int(label)} | {wrong}
    return sorted(result)
