"""The settings that each kind of step depends on, typed.

All are required: one that is missing is an error where the step is planned, never a default where
it is used.
"""

from typing import Any, Literal

from yt8m_lib.model_settings import Extra
from yt8m_lib.settings import Data, Inference, Model, Settings, Training

TopK = int | Literal["all"]


class DataSettings(Settings):
    """Which records are read, and how."""

    data: Data


class AveragedSettings(Settings):
    """How a model's weights are averaged while it trains on (sec. 4.1)."""

    time_constant: int
    epochs: int
    rate_divisor: float
    checkpoints: int


class TrainingSettings(DataSettings):
    """How one model is trained.

    Attributes:
        traits: what of the family's record decides the model.
        label_weight: lambda; 1 trains on labels alone.
        top_k: soft targets a video that are seen, of those that are stored; None sees all.
        temperature: at which soft targets are learned; None stands for 1.
        averaging: None where the weights are not averaged.
    """

    model: Model
    traits: dict[str, Any]
    training: Training
    label_weight: float
    top_k: Extra[int]
    temperature: Extra[float]
    averaging: AveragedSettings | None


class AnsweringSettings(DataSettings):
    """How models answer for videos."""

    inference: Inference
    top_k: TopK


class MeasuringSettings(Settings):
    """How a finished model is measured; a change measures it again and trains nothing.

    Attributes:
        compare_inference: other ways of answering that are measured as well.
        codec: that the model's bytes are counted with.
        more_than: elements that a variable may have and stay float32.
    """

    inference: Inference
    top_k: TopK
    compare_inference: tuple[Inference, ...]
    codec: str
    more_than: int


class SoftTargetSettings(AnsweringSettings):
    """How a family's teachers are chosen and predict soft targets."""

    teachers: int


class QuantizationSettings(AnsweringSettings):
    """How a student's weights are stored."""

    codec: str
    more_than: int


class EnsembleSettings(AnsweringSettings):
    """How the ensemble is searched, and what the exported model calls its classes.

    Attributes:
        decode: when the exported model decodes its weights.
        class_names: a hash of all names.
    """

    trials: int
    budget_bytes: int
    codec: str
    decode: str
    class_names: str


class ReportSettings(Settings):
    """What the report shows beside the experiment's own results."""

    other_choices: dict[str, str]
