"""The whole model: stored bytes in, one probability a class out."""

from importlib import import_module
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.families import Family, family_of
from yt8m_lib.models import frames
from yt8m_lib.models.classifiers import CLASSIFIERS
from yt8m_lib.models.gating import Gating
from yt8m_lib.settings import FEATURES, Model


@keras.saving.register_keras_serializable(package="yt8m")
class VideoModel(keras.Model):
    """One architecture of the paper: an encoder, a classifier and, in some families, label gating.

    The family's module makes the encoder: its ``make_encoder(model, batch_norm_decay)`` returns a
    layer that turns float frames [B, T, 1024] and [B, T, 128] and which of them are valid, bool
    [B, T], into [B, width], and that has this ``width`` once it is built. The family's record says
    what comes before and what follows.

    Args:
        settings: what decides the model's computation, as ``settings_of`` gives it.
        classes: labels to predict, V.
        decay: of every batch norm's moving statistics.
    """

    def __init__(self, settings: dict[str, Any], classes: int, decay: float = 0.999, **kwargs: Any):
        super().__init__(**{"name": "video_model"} | kwargs)
        self.settings = settings
        self.classes = classes
        self.decay = decay
        model = Model(**settings)
        traits = model.traits
        self.encoder = import_module(traits.layers).make_encoder(model, decay)
        self.classifier = CLASSIFIERS[traits.classifier](classes, name="classifier")
        self.label_gate = Gating(decay, name="label_gate") if traits.label_gating else None

    @property
    def traits(self) -> Family:
        """The record of the model's family."""
        return family_of(self.settings["architecture"])

    @property
    def pools_frames(self) -> bool:
        """Whether the order of the frames does not matter, so that they may be sampled (sec. 2)."""
        return self.traits.pools_frames

    def build(self, input_shape: Any = None) -> None:
        """Make every variable; no shape depends on the batch."""
        self.encoder.build((None, None, FEATURES))
        self.classifier.build((None, self.encoder.width))
        if self.label_gate:
            self.label_gate.build((None, self.classes))

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Tag videos.

        Args:
            inputs: "frames" uint8 [B, T, 1152], rgb then audio, and "num_frames" int32 [B]; in
                training, for a family that draws random numbers, "seed" int32 [2] as well.
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, V] probabilities.
        """
        read = frames.dequantised if self.traits.raw_frames else frames.normalise
        video, audio, valid = read(inputs["frames"], inputs["num_frames"])
        chance = {"seed": inputs["seed"]} if training and self.traits.draws else {}
        encoded = self.encoder(video, audio, valid, training=training, **chance)  # [B, width]
        return self.classify(encoded, training=training)

    def classify(self, encoded: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Turn the encoder's vectors, float32 [B, width], into probabilities, float32 [B, V]."""
        predictions = self.classifier(encoded)
        if self.label_gate:
            predictions = self.label_gate(predictions, training=training)
        return predictions

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this model again; Keras notes only those of layers by itself."""
        names = ("settings", "classes", "decay")
        return super().get_config() | {name: getattr(self, name) for name in names}


def settings_of(model: Model) -> dict[str, Any]:
    """The settings that decide what a model computes, not how it is trained, as JSON has them."""
    return model.model_dump(mode="json", include={"architecture", "clusters", "hidden", "options"})
