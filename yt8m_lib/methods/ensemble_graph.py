"""All members of an ensemble and their stored weights in a single TensorFlow graph (sec. 4.3).

It takes frames as records store them and frame counts and, once it is exported, needs none of this
project's code. Weights lie in it as their codecs store them. Where decoding is slow, the first call
does it once, into memory, so that every later call is as fast as with float32 weights; or every
call does it, where memory is what is short.
"""

import time
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.methods import codecs
from yt8m_lib.methods.codecs import StoredVariable
from yt8m_lib.methods.signatures import NUM_FRAMES, frames_spec
from yt8m_lib.settings import Decode

PAIRS = 20  # of class and confidence, for each video


class Member(tf.Module):
    """One model of the ensemble: its architecture as a graph, its weights as they are stored.

    Args:
        model: a built model; only its computation is used.
        stored: its weights, in the order of ``model.variables``.
        decode: weights whose decoding is slow are decoded ``once``, by the first call, or on each
            ``call``, which takes the least memory.

    Attributes:
        nbytes: bytes of the stored weights.
        weights: the same weights as parts of the graph.
        streams: that the model's frames are made of.
    """

    def __init__(
        self, model: keras.Model, stored: Sequence[StoredVariable], decode: Decode = "once"
    ):
        super().__init__()
        self.nbytes = codecs.nbytes(stored)
        self.streams = model.streams
        self.weights = [variable.graph_weight() for variable in stored]
        if decode == "call":
            for weight in self.weights:
                weight.decode_each_call()
        places = {id(variable): place for place, variable in enumerate(model.variables)}
        trainable = [places[id(variable)] for variable in model.trainable_variables]
        rest = [places[id(variable)] for variable in model.non_trainable_variables]
        # A closure, not an attribute: what a tf.Module can see, it saves.
        self._run = lambda inputs: model.stateless_call(
            [self.weights[place].value() for place in trainable],
            [self.weights[place].value() for place in rest],
            inputs,
            training=False,
        )[0]

    def predict(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Probabilities, float32 [B, V], of a batch with ``frames`` and ``num_frames``."""
        return self._run(inputs)

    def forget(self) -> None:
        """Empty the decoded copies."""
        for weight in self.weights:
            weight.forget()


class EnsembleGraph(tf.Module):
    """The whole ensemble: ``sum_m w_m p_m`` with weights that sum to 1 (sec. 4.3).

    Args:
        members: the models, all of the same streams.
        weights: how much each counts; they are divided by their sum.

    Attributes:
        streams: that frames are made of.
        serve: the graph, a function of frames and their numbers; see ``_serve``.

    Raises:
        ValueError: when there is no member, or the weights are not one for each, none of them
            negative and some above 0.
    """

    def __init__(self, members: Sequence[Member], weights: Sequence[float]):
        super().__init__()
        if len(members) != len(weights) or not members or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"{len(members)} members cannot be weighted by {list(weights)}")
        self.members = list(members)
        self.member_weights = [float(w) / float(sum(weights)) for w in weights]
        self.ready = tf.Variable(False, trainable=False)
        self.streams = self.members[0].streams
        self._frames = frames_spec(self.streams)
        signature = [self._frames, NUM_FRAMES]
        self.serve = tf.function(self._serve, input_signature=signature, autograph=False)

    def _serve(self, frames: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tag videos.

        Args:
            frames: [B, T, F], a row a second, one stream after the other, as records store them: of
                YouTube-8M uint8 [B, T, 1152], 1024 image then 128 audio features.
            num_frames: int32 [B], how many of the T rows are real, from 1 to T; the others are
                ignored.

        Returns:
            ``classes`` int32 [B, 20] and their ``confidences`` [B, 20], the most confident first,
            and all ``predictions`` [B, V].

        Raises:
            tf.errors.InvalidArgumentError: for features of another width, or a number of frames
                that is not from 1 to T.
        """
        # A loaded signature does not look at shapes by itself.
        frames = tf.ensure_shape(frames, self._frames.shape)
        tf.debugging.Assert(_are_counts(num_frames, frames), [_WRONG_COUNTS, num_frames])
        # A saved flag: a test of the copies' own size would be folded to a constant when loading.
        tf.cond(self.ready, lambda: tf.no_op(), self._prepare)
        inputs = {"frames": frames, "num_frames": num_frames}
        predictions = tf.add_n(
            [w * m.predict(inputs) for m, w in zip(self.members, self.member_weights, strict=True)]
        )
        confidences, classes = tf.math.top_k(predictions, min(PAIRS, predictions.shape[-1]))
        return {"classes": classes, "confidences": confidences, "predictions": predictions}

    def _prepare(self) -> tf.Operation:
        """Decode the weights that are decoded once: one after the other, else memory runs out."""
        before: list[Any] = []
        for weight in [weight for member in self.members for weight in member.weights]:
            with tf.control_dependencies(before):
                before = [weight.prepare()]
        with tf.control_dependencies(before):
            self.ready.assign(True)
        return tf.no_op()

    def forget(self) -> None:
        """Empty all decoded copies, as they are before the first call."""
        self.ready.assign(False)
        for member in self.members:
            member.forget()


_WRONG_COUNTS = "num_frames must be from 1 to the number of rows of frames, they are"


def _are_counts(num_frames: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all((num_frames > 0) & (num_frames <= tf.shape(frames)[1]))


def seconds_to_tag(
    ensemble: EnsembleGraph, batches: Sequence[tuple[tf.Tensor, tf.Tensor]]
) -> float:
    """Seconds that an ensemble takes to tag some batches of frames and frame counts."""
    started = time.perf_counter()
    for frames, num_frames in batches:
        ensemble.serve(frames, num_frames)["predictions"].numpy()
    return time.perf_counter() - started
