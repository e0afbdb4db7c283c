"""What layers say that their equations need, against the products of the graphs themselves."""

import math

import pytest
import tensorflow as tf

from yt8m_lib import families, models
from yt8m_lib.costs import Cost
from yt8m_lib.methods.losses import loss_and_gradients
from yt8m_lib.settings import Model
from yt8m_lib.streams import YOUTUBE_8M, Stream

BATCH, FRAMES, CLASSES = 64, 50, 30
MODELS = {
    "netvlad": {"clusters": 6, "hidden": 20},
    "lightvlad": {"clusters": 6, "hidden": 20},
    "fvnet": {"clusters": 4, "hidden": 20},
    "gated_dbof": {"clusters": 32, "hidden": 20},
    "soft_dbof": {"clusters": 32, "hidden": 20, "max_pool": True},
    "lstm": {"hidden": 16},
    "gru": {"hidden": 16},
    "nextvlad": {"clusters": 8, "hidden": 24},
    "logistic": {},
}


def built(architecture, streams=YOUTUBE_8M):
    return models.build(
        Model(architecture=architecture, **MODELS[architecture]), CLASSES, streams=streams
    )


def batch_of(streams=YOUTUBE_8M):
    width = sum(stream.width for stream in streams)
    return {
        "frames": tf.TensorSpec([BATCH, FRAMES, width], tf.uint8),
        "num_frames": tf.TensorSpec([BATCH], tf.int32),
        "labels": tf.TensorSpec([BATCH, CLASSES], tf.float32),
        "seed": tf.TensorSpec([2], tf.int32),
    }


def needed(graph) -> list[tf.Operation]:
    """The operations that a graph's results follow from; others are traced, but never run."""
    waiting, found = [output.op for output in graph.outputs], {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [value.op for value in operation.inputs]
    return list(found.values())


def products(graph) -> int:
    """Multiply-adds of all matrix products in a graph; those within a loop count once a frame."""
    total = 0
    for operation in needed(graph):
        if operation.type in ("MatMul", "BatchMatMulV2"):
            name = "transpose_a" if operation.type == "MatMul" else "adj_x"
            inner = operation.inputs[0].shape.as_list()[-2 if operation.get_attr(name) else -1]
            total += math.prod(operation.outputs[0].shape.as_list()) * inner
        elif operation.type in ("While", "StatelessWhile"):
            body = operation.get_attr("body").name
            total += FRAMES * products(graph._get_function(body).graph)
    return total


def flops_of(function, streams=YOUTUBE_8M) -> float:
    """Operations a video of a traced function of a batch."""
    graph = tf.function(function).get_concrete_function(batch_of(streams)).graph
    return 2 * products(graph) / BATCH


def test_every_architecture_is_counted_here():
    assert set(MODELS) == set(families.architectures())


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("streams", [YOUTUBE_8M, (Stream(name="clip", width=64),)], ids=len)
def test_a_forward_pass_has_the_products_that_its_layers_say(architecture, streams):
    model = built(architecture, streams)
    counted = flops_of(lambda batch: model(batch), streams)
    # A frame's batch norm adds one small product a batch.
    assert model.cost(FRAMES).flops() == pytest.approx(counted, rel=0.001)
    assert counted > 0


@pytest.mark.parametrize("architecture", sorted({*MODELS} - {"logistic"}))
def test_training_has_three_times_the_products_but_for_gradients_by_the_data(architecture):
    model = built(architecture)
    counted = flops_of(lambda batch: loss_and_gradients(model, batch)[3])
    assert model.cost(FRAMES).flops(training=True) == pytest.approx(counted, rel=0.001)


@pytest.mark.parametrize(("architecture", "kernels"), [("lstm", 4), ("gru", 3)])
def test_a_recurrence_reads_its_kernels_once_a_frame(architecture, kernels):
    cost = built(architecture).cost(FRAMES)
    state = 2 * 8 * kernels * 8 + 16 * kernels * 16  # two layers of 8 cells below one of 16
    assert cost.kernel_reads == FRAMES * state and cost.time_steps == 3 * FRAMES
    assert cost.recurrence_bytes() == 4 * FRAMES * state
    assert cost.recurrence_bytes(training=True) == 2 * cost.recurrence_bytes()


def test_weights_are_those_that_are_trained_and_what_follows_from_them():
    model = built("netvlad")
    cost = model.cost(FRAMES)
    assert cost.weights == sum(v.numpy().size for v in model.trainable_variables)
    assert cost.optimiser_bytes() == 28 * cost.weights
    assert cost.optimiser_bytes(averages=1) == 40 * cost.weights
    assert cost.memory(batch=0) == 16 * cost.weights
    assert cost.memory(batch=0, training=False) == 4 * cost.weights
    assert cost.memory(batch=2) - cost.memory(batch=1) == 4 * cost.kept


def test_what_is_kept_is_at_least_the_results_of_all_products_and_grows_with_the_frames():
    cost, longer = (built("fvnet").cost(frames) for frames in (FRAMES, 2 * FRAMES))
    assert cost.kept < longer.kept < 2 * cost.kept
    assert cost.products < longer.products < 2 * cost.products


def test_an_encoder_that_does_not_say_its_cost_is_counted_too_high(monkeypatch):
    model = built("gated_dbof")
    known = model.cost(FRAMES)
    monkeypatch.delattr(type(model.encoder), "cost")
    assert model.cost(FRAMES).products > known.products
    assert model.cost(FRAMES).weights == known.weights


def test_costs_add_up():
    both = Cost(products=2, data_products=1, kept=3) + Cost(products=5, time_steps=4)
    assert both == Cost(products=7, data_products=1, kept=3, time_steps=4)
    assert both.flops() == 14 and both.flops(training=True) == 2 * (3 * 7 - 1)
