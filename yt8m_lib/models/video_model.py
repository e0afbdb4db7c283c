"""The whole model: stored bytes in, one probability a class out."""

from typing import Any

import keras
import tensorflow as tf

from yt8m_lib import params
from yt8m_lib.models import frames
from yt8m_lib.models.classifiers import Logistic, MixtureOfExperts
from yt8m_lib.models.dbof import GatedDBoF, SoftDBoF
from yt8m_lib.models.fvnet import FisherVector
from yt8m_lib.models.gating import Gating, Hidden
from yt8m_lib.models.netvlad import LightVLAD, NetVLAD
from yt8m_lib.models.normalization import BatchNorm
from yt8m_lib.models.rnn import RecurrentEncoder


@keras.saving.register_keras_serializable(package="yt8m")
class MeanFrame(keras.layers.Layer):
    """The mean over valid frames: what the baseline knows of a video."""

    def build(self, input_shape: tuple) -> None:
        """Nothing to make."""
        self.width = input_shape[-1]

    def call(
        self, video: tf.Tensor, audio: tf.Tensor, valid: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Average both streams, [B, T, 1024] and [B, T, 128] with padding 0, to [B, 1152]."""
        count = tf.reduce_sum(tf.cast(valid, tf.float32), axis=1, keepdims=True)  # [B, 1]
        sums = [tf.reduce_sum(stream, axis=1) for stream in (video, audio)]
        return tf.concat(sums, axis=1) / tf.maximum(count, 1.0)


@keras.saving.register_keras_serializable(package="yt8m")
class PoolingEncoder(keras.layers.Layer):
    """Input batch norm, one pooling a stream, hidden layer, context gating (VLAD, FV, DBoF).

    Video and audio are pooled apart, with K and K/2 clusters (DBoF: K and K/8), and concatenated.
    """

    def __init__(self, settings: dict[str, Any], decay: float = 0.999, **kwargs: Any):
        super().__init__(**kwargs)
        self.settings = settings
        self.decay = decay
        model = params.Model(**settings)
        self.input_norm = BatchNorm(decay, name="input_norm")
        self.video, self.audio = _pools(model, decay)
        self.hidden = Hidden(model.hidden, model.clusters, model.relu, decay, name="hidden")
        gated = model.family in ("netvlad", "fvnet")
        self.gate = Gating(decay, name="gate") if gated else None

    def build(self, input_shape: tuple) -> None:
        """Build every box."""
        self.input_norm.build(input_shape)
        self.video.build((None, None, params.RGB))
        self.audio.build((None, None, params.AUDIO))
        self.hidden.build((None, self.video.width + self.audio.width))
        if self.gate:
            self.gate.build((None, self.width))

    @property
    def width(self) -> int:
        """Length of the answer: H."""
        return self.hidden.units

    def call(
        self, video: tf.Tensor, audio: tf.Tensor, valid: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Describe videos.

        Args:
            video: float32 [B, T, 1024].
            audio: float32 [B, T, 128].
            valid: bool [B, T], False for padding.
            training: whether batch norms use the batch's statistics.

        Returns:
            float32 [B, H].
        """
        pooled = tf.concat(self.pool(video, audio, valid, training=training), axis=1)
        hidden = self.hidden(pooled, training=training)
        return self.gate(hidden, training=training) if self.gate else hidden

    def pool(
        self, video: tf.Tensor, audio: tf.Tensor, valid: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The pooled vectors of the video and the audio stream."""
        of_video, of_audio = self.input_norm.affine(video, audio, training=training)
        return (
            self.video(video, valid, of_video, training=training),
            self.audio(audio, valid, of_audio, training=training),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return super().get_config() | {"settings": self.settings, "decay": self.decay}


@keras.saving.register_keras_serializable(package="yt8m")
class VideoModel(keras.Model):
    """One architecture of the paper: an encoder, a classifier and, for VLAD and FV, label gating.

    Args:
        settings: what ``params.Model`` holds, as plain values.
        classes: labels to predict, V.
        decay: of every batch norm's moving statistics.
    """

    def __init__(self, settings: dict[str, Any], classes: int, decay: float = 0.999, **kwargs: Any):
        super().__init__(**{"name": "tagger"} | kwargs)
        self.settings = settings
        self.classes = classes
        self.decay = decay
        model = params.Model(**settings)
        self.encoder = _encoder(model, decay)
        experts = model.family in ("netvlad", "fvnet", "dbof")
        self.classifier = (MixtureOfExperts if experts else Logistic)(classes, name="classifier")
        gated = model.family in ("netvlad", "fvnet")
        self.label_gate = Gating(decay, name="label_gate") if gated else None

    def build(self, input_shape: Any = None) -> None:
        """Make every variable; no shape depends on the batch."""
        self.encoder.build((None, None, params.FEATURES))
        self.classifier.build((None, self.encoder.width))
        if self.label_gate:
            self.label_gate.build((None, self.classes))

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Tag videos.

        Args:
            inputs: "frames" uint8 [B, T, 1152], rgb then audio, and "num_frames" int32 [B].
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, V] probabilities.
        """
        streams = frames.normalise(inputs["frames"], inputs["num_frames"])
        return self.classify(self.encoder(*streams, training=training), training=training)

    def classify(self, encoded: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Probabilities, float32 [B, V], from the encoder's answer."""
        predictions = self.classifier(encoded)
        if self.label_gate:
            predictions = self.label_gate(predictions, training=training)
        return predictions

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this model again."""
        return super().get_config() | {
            "settings": self.settings,
            "classes": self.classes,
            "decay": self.decay,
        }


def settings_of(model: params.Model) -> dict[str, Any]:
    """The settings that decide what is computed, not how it is trained, as plain values."""
    return model.model_dump(
        include={"architecture", "clusters", "hidden", "relu", "max_pool", "reset_after"}
    )


def _encoder(model: params.Model, decay: float) -> keras.layers.Layer:
    if model.family == "rnn":
        return RecurrentEncoder(model.architecture, model.hidden, model.reset_after, name="encoder")
    if model.family == "baseline":
        return MeanFrame(name="encoder")
    return PoolingEncoder(settings_of(model), decay, name="encoder")


def _pools(model: params.Model, decay: float) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """The video and the audio stream's pooling."""
    video = {"clusters": model.clusters, "decay": decay, "name": "video"}
    share = 8 if model.family == "dbof" else 2
    audio = {"clusters": max(model.clusters // share, 1), "decay": decay, "name": "audio"}
    match model.architecture:
        case "netvlad":
            return NetVLAD(**video), NetVLAD(**audio)
        case "lightvlad":
            return LightVLAD(**video), LightVLAD(**audio)
        case "fvnet":
            return FisherVector(**video), FisherVector(**audio)
        case "gated_dbof":
            return GatedDBoF(**video), SoftDBoF(**audio)
        case _:
            pool = {"max_pool": model.max_pool}
            return SoftDBoF(**video, **pool), SoftDBoF(**audio, **pool)
