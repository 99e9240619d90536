"""What a command prints: plain lines for people, one JSON object for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import Spelling, in_python, spelled
from ..saving.bundle import jsonable


class Console:
    """Prints lines for people, or keeps quiet and prints one JSON object at the end.

    Args:
        as_json: Print the command's result as JSON, and nothing else, on standard output.
        quiet: Print nothing but errors.
        aside: Print lines on standard error, because the output itself goes to standard output.
        spelling: How whoever reads the lines writes the arguments that they speak of.

    Attributes:
        talks: Whether lines for people are printed.
        notes: What the user should know, in Python's words.
    """

    def __init__(
        self, as_json: bool = False, quiet: bool = False, aside: bool = False, spelling: Spelling = in_python
    ) -> None:
        first = os.environ.get("RANK", "0") == "0"  # under torchrun, only one process prints
        self.as_json, self.talks = as_json and first, first and not (as_json or quiet)
        self.aside, self.spelling = aside, spelling
        self.notes: list[str] = []

    def say(self, *lines: str) -> None:
        for line in lines if self.talks else ():
            print(spelled(line, self.spelling), file=sys.stderr if self.aside else sys.stdout, flush=True)

    def note(self, *lines: str) -> None:
        """What the user should know; it is also part of the JSON."""
        self.notes += lines
        for line in lines if self.talks else ():
            print(f"note: {spelled(line, self.spelling)}", file=sys.stderr, flush=True)

    def result(self, values: dict[str, Any]) -> None:
        if self.as_json:
            notes = [spelled(note, self.spelling) for note in self.notes]
            said = {name: spelled(value, self.spelling) for name, value in values.items() if isinstance(value, str)}
            print(json.dumps(jsonable({**values, **said, "notes": notes}), indent=2))


def aligned(rows: Iterable[Sequence[Any]], indent: str = "  ") -> list[str]:
    """Rows of texts, or of a table's values, in columns of equal width."""
    cells = [[_short(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]


def _short(value: Any) -> str:
    if value is None or value != value:  # NaN
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
