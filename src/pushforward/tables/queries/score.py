"""Scores: the log-density of every row, its percentile, and on request the columns behind it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TextIO

import numpy as np
import polars as pl
from torch import Tensor

from ...errors import ColumnError, InputError, in_shell, listed
from ...models.console import Console
from ...saving.bundle import jsonable
from ..io.frames import from_frame
from ..io.json_rows import EXPECTED, parsed
from ..io.table import Piece, Table
from ..model import TableModel
from ..schema.notes import Note
from ..schema.numbers import refuse_twice
from .explain import explain
from .known import unused
from .query import Query

SCORES = (
    *("row", "log_density", "percentile", "standard_error"),
    *("unlikely_because", "would_fit", "also_unlikely", "gain"),
)
PART = 2**16  # bytes of a stream that are read at once, at most


@dataclass(frozen=True)
class Scoring:
    """What is asked about every row of a table."""

    model: TableModel
    samples: int | None = None  # points over which the cells of rounded values are averaged; None for the model's
    seed: int | None = None  # of these points, and of draws from the guide; None for the model's
    drop_missing: bool = False  # whether rows with missing values get no score
    explain_below: float | None = None  # the percentile up to which rows are explained; None for no explanations
    given: Sequence[str] = ()  # the columns to condition on

    def check(self, columns: Sequence[str]) -> None:
        """Refuses rows with these columns if the model cannot score them."""
        model, given, schema = self.model, self.given, self.model.schema
        if not given:
            return
        refuse_twice(given, "given")
        absent = [name for name in given if name not in columns]
        if strange := [name for name in absent if name not in schema.table_names]:
            raise InputError(f"the model {model.called} has the columns {listed(schema.names)}", "given", strange[0])
        if absent:
            raise InputError(f"the table has no such column; it has {listed(columns)}", "given", absent[0])
        if not any(name in columns and name not in given for name in schema.names):
            raise InputError(f"no column is left to ask for: the model has {listed(schema.names)}")
        if any(name in schema.names for name in given):
            among = f" given {listed(schema.given_names)}" if schema.given else ""
            model.guide_for(f"answers only for all columns{among}")

    def query(self, piece: Piece) -> Query:
        """What is asked about some rows."""
        return Query.of(self.model, piece, self.given, self.drop_missing)

    def noticed(self, query: Query, piece: Piece) -> list[Note]:
        """What is said of rows that are given what no training row had, or have it, or contradict relations."""
        assert query.encoded is not None
        schema, x, known, odd = self.model.schema, query.encoded.x, ~query.encoded.strange, dict[str, Tensor]()
        if not schema.lacks(piece.frame.columns):
            for name, gaps in zip(schema.features, schema.lacking(x).T, strict=True):
                odd[f"lacks {name!r}, as no training row does, so it is integrated out"] = gaps
            for name, impossible, possible in schema.unseen(x):
                what = f"has a {name!r} that is not among the training values, so"
                odd |= {
                    f"{what} log_density is -inf there": impossible,
                    f"{what} it has what rare ones leave": possible,
                }
        new = {what: rows & known for what, rows in odd.items()}
        notes = [Note.of(rows, f" {what}", piece.source, piece.first) for what, rows in new.items() if rows.any()]
        for column, values in zip(schema.columns, x.T, strict=True):
            asked = column.name in piece.frame and column.name not in self.given and not column.classes
            if asked and (never := known & ~column.possible(values)).any():
                notes.append(column.strange_in(piece.frame[column.name], never, piece.source, piece.first))
        broken: Any = () if query.broken is None else query.broken
        said = schema.contradictions(broken, piece.source, piece.first, "; log_density is -inf there")
        return [*query.notes, *notes, *said]

    def figures(self, query: Query) -> dict[str, np.ndarray]:
        """The log-density of every row, its percentile and its standard error; NaN where it has none."""
        answer = query.answer(self.model, samples=self.samples, seed=self.seed)
        whole = ~self.model.schema.missingness.unknown(query.rows.x).any(1).numpy() & (not self.given)
        percentile = np.where(whole, self.model.percentile(answer.value.numpy()), np.nan)  # others have none
        return {"log_density": answer.value.numpy(), "percentile": percentile, "standard_error": answer.error.numpy()}

    def scores(self, query: Query) -> pl.DataFrame:
        """The same with explanations, null where a row has none."""
        found = self.figures(query)
        if not self.model.schema.has_cells and self.model.guided is None:
            del found["standard_error"]  # 0: there is no average over cells, or over draws of a guide
        scores = pl.DataFrame(found, nan_to_null=True)
        if self.explain_below is None:
            return scores
        chosen = np.flatnonzero(found["percentile"] <= self.explain_below)
        return scores.hstack(explain(self.model, query.rows, chosen, self.seed or 0, query.encoded))


def refuse_scores_name(keep: Sequence[str]) -> None:
    """Refuses to keep columns with the names of score columns, or one column twice."""
    refuse_twice(keep, "keep")
    if taken := [name for name in keep if name in SCORES or name.startswith("gain_")]:
        raise InputError("the scores have a column of that name; rename the table's", "keep", taken[0])


def score_table(scoring: Scoring, table: Table, console: Console) -> pl.DataFrame:
    """One row of scores per row of the table, in its order, with notes on what the model cannot use or read."""
    piece = Piece(table.frame, str(table.path))
    console.note(*table.notes)
    scoring.check(piece.frame.columns)
    query = scoring.query(piece)
    note_columns(scoring.model, piece.frame.columns, piece.source, console)
    console.note(*scoring.noticed(query, piece))
    return scoring.scores(query)


def note_columns(model: TableModel, columns: Sequence[str], source: str, console: Console) -> None:
    """Says which columns of a table the model does not use, and which it lacks."""
    console.note(*unused(model, columns, source))
    if absent := model.schema.lacks(columns):
        console.note(f"{source}: lacks {listed(absent)}: log_density is that of the columns that are there")


def follow(
    model: TableModel,
    lines: BinaryIO | Iterable[bytes],
    output: TextIO,
    *,
    keep: Sequence[str] = (),
    samples: int | None = None,
    seed: int = 0,
    drop_missing: bool = False,
    explain_below: float | None = None,
    given: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the scores of every line as a JSON line, with its number, from 1, and the columns to keep; a line that is
    no row, or has a value that cannot be, gets an ``error`` in place of scores. Lines that are there together are
    scored together. Returns how many there were.
    """
    refuse_scores_name(keep)
    scoring, number = Scoring(model, samples, seed, drop_missing, explain_below, given), 0
    for some in _arriving(lines):
        read = [_row(line) for line in some]
        for _, alike in itertools.groupby(zip(read, _placed(read), strict=True), lambda both: _form(both[1])):
            rows, places = zip(*alike, strict=True)
            for row, scores in zip(rows, _scored(scoring, places, number), strict=True):
                number += 1
                if isinstance(row, InputError):
                    kept, scores = {}, {"error": row.spelled(in_shell)}
                else:
                    kept = {name: row.get(name) for name in keep}
                print(json.dumps(jsonable({"row": number, **kept, **scores}), allow_nan=False), file=output, flush=True)
    return {"rows": number}


def _arriving(lines: BinaryIO | Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """The lines of a stream, those that are there at once together; of a generator, one by one."""
    if not hasattr(lines, "read1"):
        yield from [lines] if isinstance(lines, Sequence) else ([line] for line in lines)
        return
    begun = list[bytes]()  # the parts of a line of which the end has not come
    while part := lines.read1(PART):
        end, *others = part.split(b"\n")
        begun.append(end)
        if others:
            yield [b"".join(begun), *others[:-1]]
            begun = others[-1:]
    if last := b"".join(begun):
        yield [last]


def _row(line: bytes) -> dict[str, Any] | InputError:
    try:
        row = parsed(line)
    except InputError as error:
        return error
    return row if isinstance(row, dict) and row else InputError(f"is no row; {EXPECTED}")


def _placed(read: Sequence[Any]) -> Iterator[Any]:
    """The rows, and in place of lines that are none the row before, so that those around are scored together."""
    return itertools.accumulate(read, lambda before, row: before if isinstance(row, InputError) else row)


def _form(row: dict[str, Any] | InputError) -> list[tuple[str, type]]:
    """What rows have in common that are scored together: their columns, and the types of these."""
    return [] if isinstance(row, InputError) else [(name, type(value)) for name, value in row.items()]


def _scored(scoring: Scoring, rows: Sequence[Any], first: int) -> list[dict[str, Any]]:
    """The scores of rows of one form, or errors. If they are refused for some of them, the others are scored without;
    if it is not known for which, either half is."""
    if isinstance(rows[0], InputError):  # no line so far was a row
        return [{} for _ in rows]
    try:
        known, source = {*scoring.model.schema.table_names}, "standard input"
        names = [name for name, cell in rows[0].items() if name in known or not isinstance(cell, list | dict)]
        frame, _ = from_frame({name: [row[name] for row in rows] for name in names}, source)
        scoring.check(frame.columns)
        asked = scoring.query(Piece(frame, source, first))
        scores = scoring.scores(asked).to_dicts()
        for note in reversed(asked.notes):  # on rows that are given what cannot be
            for row in note.rows.nonzero()[0].tolist():
                scores[row] = {"error": note.on(row)}
        return scores
    except InputError as error:
        if len(rows) == 1 or isinstance(error, ColumnError):  # of which all have the same
            return [{"error": error.spelled(in_shell)} for _ in rows]
        told = error.sentence if isinstance(error.sentence, Note) else None
    odd = np.arange(len(rows)) < len(rows) // 2 if told is None else told.rows
    found = list[dict[str, Any]]()
    for wrong, places in itertools.groupby(range(len(rows)), odd.__getitem__):
        start, *others = places
        stop = start + 1 + len(others)
        if wrong and told is not None:
            found += [{"error": told.on(row)} for row in range(start, stop)]
        else:
            found += _scored(scoring, rows[start:stop], first + start)
    return found
