"""Human-readable descriptions of tables and fits, as lines of text."""

from __future__ import annotations

from typing import Any

from ..errors import listed
from ..models.console import aligned
from .io.table import Table
from .schema.columns import Column
from .schema.reading import MOMENTS
from .schema.schema import Schema
from .splits import TableSplits


def describe_data(table: Table, rows: TableSplits) -> list[str]:
    """The table as the model sees it."""
    schema, total = rows.schema, rows.training_rows + len(rows.val) + len(rows.test)
    given = f", given {listed(schema.given_names)}" if schema.given else ""
    return [
        f"{table.path.name}: {total:,} rows, {len(schema.columns)} columns{given}",
        f"{rows.training_rows:,} rows to train on, {len(rows.val):,} to tell when to stop, {len(rows.test):,} held out",
        *([] if rows.stream is None else [f"read in pieces; columns learnt from {len(rows.train):,} of them"]),
        "",
        *describe_columns(schema),
        "",
    ]


def describe_columns(schema: Schema) -> list[str]:
    """How each column is treated."""
    cells = [("column", "kind", "from", "to", "first transform")]
    cells += [(c.name, kind(c), *_range(c), first_transform(c)) for c in schema.fields]
    lines = aligned(cells)
    lines += [f"  {c.name}: {listed(c.categories)}" for c in schema.fields if c.categories]
    lines += [f"  {relation}" for relation in schema.relations]
    for given in schema.given:
        lines.append(f"  given {given.name}: {listed(given.categories) if given.categories else 'a number'}")
    if any(c.kind == "values" for c in schema.fields):
        lines += ["", "values: each has a probability, and no others are drawn (`numbers=` treats a column as a scale)"]
    if any(c.has_cells for c in schema.fields):
        lines += ["", "integer, rounded and inflated values are cells: their density is the average over the cell"]
    if any(c.at_random for c in schema.fields):
        lines += ["", "missing at random: nothing else tells which values are missing, and log-densities leave it out"]
    if any(c.holes and not c.at_random for c in schema.fields):
        lines += [
            "",
            "whether a value is missing is part of a row's probability (`drop_missing=True` leaves such rows out)",
        ]
    return lines


def kind(column: Column) -> str:
    """A column's kind with its step, its atom or its number of categories, and the share of it that is missing."""
    holes = f", {column.holes:.1%} missing{' at random' * column.at_random}" if column.holes else ""
    return f"{_kind(column)}{holes}"


def _kind(column: Column) -> str:
    if column.categories:
        return f"{column.kind}, {len(column.categories)}"
    if column.dtype in MOMENTS:
        return column.dtype.lower()
    if column.atoms:
        return f"{column.kind} at {listed((f'{value:g}' for value, _, _ in column.atoms), 3)}"
    return f"{column.kind} to {column.step:g}" if column.step not in (0, 1) else column.kind


def _range(column: Column) -> tuple[str, str]:
    if column.categories:
        return "-", "-"
    if column.dtype in MOMENTS:
        return column.shown(column.minimum), column.shown(column.maximum)
    return f"{column.minimum:g}", f"{column.maximum:g}"


def first_transform(column: Column) -> str:
    """A column's first transform as a formula."""
    if column.first == "logit":
        return f"logit from {column.loc:.4g} to {column.loc + column.scale:.4g}"
    if column.first == "log":
        return "log" if column.loc == 0 else f"log(x {-column.loc:+.4g})"
    if column.first == "histogram":
        return "normal by the shares of its values"
    if column.first == "softplus":
        return f"inverse softplus above {column.loc:.4g}"
    return f"arsinh((x {-column.loc:+.4g}) / {column.scale:.4g})" if column.first == "asinh" else "-"


def describe_guide(guide: dict[str, Any]) -> str:
    """The guide's result on a test question about half of the columns."""
    if "effective_draws" not in guide:
        return ""
    few, disagree = guide["few_effective"], guide["orders_disagree"]
    return (
        f"questions about some of the columns: standard error {guide['standard_error']:.3f} nats, "
        f"{few:.0%} of the rows with few effective draws; orders of the guide disagree by {disagree:.2f} nats"
        + (f"; cells are drawn by weights to the power {guide['power']:g}" if guide.get("power", 1.0) < 1 else "")
    )
