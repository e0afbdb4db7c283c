"""From stored bytes to the frames that every model sees (published system, sec. 1 and 2)."""

from collections.abc import Sequence

import tensorflow as tf

from yt8m_lib.streams import YOUTUBE_8M, Stream

VIDEO = YOUTUBE_8M[0]
SHORTEST = 1e-12  # squared length of a frame; one of zeros alone stays one


def dequantise(frames: tf.Tensor, stream: Stream = VIDEO) -> tf.Tensor:
    """Undo a stream's 8-bit storage: ``x = q * 4/255 + 4/512 - 2`` for YouTube-8M (sec. 1).

    Args:
        frames: uint8 of any shape.
        stream: whose range the bytes stand for.

    Returns:
        float32 of the same shape, for YouTube-8M in [-1.992, 2.008].
    """
    return stream.values_of(tf.cast(frames, tf.float32))


def quantise(values: tf.Tensor, stream: Stream = VIDEO) -> tf.Tensor:
    """The byte whose dequantised value is nearest: what ``dequantise`` gave comes back exactly.

    Args:
        values: float32 of any shape; beyond the stream's range they become its nearer end.
        stream: whose range the bytes stand for.

    Returns:
        uint8 of the same shape.
    """
    codes = tf.round((values - stream.lowest) / stream.step)
    return tf.cast(tf.clip_by_value(codes, 0.0, 255.0), tf.uint8)


def split_streams(frames: tf.Tensor, streams: Sequence[Stream]) -> list[tf.Tensor]:
    """Cut frames [..., F] into the features of each stream, [..., D] each, of the same type."""
    return tf.split(frames, [stream.width for stream in streams], axis=-1)


def as_floats(frames: tf.Tensor, streams: Sequence[Stream]) -> list[tf.Tensor]:
    """The features of each stream as float32 [..., D], as they were before they were stored."""
    # Split while they are bytes: as floats they would be four times as much to copy.
    parts = zip(split_streams(frames, streams), streams, strict=True)
    if frames.dtype == tf.uint8:
        return [dequantise(part, stream) for part, stream in parts]
    return [tf.cast(part, tf.float32) for part, _ in parts]


def dequantised(
    frames: tf.Tensor, num_frames: tf.Tensor, streams: Sequence[Stream] = YOUTUBE_8M
) -> tuple[tf.Tensor, ...]:
    """Dequantise and set padding to 0, and no more, as NeXtVLAD reads frames.

    Args:
        frames: as for ``normalise``.
        num_frames: int [B], valid frames of each video.
        streams: that a frame is made of.

    Returns:
        As ``normalise``, but each frame has the length that it has.
    """
    valid = tf.sequence_mask(num_frames, tf.shape(frames)[1])
    kept = tf.expand_dims(tf.cast(valid, tf.float32), 2)  # [B, T, 1]
    return *(stream * kept for stream in as_floats(frames, streams)), valid


def normalise(
    frames: tf.Tensor, num_frames: tf.Tensor, streams: Sequence[Stream] = YOUTUBE_8M
) -> tuple[tf.Tensor, ...]:
    """Dequantise, L2-normalise each frame over all streams jointly, set padding to 0.

    Args:
        frames: uint8 [B, T, 1152] for YouTube-8M, or as ``streams.frames_type`` has it; what lies
            beyond a video's last frame does not matter, as long as it is a number.
        num_frames: int [B], valid frames of each video.
        streams: that a frame is made of.

    Returns:
        The features of each stream, float32 [B, T, D], with exact zeros in padding frames; and last
        which frames are valid, bool [B, T].
    """
    valid = tf.sequence_mask(num_frames, tf.shape(frames)[1])
    parts = as_floats(frames, streams)
    squared_norm = sum(tf.reduce_sum(tf.square(part), axis=2, keepdims=True) for part in parts)
    # One factor a frame does both jobs: it scales to length 1, or to 0.
    factor = tf.math.rsqrt(tf.maximum(squared_norm, SHORTEST)) * tf.expand_dims(
        tf.cast(valid, tf.float32), 2
    )  # [B, T, 1]
    return *(part * factor for part in parts), valid


def sample_frames(
    frames: tf.Tensor, num_frames: tf.Tensor, count: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw valid frames uniformly with replacement, as in training (sec. 2).

    Args:
        frames: [B, T, F] of any type.
        num_frames: int [B]; a video of 0 frames counts as one of a padding frame.
        count: frames to draw.
        seed: int [2]; the same seed draws the same frames.

    Returns:
        [B, count, F] and num_frames, int32 [B], each ``count``.
    """
    drawn = _draw(num_frames, count, seed)  # [B, count]
    return tf.gather(frames, drawn, batch_dims=1), tf.fill([tf.shape(frames)[0]], count)


def fill_frames(
    frames: tf.Tensor, num_frames: tf.Tensor, count: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keep the valid frames in order and fill up with random ones of them: "sample all" (sec. 2).

    Args:
        frames: [B, T, F] of any type.
        num_frames: int [B]; frames after the first ``count`` are dropped.
        count: frames in the answer.
        seed: int [2]; the same seed fills with the same frames.

    Returns:
        [B, count, F] and num_frames, int32 [B], each ``count``.
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
