"""A fitted table as one graph: raw columns in, log-densities in the table's own units out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..tables.model import TableModel
from ..tables.schema.cells import shifted
from ..tables.schema.columns import Column
from ..tables.schema.kinds.named import Named


class TableGraph(nn.Module):
    """log p of whole rows ``(n,)``, in nats, from a tensor ``(n,)`` for each column of the table.

    Numbers are float64, and so are dates (in days since 1970), times and durations (in seconds); truth values are bool,
    and text is float32: its place among the values that the model knows. A row without a number, or given a value that
    no training row had, is NaN. Columns that follow from others are not asked for.

    Raises:
        InputError: a column has no form as a tensor.
    """

    method, output = "log_prob", "log_density"

    def __init__(self, model: TableModel) -> None:
        super().__init__()
        self.density, self.cells, self.schema, self.seed = model.density, model.cells, model.schema, model.seed
        self.points = model.samples if self.schema.has_cells or self.cells.stand_ins else 1
        if self.schema.weeks or self.schema.missingness.in_part or self.output in self.schema.table_names:
            why = f"numbers that are known in part, dates as weeks, or a column called {self.output!r}"
            raise InputError(f"no graph holds a table with {why}: export the density of its rows, `model.density`")
        known = self.schema.known
        self.inputs = [column.name for column in known]
        self.text = {c.name: c.kind for c in known if c.reading.contents == "names" and isinstance(c.kind, Named)}

    def forward(self, *columns: Tensor) -> Tensor:
        schema = self.schema
        values = {c.name: c.encoded(cells) for c, cells in zip(schema.known, columns, strict=True)}
        none = torch.zeros_like(values[self.inputs[0]])  # of the flags of missing values: no row lacks one
        x = torch.stack([values.get(column.name, none) for column in schema.columns], -1)
        context, unknown = None, x.isnan().any(-1)
        if schema.given:
            parts, odd = zip(*(given.encoded(values[given.name]) for given in schema.given), strict=True)
            context, unknown = torch.cat(parts, -1).float(), unknown | torch.stack(odd).any(0)
        seen = schema.seen(x.nan_to_num(0.0))
        u = shifted(seen, self.points, self.seed) if self.points > 1 else None
        value, _ = self.cells.averaged(self.density.log_prob, seen, context, u, False)
        return torch.where(unknown, torch.nan, value + schema.log_of_unseen(x))

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Inputs of a few rows whose values lie at the same quantiles of their columns."""
        shares = np.arange(1, rows + 1) / (rows + 1)
        return tuple(_typical(column, shares, column.name in self.text) for column in self.schema.known)


def _typical(column: Column, shares: np.ndarray, text: bool) -> Tensor:
    typical = np.array(column.kind.typical)
    encoded = typical[(shares * len(typical)).astype(int)]
    if column.reading.contents == "truth":
        return torch.tensor([column.kind.labels[int(code)] == "true" for code in encoded])
    return torch.tensor(encoded).float() if text else torch.tensor(column.kind.amounts(encoded))
