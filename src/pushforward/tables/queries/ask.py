"""The shell's questions: the probability of a condition on the screen, and predictions of a column in a file."""

from __future__ import annotations

from typing import Any

import polars as pl

from ...models.console import Console
from ..io.place import Location
from ..io.read import read_table
from ..io.write import check_output, delivered, write_table
from ..model import TableModel
from ..schema.numbers import require_columns
from .known import Known
from .predict import PredictionKind, predict
from .probability import probability
from .score_file import listing
from .where import Where


def ask(
    model: TableModel, where: str, given: dict[str, str], console: Console, *, within: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Prints the probability of a condition and its standard error; returns them.

    Args:
        model: The fitted table.
        where: The condition, in SQL.
        given: Values of columns, as text.
        console: Where to print it.
        within: What else is known, in SQL.
        seed: Seed of the draws.

    Raises:
        InputError: the question cannot be answered; says why.
    """
    known = Known.of(model, given, within)
    value, error = (float(part[0]) for part in probability(model, [Where.of(model, where)], known, seed))
    for note in known.notes:
        console.note(note)
    condition = " AND ".join([*(f"{name} = {value}" for name, value in given.items()), *([within] if within else [])])
    told = f" ± {error:.2g}" if error else ", exactly" if value else ": no draw of the model lies there"
    console.say(f"P({where}{f' | {condition}' if condition else ''}) = {value:.4g}{told}")
    return {"probability": value, "standard_error": error, "where": where, "given": given, "within": within}


def predict_file(
    model: TableModel,
    data: Location,
    column: str,
    output: Location,
    console: Console,
    *,
    kind: PredictionKind = "mean",
    level: float = 0.9,
    keep: tuple[str, ...] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Writes the prediction of a column in every row of a file; returns a summary.

    Args:
        model: The fitted table.
        data: The rows.
        column: The column.
        output: Where to write the predictions.
        console: Where to print messages.
        kind, level: As for :meth:`~pushforward.TableDensity.predict`.
        keep: Columns of the table to write before them.
        seed: Seed of the draws.

    Raises:
        InputError: the table or the output cannot be used; says why.
    """
    check_output(output)
    frame = read_table(data, model.read_options).held_out().frame
    require_columns(frame, keep, str(data), "keep")
    found, notes = predict(model, frame, column, kind, level, seed)
    for note in notes:
        console.note(note)
    kept = frame.select(keep)
    found = found.rename({name: f"predicted_{name}" for name in found.columns if name in kept.columns})
    with delivered(output) as path:
        write_table(pl.DataFrame([*kept.get_columns(), *found.get_columns()]), path)
    console.say(f"{frame.height:,} rows: {kind} of {column}")
    for line in listing(found.head(3)):
        console.say(line)
    console.say(f"saved {output}")
    return {"rows": frame.height, "column": column, "kind": kind, "columns": found.columns, "output": str(output)}
