"""Errors that are meant for the user, and the words that end them."""

import difflib
import errno
import os
import sqlite3
from collections.abc import Iterable

# What the surroundings refuse, whatever the program does: rights, room on the disk, odd paths.
OUTSIDE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ESTALE),
}
OF_DATABASE = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
}


class UserError(Exception):
    """Something outside the program is wrong; the message says what, where, and what to do.

    The command line prints the message alone. Every other exception is a fault of the program and
    keeps its traceback.
    """


def outside_cause(error: BaseException) -> str | None:
    """What the surroundings refused, where that is what an error comes from, else None.

    Libraries wrap such refusals: SQLAlchemy and MLflow those of the database, TensorFlow those of
    the disk.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in OUTSIDE:
            return os.strerror(cause.errno)
        if isinstance(cause, sqlite3.Error):
            return str(cause) if cause.sqlite_errorcode & 0xFF in OF_DATABASE else None
        if type(cause).__module__.startswith("tensorflow"):
            found = [os.strerror(number) for number in OUTSIDE]
            return next((words for words in found if words in str(cause)), None)
        cause = cause.__cause__
    return None


def nearest(name: str, valid: Iterable[object]) -> str:
    """The end of an error message: the nearest valid name, or all of them."""
    names = [str(v) for v in valid]
    match = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; valid: {', '.join(sorted(names))}"
