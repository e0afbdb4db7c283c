"""The experiment's description: what every YAML under ``params/`` may say, typed and checked.

This is the only module that reads YAML. Unknown keys, wrong types, missing files and empty globs
are refused before anything runs, with the key, the value and the nearest valid name.
"""

import difflib
import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).resolve().parent.parent

RGB, AUDIO = 1024, 128
FEATURES = RGB + AUDIO

Family = Literal["netvlad", "fvnet", "dbof", "rnn"]
Architecture = Literal[
    "netvlad", "lightvlad", "fvnet", "gated_dbof", "soft_dbof", "lstm", "gru", "logistic"
]
Phase = Literal[
    "data", "teachers", "averaging", "distillation", "quantization", "ensembling", "report"
]
Inference = Literal["valid_frames", "sample_all", "random_frames"]
PHASES: tuple[Phase, ...] = Phase.__args__
FAMILIES: tuple[Family, ...] = Family.__args__

FAMILY_OF = {
    "netvlad": "netvlad",
    "lightvlad": "netvlad",
    "fvnet": "fvnet",
    "gated_dbof": "dbof",
    "soft_dbof": "dbof",
    "lstm": "rnn",
    "gru": "rnn",
    "logistic": "baseline",
}
# Trained on frames sampled with replacement; the others read all frames in order.
POOLED = {name for name, family in FAMILY_OF.items() if family in ("netvlad", "fvnet", "dbof")}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ParamsError(ValueError):
    """A parameter file that cannot be run; the message names key, value and remedy."""


class Strict(BaseModel):
    """Settings that refuse unknown keys and cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Synthetic(Strict):
    """Stand-in data: how much of it. Its shape is calibrated in ``synthetic.py``."""

    train_videos: Positive = 6000
    validation_videos: Positive = 2000
    shards: Positive = 8
    frames: tuple[Positive, Positive] = (16, 32)  # shortest and longest video, in seconds
    missing_labels: Share = 0.1  # true labels that the annotation lost
    wrong_labels: Share = 0.05  # labels replaced by another class of the same vertical


class Data(Strict):
    """Where the videos are and how they are read."""

    level: Literal["frame", "video"] = "frame"
    train: str | None = None  # glob of training shards
    validation: str | None = None  # glob of validation shards
    files: str | None = None  # or one glob, split by a seeded hash of the file name
    train_share: Share = 0.75  # share of `files` that is trained on
    exclude: tuple[str, ...] = ()  # names of damaged shards to leave out
    classes: Annotated[int, Field(gt=1, le=65536)] = 3862  # the first so many classes are kept
    vocabulary: Positive = 3862  # classes that the records may name
    frames: Positive = 24  # frames simulated around a video-level mean
    max_frames: Positive = 300  # frames read from a frame-level record at most
    cache: bool = False  # keep decoded videos in memory between epochs

    @model_validator(mode="after")
    def _classes_in_vocabulary(self) -> Self:
        if self.classes > self.vocabulary:
            raise ValueError(
                f"classes ({self.classes}) is more than vocabulary ({self.vocabulary})"
            )
        if self.files and (self.train or self.validation):
            raise ValueError("give either `files` or `train` and `validation`, not both")
        if bool(self.train) != bool(self.validation):
            raise ValueError("`train` and `validation` go together")
        return self


class FamilyDefaults(Strict):
    """Settings that a family's models share; a model may override each of them."""

    batch: Positive = 160
    rate: Annotated[float, Field(gt=0)] = 2.0e-4
    epochs: Positive = 10
    rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95


class Model(Strict):
    """One architecture (sec. 4 of the paper): a box of Table 1 to 4."""

    architecture: Architecture
    clusters: int = Field(default=0, ge=0)  # K; unused by RNN
    hidden: int = Field(default=0, ge=0)  # H; for RNN the cells C
    relu: bool = False
    max_pool: bool = False  # soft DBoF: also concatenate the maximum over frames
    reset_after: bool = False  # GRU: the faster variant, not the published one
    published: bool = False  # one of the nine released configurations
    batch: Positive | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    epochs: Positive | None = None
    rate_decay: Annotated[float, Field(gt=0, le=1)] | None = None

    @property
    def family(self) -> str:
        """The paper's family, or ``baseline``."""
        return FAMILY_OF[self.architecture]

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.family in ("netvlad", "fvnet", "dbof") and self.clusters < 2:
            raise ValueError(f"{self.architecture} needs `clusters` of at least 2")
        if self.family != "baseline" and self.hidden < 1:
            raise ValueError(f"{self.architecture} needs `hidden`")
        if self.family == "rnn" and self.hidden % 2:
            raise ValueError("`hidden` of an RNN is split over two directions: make it even")
        return self


class Training(Strict):
    """What all trainings share (sec. 5 of the published system)."""

    frames: Positive = 300  # frames sampled with replacement from a video
    rate_decay_videos: Positive = 4_000_000
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_norm_decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0


class Averaging(Strict):
    """Weight averaging (sec. 4.1, Table 1)."""

    families: tuple[Family, ...] = ("dbof", "rnn")  # whose averaged weights are kept
    shown: tuple[Name, ...] = ()  # models of other families averaged for the table alone
    time_constant: Positive = 2000  # H, in steps: the shadow's decay is 1 - 1 / H
    epochs: Positive = 2
    rate_divisor: dict[Family, Annotated[float, Field(gt=0)]] = {}  # 5 where not given
    checkpoints: int = Field(default=0, ge=0)  # so many averaged at equal weight, to compare


class Student(Strict):
    """A model trained on soft targets and labels (sec. 3.1)."""

    model: Name  # the architecture to train again
    taught_by: Family  # whose teachers predict the soft targets
    round: Literal[1, 2] = 1  # 2: taught by that family's first-round students
    label_weight: Share | None = None  # its own lambda; all students' where not given


class Distillation(Strict):
    """Distillation (sec. 3.1, 4.2, Table 3)."""

    teachers: Positive = 3
    label_weight: Share = 0.5  # lambda: the weight of the labels' own loss
    top_k: Positive | Literal["all"] = 100  # soft targets stored a video; the rest count as 0
    students: dict[Name, Student] = {}
    compare: dict[Name, Student] = {}  # trained to be compared with the students, then left
    soft_targets: str | None = None  # folder of the sidecar shards; under results/ by default


class Quantization(Strict):
    """Partial weight quantisation (sec. 3.2, Table 2)."""

    more_than: Positive = 17_000  # variables with more elements than this are stored in 8 bits
    compare: dict[Name, tuple[Literal["float16", "kmeans", "quantile"], ...]] = {}


class Ensembling(Strict):
    """The final ensemble (sec. 4.3, Table 4)."""

    trials: Positive = 500
    budget_bytes: Positive = 1_000_000_000


class Params(Strict):
    """One experiment."""

    experiment: Name
    seed: int = 1
    results: str = "results"
    data: Data = Data()
    synthetic: Synthetic | None = None
    families: dict[Literal[Family, "baseline"], FamilyDefaults] = {}
    models: dict[Name, Model]
    training: Training = Training()
    inference: Inference = "valid_frames"
    compare_inference: tuple[Inference, ...] = ()  # teachers of pooled frames answer so as well
    inference_batch: Positive = 128
    averaging: Averaging = Averaging()
    distillation: Distillation = Distillation()
    quantization: Quantization = Quantization()
    ensembling: Ensembling = Ensembling()
    repeats: Positive = 1  # trainings of everything, each from seeds of its own, on the same data
    repeat: int = Field(default=0, ge=0)  # which of them this is; `yt8m run` counts
    beside: dict[str, str] = {}  # findings.csv of the same study under other choices, by choice

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
        families, models = raw.get("families") or {}, {}
        for name, model in raw["models"].items():
            if not isinstance(model, dict) or not isinstance(families, dict):
                models[name] = model
                continue
            shared = families.get(FAMILY_OF.get(model.get("architecture"), ""), {})
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
        for choice, path in self.beside.items():
            if not (ROOT / path).exists():
                raise ValueError(f"beside, {choice!r}: there is no file {ROOT / path}")
        self._check_students()
        return self

    def _check_students(self) -> None:
        students, compared = self.distillation.students, self.distillation.compare
        for name in (set(students) | set(compared)) & set(self.models) | set(students) & {
            *compared
        }:
            raise ValueError(f"distillation: {name!r} is also the name of a model or student")
        for name in self.quantization.compare:
            if name not in students:
                raise ValueError(
                    f"quantization.compare: no student {name!r}{nearest(name, students)}"
                )
        for name, student in (students | compared).items():
            count = len(self.teachers_of(student))
            if student.round == 1 and count < self.distillation.teachers:
                raise ValueError(
                    f"distillation, {name}: {student.taught_by} has {count} teachers, "
                    f"distillation.teachers asks for {self.distillation.teachers}"
                )
            if not count:
                raise ValueError(
                    f"distillation, {name}: {student.taught_by} has no first-round students"
                )

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


def nearest(name: str, valid: Any) -> str:
    """The end of an error message: the nearest valid name, or all of them."""
    names = [str(v) for v in valid]
    match = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; valid: {', '.join(sorted(names))}"


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Params:
    """Read and check a parameter file.

    Args:
        path: the YAML file; a relative path is tried from the working directory, then the project.
        overrides: ``KEY=VALUE`` strings with dotted keys, as given to ``--set``.

    Raises:
        ParamsError: naming the file, key, value and remedy.
    """
    path = find_file(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected `key: value` lines, found {type(raw).__name__}")
    raw.setdefault("experiment", path.stem)
    for override in overrides:
        _apply(raw, override)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {_explain(issue)}" for issue in error.errors()]
        raise ParamsError("\n".join([f"{path}:", *lines])) from None


def check_data(params: Params) -> None:
    """Refuse an experiment whose data is not there.

    Raises:
        ParamsError: when no data is named, or a glob matches no file.
    """
    if params.synthetic:
        return
    data = params.data
    globs = {"data.files": data.files, "data.train": data.train, "data.validation": data.validation}
    given = {key: value for key, value in globs.items() if value}
    if not given:
        raise ParamsError(
            f"{params.experiment}: no data is named, and real data has no default place. Give the "
            "shards as `make run PARAMS=... DATA='/path/to/*.tfrecord'`, or as "
            "`--set data.files=GLOB`, or as `--set data.train=GLOB --set data.validation=GLOB`."
        )
    for key, value in given.items():
        if "://" not in value and not glob.glob(str(ROOT / value), recursive=True):
            raise ParamsError(f"{key}: no file matches {value!r} (seen from {ROOT})")


def find_file(path: str | Path) -> Path:
    """The absolute path of a parameter file, seen from the working directory or the project.

    Raises:
        ParamsError: when it is at neither place, with the nearest name.
    """
    for candidate in (Path(path), ROOT / path):
        if candidate.is_file():
            return candidate.resolve()
    there = [f"params/{p.name}" for p in sorted((ROOT / "params").glob("*.yaml"))]
    raise ParamsError(f"no parameter file {str(path)!r}{nearest(str(path), there)}")


def _apply(raw: dict, override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign or not key:
        raise ParamsError(f"--set takes KEY=VALUE, got {override!r}")
    *path, last = key.split(".")
    node = raw
    for part in path:
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ParamsError(f"--set {override}: {part!r} is a value, not a group of settings")
        node = child
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        node[last] = value  # a glob such as *.tfrecord is no YAML


def _explain(issue: Any) -> str:
    key = ".".join(str(part) for part in issue["loc"]) or "(file)"
    if issue["type"] == "extra_forbidden":
        return f"{key}: unknown key{nearest(issue['loc'][-1], _valid_keys(issue['loc'][:-1]))}"
    if issue["type"] == "missing":
        return f"{key}: missing"
    value = issue["input"]
    shown = "" if isinstance(value, dict) else f" (got {value!r})"
    message = re.sub(r"^Value error, ", "", issue["msg"])
    if issue["type"] == "literal_error" and isinstance(value, str):
        message += nearest(value, re.findall(r"'([^']+)'", issue["ctx"]["expected"]))
    return f"{key}: {message}{shown}"


def _valid_keys(location: tuple) -> list[str]:
    model: Any = Params
    for part in location:
        if part in model.model_fields:  # else it is a key of a dict, such as a model's name
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> Any:
    """The settings class inside an annotation such as ``dict[str, Model]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)
