"""Values as typed in a shell: durations, lists of names, assignments. Errors name the flag that was at fault."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError


def thread_count(text: str) -> int | str:
    """A number of threads, or ``auto``.

    Raises:
        InputError: it is neither.
    """
    if text == "auto" or (text.isascii() and text.isdigit() and int(text) >= 1):
        return text if text == "auto" else int(text)
    raise InputError("expected auto, or a number of at least 1", "threads", text)


def names(option: str, text: str | None) -> list[str]:
    """Comma-separated names.

    Raises:
        InputError: one of them is empty.
    """
    if text is None:
        return []
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise InputError("expected column names with commas between them", option, text)
    return found


def widths(text: str | None) -> list[int] | None:
    """Widths of hidden layers, as in 128,128.

    Raises:
        InputError: one of them is not a positive number.
    """
    if text is None:
        return None
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise InputError("expected positive whole numbers with commas between them, as in 128,128", "hidden", text)
    return found


def height_and_width(option: str, text: str) -> tuple[int, int]:
    """The size of an image: one side, or height,width.

    Raises:
        InputError: the text is neither.
    """
    sides = text.replace("x", ",").split(",")
    if not (1 <= len(sides) <= 2 and all(side.strip().isdecimal() and int(side) for side in sides)):
        raise InputError("expected a side in pixels, or height,width, as in 28 or 28,32", option, text)
    return int(sides[0]), int(sides[-1])


def assignments(option: str, texts: Sequence[str]) -> dict[str, str]:
    """COLUMN=VALUE pairs; one text may hold several, separated by commas.

    Raises:
        InputError: a text is not an assignment, or a column is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        parts = text.split(",")
        for part in parts if all("=" in part for part in parts) else [text]:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not (equals and name and value):
                raise InputError("expected COLUMN=VALUE", option, text)
            if name in found:
                raise InputError(f"{name!r} is given twice", option, text)
            found[name] = value
    return found


def periods(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The COLUMN=LOW,HIGH of each text.

    Raises:
        InputError: a text has another form, or LOW is not below HIGH.
    """
    found = {}
    for text in texts:
        name, low, high = _interval(text)
        if not (name and low < high < math.inf):
            raise InputError("expected COLUMN=LOW,HIGH with LOW below HIGH, as in hour=0,24", "circular", text)
        found[name] = (low, high)
    return found


def bounds(texts: Sequence[str]) -> dict[str, tuple[float, float | None]]:
    """The COLUMN=LOW,HIGH of each text; COLUMN=LOW, has no upper end.

    Raises:
        InputError: a text has another form, or LOW is not below HIGH.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for text in texts:
        name, low, high = _interval(text)
        if not (name and low < high):
            raise InputError("expected COLUMN=LOW,HIGH with LOW below HIGH, or COLUMN=LOW,", "bounds", text)
        found[name] = (low, high if math.isfinite(high) else None)
    return found


def _interval(text: str) -> tuple[str, float, float]:
    """The parts of COLUMN=LOW,HIGH: an empty end is infinite; both are NaN without two ends, or if LOW is missing."""
    name, _, ends = text.partition("=")
    try:
        low, high = (float(end) if end.strip() else math.inf for end in ends.split(","))
    except ValueError:
        low = math.inf
    return (name.strip(), low, high) if math.isfinite(low) else (name.strip(), math.nan, math.nan)
