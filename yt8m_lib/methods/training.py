"""Training one model on one machine, as published (sec. 5): losses, the step, the loop, resuming.

Everything random is a function of the seed and the step's number, so a training that was killed and
resumed ends in the same weights, bit for bit, as one that was not.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from yt8m_lib.data.records import Records
from yt8m_lib.data.shards import DataError
from yt8m_lib.errors import UserError
from yt8m_lib.files import write_text
from yt8m_lib.methods.averaging import Average
from yt8m_lib.methods.devices import deterministic_or_said, strategy_for
from yt8m_lib.methods.losses import AS_PUBLISHED, Softening
from yt8m_lib.methods.optimizer import Adam
from yt8m_lib.methods.training_step import Step
from yt8m_lib.models.frames import sample_frames
from yt8m_lib.settings import Model, Training

REPORT_SECONDS = 20.0  # between two progress lines within an epoch
NO_NUMBER = "the loss is not finite"  # by which the check within a step is known

History = list[dict[str, float]]


class TrainingError(UserError):
    """A training diverged; the message says which model, where, and what to change."""


def rate_schedule(model: Model, decay_videos: int, divisor: float = 1.0) -> Any:
    """The staircase of sec. 5: every ``decay_videos`` videos the rate is multiplied anew.

    Args:
        model: its rate, the factor ``rate_decay`` and its batch.
        decay_videos: videos from one step of the staircase to the next, where the model does not
            say it by its own ``rate_decay_videos``.
        divisor: by which the first rate is divided.
    """
    steps = (model.rate_decay_videos or decay_videos) / model.batch
    return keras.optimizers.schedules.ExponentialDecay(
        model.rate / divisor, steps, model.rate_decay, staircase=True
    )


def not_finite(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Those among some variables that hold a value that is infinite or not a number."""
    floats = (v for v in variables if v.value.dtype.is_floating)
    return [v for v in floats if not bool(tf.reduce_all(tf.math.is_finite(v.value)))]


class Trainer:
    """Trains one model; call ``fit`` once.

    Args:
        model: a built model, with the weights to start from.
        spec: its batch, epochs and rate.
        settings: what all trainings share.
        seed: of the order of videos, of the sampled frames and of what a model draws.
        label_weight: lambda; below 1 the records must carry soft targets.
        softening: which soft targets count, at which temperature.
        averages: of the weights, updated after each step in this order (sec. 4.1).
        rate_divisor: by which the rate is divided (5 in averaging).
        checkpoints: folder for resuming a killed training; None keeps nothing.
        say: receives a line of progress now and then.
        on_epoch: receives each epoch's row of ``fit`` when it ends; a resumed training gives the
            rows of the epochs before it again.
        name: of the model, for error messages; its architecture where none is given.
    """

    def __init__(
        self,
        model: keras.Model,
        spec: Model,
        settings: Training,
        seed: int,
        label_weight: float = 1.0,
        softening: Softening = AS_PUBLISHED,
        averages: Sequence[Average] = (),
        rate_divisor: float = 1.0,
        checkpoints: Path | None = None,
        say: Callable[[str], None] = print,
        on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
        name: str = "",
    ):
        self.model, self.spec, self.settings = model, spec, settings
        self.seed, self.label_weight, self.averages, self.say = seed, label_weight, averages, say
        self.on_epoch, self.name = on_epoch, name or spec.architecture
        schedule = rate_schedule(spec, settings.rate_decay_videos, rate_divisor)
        with strategy_for(settings.replicas).scope():
            self.optimizer = Adam(schedule, settings.clip_norm)
            self.optimizer.build(model.trainable_variables)
        self.step = Step(model, self.optimizer, spec, settings, label_weight, softening)
        self.epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.epoch_step = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.loss_sum = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.history: History = []
        self.checkpoints = self._manager(checkpoints) if checkpoints else None
        self.saved_at = time.monotonic()

    def fit(self, records: Records, epochs: int) -> History:
        """Train until ``epochs`` are done, going on from a checkpoint where there is one.

        Args:
            records: the training videos.
            epochs: passes over them, those done before a checkpoint included.

        Returns:
            For each epoch: its number from 1, mean ``loss`` (labels and soft targets, without the
            L2 penalty), learning ``rate`` at its end and ``videos_per_second``.

        Raises:
            DataError: when the records hold no video.
            TrainingError: at the first loss that is infinite or not a number, and at the end of an
                epoch that left such a weight.
        """
        self._resume()
        while int(self.epoch) < epochs:
            self._epoch(records, epochs)
        return self.history

    def _epoch(self, records: Records, epochs: int) -> None:
        first = int(self.epoch_step)
        batches = records.batches(self.spec.batch, seed=(self.seed, int(self.epoch)), skip=first)
        step = self.step_function(batches.element_spec)
        started = reported = time.monotonic()
        for number, batch in enumerate(batches, first + 1):
            seed = tf.stack([self.seed, tf.cast(self.optimizer.iterations, tf.int32)])
            try:
                with deterministic_or_said():
                    step(batch, seed)
            except tf.errors.InvalidArgumentError as error:
                if NO_NUMBER not in error.message:
                    raise
                raise self._diverged(batch) from None
            now = time.monotonic()
            if now - reported > REPORT_SECONDS:
                reported = now
                self._report(number, number - first, now - started, epochs)
            if now - self.saved_at > 60 * self.settings.checkpoint_minutes:
                self._save()
        if not int(self.epoch_step):
            raise DataError("the training data holds no video: check the shards and `data.exclude`")
        if not_finite(self.model.variables):
            raise self._diverged()
        self._end_epoch(time.monotonic() - started, int(self.epoch_step) - first)

    def step_function(self, element_spec: dict) -> Callable:
        """One step, of a batch of this kind and a seed int [2], as TensorFlow runs it."""
        signature = [element_spec, tf.TensorSpec([2], tf.int32)]
        if getattr(self, "_signature", None) != signature:  # trace once, not once an epoch
            self._signature = signature
            # Rewriting Python's branches and loops for it takes seconds, and there are none.
            self._step = tf.function(self._train_step, signature, autograph=False)
        return self._step

    def _train_step(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> None:
        if self.spec.traits.pools_frames:
            frames, num_frames = sample_frames(
                batch["frames"], batch["num_frames"], self.settings.frames, seed
            )
            batch = batch | {"frames": frames, "num_frames": num_frames}
        # Names of videos teach nothing, and neither XLA nor a GPU takes text.
        batch = {name: values for name, values in batch.items() if name != "id"}
        loss, gradients = self.step.passes(batch | {"seed": seed})
        # Before anything changes, so that the weights show where it began.
        with tf.control_dependencies([tf.debugging.check_numerics(loss, NO_NUMBER)]):
            self.step.update(gradients)
            for average in self.averages:
                average.update()
            self.epoch_step.assign_add(1)
            self.loss_sum.assign_add(tf.cast(loss, tf.float64))

    def _diverged(self, batch: dict[str, tf.Tensor] | None = None) -> TrainingError:
        """The error for a loss or a weight that is not finite, with the first place of one."""
        targets = (batch or {}).get("soft_targets")
        weights = not_finite(self.model.variables)
        if targets is not None and not bool(tf.reduce_all(tf.math.is_finite(targets))):
            where = "; the soft targets hold such values, so make them again"
        elif weights:
            where = f"; the first such weight is in {weights[0].path}"
        else:
            where = "; all weights are finite, so a layer's values overflowed"
        what = "a weight" if batch is None else "the loss"
        step = int(self.epoch_step) + (batch is not None)
        return TrainingError(
            f"{self.name}: {what} is infinite or not a number in epoch {int(self.epoch) + 1}, step "
            f"{step}{where}. Lower `rate` ({self.spec.rate:g} here) or `training.clip_norm`"
        )

    def _report(self, number: int, steps: int, seconds: float, epochs: int) -> None:
        self.say(
            f"epoch {int(self.epoch) + 1}/{epochs}, step {number}: "
            f"loss {float(self.loss_sum) / number:.3f}, "
            f"{steps * self.spec.batch / seconds:,.0f} videos/s"
        )

    def _end_epoch(self, seconds: float, steps: int) -> None:
        row = {
            "epoch": int(self.epoch) + 1,
            "loss": float(self.loss_sum) / int(self.epoch_step),
            "rate": float(self.optimizer.learning_rate),
            "videos_per_second": steps * self.spec.batch / max(seconds, 1e-9),
        }
        self.history.append(row)
        self.on_epoch(row)
        self.epoch.assign_add(1)
        self.epoch_step.assign(0)
        self.loss_sum.assign(0.0)

    def _manager(self, folder: Path) -> tf.train.CheckpointManager:
        parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "epoch": self.epoch,
            "epoch_step": self.epoch_step,
            "loss_sum": self.loss_sum,
        }
        parts |= {f"average_{number}": average for number, average in enumerate(self.averages)}
        self._history_file = folder / "history.json"
        return tf.train.CheckpointManager(tf.train.Checkpoint(**parts), str(folder), max_to_keep=1)

    def _save(self) -> None:
        if not self.checkpoints:
            return
        write_text(self._history_file, json.dumps(self.history))
        self.checkpoints.save(checkpoint_number=self.optimizer.iterations)
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        if not self.checkpoints or not self.checkpoints.latest_checkpoint:
            return
        self.checkpoints.checkpoint.restore(
            self.checkpoints.latest_checkpoint
        ).assert_existing_objects_matched()
        # The history is saved first, so it may be ahead: keep the epochs that the checkpoint ended.
        self.history = json.loads(self._history_file.read_text())[: int(self.epoch)]
        for row in self.history:
            self.on_epoch(row)
        self.say(f"going on from epoch {int(self.epoch) + 1}, step {int(self.epoch_step)}")
