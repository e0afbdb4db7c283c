"""What each step has to do, counted: passes of models over videos, bytes to read and to keep."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from yt8m_lib.costs import FLOAT, HELD_VALUES, Cost, ModelCosts
from yt8m_lib.data.shards import is_written
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.steps import (
    AveragingStep,
    DataStep,
    EnsembleStep,
    ModelStep,
    QuantizationStep,
    SoftTargetsStep,
    StudentStep,
)
from yt8m_lib.experiment.videos import Videos
from yt8m_lib.settings import Params
from yt8m_lib.streams import BYTES, frames_type, width_of

PROCESS = (
    0.8e9  # bytes of a notebook's process before any model is made: Python, TensorFlow, MLflow
)
TIMED = 512 * 7 * 2  # videos on which quantisation times float32 and codes: 512, 7 times each
PAIR = 2 + 4  # bytes of a class and its confidence in stored answers
SOFT_PAIR = 2 + 2  # and in soft targets
SOFT_CONTEXT = 60  # bytes of a soft target's id and names, about
BUFFERED = 1024 + 8 * 256  # records held while they are shuffled and parsed
SEARCHES = 3  # of an ensemble's weights, besides one a part: at random, Powell's, greedy


@dataclass(frozen=True)
class Pass:
    """A model going through videos, once or more often.

    Attributes:
        model: its name in the experiment.
        videos: of one go.
        goes: how often; an epoch each, where it is trained.
        batch: videos a step.
        training: whether it is trained on them.
        averages: of its weights, which follow the training.
        drawn: whether it answers on frames drawn at random, as many as in training.
    """

    model: str
    videos: int
    batch: int
    goes: int = 1
    training: bool = False
    averages: int = 0
    drawn: bool = False

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.goes * math.ceil(self.videos / self.batch)

    @property
    def seen(self) -> int:
        """Videos in all."""
        return self.goes * self.videos

    def cost(self, costs: Mapping[str, ModelCosts]) -> Cost:
        """What a pass of its model needs."""
        costed = costs[self.model]
        return costed.training if self.training or self.drawn else costed.answering

    def flops(self, costs: Mapping[str, ModelCosts]) -> int:
        """Floating-point operations in all."""
        return self.seen * self.cost(costs).flops(self.training)


@dataclass(frozen=True)
class Work:
    """What one step has to do.

    Attributes:
        passes: of models over videos.
        inspected: bytes that are checked record by record.
        written: frames of stand-in data to write.
        judged: answers, each of a video, that are measured.
        coded: weights that a codec stores, each time.
        weighed: answers times the weightings of an ensemble that are tried on them.
        kept: bytes of models, answers and soft targets that stay on the disk.
        checkpoint: bytes of the largest checkpoint while it runs.
        held: bytes of models that are held besides the one that works.
    """

    passes: tuple[Pass, ...] = ()
    inspected: float = 0
    written: float = 0
    judged: int = 0
    coded: int = 0
    weighed: int = 0
    kept: float = 0
    checkpoint: int = 0
    held: int = 0

    @property
    def seen(self) -> int:
        """Videos that models see."""
        return sum(one.seen for one in self.passes)


@dataclass(frozen=True)
class Workload:
    """Counts the work of an experiment's steps.

    Attributes:
        params: the experiment's settings.
        videos: its videos.
        costs: of its models.
        steps: all steps, by key.
    """

    params: Params
    videos: Videos
    costs: Mapping[str, ModelCosts]
    steps: Mapping[str, Step]
    _known: dict[str, Work] = field(default_factory=dict)

    def of(self, step: Step) -> Work:
        """The work of a step."""
        if step.key not in self._known:
            self._known[step.key] = self._count(step)
        return self._known[step.key]

    def read(self, step: Step) -> float:
        """Bytes of records that a step reads: each time, or once where videos stay in memory."""
        work, mean = self.of(step), self.videos.nbytes
        if self.params.data.cache and work.passes:
            return self.videos.all_bytes
        return work.inspected + mean * work.seen

    def memory(self, step: Step) -> float:
        """Bytes that the process of a step needs at its peak, about."""
        work = self.of(step)
        models = [
            one.cost(self.costs).memory(one.batch, one.averages, one.training)
            for one in work.passes
        ]
        return PROCESS + self._records_held(work) + work.held + max(models, default=0)

    def _records_held(self, work: Work) -> float:
        videos, data = self.videos, self.params.data
        if not work.passes:
            return 0
        if data.cache is not True:
            return BUFFERED * videos.nbytes
        frame = width_of(data.streams) * BYTES[frames_type(data.streams)]
        return (videos.train + videos.validation) * (videos.frames * frame + data.classes)

    def _count(self, step: Step) -> Work:
        if isinstance(step, DataStep):
            return self._data()
        if isinstance(step, ModelStep):
            return self._training(step)
        if isinstance(step, SoftTargetsStep):
            return self._soft_targets(step)
        if isinstance(step, QuantizationStep):
            return self._quantization(step)
        if isinstance(step, EnsembleStep):
            return self._ensemble(step)
        return Work()

    def _data(self) -> Work:
        """Every record is checked; labels are counted by reading the training ones again."""
        videos, stand_in = self.videos, self.params.synthetic
        to_write = stand_in and not is_written(self.params)
        frames = (videos.train + videos.validation) * videos.frames if to_write else 0
        return Work(
            inspected=videos.all_bytes + videos.train_bytes,
            written=frames,
            kept=videos.all_bytes if stand_in else 0,
        )

    def _training(self, step: ModelStep) -> Work:
        trained, answers = list(self._trained(step)), self._answers(step)
        plain = self.costs[step.model].plain
        weights = self.costs[step.model].training.weights
        averages = max(one.averages for one in trained)
        extra = 0 if step.settings.averaging is None else averages
        return Work(
            passes=(*trained, *answers),
            judged=sum(one.videos for one in answers),
            coded=weights,
            kept=plain * (1 + extra) + self._stored_answers(),
            checkpoint=FLOAT * weights * (HELD_VALUES - 1 + averages),  # no gradients in it
        )

    def _trained(self, step: ModelStep) -> Iterator[Pass]:
        model, averaging = step.settings.model, step.settings.averaging
        one = Pass(step.model, self.videos.train, model.batch, training=True)
        if not isinstance(step, AveragingStep):
            yield replace(one, goes=model.epochs)
        if averaging:
            copies = 3 if averaging.checkpoints else 1  # the shadow, and two means of checkpoints
            yield replace(one, goes=averaging.epochs, averages=copies)

    def _answers(self, step: ModelStep) -> list[Pass]:
        """Passes over the validation videos: the model's own, and those it is compared with."""
        own = self._answer(step.model)
        others = [
            replace(own, drawn=mode != "valid_frames") for mode in step.measuring.compare_inference
        ]
        averaging = step.settings.averaging
        if isinstance(step, AveragingStep | StudentStep) and averaging:
            others += [own] * (3 if averaging.checkpoints else 1)  # unaveraged, and the means
        return [own, *others]

    def _answer(self, model: str, videos: int | None = None) -> Pass:
        params = self.params
        drawn = params.inference != "valid_frames" and params.models[model].traits.pools_frames
        count = self.videos.validation if videos is None else videos
        return Pass(model, count, params.inference_batch, drawn=drawn)

    def _stored_answers(self) -> float:
        top_k, classes = self.params.distillation.top_k, self.params.data.classes
        kept = classes if top_k == "all" else max(20, min(top_k, classes))
        return self.videos.validation * (kept * PAIR + 24)

    def _soft_targets(self, step: SoftTargetsStep) -> Work:
        """The teachers are not chosen yet: the costliest candidates stand for them."""
        names = [self.steps[key].model for key in step.parents["candidates"]]
        names.sort(key=lambda name: self.costs[name].answering.products, reverse=True)
        chosen = names[: self.params.distillation.teachers] if step.round == 1 else names
        top_k, classes = self.params.distillation.top_k, self.params.data.classes
        pairs = classes if top_k == "all" else min(top_k, classes)
        targets = self.videos.train * (pairs * SOFT_PAIR + SOFT_CONTEXT)
        return Work(
            passes=tuple(self._answer(name, self.videos.train) for name in chosen),
            judged=self.videos.validation,
            weighed=math.comb(len(names), len(chosen)) * len(names) * self.videos.validation,
            kept=targets + self._stored_answers(),
            held=sum(self.costs[name].plain for name in chosen),
        )

    def _quantization(self, step: QuantizationStep) -> Work:
        timed = self._answer(step.model, min(TIMED, 14 * self.videos.validation))
        costs = self.costs[step.model]
        return Work(
            passes=(timed, self._answer(step.model)),
            judged=self.videos.validation,
            coded=costs.training.weights,
            kept=costs.stored + self._stored_answers(),
            held=3 * costs.plain + costs.stored,  # as they were, decoded, and in the graph
        )

    def _ensemble(self, step: EnsembleStep) -> Work:
        """The exported model answers, and all members once more for the other combinations."""
        names = [self.steps[key].model for key in step.parents["students"]]
        families = {self.params.models[name].family for name in names}
        searches = SEARCHES * len(names) + self._parts(names, families)
        stored = sum(self.costs[name].stored for name in names)
        return Work(
            passes=tuple(self._answer(name) for name in names * 2),
            judged=(3 + 2 * len(families) + len(names)) * self.videos.validation,
            weighed=step.settings.trials * searches * self.videos.validation,
            kept=2 * min(stored, step.settings.budget_bytes) + self._stored_answers(),
            held=2 * sum(self.costs[name].plain for name in names) + stored,
        )

    def _parts(self, names: Sequence[str], families: set[str]) -> int:
        """Members of all parts that are searched alone: first-round students, and each family."""
        members = self.params.members().values()
        first = sum(student.round == 1 for student in members)
        return (first if first < len(names) else 0) + (len(names) if len(families) > 1 else 0)
