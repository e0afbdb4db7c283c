"""The whole model: stored bytes in, one probability a class out."""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost
from yt8m_lib.families import Family, family_of
from yt8m_lib.models import frames
from yt8m_lib.models.classifiers import CLASSIFIERS
from yt8m_lib.models.gating import Gating
from yt8m_lib.settings import Model
from yt8m_lib.streams import YOUTUBE_8M, Stream, width_of


@keras.saving.register_keras_serializable(package="yt8m")
class VideoModel(keras.Model):
    """One architecture of the paper: an encoder, a classifier and, in some families, label gating.

    The family's module makes the encoder: its ``make_encoder(model, batch_norm_decay, streams)``
    returns a layer that turns the float features of each stream, [B, T, D] each (of YouTube-8M
    [B, T, 1024] and [B, T, 128]), and which frames are valid, bool [B, T], into [B, width], and
    that has this ``width`` once it is built. The family's record says what comes before and what
    follows.

    Args:
        settings: what decides the model's computation, as ``settings_of`` gives it.
        classes: labels to predict, V.
        decay: of every batch norm's moving statistics.
        streams: that a frame is made of, each as a ``Stream`` or as its settings.
        l2_normalise: whether each frame is scaled to length 1, in families that do so.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        classes: int,
        decay: float = 0.999,
        streams: Sequence[Stream | dict[str, Any]] = YOUTUBE_8M,
        l2_normalise: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**{"name": "video_model"} | kwargs)
        self._streams = tuple(Stream.model_validate(stream) for stream in streams)
        self.l2_normalise = l2_normalise
        self.settings = settings
        self.classes = classes
        self.decay = decay
        model = Model(**settings)
        traits = model.traits
        self.encoder = import_module(traits.layers).make_encoder(model, decay, self._streams)
        self.classifier = CLASSIFIERS[traits.classifier](classes, name="classifier")
        self.label_gate = Gating(decay, name="label_gate") if traits.label_gating else None

    @property
    def traits(self) -> Family:
        """The record of the model's family."""
        return family_of(self.settings["architecture"])

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that a frame is made of."""
        return self._streams

    @property
    def pools_frames(self) -> bool:
        """Whether the order of the frames does not matter, so that they may be sampled (sec. 2)."""
        return self.traits.pools_frames

    def build(self, input_shape: Any = None) -> None:
        """Make every variable; no shape depends on the batch."""
        self.encoder.build((None, None, width_of(self._streams)))
        self.classifier.build((None, self.encoder.width))
        if self.label_gate:
            self.label_gate.build((None, self.classes))

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Tag videos.

        Args:
            inputs: "frames" [B, T, F] as records have them (of YouTube-8M uint8 [B, T, 1152], rgb
                then audio), and "num_frames" int32 [B]; in training, for a family that draws random
                numbers, "seed" int32 [2] as well.
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, V] probabilities.
        """
        raw = self.traits.raw_frames or not self.l2_normalise
        read = frames.dequantised if raw else frames.normalise
        read_frames = read(inputs["frames"], inputs["num_frames"], self._streams)
        chance = {"seed": inputs["seed"]} if training and self.traits.draws else {}
        encoded = self.encoder(*read_frames, training=training, **chance)  # [B, width]
        return self.classify(encoded, training=training)

    def classify(self, encoded: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Turn the encoder's vectors, float32 [B, width], into probabilities, float32 [B, V]."""
        predictions = self.classifier(encoded)
        if self.label_gate:
            predictions = self.label_gate(predictions, training=training)
        return predictions

    def cost(self, frames: int) -> Cost:
        """What the model's equations need for videos of so many frames.

        An encoder without ``cost``, as a family of one's own may have, counts as if every kernel
        met every frame, which is too much rather than too little.
        """
        weights = sum(math.prod(v.shape) for v in self.trainable_variables)
        if hasattr(self.encoder, "cost"):
            encoded = self.encoder.cost(frames)
        else:
            kernels = [v.shape for v in self.encoder.trainable_variables if len(v.shape) > 1]
            encoded = Cost(products=frames * sum(map(math.prod, kernels)))
        read = Cost(kept=frames * width_of(self._streams), weights=weights)
        gate = self.label_gate.cost() if self.label_gate else Cost()
        return read + encoded + self.classifier.cost() + gate

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this model again; Keras notes only those of layers by itself."""
        names = ("settings", "classes", "decay", "l2_normalise")
        streams = [stream.model_dump(mode="json") for stream in self._streams]
        own = {name: getattr(self, name) for name in names} | {"streams": streams}
        return super().get_config() | own


def settings_of(model: Model) -> dict[str, Any]:
    """The settings that decide what a model computes, not how it is trained, as JSON has them."""
    return model.model_dump(mode="json", include={"architecture", "clusters", "hidden", "options"})
