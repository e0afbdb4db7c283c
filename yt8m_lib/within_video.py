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

from yt8m_lib.params import FEATURES

SCENES = 5  # "a few scenes a video"
SHOT_SECONDS = 3.5  # on average; correlation halves from 1 s to 3 s, centring included
SCENE_SHARE, SHOT_SHARE, FRAME_SHARE = 0.24, 0.48, 0.28  # of the variance within a video
LOWEST, HIGHEST = 4 / 512 - 2, 4 / 512 + 2  # dequantised bytes 0 and 255 (sec. 1)
_CORRECTIONS = 2  # of the mean that clipping moves; each takes back most of what is left
_TABLE_ROWS = 4096  # a video takes some fifty of them: fresh draws cost five times as much
VARIANCE = 0.75  # of a feature of mean 0; over all features 0.66
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def seeds_of(ids: tf.Tensor) -> tf.Tensor:
    """A seed for each video from its id: string [B] -> uint64 [B], the same on every machine."""
    return tf.cast(tf.strings.to_hash_bucket_fast(ids, 2**62), tf.uint64)


def frames_around(
    means: tf.Tensor, num_frames: tf.Tensor, seeds: tf.Tensor, length: int
) -> tf.Tensor:
    """Frames that scatter around given means, and keep them.

    Deviations have mean zero over each video's frames. Their variance is ``VARIANCE * (1 - m^2 / 4)``
    for a feature of mean m: values within +-2 of mean m cannot vary more than 4 - m^2. What the
    remaining clipping moves is taken back.

    Args:
        means: float32 [B, F], the videos' means.
        num_frames: int32 [B], frames of each video, from 1 to ``length``.
        seeds: uint64 [B]; the same seed and count give the same frames in any batch.
        length: frames of the result; those beyond ``num_frames`` are padding.

    Returns:
        uint8 [B, length, F]; padding is byte 0.
    """
    valid = tf.sequence_mask(num_frames, length, tf.float32)[:, :, None]  # [B, T, 1]
    count = tf.reduce_sum(valid, axis=1, keepdims=True)  # [B, 1, 1]
    deviation = _deviation(seeds, valid, length)  # [B, T, F]
    means = tf.clip_by_value(means, LOWEST, HIGHEST)[:, None]  # [B, 1, F]
    spread = tf.sqrt(tf.maximum(VARIANCE * (1 - means**2 / 4), 0.0)) * 255 / 4
    centre = (means - LOWEST) * 255 / 4 + 0.5  # so that truncation rounds
    highest = 255.999  # the largest that still truncates to 255
    frames = tf.clip_by_value(centre + spread * deviation, 0.0, highest)
    for _ in range(_CORRECTIONS):
        moved = tf.reduce_sum((frames - centre) * valid, axis=1, keepdims=True) / count
        frames = tf.clip_by_value(frames - moved, 0.0, highest)
    return tf.cast(frames * valid, tf.uint8)


def _deviation(seeds: tf.Tensor, valid: tf.Tensor, length: int) -> tf.Tensor:
    """Deviations of mean 0 and expected variance 1 over each video's frames: float32 [B, T, F]."""
    sizes = [length, length, length, length, SCENES]
    cut, picked, frame, shot, scene = tf.split(_uniforms(seeds, sum(sizes)), sizes, axis=1)
    shots = tf.cumsum(tf.cast(cut < 1 / SHOT_SECONDS, tf.int32), axis=1, exclusive=True)  # [B, T]
    scenes = tf.gather(tf.cast(picked * SCENES, tf.int32), shots, batch_dims=1)  # [B, T]
    deviation = (
        FRAME_SHARE**0.5 * _noise(frame)
        + SHOT_SHARE**0.5 * _noise(tf.gather(shot, shots, batch_dims=1))
        + SCENE_SHARE**0.5 * _noise(tf.gather(scene, scenes, batch_dims=1))
    )
    count = tf.reduce_sum(valid, axis=1)  # [B, 1]
    mean = tf.reduce_sum(deviation * valid, axis=1, keepdims=True) / count[:, None]
    # A part that repeats over frames survives in their mean, so subtracting it takes variance away.
    lost = (
        FRAME_SHARE / count[:, 0]
        + SHOT_SHARE * _repeats(shots, valid)
        + SCENE_SHARE * _repeats(scenes, valid)
    )
    left = tf.maximum(1 - lost, FRAME_SHARE / 4)  # [B]; below that for a single frame only
    return (deviation - mean) / tf.sqrt(left)[:, None, None]


def _repeats(keys: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """How often two valid frames of a video, drawn with replacement, share a key: [B]."""
    same = tf.cast(keys[:, :, None] == keys[:, None, :], tf.float32)  # [B, T, T]
    pairs = tf.reduce_sum(same * valid * tf.transpose(valid, [0, 2, 1]), axis=(1, 2))
    return pairs / tf.reduce_sum(valid, axis=(1, 2)) ** 2


def _noise(uniform: tf.Tensor) -> tf.Tensor:
    """Rows of the noise table, picked by numbers in [0, 1): [B, T] -> float32 [B, T, F]."""
    return tf.gather(_table(), tf.cast(uniform * _TABLE_ROWS, tf.int32))


@functools.cache
def _table() -> tf.Tensor:
    generator = np.random.Generator(np.random.PCG64(_GOLDEN))
    rows = generator.standard_normal((_TABLE_ROWS, FEATURES), dtype=np.float32)
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
