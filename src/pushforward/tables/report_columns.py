"""The columns of a table as its report sees them, and what its values stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diagnostics.repairs import LogProb
from ..report.tables.columns import ReportedColumns
from .schema.cells import Cells, Fill
from .schema.schema import Schema


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
        notes=schema.notes,
        width=len(schema.table_names),
    )
