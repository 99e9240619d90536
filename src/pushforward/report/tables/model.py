"""The flow as the report uses it: rows in, log-densities and latents out; and drawn rows."""

from __future__ import annotations

import torch
from torch import Tensor

from ...diagnostics.repairs import LogProb
from ...distributions.base import Density, StandardNormal
from ...distributions.mixed import Mixed
from ...distributions.truncated import untruncated
from ...tables.schema.cells import Cells
from ...training.batches import Rows

BATCH = 2048


class RowModel:
    """A density of rows, and the cells that their values stand for; all results are float64 on the CPU.

    Args:
        flow: The density.
        cells: The cells, with what fills missing values.
        seed: Seed of the points of cells.
    """

    def __init__(self, flow: Density, cells: Cells, seed: int = 0) -> None:
        self.flow, self.cells, self.seed, self.device = flow, cells, seed, flow.device

    @torch.no_grad()
    def log_prob(self, rows: Tensor, context: Tensor | None = None, points: int = 16) -> Tensor:
        """Log-densities (n,) in nats of rows (n, features); -inf where the flow does not give a number.

        Of whole or rounded numbers, the average over each row's cell, at ``points`` points.
        """
        given = None if context is None else context.to(self.device)
        return self.score(self.flow.log_prob, rows.to(self.device), given, points)

    def score(self, log_prob: LogProb, rows: Tensor, context: Tensor | None, points: int = 16) -> Tensor:
        """Log-densities of rows under any density, computed in the same way as those of the flow."""
        return self.cells.log_density(log_prob, rows, context, samples=points, seed=self.seed)[0]

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows (n, features); one for each context, if there are contexts."""
        shapes = [((min(BATCH, n - start),), None) for start in range(0, n, BATCH)]
        asked = shapes if context is None else [((), part) for part in context.to(self.device).split(BATCH)]
        drawn = torch.cat([self.flow.sample(*each, generator=generator).double().cpu() for each in asked])
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
        u = torch.rand(rows.shape, generator=torch.Generator().manual_seed(self.seed), dtype=rows.dtype)
        points = Cells(self.cells.schema).weighted(rows, u, holes=bool(rows.isnan().any()))[0]

        def run(x: Tensor, c: Tensor | None = None) -> Tensor:
            x, c = self.flow._check(x, c)
            if isinstance(whole, Mixed):
                _, x, c = whole.divide(x, c)
            return transform(x, c)[0].flatten(1).double().cpu()

        return torch.cat([run(*part) for part in Rows(points, context).to(self.device).chunks(BATCH)])
