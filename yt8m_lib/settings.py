"""The settings of an experiment: what every YAML under ``params/`` may say, typed and checked.

``params.load`` reads them from a file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from yt8m_lib.data_settings import Data, Synthetic
from yt8m_lib.errors import nearest
from yt8m_lib.model_settings import Extra, FamilyDefaults, Model, family_name
from yt8m_lib.values import (
    Bytes,
    Codec,
    Epochs,
    FamilyName,
    Frames,
    Name,
    NotNegative,
    Place,
    Positive,
    Settings,
    Share,
    TeachingFamily,
    Temperature,
    Unidentified,
    Whole,
    check_no_secret,
    check_store,
)  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent

Phase = Literal[
    "data", "teachers", "averaging", "distillation", "quantization", "ensembling", "report"
]
Decode = Literal["once", "call"]
Inference = Literal["valid_frames", "sample_all", "random_frames"]
Precision = Literal["float32", "mixed_bfloat16"]
PHASES: tuple[Phase, ...] = Phase.__args__


class Training(Settings):
    """What all trainings share (sec. 5 of the published system)."""

    frames: Frames = 300  # frames sampled with replacement from a video
    rate_decay_videos: Positive = 4_000_000
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_norm_decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    checkpoint_minutes: Unidentified[Annotated[float, Field(ge=0)]] = 10.0
    # How a step is computed. Each is left out of the identity of what is made where it is the one
    # that there was before it could be chosen.
    precision: Annotated[Precision, Field(exclude_if=lambda given: given == "float32")] = "float32"
    # One program for the whole step. It is compiled anew for each shape of a batch: families that
    # sample frames have two (an epoch's last batch), the others one for each length of frames.
    xla: Annotated[bool, Field(exclude_if=lambda given: not given)] = False
    # One seed, one result: what resuming bit for bit rests on. On a GPU some operations are slower
    # so (how much was not measured), and one that has no deterministic form is an error there.
    deterministic: Annotated[bool, Field(exclude_if=bool)] = True
    # Cores that compute a step; 0 takes all. The last digits of the weights depend on how many they
    # are. Small models leave a second core half idle: several at a time, on one each, fill them.
    threads: Annotated[Whole, Field(ge=0, le=1024, exclude_if=lambda given: not given)] = 0
    # Devices of this machine that share each batch: GPUs, or where there is none parts of the CPU.
    replicas: Annotated[Whole, Field(ge=1, le=64, exclude_if=lambda given: given == 1)] = 1

    @model_validator(mode="after")
    def _one_way_of_running_a_step(self) -> Self:
        if self.xla and self.replicas > 1:
            raise ValueError(
                f"xla and replicas ({self.replicas}): replicas add up their batch statistics amid "
                "a step, which a compiled step cannot; give one of them"
            )
        return self


class Averaging(Settings):
    """Weight averaging (sec. 4.1, Table 1)."""

    families: tuple[TeachingFamily, ...] = ("dbof", "rnn")  # whose averaged weights are kept
    shown: tuple[Name, ...] = ()  # models of other families averaged for the table alone
    time_constant: Positive = 2000  # H, in steps: the shadow's decay is 1 - 1 / H
    epochs: Epochs = 2
    # By family; 5 where not given.
    rate_divisor: dict[FamilyName, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    checkpoints: NotNegative = 0  # how many are averaged at equal weight, to compare


class Student(Settings):
    """A model trained on soft targets and labels (sec. 3.1)."""

    model: Name  # the architecture to train again
    taught_by: TeachingFamily  # whose teachers predict the soft targets
    round: Literal[1, 2] = 1  # 2: taught by that family's first-round students
    label_weight: Share | None = None  # its own lambda; all students' where not given
    # What else a student can be compared in; each is left out of its identity where not given.
    top_k: Extra[Positive] = None  # soft targets a video that it sees of those that are stored
    temperature: Extra[Temperature] = None  # above 1, what it learns from is softened
    times: Extra[Positive] = None  # as many epochs, its rate falling so many times as slowly

    @property
    def differs_by_lambda(self) -> bool:
        """Whether its lambda alone sets it apart from other students."""
        return [n for n in HOW_TAUGHT if getattr(self, n) is not None] == ["label_weight"]


# In what a compared student may differ from a student; none is given there.
HOW_TAUGHT = ("label_weight", "top_k", "temperature", "times")


class Distillation(Settings):
    """Distillation (sec. 3.1, 4.2, Table 3)."""

    teachers: Positive = 3
    label_weight: Share = 0.5  # lambda: the weight of the labels' own loss
    top_k: Positive | Literal["all"] = 100  # soft targets stored a video; the rest count as 0
    students: dict[Name, Student] = Field(default_factory=dict)
    # Trained to be compared with the students, then left.
    compare: dict[Name, Student] = Field(default_factory=dict)
    soft_targets: Place | None = None  # folder of the sidecar shards; under results/ by default


class Quantization(Settings):
    """Partial weight quantisation (sec. 3.2, Table 2)."""

    more_than: Positive = 17_000  # variables with more elements than this are coded
    codec: Codec = "linear"  # how they are stored in the model that is shipped
    decode: Decode = "once"  # there: by its first call, or on each call, in less memory
    # Other codecs tried on a student, to compare.
    compare: dict[Name, tuple[Codec, ...]] = Field(default_factory=dict)


class Ensembling(Settings):
    """The final ensemble (sec. 4.3, Table 4)."""

    trials: Positive = 500
    budget_bytes: Bytes = 1_000_000_000
    members: tuple[Name, ...] = ()  # students to choose among; all where not given


class Tracking(Settings):
    """Where runs are recorded, if not in the results folder: somewhere that all machines see."""

    uri: str | None = None  # a server of MLflow, or a database; MLFLOW_TRACKING_URI if not given
    artifacts: Place | None = None  # where a new experiment's files go; the server's own default
    cache_bytes: Bytes = 20_000_000_000  # of fetched files that are kept in the experiment's folder

    @model_validator(mode="after")  # of the group: an error about `uri` alone would print it
    def _is_usable_and_no_secret(self) -> Self:
        check_no_secret("uri", self.uri or "")
        check_no_secret("artifacts", self.artifacts or "")
        if self.uri is not None:
            check_store(self.uri)
        return self


class Params(Settings):
    """One experiment."""

    experiment: Name
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 1
    results: Unidentified[Place] = "results"
    tracking: Unidentified[Tracking] = Tracking()
    data: Data = Data()
    synthetic: Synthetic | None = None
    families: dict[FamilyName, FamilyDefaults] = Field(default_factory=dict)
    models: dict[Name, Model]
    training: Training = Training()
    inference: Inference = "valid_frames"
    compare_inference: tuple[Inference, ...] = ()  # teachers of pooled frames answer so as well
    inference_batch: Positive = 128
    averaging: Averaging = Averaging()
    distillation: Distillation = Distillation()
    quantization: Quantization = Quantization()
    ensembling: Ensembling = Ensembling()
    repeats: Unidentified[Positive] = (
        1  # trainings of everything, each from seeds of its own, on the same data
    )
    repeat: Unidentified[NotNegative] = 0  # which of them this is; `yt8m run` counts
    # The findings.csv of the same study, by what was chosen there.
    other_choices: Unidentified[dict[str, Place]] = Field(default_factory=dict)
    # Finished work that a change of code or data may throw away without asking, in hours.
    remake_hours: Unidentified[Annotated[float, Field(ge=0)]] = 1.0

    @property
    def folder(self) -> Path:
        """Where everything this experiment makes lives."""
        return ROOT / self.results / self.experiment

    @model_validator(mode="before")
    @classmethod
    def _fill_family_defaults(cls, raw: Any) -> Any:
        """Write each family's shared settings into its models, so a model is complete alone."""
        if not isinstance(raw, dict) or not isinstance(raw.get("models"), dict):
            return raw
        given, models = raw.get("families") or {}, {}
        for name, model in raw["models"].items():
            if not isinstance(model, dict) or not isinstance(given, dict):
                models[name] = model
                continue
            shared = given.get(family_name(model.get("architecture")), {})
            standard = {key: field.default for key, field in FamilyDefaults.model_fields.items()}
            models[name] = standard | (shared if isinstance(shared, dict) else {}) | model
        return raw | {"models": models}

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for where, names in {
            "averaging.shown": self.averaging.shown,
            "distillation.students": [s.model for s in self.distillation.students.values()],
            "distillation.compare": [s.model for s in self.distillation.compare.values()],
        }.items():
            for name in names:
                if name not in self.models:
                    raise ValueError(f"{where}: no model {name!r}{nearest(name, self.models)}")
        for choice, path in self.other_choices.items():
            if not (ROOT / path).exists():
                raise ValueError(f"other_choices, {choice!r}: there is no file {ROOT / path}")
        for name in self.averaging.shown:
            if not self.models[name].traits.teaches:
                raise ValueError(
                    f"averaging.shown: {name} is a {self.models[name].family} model, which the "
                    "table of weight averaging has no row for; take it out"
                )
        self._check_students()
        widths = [stream.width for stream in self.data.streams]
        for name, model in self.models.items():
            if model.traits.draws and self.training.replicas > 1:
                raise ValueError(
                    f"models, {name}: {model.family} draws what it drops for a whole batch, so "
                    f"replicas would train another model; set training.replicas=1"
                )
            try:
                model.check_streams(widths)
            except ValueError as error:
                raise ValueError(f"models, {name}: {error}") from None
        named = [name for name in ("files", "train", "validation") if getattr(self.data, name)]
        if self.synthetic and named:
            raise ValueError(
                f"`synthetic` and `data.{named[0]}` are both given: stand-in data or your own? "
                f"Take out one; `--set synthetic=null` leaves `data.{named[0]}`. (`make run "
                "DATA=...` wants a PARAMS file of real data, such as params/video_level.yaml.)"
            )
        return self

    def _check_students(self) -> None:
        students, compared = self.distillation.students, self.distillation.compare
        for name in (set(students) | set(compared)) & set(self.models) | set(students) & {
            *compared
        }:
            raise ValueError(f"distillation: {name!r} is also the name of a model or student")
        chosen = {
            "quantization.compare": self.quantization.compare,
            "ensembling.members": self.ensembling.members,
        }
        for where, names in chosen.items():
            for name in names:
                if name not in students:
                    raise ValueError(f"{where}: no student {name!r}{nearest(name, students)}")
        for name, student in (students | compared).items():
            count = len(self.teachers_of(student))
            if student.round == 1 and count < self.distillation.teachers:
                raise ValueError(
                    f"distillation, {name}: {student.taught_by} has {count} teachers, "
                    f"distillation.teachers asks for {self.distillation.teachers}"
                )
            stored = self.distillation.top_k
            if student.top_k and stored != "all" and student.top_k > stored:
                raise ValueError(
                    f"distillation, {name}: top_k is {student.top_k}, and only {stored} soft "
                    "targets a video are stored (distillation.top_k)"
                )
            if not count:
                raise ValueError(
                    f"distillation, {name}: {student.taught_by} has no first-round students"
                )

    def members(self) -> dict[str, Student]:
        """The students that the ensemble is made of, by name."""
        students, chosen = self.distillation.students, self.ensembling.members
        return {name: s for name, s in students.items() if not chosen or name in chosen}

    def teachers_of(self, student: Student) -> list[str]:
        """Names of the models that may teach this student."""
        if student.round == 2:
            return [
                name
                for name, other in self.distillation.students.items()
                if other.round == 1
                and other.taught_by == student.taught_by
                and self.models[other.model].family == student.taught_by
            ]
        return [n for n, model in self.models.items() if model.family == student.taught_by]

    def is_averaged(self, model: str) -> bool:
        """Whether this model's averaged weights are the ones kept."""
        return self.models[model].family in self.averaging.families
