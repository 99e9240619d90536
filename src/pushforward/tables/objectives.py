"""The training objectives for tables: rows are spread over their cells, with fresh noise in every batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..objectives.continuous import FlowMatching
from ..objectives.divergences import Objective, weighted_mean
from .schema.cells import Cells, Fill
from .schema.schema import Schema

PROPOSALS, IN_PART = 5, 20  # ways to fill a row's holes, one of which is learnt from; where numbers are known in part
JUDGED = 32  # the same for judging held-out rows: with few, the bound loosens as the density outgrows the guide


class DequantisedKL(Objective):
    r"""Maximum likelihood of rows that are spread over their cells, with fresh noise in every batch.

    If a guide q fills the holes, it proposes several fillings, anew in every batch. One of these is chosen to learn
    from, with probability proportional to

    .. math:: w_k = p(\mathrm{seen}, h_k) / q(h_k \mid \mathrm{seen})

    so that holes are filled from the density itself (Monte Carlo EM), not from the guide, which knows less. Held-out
    rows are judged by the logarithm of the mean weight of more proposals, a bound on log p(seen).

    Args:
        flow: The density to train.
        schema: The columns.
        fill: Draws what is missing, as in :class:`~.schema.cells.Cells`.

    Reference:
        Wei, Tanner (1990), A Monte Carlo implementation of the EM algorithm. Burda, Grosse, Salakhutdinov (2016),
        Importance weighted autoencoders, arXiv:1509.00519.
    """

    calls_flow = True

    def __init__(self, flow: Density, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__(flow)
        self.cells = Cells(schema, fill)
        self.takes_missing, self.proposes = schema.missingness.occurs, fill is not None

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean negative log-likelihood in nats, a scalar."""
        if not self.proposes:
            return weighted_mean(self.held_out(x, context), weights)
        points, log_q = self.cells.weighted(x, torch.rand_like(x), holes=False)[0], torch.zeros_like(x[:, 0])
        holed = x.isnan().any(1).nonzero()[:, 0]
        if len(holed):
            points[holed], log_q[holed] = self._taken(x[holed], None if context is None else context[holed])
        return weighted_mean(log_q - self.flow(points, context), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p of every row at one point of its cell, of shape ``(*batch,)``, in nats."""
        if self.proposes:
            return -self._log_seen(x, context)
        spread, weight = self.cells.weighted(x, torch.rand_like(x), context=context)
        return -self.flow(spread, context) - weight

    def _taken(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows with holes at one point of their cells, filled in one of several ways, and log q of the filling."""
        count = IN_PART if self.cells.schema.missingness.in_part else PROPOSALS
        points, log_q = self._proposals(x, count, context)
        log_w = self._log_weights(points, log_q, context)
        noise = -torch.empty_like(log_w).exponential_().log()
        taken = (log_w + noise).argmax(0), torch.arange(len(x), device=x.device)  # proportional to the weights (Gumbel)
        return points[taken], log_q[taken]

    def _log_seen(self, x: Tensor, context: Tensor | None) -> Tensor:
        """A bound on log p(seen) of every row at one point of its cell, ``(n,)``; log p if nothing is missing."""
        found, holed = x.new_empty(len(x)), x.isnan().any(1)
        for rows, count in ((holed, JUDGED), (~holed, 1)):
            if rows.any():
                given = None if context is None else context[rows]
                log_w = self._log_weights(*self._proposals(x[rows], count, given), given)
                found[rows] = (log_w.logsumexp(0) - math.log(count)).to(found)
        return found

    @torch.no_grad()
    def _proposals(self, x: Tensor, count: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The rows at one point of their cells with their holes filled in ``count`` ways, ``(K, n, features)``, and log
        q of the filled values, ``(K, n)``."""
        u = torch.where(x.isnan(), torch.rand(count, *x.shape, dtype=x.dtype, device=x.device), torch.rand_like(x))
        given = None if context is None else context.expand(count, *context.shape)
        points, weight = self.cells.weighted(x.expand(u.shape), u, True, given)
        return points, -torch.as_tensor(weight)

    @torch.no_grad()
    def _log_weights(self, points: Tensor, log_q: Tensor, context: Tensor | None) -> Tensor:
        """log w of filled rows, ``(K, n)``; -inf where it is not finite."""
        log_w = self.flow(points, context) - log_q
        return torch.where(log_w.isfinite(), log_w, -math.inf)


class DequantisedMatching(FlowMatching):
    """Flow matching of rows that are spread over their cells, with fresh noise in every batch; a continuous flow's."""

    def __init__(self, flow: Flow, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__(flow)
        self.cells = Cells(schema, fill)
        self.takes_missing = schema.missingness.occurs

    def _errors(self, x: Tensor, context: Tensor | None, spread: bool) -> Tensor:
        return super()._errors(self.cells(x, torch.rand_like(x)), context, spread)


OBJECTIVES: dict[str, Callable[[Any, Schema, Fill | None], Objective]] = {
    "likelihood": DequantisedKL,
    "matching": DequantisedMatching,
}
