"""The one error of tables: the user's input is wrong, and one sentence says where and how to fix it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """Wrong input: the message is one sentence that names the file, the column, the row (1-based) and the fix."""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names for a sentence: ``a, b, c``, cut after ``limit`` with a count of the rest."""
    names = list(names)
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


@contextlib.contextmanager
def arguments_not_flags() -> Iterator[None]:
    """Inside, error messages name arguments (``columns=``) instead of the shell's flags (``--columns``)."""
    try:
        yield
    except InputError as error:
        raise InputError(as_arguments(str(error))) from None


def as_arguments(said: str) -> str:
    """A message worded for the shell, reworded for Python."""
    said = said.replace("--drop-missing", "drop_missing=True")
    return re.sub(r"--([a-z][a-z-]*)( (?=[^\s:=]+(=[^:]*)?:))?", lambda flag: f"{flag[1].replace('-', '_')}=", said)
