"""How a video's frames scatter around their mean: one process for stand-in and expanded videos.

A frame's deviation from its video's mean is the sum of three parts, each a row of one table of
Gaussian noise: the *scene* (a few a video; shots return to them), the *shot* (a run of frames that
share it) and the *frame* itself. Their shares are set so that the measured facts of two real clips
come out ("Frames", sec. 12 of the published system): lag-1 s correlation 0.45-0.53, 0.2-0.3 after
3 s, none after 10 s; first five within-video components 27-35 %; variance 0.63-0.77.
"""

import functools

import numpy as np
import tensorflow as tf

SCENES = 5  # "a few scenes a video"
SHOT_SECONDS = 3.5  # on average; correlation halves from 1 s to 3 s, centring included
# Variances where each frame's own is 1: they hold 24 and 48 %, and frames 28 %.
SCENE_VARIANCE, SHOT_VARIANCE = 0.86, 1.71
VARIANCE = 0.73  # of a feature of mean 0; over all features 0.65
LOWEST, HIGHEST = 4 / 512 - 2, 4 / 512 + 2  # dequantised bytes 0 and 255 (sec. 1)
_CORRECTIONS = 2  # of the mean that clipping moves; each takes back most of what is left
_TOP = 255.999  # the largest that still truncates to byte 255
_TABLE_ROWS = 4096  # a video takes some fifty of them: fresh draws cost five times as much
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def seeds_of(ids: tf.Tensor) -> tf.Tensor:
    """A seed for each video from its id: string [B] -> uint64 [B], the same on every machine."""
    return tf.cast(tf.strings.to_hash_bucket_fast(ids, 2**62), tf.uint64)


def frames_around(
    means: tf.Tensor, num_frames: tf.Tensor, seeds: tf.Tensor, length: int
) -> tf.Tensor:
    """Make frames that scatter around given means; each video's frames average to its mean.

    A feature of mean m varies by ``VARIANCE * (1 - m^2 / 4)``: values within +-2 cannot vary by
    more than 4 - m^2 about m. What the remaining clipping moves the mean by is taken back.

    Args:
        means: float32 [B, F], the videos' means.
        num_frames: int32 [B], frames of each video, from 1 to ``length``.
        seeds: uint64 [B]; the same seed and count give the same frames in any batch.
        length: frames of the result; those beyond ``num_frames`` are padding.

    Returns:
        uint8 [B, length, F]; padding is byte 0.
    """
    valid = tf.sequence_mask(num_frames, length)  # [B, T]
    weight = tf.cast(valid, tf.float32) / tf.cast(num_frames, tf.float32)[:, None]  # sums to 1
    means = tf.clip_by_value(means, LOWEST, HIGHEST)[:, None]  # [B, 1, F]
    centre = (means - LOWEST) * 255 / 4 + 0.5  # in bytes; + 0.5, so that truncation rounds
    spread = tf.sqrt(tf.maximum(VARIANCE * (1 - means**2 / 4), 0.0)) * 255 / 4
    deviation, variance = _deviation(seeds, weight, length, means.shape[-1])
    spread /= tf.sqrt(variance)[:, None, None]
    # From here on passes over [B, T, F] are what costs: the mean is subtracted within the sum.
    frames = spread * deviation + (centre - spread * _mean(deviation, weight))
    for _ in range(_CORRECTIONS):
        frames = tf.clip_by_value(frames, 0.0, _TOP)
        frames += centre - _mean(frames, weight)
    frames = tf.cast(tf.clip_by_value(frames, 0.0, _TOP), tf.uint8)
    return frames * tf.cast(valid, tf.uint8)[:, :, None]


def _deviation(
    seeds: tf.Tensor, weight: tf.Tensor, length: int, features: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Deviations float32 [B, T, F], and their expected variance about each video's mean [B]."""
    sizes = [length, length, length, length, SCENES]
    cut, picked, frame, shot, scene = tf.split(_uniforms(seeds, sum(sizes)), sizes, axis=1)
    shots = tf.cumsum(tf.cast(cut < 1 / SHOT_SECONDS, tf.int32), axis=1, exclusive=True)  # [B, T]
    scenes = tf.gather(tf.cast(picked * SCENES, tf.int32), shots, batch_dims=1)  # [B, T]
    deviation = (
        _noise(frame, features)
        + SHOT_VARIANCE**0.5 * _noise(tf.gather(shot, shots, batch_dims=1), features)
        + SCENE_VARIANCE**0.5 * _noise(tf.gather(scene, scenes, batch_dims=1), features)
    )
    # A part that repeats over frames survives in their mean, and is no variance about it.
    variance = (
        (1 - tf.reduce_sum(weight**2, axis=1))
        + SHOT_VARIANCE * (1 - _repeats(shots, weight))
        + SCENE_VARIANCE * (1 - _repeats(scenes, weight))
    )
    return deviation, tf.maximum(variance, 0.1)  # 0.1: a single frame has none


def _mean(frames: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mean of the valid frames as a product, which needs no masked copy: [B, 1, F]."""
    return tf.matmul(weight[:, None], frames)


def _repeats(keys: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """How often two valid frames of a video, drawn with replacement, share a key: [B]."""
    same = tf.cast(keys[:, :, None] == keys[:, None, :], tf.float32)  # [B, T, T]
    return tf.reduce_sum(_mean(same, weight)[:, 0] * weight, axis=1)


def _noise(uniform: tf.Tensor, features: int) -> tf.Tensor:
    """Rows of the noise table, picked by numbers in [0, 1): [B, T] -> float32 [B, T, F]."""
    return tf.gather(_table(features), tf.cast(uniform * _TABLE_ROWS, tf.int32))


@functools.cache
def _table(features: int) -> tf.Tensor:
    generator = np.random.Generator(np.random.PCG64(_GOLDEN))
    rows = generator.standard_normal((_TABLE_ROWS, features), dtype=np.float32)
    with tf.init_scope(), tf.device("/cpu:0"):  # input pipelines run on the CPU
        return tf.constant(rows)


def _uniforms(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """``count`` numbers in [0, 1) for each seed by SplitMix64: uint64 [B] -> float32 [B, count].

    TensorFlow's stateless generators take one seed a call; this takes one a video.
    """
    steps = tf.cast(tf.range(1, count + 1), tf.uint64)
    state = seeds[:, None] + tf.constant(_GOLDEN, tf.uint64) * steps  # [B, count]
    state = _mix(state, 30) * tf.constant(_MIX1, tf.uint64)
    state = _mix(state, 27) * tf.constant(_MIX2, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(_mix(state, 31), _bits(40)), tf.float32) / 2**24


def _mix(state: tf.Tensor, shift: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, _bits(shift)))


def _bits(shift: int) -> tf.Tensor:
    return tf.constant(shift, tf.uint64)
