"""The commands that say how good a model is: ``report``, ``compare`` and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import InputError
from ..tables.io.place import located
from .options import Device, DropMissing, Json, Model, Query, Quiet, Samples, Seed, Sheet, TableName, console_for


def report(
    model: Model,
    data: str | None = None,
    *,
    query: Query = None,
    table: TableName = None,
    sheet: Sheet = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    title: str | None = None,
    against: Annotated[list[Path] | None, Parameter(negative="")] = None,
    drop_missing: DropMissing = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what was learnt, and how well, as one HTML file to share.

    Args:
        data: Rows or images to report on: of the file that was fitted, the held-out ones are used; without it, those
            that were saved with the model.
        output: The report: an .html file.
        title: Its heading.
        against: Another model of the same columns, to compare with row by row on DATA. May be repeated.
    """
    from ..report.write import write
    from .models import open_model

    console = console_for(json, quiet)
    opened = open_model(model)
    rows = None if data is None else opened.read_file(located(data, query, table, sheet))
    rivals = [type(opened).load(path) for path in against or []]
    console.result(
        write(opened, rows, output, console, seed=seed, drop_missing=drop_missing, title=title, against=rivals)
    )


def compare(
    model: Model,
    other: Annotated[Path, Parameter(help="Another model of the same columns, or images.")],
    data: str,
    *,
    query: Query = None,
    table: TableName = None,
    sheet: Sheet = None,
    drop_missing: DropMissing = False,
    samples: Samples = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which of two models gives the same rows or images the higher likelihood, one by one, with its standard error.

    Args:
        data: The table or the images. Of a file that the models were fitted to, their common held-out rows are used.
    """
    from ..models.compare import compare as paired
    from .models import open_model

    console = console_for(json, quiet)
    if samples is not None and samples < 1:
        raise InputError("expected at least 1", "samples", samples)
    rows = located(data, query, table, sheet)
    first = open_model(model, device)
    second = type(first).load(other, str(first.device))
    found = first.read_file(rows)
    console.result(paired((first, second), found, console, samples=samples, seed=seed, drop_missing=drop_missing))


def info(model: Model, *, json: Json = False) -> None:
    """What a model is: its data, its columns, how good it is, and the command that made it."""
    from .models import open_model

    console = console_for(json)
    console.result(open_model(model).describe(console))
