"""Errors that are meant for the user, and the words that end them."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something outside the program is wrong; the message says what, where, and what to do.

    The command line prints the message alone. Every other exception is a fault of the program and
    keeps its traceback.
    """


def nearest(name: str, valid: Iterable[object]) -> str:
    """The end of an error message: the nearest valid name, or all of them."""
    names = [str(v) for v in valid]
    match = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; valid: {', '.join(sorted(names))}"
