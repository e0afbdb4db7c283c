"""What can be added to the project by name: one list for each kind of thing.

A line says where a thing lies, as ``module:object``; it is imported when it is first asked for, so
these lists are free of TensorFlow. To add one, write its file and a line here. A test or a notebook
can add one for its own process with ``register``. Families have a table of their own,
``families.py``, since the project must know more of them than where they lie.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from yt8m_lib.errors import nearest


class Catalogue:
    """Things of one kind, by name.

    Args:
        kind: what they are, for error messages.
        places: ``module:object`` for each name.
    """

    def __init__(self, kind: str, places: dict[str, str]):
        self.kind = kind
        self.places = dict(places)
        self._loaded: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __getitem__(self, name: str) -> Any:
        """The thing of this name, imported if need be.

        Raises:
            ValueError: when there is none, with the nearest name.
        """
        if self.check(name) not in self._loaded:
            module, _, attribute = self.places[name].partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def check(self, name: str) -> str:
        """The name itself.

        Raises:
            ValueError: when nothing has this name, with the nearest one.
        """
        if name not in self.places:
            raise ValueError(f"no {self.kind} {name!r}{nearest(name, self.places)}")
        return name

    def module(self, name: str) -> str:
        """The module that a thing lies in."""
        return self.places[self.check(name)].partition(":")[0]

    def register(self, name: str, thing: Any) -> None:
        """Add a thing for this process.

        Raises:
            ValueError: when the name is taken.
        """
        if name in self.places:
            raise ValueError(f"there is a {self.kind} {name!r} already")
        self.places[name] = f"{thing.__module__}:{name}"
        self._loaded[name] = thing

    def remove(self, name: str) -> None:
        """Take out what ``register`` added."""
        del self.places[name], self._loaded[name]


RECORD_KINDS = Catalogue(
    "record kind",
    {
        "segment": "yt8m_lib.data.segment_level:SEGMENT_LEVEL",  # before those it also is
        "frame": "yt8m_lib.data.frame_level:FRAME_LEVEL",
        "video": "yt8m_lib.data.video_level:VIDEO_LEVEL",
    },
)
METRICS = Catalogue(
    "metric",
    {
        "gap": "yt8m_lib.scoring.metrics:pooled_gap",
        "hit_at_1": "yt8m_lib.scoring.metrics:hit_at_1",
        "perr": "yt8m_lib.scoring.metrics:perr",
        "map": "yt8m_lib.scoring.metrics:mean_average_precision",
    },
)
CODECS = Catalogue(
    "codec",
    {
        "linear": "yt8m_lib.methods.codecs.linear:LINEAR",
        "kmeans": "yt8m_lib.methods.codecs.kmeans:KMEANS",
        "quantile": "yt8m_lib.methods.codecs.quantile:QUANTILE",
        "linear_huffman": "yt8m_lib.methods.codecs.linear_huffman:LINEAR_HUFFMAN",
        "entropy_6": "yt8m_lib.methods.codecs.entropy:ENTROPY_6",
        "entropy_5": "yt8m_lib.methods.codecs.entropy:ENTROPY_5",
        "entropy_4": "yt8m_lib.methods.codecs.entropy:ENTROPY_4",
        "entropy_3.5": "yt8m_lib.methods.codecs.entropy:ENTROPY_3_5",
        "entropy_3": "yt8m_lib.methods.codecs.entropy:ENTROPY_3",
        "allocated_4": "yt8m_lib.methods.codecs.allocated:ALLOCATED_4",
        "allocated_3.5": "yt8m_lib.methods.codecs.allocated:ALLOCATED_3_5",
        "allocated_3": "yt8m_lib.methods.codecs.allocated:ALLOCATED_3",
        "channel_8": "yt8m_lib.methods.codecs.channel:CHANNEL_8",
        "channel_6": "yt8m_lib.methods.codecs.channel:CHANNEL_6",
        "channel_4": "yt8m_lib.methods.codecs.channel:CHANNEL_4",
        "nf4": "yt8m_lib.methods.codecs.nf4:NF4_64",
        "float16": "yt8m_lib.methods.codecs.float16:FLOAT16",
        "float32": "yt8m_lib.methods.codecs.float32:FLOAT32",
    },
)
EXECUTORS = Catalogue(
    "executor",
    {
        "local": "yt8m_lib.experiment.executors:Local",
        "processes": "yt8m_lib.experiment.processes:Processes",
        "ray": "yt8m_lib.experiment.ray_cluster:Ray",
        "slurm": "yt8m_lib.experiment.slurm:Slurm",
    },
)
