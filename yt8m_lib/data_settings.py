"""The settings of the data: what a frame is made of, where the videos lie, how they are read."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from yt8m_lib.model_settings import Extra
from yt8m_lib.streams import YOUTUBE_8M, Stream
from yt8m_lib.values import (
    Bytes,
    Frames,
    Key,
    Place,
    Positive,
    RecordKind,
    Settings,
    Share,
    Unidentified,
    Whole,
)


class Synthetic(Settings):
    """Stand-in data: how much of it. Its shape is calibrated in ``synthetic.py``."""

    train_videos: Positive = 6000
    validation_videos: Positive = 2000
    shards: Positive = 8
    frames: tuple[Frames, Frames] = (16, 32)  # shortest and longest video, in seconds
    missing_labels: Share = 0.1  # true labels that the annotation lost
    wrong_labels: Share = 0.05  # labels replaced by another class of the same vertical

    @model_validator(mode="after")
    def _shortest_comes_first(self) -> Self:
        if self.frames[0] > self.frames[1]:
            raise ValueError(f"frames: the shortest video comes first, got {list(self.frames)}")
        return self


class Data(Settings):
    """Where the videos are and how they are read."""

    level: RecordKind = "frame"  # the kind of the records
    train: Unidentified[Place | None] = None  # glob of training shards
    validation: Unidentified[Place | None] = None  # glob of validation shards
    files: Unidentified[Place | None] = None  # or one glob, split by a seeded hash of the file name
    train_share: Share = 0.75  # share of `files` that is trained on
    exclude: tuple[str, ...] = ()  # names of damaged shards to leave out
    classes: Annotated[Whole, Field(gt=1, le=65536)] = 3862  # the first this many are kept
    vocabulary: Positive = 3862  # classes that the records may name
    licence: Unidentified[str] = ""  # what the model card says of the data; YouTube-8M's where ""
    vocabulary_file: Unidentified[Place | None] = None  # CSV with their names: index, name
    # What a frame is made of; left out of the identity of what is made where it is YouTube-8M's.
    streams: Annotated[
        tuple[Stream, ...], Field(min_length=1, exclude_if=lambda streams: streams == YOUTUBE_8M)
    ] = YOUTUBE_8M
    l2_normalise: Annotated[bool, Field(exclude_if=bool)] = True  # each frame, streams together
    id_key: Extra[Key] = None  # the feature that holds a video's id; the record kind's own
    labels_key: Extra[Key] = None  # and the one that holds its labels
    frames: Frames = 24  # frames simulated around a video-level mean
    max_frames: Frames = 300  # frames read from a frame-level record at most
    # Keep decoded videos between epochs, in memory; or on the disk, for later phases, too.
    cache: Unidentified[bool | Literal["disk"]] = False
    # Where shards of an object store are copied to when first read, and how much of the disk that
    # may take: those not read for longest go, one that is larger is read in place. With
    # `cache: disk` decoded videos lie there, however many bytes they take (else in results/cache).
    cache_folder: Unidentified[Place | None] = None
    cache_bytes: Unidentified[Bytes] = 100_000_000_000

    @model_validator(mode="after")
    def _classes_in_vocabulary(self) -> Self:
        if self.classes > self.vocabulary:
            raise ValueError(
                f"classes ({self.classes}) is more than vocabulary ({self.vocabulary})"
            )
        if self.files and (self.train or self.validation):
            raise ValueError("give either `files` or `train` and `validation`, not both")
        if bool(self.train) != bool(self.validation):
            raise ValueError("`train` and `validation` go together")
        for named in ("name", "key"):
            given = [getattr(stream, named) for stream in self.streams]
            if len({*given}) < len(given):
                raise ValueError(f"streams: two have the same {named} ({', '.join(given)})")
        floats = [stream.name for stream in self.streams if stream.storage != "uint8"]
        if self.level == "video" and floats:
            raise ValueError(
                "streams: frames around a video-level mean are simulated in bytes, so `storage` of "
                f"{', '.join(floats)} is uint8 with the `range` of its values"
            )
        return self
