"""What NetVLAD, FVNet and DBoF share: frames are pooled into one vector, whatever their order."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost
from yt8m_lib.model_settings import Model
from yt8m_lib.models.assignment import SoftAssignment
from yt8m_lib.models.gating import Gating, Hidden
from yt8m_lib.models.normalization import BatchNorm
from yt8m_lib.streams import Stream


class Pooling(keras.layers.Layer):
    """Turns the frames of one stream into one vector by softly assigning them to K clusters.

    A pooling adds ``width``, the length of its vector, ``cost(frames)``, what its equations need
    for so many frames (see ``costs``), and ``call(frames, valid, affine, training)``, which pools
    float32 [B, T, D] to [B, width]: ``frames`` before the input batch norm, ``valid`` bool [B, T]
    with False for padding, ``affine`` the input batch norm of these D features, ``training``
    whether batch norms use, and move towards, the batch's statistics.

    Args:
        clusters: K.
        decay: of the batch norms' moving statistics.
    """

    def __init__(self, clusters: int, decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.assignment = SoftAssignment(clusters, decay, name="assignment")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the soft assignment's variables."""
        self.features = input_shape[-1]
        self.assignment.build(input_shape)


@keras.saving.register_keras_serializable(package="yt8m")
class PoolingEncoder(keras.layers.Layer):
    """Input batch norm, one pooling a stream, hidden layer and, in some families, context gating.

    Args:
        poolings: pools each stream, like a ``Pooling``.
        widths: features of each stream.
        hidden: the layer that the pooled vectors go through together.
        gate: gates the hidden layer; None in families without context gating.
        decay: of the input batch norm's moving statistics.
    """

    def __init__(
        self,
        poolings: Sequence[keras.layers.Layer],
        widths: Sequence[int],
        hidden: Hidden,
        gate: Gating | None = None,
        decay: float = 0.999,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.decay = decay
        self.input_norm = BatchNorm(decay, name="input_norm")
        self.widths = list(widths)
        set_poolings(self, poolings)
        self.hidden = hidden
        self.gate = gate

    @property
    def poolings(self) -> list[keras.layers.Layer]:
        """The pooling of each stream."""
        return poolings_of(self)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the variables of every box."""
        self.input_norm.build(input_shape)
        for pooling, width in zip(self.poolings, self.widths, strict=True):
            _build(pooling, width)
        _build(self.hidden, sum(pooling.width for pooling in self.poolings))
        if self.gate:
            _build(self.gate, self.width)

    @property
    def width(self) -> int:
        """Length of a video's vector: H."""
        return self.hidden.units

    def call(self, *frames: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Describe each video by a vector.

        Args:
            frames: the features of each stream, float32 [B, T, D]; and last which frames are valid,
                bool [B, T], False for padding.
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, H].
        """
        pooled = tf.concat(self.pool(*frames, training=training), axis=1)
        hidden = self.hidden(pooled, training=training)
        return self.gate(hidden, training=training) if self.gate else hidden

    def pool(self, *frames: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """The pooled vector of each stream, which ``call`` concatenates; it takes the same."""
        *streams, valid = frames
        affines = self.input_norm.affine(*streams, training=training)
        parts = zip(self.poolings, streams, affines, strict=True)
        return [pool(stream, valid, affine, training=training) for pool, stream, affine in parts]

    def cost(self, frames: int) -> Cost:
        """The poolings' of so many frames a video, the hidden layer's and its gate's."""
        vector = self.hidden.cost() + (self.gate.cost() if self.gate else Cost())
        return sum((pooling.cost(frames) for pooling in self.poolings), vector)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again; Keras notes only plain ones by itself."""
        names = ("poolings", "widths", "hidden", "gate", "decay")
        return super().get_config() | {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the layer, and the layers that it is made of, from their arguments."""
        return cls(**keras.saving.deserialize_keras_object(config))


def set_poolings(encoder: keras.layers.Layer, poolings: Sequence[keras.layers.Layer]) -> None:
    """Give an encoder its streams' poolings, an attribute each.

    TensorFlow's checkpoints, which a killed training goes on from, do not look into a list.
    """
    for place, pooling in enumerate(poolings):
        setattr(encoder, f"pooling_{place}", pooling)


def poolings_of(encoder: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The poolings that ``set_poolings`` gave an encoder, one for each of its ``widths``."""
    return [getattr(encoder, f"pooling_{place}") for place in range(len(encoder.widths))]


def _build(layer: keras.layers.Layer, features: int) -> None:
    if not layer.built:  # one that is made again from its settings comes with its variables
        layer.build((None, None, features))


def make_pooling_encoder(
    model: Model,
    batch_norm_decay: float,
    streams: Sequence[Stream],
    first: Callable[..., keras.layers.Layer],
    others: Callable[..., keras.layers.Layer],
) -> PoolingEncoder:
    """Make the encoder of a family that pools frames, from its poolings and its record's traits.

    Args:
        model: its settings.
        batch_norm_decay: of every batch norm's moving statistics.
        streams: that a frame is made of.
        first: makes the first stream's pooling from clusters, decay and a name; see ``Pooling``.
        others: makes every other stream's pooling likewise.
    """
    traits, decay = model.traits, batch_norm_decay
    relu = model.options.get("relu", False)
    poolings = []
    for place, stream in enumerate(streams):
        clusters = stream.clusters_of(place, model.clusters, traits.audio_share)
        poolings.append((others if place else first)(clusters, decay, name=stream.name))
    return PoolingEncoder(
        poolings,
        [stream.width for stream in streams],
        Hidden(model.hidden, model.clusters, relu, decay, name="hidden"),
        Gating(decay, name="gate") if traits.context_gating else None,
        decay,
        name="encoder",
    )
