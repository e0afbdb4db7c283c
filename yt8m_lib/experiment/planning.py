"""Which steps an experiment has: a function a phase, from settings to steps."""

from collections.abc import Iterator
from typing import Any

from yt8m_lib import families
from yt8m_lib.data.vocabulary import class_names
from yt8m_lib.experiment.step import Step
from yt8m_lib.experiment.step_settings import (
    AveragedSettings,
    DataSettings,
    EnsembleSettings,
    MeasuringSettings,
    QuantizationSettings,
    ReportSettings,
    SoftTargetSettings,
    TrainingSettings,
)
from yt8m_lib.experiment.steps import (
    AveragingStep,
    DataStep,
    EnsembleStep,
    QuantizationStep,
    ReportStep,
    SoftTargetsStep,
    StudentStep,
    TeacherStep,
    layers_of,
)
from yt8m_lib.settings import HOW_TAUGHT, Model, Params, Student, Training
from yt8m_lib.sources import digest_of

LABELS_ALONE = {"label_weight": 1.0, "top_k": None, "temperature": None}
RATE_DIVISOR = 5.0  # of averaging, where a family has none of its own (sec. 6)


def steps_of(params: Params) -> Iterator[Step]:
    """All steps of an experiment, each after its parents."""
    before: list[Step] = []
    for steps in (
        _data_step,
        _teacher_steps,
        _averaging_steps,
        _distillation_steps,
        _quantization_steps,
        _ensemble_step,
    ):
        before += steps(params)
    yield from before
    settings = ReportSettings(other_choices=params.other_choices)
    parents = {"all": tuple(step.key for step in before)}
    yield ReportStep(name="report", settings=settings, parents=parents)


def _answering(params: Params) -> dict[str, Any]:
    """How models answer for videos."""
    top_k = params.distillation.top_k
    return {"data": params.data, "inference": params.inference, "top_k": top_k}


def _measuring(params: Params, compare: bool = False) -> MeasuringSettings:
    return MeasuringSettings(
        inference=params.inference,
        top_k=params.distillation.top_k,
        compare_inference=params.compare_inference if compare else (),
        codec=params.quantization.codec,
        more_than=params.quantization.more_than,
    )


def _training(
    params: Params, name: str, averaging: AveragedSettings | None = None, **taught: Any
) -> TrainingSettings:
    """How a model is trained; ``taught`` says what a student learns from."""
    model = params.models[name]
    return TrainingSettings(
        data=params.data,
        model=model,
        traits=model.traits.traits,
        training=params.training,
        averaging=averaging,
        **(LABELS_ALONE | taught),
    )


def _averaged(params: Params, name: str, checkpoints: int = 0) -> AveragedSettings:
    averaging, family = params.averaging, params.models[name].family
    return AveragedSettings(
        time_constant=averaging.time_constant,
        epochs=averaging.epochs,
        rate_divisor=averaging.rate_divisor.get(family, RATE_DIVISOR),
        checkpoints=checkpoints,
    )


def _data_step(params: Params) -> Iterator[Step]:
    yield DataStep(name="data", settings=DataSettings(data=params.data))


def _teacher_steps(params: Params) -> Iterator[Step]:
    for name, model in params.models.items():
        yield TeacherStep(
            name=name,
            model=name,
            settings=_training(params, name),
            measuring=_measuring(params, compare=model.traits.pools_frames),
            parents={"data": "data/data"},
            twin=_other_batch(params, name),
        )


def _other_batch(params: Params, name: str) -> str:
    """The step of the first model listed before this one that differs from it in batch alone."""
    model = params.models[name]
    for other, settings in params.models.items():
        if other == name:
            break
        alike = settings.model_copy(update={"batch": model.batch}) == model
        if settings.batch != model.batch and alike:
            return f"teachers/{other}"
    return ""


def _averaging_steps(params: Params) -> Iterator[Step]:
    for name in params.models:
        if params.is_averaged(name) or name in params.averaging.shown:
            averaged = _averaged(params, name, params.averaging.checkpoints)
            yield AveragingStep(
                name=name,
                model=name,
                settings=_training(params, name, averaging=averaged),
                measuring=_measuring(params),
                parents={"teacher": f"teachers/{name}", "data": "data/data"},
                teaches=params.is_averaged(name),
            )


def _best(params: Params, model: str) -> str:
    """The step whose weights stand for a model as a teacher."""
    return f"{'averaging' if params.is_averaged(model) else 'teachers'}/{model}"


def _distillation_steps(params: Params) -> Iterator[Step]:
    everyone = params.distillation.students | params.distillation.compare
    for teaching_round in (1, 2):
        students = {k: s for k, s in everyone.items() if s.round == teaching_round}
        for family in families.teaching():
            taught = {k: s for k, s in students.items() if s.taught_by == family}
            if taught:
                yield _soft_targets_step(params, next(iter(taught.values())))
                for name, student in taught.items():
                    yield _student_step(params, name, student)


def _soft_targets_name(student: Student) -> str:
    """Name of the step that chooses a student's teachers and predicts with them."""
    return f"{student.taught_by}-teachers" + ("-2" if student.round == 2 else "")


def _soft_targets_step(params: Params, student: Student) -> Step:
    names = params.teachers_of(student)
    first = student.round == 1
    models = names if first else [params.distillation.students[name].model for name in names]
    candidates = tuple(_best(params, n) if first else f"distillation/{n}" for n in names)
    return SoftTargetsStep(
        name=_soft_targets_name(student),
        settings=SoftTargetSettings(**_answering(params), teachers=params.distillation.teachers),
        parents={"candidates": candidates},
        teaching_family=student.taught_by,
        round=student.round,
        layers=layers_of(params.models, models),
    )


def _student_step(params: Params, name: str, student: Student) -> Step:
    shared, model = params.distillation.label_weight, student.model
    own = student.label_weight
    averaging = _averaged(params, model) if params.is_averaged(model) else None
    settings = _training(
        params,
        model,
        averaging,
        label_weight=shared if own is None else own,
        top_k=student.top_k,
        temperature=student.temperature,
    )
    longer = _for_longer(settings.model, params.training, student.times or 1)
    compared = name in params.distillation.compare
    return StudentStep(
        name=name,
        model=model,
        settings=settings.model_copy(update={"model": longer}),
        measuring=_measuring(params),
        parents={
            "soft_targets": f"distillation/{_soft_targets_name(student)}",
            "before": _best(params, model),
        },
        twin=_twin(params, student) if compared else "",
        round=student.round,
        taught_by=student.taught_by,
        compared=compared,
        how_taught=student,
    )


def _for_longer(model: Model, training: Training, times: int) -> Model:
    """A model to be trained for so many times the epochs, the rate's staircase as much longer."""
    if times == 1:
        return model
    decay_videos = times * (model.rate_decay_videos or training.rate_decay_videos)
    longer = {"epochs": times * model.epochs, "rate_decay_videos": decay_videos}
    return model.model_copy(update=longer)


def _twin(params: Params, student: Student) -> str:
    """The step of the student that a compared one differs from by how it is taught alone."""
    alike = student.model_copy(update=dict.fromkeys(HOW_TAUGHT))
    named = (n for n, other in params.distillation.students.items() if other == alike)
    return next((f"distillation/{name}" for name in named), "")


def _quantization_steps(params: Params) -> Iterator[Step]:
    shipped = params.quantization.codec
    for student, spec in params.distillation.students.items():
        compared = params.quantization.compare.get(student, ())
        for codec in dict.fromkeys((shipped, *compared)):
            yield QuantizationStep(
                name=student if codec == shipped else f"{student}-{codec}",
                settings=QuantizationSettings(
                    **_answering(params), codec=codec, more_than=params.quantization.more_than
                ),
                parents={"student": f"distillation/{student}"},
                student=student,
                model=spec.model,
                model_settings=params.models[spec.model],
                round=spec.round,
            )


def _ensemble_step(params: Params) -> Iterator[Step]:
    students = params.members()
    if not students:
        return
    names = [student.model for student in students.values()]
    yield EnsembleStep(
        name="ensemble",
        settings=EnsembleSettings(
            **_answering(params),
            **params.ensembling.model_dump(exclude={"members"}),  # they are the parents
            codec=params.quantization.codec,
            decode=params.quantization.decode,
            class_names=digest_of(class_names(params.data.vocabulary_file, params.data.classes)),
        ),
        parents={
            "data": "data/data",
            "members": tuple(f"quantization/{name}" for name in students),
            "students": tuple(f"distillation/{name}" for name in students),
            "before": tuple(_best(params, name) for name in names),
            "teachers": tuple(
                f"teachers/{n}" for n, m in params.models.items() if m.traits.teaches
            ),
            "averaged": tuple(f"averaging/{n}" for n in params.models if params.is_averaged(n)),
        },
        layers=layers_of(params.models, names),
    )
