"""The flow as the report uses it: rows in, log-densities and latents out; and drawn rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...diagnostics.repairs import LogProb
from ...distributions.base import Density, StandardNormal
from ...distributions.mixed import Mixed
from ...distributions.truncated import untruncated
from ...tables.schema.cells import Cells
from ...transforms.precision import rounds_itself

BATCH = 2048


class RowModel:
    """A density of rows, and the cells that their values stand for; all results are float64 on the CPU.

    Args:
        flow: The density.
        cells: The cells, with what fills missing values.
        seed: Seed of the points of cells.
    """

    def __init__(self, flow: Density, cells: Cells, seed: int = 0) -> None:
        self.flow, self.cells, self.seed = flow, cells, seed
        like = next((t for t in (*flow.parameters(), *flow.buffers()) if t.is_floating_point()), torch.empty(0))
        self.device, self.dtype = like.device, like.dtype
        takes_double = rounds_itself(flow) and self.device.type != "mps"
        self.rows_dtype = torch.float64 if takes_double else self.dtype

    @torch.no_grad()
    def log_prob(self, rows: Tensor, context: Tensor | None = None, points: int = 16) -> Tensor:
        """Log-densities (n,) in nats of rows (n, features); -inf where the flow does not give a number.

        Of whole or rounded numbers, the average over each row's cell, at ``points`` points.
        """
        return self.score(
            lambda x, c: self.flow.log_prob(self.rows(x), self.given(c)).double().cpu(), rows, context, points
        )

    def score(self, log_prob: LogProb, rows: Tensor, context: Tensor | None, points: int = 16) -> Tensor:
        """Log-densities of rows under any density, computed in the same way as those of the flow."""
        return self.cells.log_density(log_prob, rows, context, samples=points, seed=self.seed)[0]

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows (n, features); one for each context, if there are contexts."""
        if context is None:
            sizes = [min(BATCH, n - start) for start in range(0, n, BATCH)]
            drawn = torch.cat([self.flow.sample((size,), generator=generator).double().cpu() for size in sizes])
        else:
            drawn = _in_chunks(lambda c, _: self.flow.sample((), self.given(c), generator=generator), context, None)
        schema = self.cells.schema
        return schema.snap(schema.missingness.drawn(drawn, generator))  # as the table can have them, with gaps

    @torch.no_grad()
    def latent(self, rows: Tensor, context: Tensor | None) -> Tensor | None:
        """z = f(x) of shape (n, dimensions), at a random point of each row's cell; None for a model without latents."""
        whole = untruncated(self.flow)
        inner = whole.numbers if isinstance(whole, Mixed) else whole
        transform = getattr(inner, "transform", None)
        if transform is None or not isinstance(getattr(inner, "base", None), StandardNormal):
            return None

        def run(x: Tensor, c: Tensor | None) -> Tensor:
            x, given = self.rows(x), self.given(c)
            if isinstance(whole, Mixed):
                _, x, given = whole.divide(x, given)
            return transform(x, given)[0].flatten(1)

        return _in_chunks(run, self.spread(rows), context)

    def spread(self, rows: Tensor) -> Tensor:
        """A random point of each row's cell."""
        u = torch.rand(rows.shape, generator=torch.Generator().manual_seed(self.seed), dtype=rows.dtype)
        return Cells(self.cells.schema).weighted(rows, u, holes=bool(rows.isnan().any()))[0]

    def rows(self, rows: Tensor) -> Tensor:
        """Rows on the flow's device, in its precision."""
        return rows.to(self.device, self.rows_dtype)

    def given(self, context: Tensor | None) -> Tensor | None:
        """Contexts on the flow's device, in the precision of its parameters."""
        return None if context is None else context.to(self.device, self.dtype)


def _in_chunks(function: Callable[..., Tensor], x: Tensor, context: Tensor | None) -> Tensor:
    parts = []
    for start in range(0, len(x), BATCH):
        part = slice(start, start + BATCH)
        parts.append(function(x[part], None if context is None else context[part]).double().cpu())
    return torch.cat(parts)
