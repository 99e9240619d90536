"""What is said of some rows of a table: where the first of them is, and how many more there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .numbers import more


class Note(str):
    """A sentence on rows, with its parts: where the first of them is, how many there are, what is said of it, and what
    all have in common."""

    parts: tuple[str, int, str, str]

    @classmethod
    def of_parts(cls, where: str, count: int, said: str, kind: str) -> Note:
        note = cls(f"{where}{more(count)}{said}")
        note.parts = where, count, said, kind
        return note

    @classmethod
    def of(cls, rows: Any, said: str, source: str, first: int = 0, column: str = "", kind: str = "") -> Note:
        """A note on the rows that are true, ``(n,)``, of a file in which the first of all has the number ``first``,
        from 0. Those on one column of one kind are alike; else those that say the same."""
        odd, column = np.asarray(rows), column and f"column {column!r}, "
        where = f"{source}: {column}row {first + int(odd.argmax()) + 1}"
        return cls.of_parts(where, int(odd.sum()), said, f"{column}{kind}" if kind else said)


def together(notes: Iterable[Note]) -> list[Note]:
    """The notes on pieces of a table, those that are alike as one on the first of their rows."""
    whole: dict[str, Note] = {}
    for note in notes:
        where, count, said, kind = note.parts
        if kind in whole:
            where, before, said, _ = whole[kind].parts
            count += before
        whole[kind] = Note.of_parts(where, count, said, kind)
    return [*whole.values()]
