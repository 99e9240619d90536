"""The one error of tables: the user's input is wrong, and one sentence says where and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input: the message is one sentence that names the file, the column, the row (1-based) and the mend."""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names for a sentence: ``a, b, c``, cut after ``limit`` with a count of the rest."""
    names = list(names)
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
