"""The flow as the report uses it: rows of the table in, log-densities and latents out; and rows drawn from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..distributions.base import Density, StandardNormal
from ..distributions.mixed import Mixed
from ..tables.schema.cells import Cells, Fill, cell_log_density
from ..tables.schema.schema import Schema
from ..transforms.precision import rounds_itself

LogProb = Callable[[Tensor, Tensor | None], Tensor]


class Model:
    """A density and, if known, the schema of its table; all results are float64 on the CPU.

    Args:
        flow: The density.
        schema: The columns: whole and rounded numbers are scored over their cells, and samples snapped to the grid.
        seed: Seed of the points within cells.
        fill: Imputes missing values, as in :class:`~pushforward.tables.schema.cells.Cells`.
    """

    def __init__(self, flow: Density, schema: Schema | None = None, seed: int = 0, fill: Fill | None = None) -> None:
        self.flow, self.schema, self.seed, self.fill = flow, schema, seed, fill
        self.cells = None if schema is None else Cells(schema)
        self.device, self.dtype = _home(flow)
        takes_double = rounds_itself(flow) and self.device.type != "mps"
        self.rows_dtype = torch.float64 if takes_double else self.dtype

    @property
    def classes(self) -> tuple[int, ...]:
        """The number of categories of every column; empty if no column has any."""
        found = () if self.schema is None else self.schema.classes
        return found if any(found) else ()

    @torch.no_grad()
    def log_prob(self, rows: Tensor, context: Tensor | None = None, points: int = 16) -> Tensor:
        """Log-densities (n,) in nats of rows (n, features); -inf where the flow does not give a number.

        If columns hold whole or rounded numbers, averages over each row's cell, using ``points`` points.
        """
        return self.score(self._at_home, rows, context, points)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows (n, features); one for each context, if there are contexts."""
        if context is None:
            sizes = [min(2048, n - start) for start in range(0, n, 2048)]
            drawn = torch.cat([self.flow.sample((size,), generator=generator).double().cpu() for size in sizes])
        else:
            drawn = _in_chunks(lambda c, _: self.flow.sample((), self.given(c), generator=generator), context, None)
        return self.snap(drawn if self.schema is None else self.schema.missingness.drawn(drawn, generator))

    def snap(self, rows: Tensor) -> Tensor:
        """The rows moved to values that the data can take, such as whole numbers."""
        return rows if self.schema is None else self.schema.snap(rows)

    @torch.no_grad()
    def latent(self, rows: Tensor, context: Tensor | None) -> Tensor | None:
        """z = f(x) of shape (n, dimensions), at a random point of each row's cell; None for a model without latents."""
        inner = self.flow.numbers if isinstance(self.flow, Mixed) else self.flow
        transform = getattr(inner, "transform", None)
        if transform is None or not isinstance(getattr(inner, "base", None), StandardNormal):
            return None

        def run(x: Tensor, c: Tensor | None) -> Tensor:
            x, given = self.rows(x), self.given(c)
            if isinstance(self.flow, Mixed):
                _, x, given = self.flow.divide(x, given)
            return transform(x, given)[0].flatten(1)

        return _in_chunks(run, self.spread(rows), context)

    def score(self, log_prob: LogProb, rows: Tensor, context: Tensor | None, points: int = 16) -> Tensor:
        """Log-densities of rows under any density, computed in the same way as those of the flow."""
        if self.schema is not None and (self.schema.has_cells or bool(rows.isnan().any())):
            return cell_log_density(
                log_prob, self.schema, rows, context, samples=points, seed=self.seed, fill=self.fill
            )[0]
        values = _in_chunks(log_prob, rows, context)
        return values.masked_fill(values.isnan(), -math.inf)

    def spread(self, rows: Tensor) -> Tensor:
        """A random point of each row's cell; the rows themselves if no column has cells."""
        if self.cells is None:
            return rows
        generator = torch.Generator().manual_seed(self.seed)
        u = torch.rand(rows.shape, generator=generator, dtype=rows.dtype)
        return self.cells.weighted(rows, u, holes=bool(rows.isnan().any()))[0]

    def _at_home(self, rows: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.log_prob(self.rows(rows), self.given(context)).double().cpu()

    def rows(self, rows: Tensor) -> Tensor:
        """Rows on the flow's device, in its precision."""
        return rows.to(self.device, self.rows_dtype)

    def given(self, context: Tensor | None) -> Tensor | None:
        """Contexts on the flow's device, in the precision of its parameters."""
        return None if context is None else context.to(self.device, self.dtype)


def seen(values: Tensor) -> Tensor:
    """The values of a column that are not missing; a single NaN if all are."""
    there = values[~values.isnan()]
    return there if len(there) else values[:1]


def _in_chunks(function: Callable[..., Tensor], x: Tensor, context: Tensor | None, size: int = 2048) -> Tensor:
    parts = []
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        parts.append(function(x[part], None if context is None else context[part]).double().cpu())
    return torch.cat(parts)


def _home(flow: Density) -> tuple[torch.device, torch.dtype]:
    """The device and dtype of the flow's first tensor."""
    for tensor in (*flow.parameters(), *flow.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()
