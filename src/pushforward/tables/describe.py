"""Human-readable descriptions of tables and fits, as lines of text."""

from __future__ import annotations

from typing import Any

from ..errors import listed
from ..models.console import aligned
from .io.table import Table
from .schema.schema import Schema
from .splits import TableSplits


def describe_data(table: Table, rows: TableSplits) -> list[str]:
    """The table as the model sees it."""
    schema, total = rows.schema, rows.training_rows + len(rows.val) + len(rows.test)
    given = f", given {listed(schema.given_names)}" if schema.given else ""
    return [
        f"{table.path.name}: {total:,} rows, {len(schema.table_names)} columns{given}",
        f"{rows.training_rows:,} rows to train on, {len(rows.val):,} to tell when to stop, {len(rows.test):,} held out",
        *([] if rows.stream is None else [f"read in pieces; columns learnt from {len(rows.train):,} of them"]),
        "",
        *describe_columns(schema),
        "",
    ]


def describe_columns(schema: Schema) -> list[str]:
    """How each column is treated."""
    said = [(column.name, column.describe()) for column in schema.fields]
    lines = aligned(
        [
            ("column", "kind", "from", "to", "first transform"),
            *((name, each.kind, each.low, each.high, each.first) for name, each in said),
        ]
    )
    lines += [f"  {column.name}: {listed(column.kind.labels)}" for column in schema.fields if column.classes]
    lines += [f"  {relation}" for relation in schema.relations]
    for given in schema.given:
        labels = given.column.kind.labels
        lines.append(f"  given {given.name}: {listed(labels) if labels else 'a number'}")
    remarks = [*(column.kind.remark for column in schema.fields), *schema.missingness.remarks]
    return [*lines, *(line for remark in dict.fromkeys(filter(None, remarks)) for line in ("", remark))]


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
