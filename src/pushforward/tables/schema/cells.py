r"""Whole numbers, rounded numbers and atoms as cells: noise for training, an average over the cell for scoring.

A value v that stands for a cell C(v) has no density of its own. A model of the spread-out data assigns it the average
density over the cell, here called the *cell log-density*

.. math:: \log \frac{1}{|C(v)|} \int_{C(v)} p(x)\, dx \approx \log \frac1K \sum_k p(v + u_k),\quad u_k \in C(v) - v

so for whole numbers, whose cells have volume 1, it is the log-probability of the row. Training maximises a lower bound
on it with fresh noise in every batch.

Reference:
    Theis, van den Oord, Bethge (2016), A note on the evaluation of generative models, arXiv:1511.01844.
    Ho et al. (2019), Flow++, arXiv:1902.00275 (many-sample bounds).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...numerics.hashed import row_shifts
from ...numerics.partly_known import Parts, partly_known, parts_of
from .schema import Schema

BATCH = 8192  # points evaluated at once

Fill = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
LogProb = Callable[[Tensor, Tensor | None], Tensor]


class MarginalFill(nn.Module):
    r"""Draws missing values from each column's own values, whatever the rest of the row holds.

    With q the density of a draw, :math:`p(x_\text{seen}) = \mathrm{E}_q[p(x_\text{seen}, x_\text{drawn}) / q]`. If
    training rows miss numbers, the flow learns that a number drawn for one is noise from q, so that a single draw gives
    a nearly exact result; otherwise any q that covers the column is valid, and a closer one has smaller errors.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.named = [column.kind.classes > 0 for column in schema.columns]
        for j, column in enumerate(schema.columns):
            self.register_buffer(f"fill_{j}", torch.tensor(column.filling(), dtype=torch.float64))

    def forward(self, x: Tensor, u: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x with every NaN replaced by a draw computed from u, and -log q of the draws, summed over the row."""
        hole, columns, log_weight = x.isnan(), list(x.unbind(-1)), torch.zeros_like(x[..., 0])
        for j in hole.flatten(0, -2).any(0).nonzero()[:, 0].tolist():
            drawn, weight = self._draw(j, x[..., j], u[..., j])
            columns[j] = torch.where(hole[..., j], drawn.to(x.dtype), x[..., j])
            log_weight = log_weight + weight.to(x.dtype).masked_fill(~hole[..., j], 0.0)
        return torch.stack(columns, -1), log_weight

    def _draw(self, j: int, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        table, u = getattr(self, f"fill_{j}"), u.contiguous().double()
        found, partly = self._drawn(j, table, u), partly_known(x)
        if not partly.any():
            return found
        within = _within(parts_of(x), u, float(table[-1] - table[0]) / 4)
        drawn, weight = (torch.where(partly, part, whole) for part, whole in zip(within, found, strict=True))
        return drawn, weight

    def _drawn(self, j: int, table: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        if self.named[j]:
            code = torch.searchsorted(table.cumsum(0)[:-1].contiguous(), u, right=True)
            return code.double(), -table[code].log()
        place = u * (len(table) - 1)
        bin = place.floor().clamp(0, len(table) - 2).long()
        width = table[bin + 1] - table[bin]
        return table[bin] + (place - bin) * width, width.log() + math.log(len(table) - 1)


def _within(parts: Parts, u: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Draws within what is known of numbers, and -log q: uniform between two ends, exponential beyond one, and from the
    error of a measurement, whose own density cancels."""
    low, high, value, error = parts
    beyond = -torch.log1p(-u)
    x, weight = low + u * (high - low), (high - low).log()
    x = torch.where(high.isinf(), low + scale * beyond, torch.where(low.isinf(), high - scale * beyond, x))
    weight = torch.where(high.isinf() | low.isinf(), beyond + math.log(scale), weight)
    noisy = error > 0
    x = torch.where(noisy, value + error * torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7)), x)
    return x, weight.masked_fill(noisy, 0.0)


class Cells(nn.Module):
    """The cells of a schema's columns: x is spread to x + low + width · u, with u in [0, 1), and holes are filled.

    Args:
        fill: The sampler of missing values: ``(x with NaN, u, context) -> (x, -log of the density of the draws)``.
    """

    low: Tensor
    width: Tensor

    def __init__(self, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__()
        columns = schema.columns
        self.register_buffer("low", torch.tensor([-0.5 * c.kind.step for c in columns], dtype=torch.float64))
        self.register_buffer("width", torch.tensor([c.kind.step for c in columns], dtype=torch.float64))
        self.inflated = [j for j, column in enumerate(columns) if column.kind.atoms]
        for j in self.inflated:  # value, low and width of each, (3, atoms)
            self.register_buffer(f"atoms_{j}", torch.tensor(sorted(columns[j].kind.atoms), dtype=torch.float64).t())
        self.stand_ins = [j for j, column in enumerate(columns) if column.kind.stands_in]
        for j in self.stand_ins:
            shares = torch.tensor(columns[j].kind.stands_in, dtype=torch.float64).cumsum(0)
            self.register_buffer(f"stand_ins_{j}", shares[:-1] / shares[-1])
        self.may_miss, self.schema = schema.missingness.occurs, schema
        self.fill = fill or (MarginalFill(schema) if self.may_miss else None)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        return self.weighted(x, u)[0]

    def spread(self, x: Tensor, u: Tensor) -> Tensor:
        """Each row at one point of its cell; NaN stays NaN."""
        return self.to(x.device).weighted(x, u, holes=False)[0]

    def weighted(
        self, x: Tensor, u: Tensor, holes: bool | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor | float]:
        """The spread rows, and the change of their log-densities from filled holes: minus the log-density of the draws.

        Args:
            x: Rows, NaN where a value is missing.
            u: Numbers in [0, 1) of the same shape.
            holes: Whether values may be missing; by default, whether the schema's training rows have missing values.
            context: Features of the given columns, of the same batch shape, which holes are filled by.
        """
        low, width = self.low, self.width
        if self.inflated:
            low, width = low.expand(x.shape).clone(), width.expand(x.shape).clone()
        for j in self.inflated:
            value, atom_low, atom_width = getattr(self, f"atoms_{j}")
            cell = x[..., j].contiguous()
            place = torch.searchsorted(value.to(x.dtype).contiguous(), cell).clamp_max(len(value) - 1)
            at_atom = cell == value[place].to(x.dtype)
            low[..., j], width[..., j] = atom_low[place] * at_atom, atom_width[place] * at_atom
        spread = x + low.to(x.dtype) + width.to(x.dtype) * u
        for j in self.stand_ins:
            code = torch.searchsorted(getattr(self, f"stand_ins_{j}"), u[..., j].contiguous().double(), right=True)
            spread[..., j] = torch.where(x[..., j] == -1, code.to(x.dtype), spread[..., j])
        if not (self.may_miss if holes is None else holes):
            return spread, 0.0
        fill = self.fill or MarginalFill(self.schema).to(x.device)  # of rows with holes, where no training row has any
        return fill(spread, u, context)

    @torch.no_grad()
    def log_density(
        self,
        log_prob: LogProb,
        x: Tensor,
        context: Tensor | None = None,
        *,
        samples: int = 16,
        seed: int = 0,
        alike: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The cell log-density of every row and its standard error; exact, with error 0, if no column has cells.

        The points in a row's cell are a scrambled Sobol sequence, shifted by a hash of the row: the score depends only
        on the row and the seed, never on the other rows of the table.

        Args:
            log_prob: The density: (rows, context) to log-densities in nats.
            x: Rows in data units, float64, of shape ``(n, features)``, on the density's device, where the cells go.
            context: Context features of shape ``(n, context features)``.
            samples: K, the points in each cell.
            alike: An entry that the points do not depend on, so that errors cancel in comparisons of its values.

        Returns:
            Log-densities in nats and their standard errors, both of shape ``(n,)``, float64, on the CPU.
        """
        schema, holes = self.schema, bool(x.isnan().any())
        points = samples if holes or schema.has_cells or bool((x[:, self.stand_ins] == -1).any()) else 1
        self.to(x.device)
        other, x = schema.log_of_unseen(x), schema.seen(x)
        keyed = x if alike is None else x.index_fill(1, torch.tensor(alike, device=x.device), 0.0)
        parts = []
        for start in range(0, max(len(x), 1), rows := max(BATCH // points, 1)):  # of no rows, one empty part
            given = None if context is None else context[start : start + rows]
            u = shifted(keyed[start : start + rows], points, seed) if points > 1 else None
            parts.append(self.averaged(log_prob, x[start : start + rows], given, u, holes))
        value, error = map(torch.cat, zip(*parts, strict=True))
        return (value + other).cpu(), error.cpu()

    def averaged(
        self, log_prob: LogProb, x: Tensor, context: Tensor | None, u: Tensor | None, holes: bool
    ) -> tuple[Tensor, Tensor]:
        """The same of rows as seen, where they are computed, at points u of their cells ``(K, n, features)`` if any."""
        given = None if context is None else context.expand(1 if u is None else len(u), -1, -1)
        spread, weight = (x[None], 0.0) if u is None else self.weighted(x.expand(u.shape), u, holes, given)
        log_p = log_prob(spread, given).double() + weight
        log_p = torch.where(log_p.isnan(), -math.inf, log_p)  # outside a first transform's support: no density
        value, error = _log_mean(log_p)
        missingness = self.schema.missingness
        return value - missingness.log_prob(x) if missingness.at_random else value, error


def cell_points(schema: Schema, x: Tensor, *, samples: int = 16, seed: int = 0) -> Tensor:
    """The points that represent each row's cell, ``(K, n, features)``; the rows themselves if no column has cells."""
    return Cells(schema).to(x.device)(x, shifted(x, samples, seed)) if schema.has_cells else x[None]


@functools.lru_cache(maxsize=16)
def _sobol(points: int, features: int, seed: int) -> Tensor:
    """Scrambled points of the unit cube, ``(K, features)``; cached, as scrambling takes as long as a row's density."""
    with torch.inference_mode(False):
        return torch.quasirandom.SobolEngine(features, scramble=True, seed=seed).draw(points)


def shifted(x: Tensor, points: int, seed: int) -> Tensor:
    """Numbers in [0, 1) for the points of every row's cell, ``(K, n, features)``."""
    return (_sobol(points, x.shape[1], seed).to(x)[:, None] + row_shifts(x, seed)) % 1.0


def _log_mean(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """log of the mean of exp(log_p) over the first dimension, and its standard error by the delta method."""
    k = len(log_p)
    value = log_p.logsumexp(0) - math.log(k)
    if k == 1:
        return value, torch.zeros_like(value)
    ratio = (log_p - value).exp()  # mean 1
    error = (ratio - 1).square().sum(0).div(k * (k - 1)).sqrt()
    return value, torch.where(value.isinf(), 0.0, error)
