"""What readers are told of a table: its columns as lines of text, and as a report shows them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..diagnostics.repairs import LogProb
from ..errors import listed
from ..models.console import aligned
from ..report.tables.columns import ReportedColumns, ReportedRemainder
from .io.table import Table
from .schema.cells import Cells, Fill
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


class TableCells:
    """Whole numbers, rounded numbers and the like as cells, over which a density is averaged.

    Args:
        schema: The columns.
        seed: Seed of the points within cells.
        fill: Imputes missing values, as in :class:`~pushforward.tables.schema.cells.Cells`.
    """

    def __init__(self, schema: Schema, seed: int, fill: Fill | None = None) -> None:
        self.schema, self.seed, self.cells, self.filled = schema, seed, Cells(schema), Cells(schema, fill)

    def score(self, log_prob: LogProb, rows: Tensor, context: Tensor | None, points: int) -> Tensor | None:
        """Log-densities (n,) of rows averaged over their cells; None if no row has any."""
        if not self.schema.has_cells and not bool(rows.isnan().any()):
            return None
        return self.filled.log_density(log_prob, rows, context, samples=points, seed=self.seed)[0]

    def spread(self, rows: Tensor) -> Tensor:
        """A random point of each row's cell."""
        generator = torch.Generator().manual_seed(self.seed)
        u = torch.rand(rows.shape, generator=generator, dtype=rows.dtype)
        return self.cells.weighted(rows, u, holes=bool(rows.isnan().any()))[0]

    def drawn(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of a density as rows that the table can have, missing values included."""
        return self.schema.snap(self.schema.missingness.drawn(rows, generator))


def reported_columns(schema: Schema, rows: Tensor) -> ReportedColumns:
    """The columns as a report shows them, with encoded rows from which it takes how precisely values are written."""
    said = [column.describe() for column in schema.columns]
    return ReportedColumns(
        names=[column.name for column in schema.columns],
        data=rows,
        kinds=[(each.kind, each.first) for each in said],
        steps=schema.steps,
        labels=schema.labels,
        flags=schema.missingness.flags,
        typical=[column.typical for column in schema.columns],
        write=lambda j, value: schema.columns[j].shown(value) if schema.columns[j].speaks else None,
        remainders=[
            ReportedRemainder(each.name, str(each), partial(each.left, columns=schema.columns), each.remainder.step)
            for each in schema.near
        ],
        notes=schema.notes,
        width=len(schema.table_names),
    )
