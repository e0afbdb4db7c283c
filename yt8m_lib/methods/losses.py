"""What training minimises (sec. 5 and eq. 2 and 3), and its gradients."""

from typing import NamedTuple

import keras
import tensorflow as tf

EPSILON = 1e-5  # added inside each logarithm of the loss


class Whole(NamedTuple):
    """What a replica's part of a batch is a part of."""

    videos: tf.Tensor  # of the whole batch, int32 scalar
    replicas: int


class Softening(NamedTuple):
    """Which soft targets count, and at which temperature they are learned.

    Attributes:
        top_k: the likeliest classes a video that count; the others are 0. None takes all there are.
        temperature: T. Above 1, the student's confidences are softened as the teacher's are, and
            the soft targets' loss is multiplied by T**2, so that its gradients stay as large
            (Hinton et al. 2015, sec. 2). The paper has none, which is 1.
    """

    top_k: int | None = None
    temperature: float = 1.0

    def of(self, soft_targets: tf.Tensor) -> tf.Tensor:
        """Soft targets [B, V] as a student sees them: cut, then softened; what is 0 stays 0."""
        seen = soft_targets
        if self.top_k is not None and self.top_k < seen.shape[1]:
            last = tf.math.top_k(seen, self.top_k).values[:, -1:]  # [B, 1]
            seen = tf.where(seen >= last, seen, 0.0)
        return tf.where(seen > 0, self.softened(seen), 0.0)

    def softened(self, confidences: tf.Tensor) -> tf.Tensor:
        """``sigmoid(logit / T)`` of confidences [B, V]."""
        if self.temperature == 1:
            return confidences
        logits = tf.math.log(confidences + EPSILON) - tf.math.log(1.0 - confidences + EPSILON)
        return tf.sigmoid(logits / self.temperature)


AS_PUBLISHED = Softening()


def cross_entropy(
    targets: tf.Tensor,
    predictions: tf.Tensor,
    epsilon: float = EPSILON,
    counts: tf.Tensor | float = 1.0,
    whole: Whole | None = None,
) -> tf.Tensor:
    """Binary cross entropy, summed over classes, averaged over videos (eq. 2, as released).

    Args:
        targets: [B, V] labels in {0, 1} or soft targets in [0, 1], times ``counts``.
        predictions: [B, V] probabilities.
        epsilon: added inside each logarithm.
        counts: [B, V] how much each class of each video counts, where not all count 1.
        whole: the batch that the videos are a part of; the mean is over all of its videos, so that
            the parts' losses add up to it.

    Returns:
        A scalar, in nats a video.
    """
    log_yes = tf.math.log(predictions + epsilon)
    log_no = tf.math.log(1.0 - predictions + epsilon)
    each = tf.reduce_sum(targets * log_yes + (counts - targets) * log_no, axis=1)
    if whole is None:
        return -tf.reduce_mean(each)
    return -tf.reduce_sum(each) / tf.cast(whole.videos, tf.float32)


def mixed_cross_entropy(
    labels: tf.Tensor,
    soft_targets: tf.Tensor,
    predictions: tf.Tensor,
    label_weight: float,
    epsilon: float = EPSILON,
    rated: tf.Tensor | None = None,
    whole: Whole | None = None,
    softening: Softening = AS_PUBLISHED,
) -> tf.Tensor:
    """``lambda BCE(labels, p) + (1 - lambda) BCE(teacher, p)`` (eq. 3), all inputs [B, V].

    The cross entropy is linear in its targets, so it is computed once, of the mixed targets. Where
    labels are known for the ``rated`` classes alone, a teacher's word counts for the others, too.
    At another temperature the second term is of softened confidences, times the temperature's
    square, and is computed by itself.
    """
    if softening != AS_PUBLISHED:
        soft_targets = softening.of(soft_targets)
    if softening.temperature != 1:
        known = 1.0 if rated is None else rated
        own = cross_entropy(labels, predictions, epsilon, known, whole)
        softer = softening.softened(predictions)
        taught = cross_entropy(soft_targets, softer, epsilon, whole=whole)
        return label_weight * own + (1.0 - label_weight) * softening.temperature**2 * taught
    mixed = label_weight * labels + (1.0 - label_weight) * soft_targets
    counts = 1.0 if rated is None else label_weight * rated + (1.0 - label_weight)
    return cross_entropy(mixed, predictions, epsilon, counts, whole)


def loss_and_gradients(
    model: keras.Model,
    batch: dict[str, tf.Tensor],
    label_weight: float = 1.0,
    epsilon: float = EPSILON,
    whole: Whole | None = None,
    softening: Softening = AS_PUBLISHED,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """One forward and backward pass with batch statistics.

    Args:
        model: as built by ``models.build``.
        batch: ``frames`` [B, T, 1152] uint8, ``num_frames`` [B], ``labels`` [B, V]; where
            ``label_weight`` is below 1, ``soft_targets`` [B, V]; where not all labels are known,
            ``rated`` [B, V]; and for models that draw random
            numbers ``seed`` int [2], which decides them.
        label_weight: lambda, the weight of the labels' own loss.
        epsilon: added inside each logarithm of the loss.
        whole: the batch that this is a replica's part of; what comes back is then this replica's
            share, which is to be summed over all.
        softening: which soft targets count, at which temperature.

    Returns:
        The loss on the targets, the L2 penalty, the predictions [B, V], and a gradient for each
        trainable variable (of the sum of both, not clipped yet).
    """
    with tf.GradientTape() as tape:
        predictions = model(batch, training=True)
        if label_weight < 1.0:
            loss = mixed_cross_entropy(
                batch["labels"],
                batch["soft_targets"],
                predictions,
                label_weight,
                epsilon,
                batch.get("rated"),
                whole,
                softening,
            )
        else:
            rated = batch.get("rated", 1.0)
            loss = cross_entropy(batch["labels"], predictions, epsilon, rated, whole)
        penalty = tf.add_n(model.losses) if model.losses else tf.constant(0.0)
        penalty = penalty if whole is None else penalty / whole.replicas
        total = loss + penalty
    variables = [variable.value for variable in model.trainable_variables]
    return loss, penalty, predictions, tape.gradient(total, variables)
