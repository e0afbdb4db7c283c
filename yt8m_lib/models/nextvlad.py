"""NeXtVLAD (Lin, Xiao, Fan: "NeXtVLAD", ECCV workshops 2018), third place of the same challenge.

Each frame is made longer, cut into groups, and every group is pooled like a frame of its own by a
NetVLAD whose centres all groups share. Where the paper and its released code differ, the code is
followed. ``params/beyond_paper.yaml`` holds the published sizes and how they were trained.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.costs import Cost, product_cost
from yt8m_lib.models.assignment import SoftAssignment, l2_normalise, project
from yt8m_lib.models.gating import Excitation
from yt8m_lib.models.normalization import Affine, BatchNorm
from yt8m_lib.models.pooling import poolings_of, set_poolings
from yt8m_lib.models.products import product
from yt8m_lib.settings import Model
from yt8m_lib.streams import Stream

INITIALISER = (
    "he_normal"  # truncated normal of variance 2 / fan_in: of every kernel and the centres
)
WHITENED = 1e-4  # what the data set's whitening added to the root of each eigenvalue


def make_encoder(
    model: Model, batch_norm_decay: float, streams: Sequence[Stream]
) -> "NeXtVLADEncoder":
    """Make the encoder; streams after the first have a share of its clusters, half its groups."""
    share = model.traits.audio_share
    return NeXtVLADEncoder(
        [s.clusters_of(place, model.clusters, share) for place, s in enumerate(streams)],
        model.hidden,
        [stream.width for stream in streams],
        [stream.name for stream in streams],
        decay=batch_norm_decay,
        name="encoder",
        **model.options,
    )


@keras.saving.register_keras_serializable(package="yt8m")
class NeXtVLAD(keras.layers.Layer):
    """Pools the frames of one stream, group by group (the paper's "aggregation network").

    For frames x of D features, with F = expansion D / G features a group::

        e = x W + b                                  [T, G F]
        g = sigmoid(e U + u), 0 in padding           [T, G]: how much each group counts
        a = g softmax_k(BN(e A))                     [T, G, K]
        v[f,k] = sum_tg a[t,g,k] (e[t,g,f] - c[f,k])

    v is L2-normalised over f for each cluster, flattened and batch-normalised; unlike NetVLAD's, it
    is not L2-normalised as a whole. The assignment's batch norm takes its moments over all rows of
    a batch, padding included, as released: in training, more padding changes the answer.

    Args:
        clusters: K.
        groups: G.
        expansion: how many times longer than a frame e is.
        decay: of the batch norms' moving statistics.
    """

    def __init__(
        self,
        clusters: int,
        groups: int = 8,
        expansion: float = 2.0,
        decay: float = 0.999,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.clusters = clusters
        self.groups = groups
        self.expansion = expansion
        self.assignment = SoftAssignment(clusters, decay, groups, INITIALISER, name="assignment")
        self.norm = BatchNorm(decay, name="norm")

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make W [D, G F], b, U [G F, G], u, the assignment's A [G F, G K], c [F, K], the norms."""
        features = input_shape[-1]
        longer = round(self.expansion * features)
        self.part = longer // self.groups  # F
        self.kernel = self._weight("kernel", features, longer)
        self.bias = self.add_weight(shape=(longer,), initializer="zeros", name="bias")
        self.attention = self._weight("attention", longer, self.groups)
        self.attention_bias = self.add_weight(
            shape=(self.groups,), initializer="zeros", name="attention_bias"
        )
        self.assignment.build((None, None, longer))
        self.centres = self._weight("centres", self.part, self.clusters)
        self.norm.build((None, self.width))

    def _weight(self, name: str, *shape: int) -> keras.Variable:
        return self.add_weight(shape=shape, initializer=INITIALISER, name=name)

    @property
    def width(self) -> int:
        """Length of the pooled vector: F K."""
        return self.part * self.clusters

    def call(
        self, frames: tf.Tensor, valid: tf.Tensor, affine: Affine, training: bool = False
    ) -> tf.Tensor:
        """Pool the frames of each video.

        Args:
            frames: float32 [B, T, D], 0 in padding.
            valid: bool [B, T], False for padding.
            affine: what the frames are scaled and shifted by first.
            training: whether batch norms use, and move towards, the batch's statistics.

        Returns:
            float32 [B, F K], row-major: feature * K + cluster.
        """
        batch, count = tf.shape(frames)[0], tf.shape(frames)[1]
        rows = tf.reshape(frames, [-1, frames.shape[-1]])  # [B, T, D] -> [B * T, D]
        expanded = project(rows, tf.convert_to_tensor(self.kernel), affine) + self.bias
        attention = tf.sigmoid(product(expanded, self.attention) + self.attention_bias)
        attention *= tf.cast(tf.reshape(valid, [-1, 1]), tf.float32)  # [B * T, G]
        # [B * T, G * F] -> [B, T, G * F], and the same values as G short frames in place of one
        expanded = tf.reshape(expanded, [batch, count, self.groups * self.part])
        short = tf.reshape(expanded, [batch, count * self.groups, self.part])
        shares = self.assignment(expanded, attention, training=training)  # [B, T * G, K]
        sums = product(shares, short, transpose_a=True)  # [B, K, F]
        mass = tf.expand_dims(tf.reduce_sum(shares, axis=1), 2)  # [B, K, 1]
        residuals = l2_normalise(sums - mass * tf.transpose(self.centres))
        # [B, K, F] -> [B, F, K] -> [B, F * K]
        flat = tf.reshape(tf.transpose(residuals, [0, 2, 1]), [-1, self.width])
        return self.norm(flat, training=training)

    def cost(self, frames: int) -> Cost:
        """``x W``: T D G F; ``e U``: T (G F) G; assignment: T (G F) (G K); the sums: T G K F."""
        attention = product_cost(frames, *self.attention.shape)
        sums = product_cost(self.clusters, frames * self.groups, self.part)
        return (
            product_cost(frames, *self.kernel.shape, of_data=True)
            + attention
            + self.assignment.cost(frames, of_data=False)
            + sums
            + Cost(kept=2 * self.width)
        )


@keras.saving.register_keras_serializable(package="yt8m")
class NeXtVLADEncoder(keras.layers.Layer):
    """All streams pooled, dropout, a hidden layer and its gate (the paper's "model").

    ``h = BN(z W1)`` of the concatenated streams z, without bias or ReLU, then ``Excitation``.

    The published model reads image features whose whitening is undone: ``x (sqrt(eigenvalue) +
    1e-4)``, with the 1,024 eigenvalues of the data set's PCA file. That file is not part of this
    project, so without ``eigenvalues`` the scales are ones: the model can learn the same functions,
    as W can hold any scales, but starts and trains elsewhere. ``input_norm``, which the published
    model has not, makes up for them with a batch norm over the input; its moments include padding.

    Args:
        clusters: K of each stream.
        units: of the hidden layer, H.
        widths: features of each stream.
        names: of the streams.
        groups: G of the first stream; every other has half of them.
        expansion: as for ``NeXtVLAD``.
        reduction: as for ``Excitation``.
        dropout: the share of z that is dropped in training.
        input_norm: whether a batch norm comes first.
        eigenvalues: of the whitening of the first stream's features; none where not at hand.
        decay: of the batch norms' moving statistics.
    """

    def __init__(
        self,
        clusters: Sequence[int],
        units: int,
        widths: Sequence[int],
        names: Sequence[str],
        groups: int = 8,
        expansion: float = 2.0,
        reduction: int = 16,
        dropout: float = 0.5,
        input_norm: bool = False,
        eigenvalues: Sequence[float] = (),
        decay: float = 0.999,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        self.eigenvalues = list(eigenvalues)
        self.input_norm = BatchNorm(decay, name="input_norm") if input_norm else None
        self.widths = list(widths)
        shapes = enumerate(zip(clusters, names, strict=True))
        poolings = [
            NeXtVLAD(k, groups // 2 if place else groups, expansion, decay, name=name)
            for place, (k, name) in shapes
        ]
        set_poolings(self, poolings)
        self.norm = BatchNorm(decay, name="norm")
        self.gate = Excitation(reduction, decay, name="gate")

    @property
    def poolings(self) -> list[keras.layers.Layer]:
        """The pooling of each stream."""
        return poolings_of(self)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Make the variables of every box, and W1 [Z, H]."""
        if self.input_norm:
            self.input_norm.build(input_shape)
        for pooling, width in zip(self.poolings, self.widths, strict=True):
            pooling.build((None, None, width))
        pooled = sum(pooling.width for pooling in self.poolings)
        self.kernel = self.add_weight(
            shape=(pooled, self.units), initializer=INITIALISER, name="kernel"
        )
        self.norm.build((None, self.units))
        self.gate.build((None, self.units))

    @property
    def width(self) -> int:
        """Length of a video's vector: H."""
        return self.units

    def call(
        self, *frames: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Describe each video by a vector.

        Args:
            frames: the features of each stream, float32 [B, T, D], 0 in padding; and last which
                frames are valid, bool [B, T].
            training: whether batch norms use, and move towards, the batch's statistics, and whether
                there is dropout.
            seed: int [2], of the dropout.

        Returns:
            float32 [B, H].
        """
        *streams, valid = frames
        parts = zip(self.poolings, streams, self._affines(streams, training), strict=True)
        pooled = [pool(stream, valid, affine, training=training) for pool, stream, affine in parts]
        pooled = tf.concat(pooled, axis=1)  # [B, Z]
        if training and self.dropout:
            pooled = tf.nn.experimental.stateless_dropout(pooled, self.dropout, seed)
        hidden = self.norm(product(pooled, self.kernel), training=training)
        return self.gate(hidden, training=training)

    def cost(self, frames: int) -> Cost:
        """The poolings' of so many frames a video, ``z W1``: Z H, and the gate's."""
        vector = product_cost(1, *self.kernel.shape) + self.gate.cost()
        return sum((pooling.cost(frames) for pooling in self.poolings), vector)

    def _affines(self, streams: Sequence[tf.Tensor], training: bool) -> list[Affine]:
        """What each stream is scaled and shifted by before anything else."""
        if self.input_norm:
            return self.input_norm.affine(*streams, training=training)
        affines = [Affine(tf.ones([width]), tf.zeros([width])) for width in self.widths]
        if self.eigenvalues:
            whitening = tf.sqrt(tf.constant(self.eigenvalues)) + WHITENED
            affines[0] = affines[0]._replace(scale=whitening)
        return affines
