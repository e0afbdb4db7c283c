"""The streams of features that a frame has: their order, widths, and how they are stored.

A frame is one row: the features of the first stream, then those of the next. YouTube-8M has two,
image and audio; anything else that gives a vector a second (CLIP, VideoMAE, VGGish) makes others.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from yt8m_lib.values import Name, Settings, Share, Whole

Storage = Literal["uint8", "float16", "float32", "floats"]
BYTES = {"uint8": 1, "float16": 2, "float32": 4}  # of a value; ``floats`` are no bytes


class Stream(Settings):
    """One stream of features.

    Stored as ``uint8``, byte q stands for ``low + (high - low) (q / 255 + 1 / 512)``, which is how
    YouTube-8M stores [-2, 2] (sec. 1). ``float16`` and ``float32`` are bytes, too, the lowest
    first; ``floats`` is TensorFlow's own list of floats, as MediaPipe writes them.
    """

    name: Name
    width: Annotated[Whole, Field(gt=0, le=65536)]  # features a frame
    key: Annotated[str, Field(max_length=200)] = (
        ""  # the feature list in the records; the stream's name where not given
    )
    storage: Storage = "uint8"
    range: tuple[float, float] = (-2.0, 2.0)  # what the bytes of ``uint8`` stand for
    # Share of a model's clusters that pool this stream; where not given, all for the first stream
    # and what a family's audio stream has for every other.
    clusters: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _key_is_the_name(cls, raw: Any) -> Any:
        named = isinstance(raw, dict) and not raw.get("key") and "name" in raw
        return raw | {"key": raw["name"]} if named else raw

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range: the lower end comes first, got {list(self.range)}")
        return self

    @property
    def step(self) -> float:
        """What one byte is worth."""
        return (self.range[1] - self.range[0]) / 255.0

    @property
    def lowest(self) -> float:
        """What byte 0 stands for."""
        return (self.range[1] - self.range[0]) / 512.0 + self.range[0]

    def values_of(self, codes: Any) -> Any:
        """What bytes stand for, of an array or a tensor of them as floats."""
        return codes * self.step + self.lowest

    def bytes_of(self, values: np.ndarray) -> np.ndarray:
        """The bytes, uint8, whose values are nearest; beyond the range they are its ends."""
        codes = np.rint((np.asarray(values, np.float32) - self.lowest) / self.step)
        return np.clip(codes, 0, 255).astype(np.uint8)

    def clusters_of(self, place: int, clusters: int, others_share: int) -> int:
        """How many clusters pool this stream.

        Args:
            place: of the stream in a frame, from 0.
            clusters: K, of the model.
            others_share: by which K is divided for a stream that is not the first.
        """
        if self.clusters is not None:
            return max(round(clusters * self.clusters), 1)
        return max(clusters // (others_share if place else 1), 1)


YOUTUBE_8M = (
    Stream(name="video", key="rgb", width=1024),
    Stream(name="audio", key="audio", width=128),
)


def width_of(streams: Sequence[Stream]) -> int:
    """How many features a frame has."""
    return sum(stream.width for stream in streams)


def frames_type(streams: Sequence[Stream]) -> Literal["uint8", "float16", "float32"]:
    """The type that frames have from the records to the model.

    Bytes and halves stay what they are where all streams are alike; else all become floats.
    """
    storages = {stream.storage for stream in streams}
    alone = storages.pop() if len(storages) == 1 else ""
    return alone if alone in ("uint8", "float16") else "float32"


def of_frames(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    """The streams as frames hold them once they are read: no byte is left among floats."""
    kind = frames_type(streams)
    return tuple(s if kind == "uint8" else s.model_copy(update={"storage": kind}) for s in streams)
