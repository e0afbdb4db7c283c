"""How much the loss feels each variable of a model: what decides how many bits it is worth."""

import numpy as np
import tensorflow as tf

from yt8m_lib.data.records import Records
from yt8m_lib.methods.losses import loss_and_gradients
from yt8m_lib.models.video_model import VideoModel

BATCH, VIDEOS = 16, 1200


def squared_gradients(model: VideoModel, videos: Records, seed: int) -> list[float]:
    """The mean squared gradient of the loss on labels, over some training videos.

    Args:
        model: its variables are the same afterwards.
        videos: with labels, and never those that the result is judged on.
        seed: decides which 1,200 of them, in which batches of 16, and what a model draws.

    Returns:
        For each of ``model.variables``, the mean over batches and over the variable's weights; 0
        for those that no gradient reaches, the statistics of batch norms.
    """
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    trainable = [places[id(variable)] for variable in model.trainable_variables]
    statistics = [variable.numpy() for variable in model.non_trainable_variables]
    batches = videos.batches(BATCH, seed=(seed, 0)).take(VIDEOS // BATCH)

    @tf.function(input_signature=[batches.element_spec])
    def squares(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        gradients = loss_and_gradients(model, batch | {"seed": tf.constant([seed, 0])})[-1]
        return [tf.reduce_mean(tf.square(tf.convert_to_tensor(g))) for g in gradients]

    total, count = np.zeros(len(trainable)), 0
    for batch in batches:
        total, count = total + np.array([float(s) for s in squares(batch)]), count + 1
    for variable, values in zip(model.non_trainable_variables, statistics, strict=True):
        variable.assign(values)  # training had moved them
    found = np.zeros(len(model.variables))
    found[trainable] = total / max(count, 1)
    return found.tolist()
