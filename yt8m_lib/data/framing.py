"""TFRecord files read strictly, and what a file is that is none.

A TFRecord is a record's length (8 bytes), the length's CRC (4), the record and its CRC (4), one
after the other to the end of the file.
"""

import os
import struct
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError

from yt8m_lib.data.listing import DataError, open_file, size_of
from yt8m_lib.files import is_remote

AROUND = 16  # bytes around each record
_PACKED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip", b"x\x01": "zlib", b"x\x9c": "zlib", b"x\xda": "zlib",
}  # fmt: skip
_LARGEST = 2**26  # bytes of a file that may be one bare record


class FramingError(DataError):
    """A file is no whole TFRecord file; the message says why, and leaves the file to the caller."""


def records_of(file: str) -> Iterator[bytes]:
    """The serialised records of a shard; checksums are checked, and the file must end with one.

    Raises:
        FramingError: when the file is damaged, cut, not there, or of another format.
    """
    count = used = 0
    try:
        before_overrun = overrun(file)
        for record in tf.data.TFRecordDataset(file).take(before_overrun).as_numpy_iterator():
            yield record
            count += 1
            used += AROUND + len(record)
        # TensorFlow takes a header that is cut for the end.
        left = size_of(file) - used
    except (tf.errors.DataLossError, tf.errors.FailedPreconditionError) as error:
        what = "" if count else _look(file)
        raise FramingError(what or _damage(count, type(error).__name__)) from None
    except (tf.errors.OpError, OSError) as error:
        raise FramingError(f"cannot be read ({type(error).__name__})") from None
    if left:
        what = "" if count else _look(file)
        why = "a record longer than the rest of the shard" if left >= AROUND else "cut off"
        raise FramingError(what or _damage(count, f"{why}: {left} bytes are left"))


def overrun(file: str) -> int:
    """How many records come before one that is longer than the rest of a shard; -1 for none.

    TensorFlow believes the length of a record where the length's CRC is right, and the program dies
    when there is no memory for it. On an object store each look would be a request: there, -1.
    """
    if is_remote(file) or not os.path.isfile(file):
        return -1
    count, at, size = 0, 0, size_of(file)
    with open(file, "rb") as stream:
        while at + 8 <= size:
            stream.seek(at)
            at += AROUND + struct.unpack("<Q", stream.read(8))[0]
            if at > size:
                return count
            count += 1
    return -1


def _damage(count: int, why: str) -> str:
    return f"damaged after {count} videos ({why})"


def _look(file: str) -> str:
    """What a file is from which not a single record can be read; "" where it may be a shard."""
    if tf.io.gfile.isdir(file):
        return "a folder: give the shards in it"
    with open_file(file) as stream:
        start = stream.read(512)
        whole = start + stream.read() if size_of(file) < _LARGEST else b""
    for magic, name in _PACKED.items():
        if start.startswith(magic):
            return f"compressed ({name}): decompress it"
    if whole and _is_record(whole):
        return (
            "a bare record without the framing of a TFRecord file: use tf.io.TFRecordWriter, or "
            "`yt8m pack`"
        )
    if start.lstrip()[:1] in (b"{", b"["):
        return (
            f"no TFRecord file but JSON, which begins with {start[:40].decode(errors='replace')!r}"
        )
    lines = start.split(b"\n")[:-1]
    if lines and all(len(ws := x.split()) == 2 and all(w.isdigit() for w in ws) for x in lines):
        return "an index of a TFRecord file (offsets and lengths): give the shard that it is of"
    if start.isascii() and start.decode().replace("\n", "").replace("\r", "").isprintable():
        return f"no TFRecord file but text, which begins with {start[:40].decode()!r}"
    return ""


def _is_record(data: bytes) -> bool:
    try:
        record = tf.train.SequenceExample.FromString(data)
    except DecodeError:
        return False
    return bool(record.context.feature or record.feature_lists.feature_list)
