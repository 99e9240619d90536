"""What is said of some rows of a table: where the first of them is, and how many more there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .numbers import more


class Note(str):
    """A sentence on rows, with its parts: where the first of them is, how many there are, what is said of it, and what
    all have in common."""

    parts: tuple[str, int, str, str]
    rows: NDArray[np.bool_]  # which rows it is on, ``(n,)``, and what is said of each: of notes that `of` has made
    on: Callable[[int], str]

    def __reduce__(self) -> Any:
        return Note.of_parts, self.parts

    @classmethod
    def of_parts(cls, where: str, count: int, said: str, kind: str) -> Note:
        note = cls(f"{where}{more(count)}{said}")
        note.parts = where, count, said, kind
        return note

    @classmethod
    def of(
        cls, rows: Any, said: str | Callable[[int], str], source: str, first: int = 0, column: str = "", kind: str = ""
    ) -> Note:
        """A note on the rows that are true, ``(n,)``, of a file in which the first of all has the number ``first``,
        from 0. Those on one column of one kind are alike; else those that say the same, of any row."""
        odd, column = np.asarray(rows), column and f"column {column!r}, "

        def where(row: int) -> str:
            return f"{source}: {column}row {first + row + 1}"

        def what(row: int) -> str:
            return said if isinstance(said, str) else said(row)

        place = int(odd.argmax())
        note = cls.of_parts(where(place), int(odd.sum()), what(place), f"{column}{kind}" if kind else what(place))
        note.rows, note.on = odd, lambda row: where(row) + what(row)
        return note


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
