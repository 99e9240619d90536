"""Messages that are still worded for the shell, reworded for Python."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from ..errors import InputError


@contextlib.contextmanager
def arguments_not_flags() -> Iterator[None]:
    """Inside, error messages name arguments (``columns=``) instead of the shell's flags (``--columns``)."""
    try:
        yield
    except InputError as error:
        if "--" not in error.sentence:
            raise
        raise InputError(as_arguments(error.sentence), error.argument, error.value) from None


def as_arguments(said: str) -> str:
    """A message worded for the shell, reworded for Python."""
    said = said.replace("--drop-missing", "drop_missing=True")
    return re.sub(r"--([a-z][a-z-]*)( (?=[^\s:=]+(=[^:]*)?:))?", lambda flag: f"{flag[1].replace('-', '_')}=", said)
