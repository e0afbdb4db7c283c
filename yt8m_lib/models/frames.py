"""From stored bytes to the frames that every model sees (published system, sec. 1 and 2)."""

import tensorflow as tf

from yt8m_lib.settings import RGB

STEP, LOWEST = 4.0 / 255.0, 4.0 / 512.0 - 2.0


def dequantise(frames: tf.Tensor) -> tf.Tensor:
    """Undo the data set's 8-bit storage: ``x = q * 4/255 + 4/512 - 2`` (sec. 1).

    Args:
        frames: uint8 of any shape.

    Returns:
        float32 of the same shape, in [-1.992, 2.008].
    """
    return tf.cast(frames, tf.float32) * STEP + LOWEST


def quantise(values: tf.Tensor) -> tf.Tensor:
    """The byte whose dequantised value is nearest: what ``dequantise`` gave comes back exactly.

    Args:
        values: float32 of any shape; beyond [-1.992, 2.008] they become the nearest of these two.

    Returns:
        uint8 of the same shape.
    """
    codes = tf.round((values - LOWEST) / STEP)
    return tf.cast(tf.clip_by_value(codes, 0.0, 255.0), tf.uint8)


def dequantised(frames: tf.Tensor, num_frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Dequantise and set padding to 0, and no more, as NeXtVLAD reads frames.

    Args:
        frames: uint8 [B, T, 1152]; what lies beyond a video's last frame does not matter.
        num_frames: int [B], valid frames of each video.

    Returns:
        As ``normalise``, but each frame has the length that it has.
    """
    valid = tf.sequence_mask(num_frames, tf.shape(frames)[1])
    kept = tf.expand_dims(tf.cast(valid, tf.float32), 2)  # [B, T, 1]
    return dequantise(frames[:, :, :RGB]) * kept, dequantise(frames[:, :, RGB:]) * kept, valid


def normalise(frames: tf.Tensor, num_frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Dequantise, L2-normalise each frame over rgb and audio jointly, set padding to 0.

    Args:
        frames: uint8 [B, T, 1152]; what lies beyond a video's last frame does not matter.
        num_frames: int [B], valid frames of each video.

    Returns:
        The video stream, float32 [B, T, 1024], and the audio stream, [B, T, 128], with exact zeros
        in padding frames; and which frames are valid, bool [B, T].
    """
    valid = tf.sequence_mask(num_frames, tf.shape(frames)[1])
    # Split while they are bytes: as floats they would be four times as much to copy.
    video, audio = dequantise(frames[:, :, :RGB]), dequantise(frames[:, :, RGB:])
    squared_norm = sum(tf.reduce_sum(tf.square(s), axis=2, keepdims=True) for s in (video, audio))
    # One factor a frame does both jobs: it scales to length 1, or to 0.
    factor = tf.math.rsqrt(squared_norm) * tf.expand_dims(
        tf.cast(valid, tf.float32), 2
    )  # [B, T, 1]
    return video * factor, audio * factor, valid


def sample_frames(
    frames: tf.Tensor, num_frames: tf.Tensor, count: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw valid frames uniformly with replacement, as in training (sec. 2).

    Args:
        frames: uint8 [B, T, F].
        num_frames: int [B]; a video of 0 frames counts as one of a padding frame.
        count: frames to draw.
        seed: int [2]; the same seed draws the same frames.

    Returns:
        uint8 [B, count, F] and num_frames, int32 [B], each ``count``.
    """
    drawn = _draw(num_frames, count, seed)  # [B, count]
    return tf.gather(frames, drawn, batch_dims=1), tf.fill([tf.shape(frames)[0]], count)


def fill_frames(
    frames: tf.Tensor, num_frames: tf.Tensor, count: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keep the valid frames in order and fill up with random ones of them: "sample all" (sec. 2).

    Args:
        frames: uint8 [B, T, F].
        num_frames: int [B]; frames after the first ``count`` are dropped.
        count: frames in the answer.
        seed: int [2]; the same seed fills with the same frames.

    Returns:
        uint8 [B, count, F] and num_frames, int32 [B], each ``count``.
    """
    slots = tf.range(count)[tf.newaxis, :]  # [1, count]
    valid = slots < tf.cast(num_frames, tf.int32)[:, tf.newaxis]
    chosen = tf.where(valid, slots, _draw(num_frames, count, seed))  # [B, count]
    return tf.gather(frames, chosen, batch_dims=1), tf.fill([tf.shape(frames)[0]], count)


def _draw(num_frames: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Frame numbers, int32 [B, count], uniform over each video's valid frames."""
    last = tf.maximum(tf.cast(num_frames, tf.int32), 1)[:, tf.newaxis] - 1  # [B, 1]
    share = tf.random.stateless_uniform([tf.shape(num_frames)[0], count], seed)
    # Rounding can lift share * n to n itself: the minimum keeps it a frame number.
    return tf.minimum(tf.cast(share * tf.cast(last + 1, tf.float32), tf.int32), last)
