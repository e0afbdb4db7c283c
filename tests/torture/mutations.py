"""What can happen to a shard: mutations of its bytes, of its records and of what a record holds."""

import gzip
import struct
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from yt8m_lib.data.frame_level import FRAME_LEVEL, FrameVideo
from yt8m_lib.data.video_level import VIDEO_LEVEL, MeanVideo

VIDEOS, CLASSES = 5, 40
LEVELS = ("frame", "video")
CRC_TABLE = []
for value in range(256):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    CRC_TABLE.append(value)


class Mutation(NamedTuple):
    """One change of a shard; ``place`` is a share of its length, or of its number of records."""

    name: str
    place: float
    number: int


def crc(data: bytes) -> bytes:
    """The masked CRC-32C of a TFRecord, in plain Python: the harness shares no code with TF."""
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFFFFFF
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes, length: int | None = None) -> bytes:
    """A record as it stands in a shard, with CRCs that are right, whatever its length says."""
    header = struct.pack("<Q", len(record) if length is None else length)
    return header + crc(header) + record + crc(record)


def records_of(shard: bytes) -> tuple[list[bytes], bool]:
    """The whole records at a shard's start, and whether nothing else is in it."""
    found, at = [], 0
    while at < len(shard):
        header = shard[at : at + 12]
        if len(header) < 12 or crc(header[:8]) != header[8:]:
            return found, False
        length = struct.unpack("<Q", header[:8])[0]
        record, end = shard[at + 12 : at + 12 + length], at + 16 + length
        if len(shard) < end or crc(record) != shard[end - 4 : end]:
            return found, False
        found.append(record)
        at = end
    return found, True


def mutate(level: str, mutations: list[Mutation]) -> bytes:
    """A sound shard of this level, mutated: first what records hold, then records, then bytes."""
    records = list(sound(level))
    for mutation in mutations:
        if mutation.name in IN_RECORDS and records:
            at = int(mutation.place * len(records))
            video = tf.train.SequenceExample.FromString(records[at])
            IN_RECORDS[mutation.name](video, mutation.number)
            records[at] = video.SerializeToString(deterministic=True)
    framed_records = [framed(record) for record in records]
    for mutation in mutations:
        if mutation.name in OF_RECORDS and records:
            at = int(mutation.place * len(framed_records))
            framed_records = OF_RECORDS[mutation.name](framed_records, at, mutation.number, level)
    shard = b"".join(framed_records)
    for mutation in mutations:
        if mutation.name in OF_BYTES:
            at = int(mutation.place * len(shard))
            shard = OF_BYTES[mutation.name](shard, at, mutation.number)
    return shard


@cache
def sound(level: str) -> tuple[bytes, ...]:
    """The records of a small sound shard."""
    random, made = np.random.default_rng(7), []
    for i in range(VIDEOS):
        if level == "frame":
            frames = random.integers(0, 256, (1 + i % 3, 1152), np.uint8)
            made.append(FRAME_LEVEL.serialise(FrameVideo(b"v%03d" % i, [i, 9], frames)))
        else:
            mean = np.clip(random.standard_normal(1152) * 0.5, -1.9, 1.9).astype(np.float32)
            made.append(VIDEO_LEVEL.serialise(MeanVideo(b"v%03d" % i, [i, 9], mean)))
    return tuple(made)


# --- What a record holds: (SequenceExample, number), in place ---


def _frames(video: tf.train.SequenceExample, name: str = "rgb") -> list:
    return video.feature_lists.feature_list[name].feature


def _values(video: tf.train.SequenceExample) -> list:
    return video.context.feature["mean_rgb"].float_list.value


def _set_value(value: float) -> Callable:
    def change(video: tf.train.SequenceExample, number: int) -> None:
        if values := _values(video):
            values[number % len(values)] = value
        elif frames := _frames(video):  # a frame-level record has no floats: leave them there
            frames[number % len(frames)].float_list.value.append(value)

    return change


def _scaled(video: tf.train.SequenceExample, number: int) -> None:
    values = [1e6 * value for value in _values(video)] or [float(number % 256)] * 1024
    video.context.feature["mean_rgb"].float_list.value[:] = values


def _labels_as(kind: str, value: object) -> Callable:
    def change(video: tf.train.SequenceExample, number: int) -> None:
        feature = video.context.feature["labels"]
        feature.Clear()
        getattr(feature, kind).value.append(value)

    return change


def _label(video: tf.train.SequenceExample, number: int) -> None:
    video.context.feature["labels"].int64_list.value.append(number % 100 - 30)


def _no(name: str) -> Callable:
    return lambda video, number: video.context.feature.pop(name, None)


def _ids(*ids: bytes) -> Callable:
    def change(video: tf.train.SequenceExample, number: int) -> None:
        video.context.feature["id"].bytes_list.value[:] = ids

    return change


def _cut_frame(video: tf.train.SequenceExample, number: int) -> None:
    for frame in _frames(video, ("rgb", "audio")[number % 2])[:1]:
        frame.bytes_list.value[0] = frame.bytes_list.value[0][: number % 128]


def _shorter(video: tf.train.SequenceExample, number: int) -> None:
    frames = _frames(video, ("rgb", "audio")[number % 2])
    del frames[number % (len(frames) + 1) :]


def _shorter_mean(video: tf.train.SequenceExample, number: int) -> None:
    values = _values(video)
    del values[number % (len(values) + 1) :]


def _of_2017(video: tf.train.SequenceExample, number: int) -> None:
    video.context.feature["video_id"].CopyFrom(video.context.feature["id"])
    del video.context.feature["id"]


def _floats(video: tf.train.SequenceExample, number: int) -> None:
    for frame in _frames(video):
        frame.float_list.value[:] = [0.5] * 1024


IN_RECORDS: dict[str, Callable] = {
    "a value NaN": _set_value(float("nan")),
    "a value infinite": _set_value(float("inf")),
    "a value of 1e6": _set_value(1e6),
    "means never dequantised": _scaled,
    "labels as floats": _labels_as("float_list", 3.0),
    "labels as text": _labels_as("bytes_list", b"3"),
    "a label anywhere": _label,
    "no labels": _no("labels"),
    "no id": _no("id"),
    "two ids": _ids(b"v000", b"w000"),
    "an empty id": _ids(b""),
    "an id in latin-1": _ids("Übung".encode("latin-1")),
    "a frame cut": _cut_frame,
    "frames left out": _shorter,
    "a mean cut": _shorter_mean,
    "a record of 2017": _of_2017,
    "frames as floats": _floats,
}

# --- Records: (framed records, place, number, level) -> framed records ---


def _swapped(records: list[bytes], at: int, number: int, level: str) -> list[bytes]:
    other = number % len(records)
    records[at], records[other] = records[other], records[at]
    return records


def _other_level(records: list[bytes], at: int, number: int, level: str) -> list[bytes]:
    other = LEVELS[level == "frame"]
    return [*records[:at], framed(sound(other)[number % VIDEOS]), *records[at:]]


def _broken_inside(records: list[bytes], at: int, number: int, level: str) -> list[bytes]:
    data = bytearray(records[at][12:-4])
    if data:
        data[number % min(len(data), 200)] ^= 1 + number % 255  # names and lengths come first
    return [*records[:at], framed(bytes(data)), *records[at + 1 :]]


def _wrong_length(records: list[bytes], at: int, number: int, level: str) -> list[bytes]:
    lengths = (0, number, number % 5000, 2**31 + number, 2**62 + number, 2**64 - 1 - number)
    data = records[at][12:-4]
    return [*records[:at], framed(data, lengths[number % len(lengths)]), *records[at + 1 :]]


OF_RECORDS: dict[str, Callable] = {
    "swapped": _swapped,
    "dropped": lambda records, at, number, level: records[:at] + records[at + 1 :],
    "twice": lambda records, at, number, level: [*records, records[at]],
    "of the other level": _other_level,
    "broken inside a right CRC": _broken_inside,
    "a wrong length with a right CRC": _wrong_length,
    "noise with a right CRC": lambda records, at, number, level: [
        *records[:at],
        framed(np.random.default_rng(number).bytes(number % 300)),
        *records[at:],
    ],
    "header cut": lambda records, at, number, level: [
        *records[:at],
        records[at][: 1 + number % 15],
    ],
}

# --- Bytes: (shard, place, number) -> shard ---


def _flipped(shard: bytes, at: int, number: int) -> bytes:
    changed = bytearray(shard)
    changed[at : at + 1] = bytes(byte ^ 1 << number % 8 for byte in shard[at : at + 1])
    return bytes(changed)


def _zeroed(shard: bytes, at: int, number: int) -> bytes:
    lost = shard[at : at + 1 + number % 4000]
    return shard[:at] + bytes(len(lost)) + shard[at + len(lost) :]


OF_BYTES: dict[str, Callable] = {
    "a bit flipped": _flipped,
    "cut": lambda shard, at, number: shard[:at],
    "bytes inserted": lambda shard, at, number: (
        shard[:at] + np.random.default_rng(number).bytes(1 + number % 40) + shard[at:]
    ),
    "bytes lost": lambda shard, at, number: shard[:at] + shard[at + 1 + number % 4000 :],
    "zeros": _zeroed,
    "extra bytes": lambda shard, at, number: shard + bytes([number % 256]) * (1 + number % 20),
    "compressed": lambda shard, at, number: gzip.compress(shard, mtime=0),
    "emptied": lambda shard, at, number: b"",
}

NAMES = (*IN_RECORDS, *OF_RECORDS, *OF_BYTES)
SHARDS = st.tuples(
    st.sampled_from(LEVELS),
    st.lists(
        st.builds(
            Mutation,
            st.sampled_from(NAMES),
            st.floats(0, 1, exclude_max=True),
            st.integers(0, 2**20),
        ),
        min_size=1,
        max_size=2,
    ),
)
