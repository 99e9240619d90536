"""The one error of a user's input, written once in Python's words; each door spells the arguments as its users do."""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

Spelling = Callable[[str, Any], str]
CODE = re.compile(r"`([a-z_]+)=([^`]*)`")  # an argument inside a sentence
IN_SHELL = {  # those that are not called --name there
    "blocks": "--support",
    "model": "--flow",
    "more": "--resume --budget",
    "n": "-n",
    "output": "-o",
    "random_state": "--seed",
    "column": "COLUMN",
    "where": "WHERE",
}


class InputError(ValueError):
    """Input that cannot be used: one sentence that says what is wrong, where, and how to mend it.

    It is written for people who call it from Python, with the arguments that it advises in backticks, by name and an
    equals sign, with a value or without, as in the example. ``str(error)`` is theirs; :meth:`spelled` serves the
    users of the shell and of the server.

    Args:
        sentence: What was expected, what came, and the mend; of a table also the file, the column and the row (from 1).
        argument: The argument that is wrong; None if the data are.
        value: What was passed as this argument, if the sentence shall begin with it.

    Example:
        >>> error = InputError("expected at least 1; or leave it out with `drop_missing=True`", "n_draws", 0)
        >>> print(error)
        n_draws=0: expected at least 1; or leave it out with `drop_missing=True`
        >>> print(error.spelled(in_shell))
        --n-draws 0: expected at least 1; or leave it out with --drop-missing
        >>> print(error.spelled(in_request))
        "n_draws" 0: expected at least 1; or leave it out with "drop_missing" true
    """

    def __init__(self, sentence: str, argument: str | None = None, value: Any = None) -> None:
        super().__init__(sentence, argument, value)
        self.sentence, self.argument, self.value = sentence, argument, value

    def __str__(self) -> str:
        if self.argument is None:
            return self.sentence
        return f"{self.argument if self.value is None else in_python(self.argument, self.value)}: {self.sentence}"

    def spelled(self, spelling: Spelling) -> str:
        """The whole message with every argument spelled as the users of a door write it."""
        sentence = spelled(self.sentence, spelling)
        return sentence if self.argument is None else f"{spelling(self.argument, self.value)}: {sentence}"


class ColumnError(InputError):
    """Columns that a table lacks, or that hold another type, whatever its rows are."""


class NotFitted(InputError, AttributeError):
    """A question to a model that is not fitted yet."""


def spelled(sentence: str, spelling: Spelling) -> str:
    """A sentence with the arguments that stand in it as code spelled as the users of a door write them."""
    return CODE.sub(lambda code: spelling(code[1], _value(code[2])), sentence)


def in_python(name: str, value: Any = None) -> str:
    """An argument as written in Python: ``columns=``, ``bits=9``."""
    return f"{name}={'' if value is None else repr(value)}"


def in_shell(name: str, value: Any = None) -> str:
    """An argument as typed in a shell: ``--columns``, ``--bits 9``, ``--drop-missing``, ``--given cut=Ideal``."""
    option = IN_SHELL.get(name, f"--{name}".replace("_", "-"))
    if value is False:
        return option.replace("--", "--no-")
    return option if value is None or value is True else f"{option} {_word(value)}"


def in_request(name: str, value: Any = None) -> str:
    """An argument as a field of a request: ``"columns"``, ``"n" 0``."""
    return f'"{name}"{"" if value is None else f" {json.dumps(value, default=str)}"}'


def refuse(why: str, options: Mapping[str, Any]) -> None:
    """Refuses options that are set where they do not apply."""
    for name, value in options.items():
        if not (value is None or (isinstance(value, Integral | float | list | tuple) and not value)):
            raise InputError(why, name)


def at_least_one(**sizes: Any) -> None:
    """Refuses sizes, or sequences of them, that are below 1."""
    for name, size in sizes.items():
        if min(size, default=1) < 1 if isinstance(size, Sequence) else size < 1:
            raise ValueError(f"{name} must be at least 1, got {name}={size}")


def positive_integers(**sizes: Any) -> None:
    """Refuses sizes that are no integers of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise InputError("expected a whole number, at least 1", name, size)


def refuse_beyond_memory(bytes: float, argument: str, value: Any) -> None:
    """Refuses what needs more memory than there is."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if bytes > there:
        takes = f"takes {bytes / 2**30:,.0f} GiB of memory at least, and this machine has {there / 2**30:,.0f}"
        raise InputError(takes, argument, value)


def refuse_large_flow(weights: int, hidden: Sequence[int]) -> None:
    """Refuses a flow whose training needs more: every weight, its gradient and Adam's two moments, in float32."""
    refuse_beyond_memory(16.0 * weights, "hidden", hidden)


def positive(**numbers: float) -> None:
    """Refuses numbers that are not above 0."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, got {name}={number}")


def one_of(known: Collection[Any], **choices: Any) -> None:
    """Refuses choices that are not among those known."""
    for name, choice in choices.items():
        if choice not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {name}={choice!r}")


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names for a sentence: ``a, b, c``, cut after ``limit`` with a count of the rest."""
    names = list(names)
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def counted(n: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _value(code: str) -> Any:
    """The value that an argument has in a sentence, None if there is none; what is no literal stands as it is."""
    try:
        return ast.literal_eval(code) if code else None
    except (SyntaxError, ValueError):
        return code


def _word(value: Any) -> str:
    """A value as one word of a command: ``a,b`` for several, ``name=value`` for a mapping."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_word(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(_word, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
