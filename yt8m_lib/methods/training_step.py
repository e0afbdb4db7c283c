"""One step of training, run as the settings ask: plainly, compiled by XLA, or by several replicas.

Whichever way, it is the same step: statistics, loss and gradients of the whole batch, each gradient
tensor clipped by itself, then Adam.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from yt8m_lib.methods.devices import strategy_for
from yt8m_lib.methods.losses import AS_PUBLISHED, EPSILON, Softening, Whole, loss_and_gradients
from yt8m_lib.methods.optimizer import Adam
from yt8m_lib.models.products import computed_in
from yt8m_lib.settings import Model, Training

Batch = dict[str, tf.Tensor]
Gradients = list[tf.Tensor]


class Step:
    """The passes forward and backward, and the update of the weights.

    Args:
        model: with variables that lie on every replica's device; see ``devices.strategy_for``.
        optimizer: built for it, and for the same devices.
        spec: the model's settings.
        settings: what all trainings share.
        label_weight: lambda.
        softening: which soft targets count, at which temperature.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Adam,
        spec: Model,
        settings: Training,
        label_weight: float = 1.0,
        softening: Softening = AS_PUBLISHED,
    ):
        self._model, self._optimizer, self._settings = model, optimizer, settings
        self._label_weight, self._epsilon = label_weight, spec.loss_epsilon or EPSILON
        self._softening = softening
        self._strategy = strategy_for(settings.replicas)
        one = settings.replicas == 1
        self.passes: Callable[[Batch], tuple[tf.Tensor, Gradients]]
        self.update: Callable[[Gradients], None]
        self.passes = self._passes if one else self._passes_of_replicas
        self.update = self._update if one else self._update_replicas
        if settings.xla:
            # In two parts, since a compiled one cannot stop at a loss that is no number.
            self.passes = tf.function(self.passes, jit_compile=True)
            self.update = tf.function(self.update, jit_compile=True)

    def _passes(self, batch: Batch, whole: Whole | None = None) -> tuple[tf.Tensor, Gradients]:
        """The loss on the targets, and a gradient for each trainable variable."""
        with computed_in(self._settings.precision):
            loss, _, _, gradients = loss_and_gradients(
                self._model, batch, self._label_weight, self._epsilon, whole, self._softening
            )
        return loss, gradients

    def _update(self, gradients: Gradients) -> None:
        self._optimizer.apply(gradients, self._model.trainable_variables)

    def _passes_of_replicas(self, batch: Batch) -> tuple[tf.Tensor, Gradients]:
        """The same, of parts of a batch that are each on a device; every replica has all sums."""
        strategy, seed = self._strategy, batch["seed"]
        videos = {name: values for name, values in batch.items() if name != "seed"}
        whole = Whole(tf.shape(batch["labels"])[0], strategy.num_replicas_in_sync)

        def part(context: tf.distribute.experimental.ValueContext) -> Batch:
            rows = _rows_of(context.replica_id_in_sync_group, whole)
            return {name: values[rows] for name, values in videos.items()} | {"seed": seed}

        def own(part: Batch) -> tuple[tf.Tensor, Gradients]:
            loss, gradients = self._passes(part, whole)
            sums = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, [loss, *gradients]
            )
            return sums[0], self._optimizer.clipped(sums[1:])

        parts = strategy.experimental_distribute_values_from_function(part)
        losses, gradients = strategy.run(own, args=(parts,))
        return strategy.experimental_local_results(losses)[0], gradients

    def _update_replicas(self, gradients: Gradients) -> None:
        """Adam on every device. Keras' own ``apply`` would clip before it sums over replicas."""
        optimizer, extended = self._optimizer, self._strategy.extended
        with self._strategy.scope():
            rate = tf.cast(optimizer.learning_rate, tf.float32)
            for variable, gradient in zip(self._model.trainable_variables, gradients, strict=True):
                extended.update(
                    variable.value,
                    lambda weight, clipped: optimizer.update_step(clipped, weight, rate),
                    args=(gradient,),
                    group=False,
                )
            optimizer.iterations.assign_add(1)


def _rows_of(replica: int, whole: Whole) -> slice:
    """Which videos of a batch are a replica's; none where there are fewer videos than replicas."""
    first, end = (whole.videos * (replica + more) // whole.replicas for more in (0, 1))
    return slice(first, end)
