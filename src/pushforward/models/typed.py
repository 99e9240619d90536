"""Types of options, each with the way in which its values are typed in a shell: names, widths, intervals, times.

A type is what Python code reads; its :class:`cyclopts.Parameter` tells the shell how to make one from text. A text that
cannot be read is a ValueError that says what was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token, convert

from ..training.options import duration

SQL = re.compile(r"""[<>"]|'.*'|\s(BETWEEN|AND|OR|NOT|IN|LIKE|IS)\s""", re.IGNORECASE)  # not in COLUMN=VALUE


def names(*texts: str) -> tuple[str, ...]:
    """Names with commas between them."""
    found = tuple(name.strip() for text in texts for name in text.split(","))
    if not all(found):
        raise ValueError("expected column names with commas between them")
    return found


def widths(text: str) -> tuple[int, ...]:
    """Widths of hidden layers, as in 128,128."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ValueError("expected positive whole numbers with commas between them, as in 128,128")
    return tuple(map(int, parts))


def height_and_width(text: str) -> tuple[int, int]:
    """The size of an image: one side, or height,width."""
    sides = text.replace("x", ",").split(",")
    if not (1 <= len(sides) <= 2 and all(side.strip().isdecimal() and int(side) for side in sides)):
        raise ValueError("expected a side in pixels, or height,width, as in 28 or 28,32")
    return int(sides[0]), int(sides[-1])


def assignments(*texts: str) -> dict[str, str]:
    """COLUMN=VALUE pairs; one text may hold several, separated by commas."""
    found: dict[str, str] = {}
    for text in texts:
        parts = text.split(",")
        for part in parts if all("=" in part for part in parts) else [text]:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not (equals and name and value):
                raise ValueError("expected COLUMN=VALUE")
            if name in found:
                raise ValueError(f"{name!r} is given twice")
            found[name] = value
    return found


@dataclass(frozen=True)
class Givens:
    """What is known of rows: values of columns as text, and conditions in SQL, all of them together."""

    values: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None

    @classmethod
    def of(cls, *texts: str) -> Givens:
        """Each text is COLUMN=VALUE, or a condition in SQL: one that compares, or has quotes or a word of SQL."""
        conditions = [text for text in texts if SQL.search(text)]
        values = assignments(*(text for text in texts if text not in conditions))
        return cls(values, " AND ".join(f"({text})" if len(conditions) > 1 else text for text in conditions) or None)


def periods(*texts: str) -> dict[str, tuple[float, float]]:
    """The COLUMN=LOW,HIGH of each text."""
    found = [_interval(text) for text in texts]
    if not all(name and low < high < math.inf for name, (low, high) in found):
        raise ValueError("expected COLUMN=LOW,HIGH with LOW below HIGH, as in hour=0,24")
    return dict(found)


def bounds(*texts: str) -> dict[str, tuple[float, float | None]]:
    """The COLUMN=LOW,HIGH of each text; COLUMN=LOW, has no upper end."""
    found = [_interval(text) for text in texts]
    if not all(name and low < high for name, (low, high) in found):
        raise ValueError("expected COLUMN=LOW,HIGH with LOW below HIGH, or COLUMN=LOW,")
    return {name: (low, high if math.isfinite(high) else None) for name, (low, high) in found}


def chains(*texts: str) -> tuple[tuple[str, str], ...]:
    """Pairs of neighbours in each LOW,HIGH or longer chain of columns."""
    found = [names(text) for text in texts]
    if any(len(chain) < 2 for chain in found):
        raise ValueError("expected LOW,HIGH, as in start,end")
    return tuple(pair for chain in found for pair in pairwise(chain))


def limits(*texts: str) -> dict[str, tuple[str, str]]:
    """The COLUMN=LOW,HIGH of each text, all of them names."""
    found = {}
    for text in texts:
        name, _, ends = text.partition("=")
        columns = names(ends)
        if not name.strip() or len(columns) != 2:
            raise ValueError("expected COLUMN=LOW,HIGH, as in lead=lead_low,lead_high")
        found[name.strip()] = (columns[0], columns[1])
    return found


def _interval(text: str) -> tuple[str, tuple[float, float]]:
    """The parts of COLUMN=LOW,HIGH: an empty end is infinite; both are NaN without two ends, or if LOW is missing."""
    name, _, ends = text.partition("=")
    try:
        low, high = (float(end) if end.strip() else math.inf for end in ends.split(","))
    except ValueError:
        low = math.inf
    return name.strip(), (low, high) if math.isfinite(low) else (math.nan, math.nan)


def _whole(number: type, words: Sequence[Token]) -> Any:
    """A whole number; 1.5, which would be rounded, is none."""
    if "." in (text := words[0].value) and not float(text).is_integer():
        raise ValueError("expected a whole number")
    return convert(number, words)


def _read_by(read: Callable[..., Any], metavar: str, *, repeated: bool = False) -> Parameter:
    """How the shell reads an option: from a word, or from one for each time that it is given."""
    return Parameter(
        converter=lambda _, words: read(*(word.value for word in words)),
        accepts_keys=False,
        metavar=metavar,
        n_tokens=-1 if repeated else 1,
        negative="",
        show_default=False,
    )


Whole = Annotated[int, Parameter(converter=_whole)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Names = Annotated[Sequence[str], _read_by(names, "NAME,NAME", repeated=True)]
Widths = Annotated[Sequence[int] | None, _read_by(widths, "N,N")]
Size = Annotated[tuple[int, int] | None, _read_by(height_and_width, "HEIGHT,WIDTH")]
Seconds = Annotated[float | None, _read_by(lambda text: duration(text, "time"), "TIME")]
Bounds = Annotated[Mapping[str, tuple[float, float | None]], _read_by(bounds, "NAME=LOW,HIGH", repeated=True)]
Limits = Annotated[Mapping[str, tuple[str, str]], _read_by(limits, "NAME=LOW,HIGH", repeated=True)]
Orders = Annotated[Sequence[tuple[str, str]], _read_by(chains, "LOW,HIGH", repeated=True)]
Periods = Annotated[Mapping[str, tuple[float, float]], _read_by(periods, "NAME=LOW,HIGH", repeated=True)]
Given = Annotated[Givens, _read_by(Givens.of, "NAME=VALUE|CONDITION", repeated=True)]
Assignments = Annotated[Mapping[str, str], _read_by(assignments, "NAME=VALUE", repeated=True)]
Unasked = Annotated[Path | None, Parameter(parse=False)]
