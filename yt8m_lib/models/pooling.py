"""What NetVLAD, FVNet and DBoF share: frames are pooled into one vector, whatever their order."""

from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf

from yt8m_lib.models.assignment import SoftAssignment
from yt8m_lib.models.gating import Gating, Hidden
from yt8m_lib.models.normalization import BatchNorm
from yt8m_lib.settings import AUDIO, RGB, Model


class Pooling(keras.layers.Layer):
    """Turns the frames of one stream into one vector by softly assigning them to K clusters.

    A pooling adds ``width``, the length of its vector, and ``call(frames, valid, affine,
    training)``, which pools float32 [B, T, D] to [B, width]: ``frames`` before the input batch
    norm, ``valid`` bool [B, T] with False for padding, ``affine`` the input batch norm of these D
    features, ``training`` whether batch norms use, and move towards, the batch's statistics.

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
        video: pools the video stream, like a ``Pooling``.
        audio: pools the audio stream.
        hidden: the layer that the pooled vectors go through together.
        gate: gates the hidden layer; None in families without context gating.
        decay: of the input batch norm's moving statistics.
    """

    def __init__(
        self,
        video: keras.layers.Layer,
        audio: keras.layers.Layer,
        hidden: Hidden,
        gate: Gating | None = None,
        decay: float = 0.999,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.decay = decay
        self.input_norm = BatchNorm(decay, name="input_norm")
        self.video = video
        self.audio = audio
        self.hidden = hidden
        self.gate = gate

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the variables of every box."""
        self.input_norm.build(input_shape)
        _build(self.video, RGB)
        _build(self.audio, AUDIO)
        _build(self.hidden, self.video.width + self.audio.width)
        if self.gate:
            _build(self.gate, self.width)

    @property
    def width(self) -> int:
        """Length of a video's vector: H."""
        return self.hidden.units

    def call(
        self, video: tf.Tensor, audio: tf.Tensor, valid: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Describe each video by a vector.

        Args:
            video: float32 [B, T, 1024].
            audio: float32 [B, T, 128].
            valid: bool [B, T], False for padding.
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, H].
        """
        pooled = tf.concat(self.pool(video, audio, valid, training=training), axis=1)
        hidden = self.hidden(pooled, training=training)
        return self.gate(hidden, training=training) if self.gate else hidden

    def pool(
        self, video: tf.Tensor, audio: tf.Tensor, valid: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The pooled vectors of the video and the audio stream, which ``call`` concatenates."""
        of_video, of_audio = self.input_norm.affine(video, audio, training=training)
        return (
            self.video(video, valid, of_video, training=training),
            self.audio(audio, valid, of_audio, training=training),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again; Keras notes only plain ones by itself."""
        names = ("video", "audio", "hidden", "gate", "decay")
        return super().get_config() | {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the layer, and the layers that it is made of, from their arguments."""
        return cls(**keras.saving.deserialize_keras_object(config))


def _build(layer: keras.layers.Layer, features: int) -> None:
    if not layer.built:  # one that is made again from its settings comes with its variables
        layer.build((None, None, features))


def make_pooling_encoder(
    model: Model,
    batch_norm_decay: float,
    video: Callable[..., keras.layers.Layer],
    audio: Callable[..., keras.layers.Layer],
) -> PoolingEncoder:
    """Make the encoder of a family that pools frames, from its poolings and its record's traits.

    Args:
        model: its settings.
        batch_norm_decay: of every batch norm's moving statistics.
        video: makes the video stream's pooling from clusters, decay and a name; see ``Pooling``.
        audio: makes the audio stream's pooling likewise.
    """
    traits, decay = model.traits, batch_norm_decay
    audio_clusters = max(model.clusters // traits.audio_share, 1)
    relu = model.options.get("relu", False)
    return PoolingEncoder(
        video(model.clusters, decay, name="video"),
        audio(audio_clusters, decay, name="audio"),
        Hidden(model.hidden, model.clusters, relu, decay, name="hidden"),
        Gating(decay, name="gate") if traits.context_gating else None,
        decay,
        name="encoder",
    )
