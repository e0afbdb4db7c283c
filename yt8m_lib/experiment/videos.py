"""How many videos an experiment has, before and after its data phase, and how large they are."""

import struct
from dataclasses import dataclass
from itertools import islice

from yt8m_lib.data import shards
from yt8m_lib.data.listing import open_file, readable, size_of
from yt8m_lib.settings import Params
from yt8m_lib.streams import BYTES, width_of

# The published split (sec. 1): what is assumed where no data is at hand.
PUBLISHED = (4_769_202, 232_072)
PUBLISHED_FRAMES = 213  # a video on average, up to 300
SAMPLED = 256  # records of a shard whose sizes stand for all
AROUND = 16  # bytes of a TFRecord around each record
CONTEXT = 60  # bytes of a record's id, labels and names, about


@dataclass(frozen=True)
class Videos:
    """The videos of an experiment.

    Attributes:
        train: how many are trained on.
        validation: how many are held out.
        nbytes: of one record, on average.
        frames: of one video, on average.
        longest: frames of the longest video, to which the others of a batch are padded.
        source: where these numbers come from, in words.
    """

    train: int
    validation: int
    nbytes: float
    frames: float
    longest: int
    source: str

    @property
    def train_bytes(self) -> float:
        """Bytes of all training records."""
        return self.train * self.nbytes

    @property
    def all_bytes(self) -> float:
        """Bytes of all records."""
        return (self.train + self.validation) * self.nbytes


def videos_of(params: Params, counted: dict[str, float] | None = None) -> Videos:
    """The videos of an experiment, from the best source that there is; nothing is written.

    Args:
        params: the experiment's settings.
        counted: metrics of its finished data phase, where there is one.

    Raises:
        DataError: when shards are named and cannot be read.
    """
    data, stand_in = params.data, params.synthetic
    if counted:
        train, validation = int(counted["train_videos"]), int(counted["validation_videos"])
        mean = counted["bytes"] / (train + validation)
        return _made(params, train, validation, mean, "counted by the data phase")
    if stand_in:
        counts = (stand_in.train_videos, stand_in.validation_videos)
        return _made(params, *counts, None, "stand-in data, as the parameters say")
    if data.files or data.train:
        train, validation = shards.shards(params)
        mean = _mean_record(train[0])
        counts = (round(sum(map(size_of, files)) / mean) for files in (train, validation))
        source = f"estimated from the bytes of {len(train) + len(validation)} shards"
        return _made(params, *counts, mean, source)
    return _made(params, *PUBLISHED, None, "assumed, as no data is named: YouTube-8M of 2018")


def _made(params: Params, train: int, validation: int, mean: float | None, source: str) -> Videos:
    frames, longest = _frames(params)
    if mean is None:
        values = sum(s.width * BYTES.get(s.storage, 4) for s in params.data.streams)
        means = 4 * width_of(params.data.streams)  # a video-level record holds floats
        mean = CONTEXT + AROUND + (means if params.data.level == "video" else frames * values)
    return Videos(train, validation, mean, frames, longest, source)


def _frames(params: Params) -> tuple[float, int]:
    """Frames of a video on average, and of the longest in a batch."""
    if params.data.level == "video":
        return params.data.frames, params.data.frames
    most = params.data.max_frames
    if params.synthetic:
        shortest, longest = params.synthetic.frames
        return min((shortest + longest) / 2, most), min(longest, most)
    return min(PUBLISHED_FRAMES, most), most


def _mean_record(file: str) -> float:
    """Bytes of a shard's records on average, framing included, judged by its first ones."""
    with readable(file), open_file(file) as stream:
        sizes = list(islice(_record_sizes(stream), SAMPLED))
    return sum(sizes) / len(sizes) if sizes else 1.0


def _record_sizes(stream):
    at = 0
    while len(header := stream.read(8)) == 8:
        size = AROUND + struct.unpack("<Q", header)[0]
        yield size
        at += size
        stream.seek(at)
