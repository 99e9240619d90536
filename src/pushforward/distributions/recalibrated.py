"""A density of one number that is drawn nearer to its median, since rows that it did not see are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..nets.positions import rows_of
from ..numerics.quantiles import quantile_between
from .average import Average
from .base import Density, Generator


class Recalibrated(Density):
    r"""The median of three draws of a density p of one number in a share s of cases, and one draw in the others.

    .. math:: p_s(x \mid c) = p(x \mid c)\,\bigl(1 - s + 6 s\, F (1 - F)\bigr),\qquad
        F_s = F + s\,(3 F^2 - 2 F^3 - F),\qquad F = F(x \mid c)

    An average of densities that are each as wide as they should be is too wide wherever they disagree, whatever their
    weights. A density of its distribution function F makes up for this: here one of Bernstein polynomials, whose parts
    are the densities of order statistics.

    Args:
        density: p, an average of densities of one number.
        share: s, at least 0 and below 1.

    Reference:
        Gneiting, Ranjan (2013), Combining predictive distributions, Electronic Journal of Statistics 7; Petrone (1999),
        Random Bernstein polynomials, Scandinavian Journal of Statistics 26.
    """

    def __init__(self, density: Average, share: float) -> None:
        super().__init__()
        self.density, self.share = density, float(share)
        self.event_shape, self.context_features = density.event_shape, density.context_features

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p_s(x | context) in nats, of shape ``(*batch,)``."""
        log_p, below = self.density.log_prob_and_cdf(x, context)
        return log_p + torch.log1p(self.share * (6 * below * (1 - below) - 1))

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._moved(self.density.cdf(x, context))

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        below = quantile_between(self._moved, q, torch.zeros_like(q), torch.ones_like(q))
        return self.density.icdf(below, context)

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same nodes in increasing order, each with the weight that is left of its own."""
        x, weight = self.density.quadrature(context)
        order = x[..., 0].argsort(0)
        reached = self._moved(weight.gather(0, order).cumsum(0))
        return x.gather(0, order[..., None]), reached.diff(dim=0, prepend=torch.zeros_like(reached[:1]))

    def _moved(self, below: Tensor) -> Tensor:
        """F_s from F."""
        return below + self.share * below * (1 - below) * (2 * below - 1)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        flat = rows_of(context, batch)
        x = self.density._generate(torch.Size([batch.numel()]), flat, generator, temperature)
        u = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
        some = (u < self.share).nonzero()[:, 0]
        size, given = torch.Size([2, len(some)]), None if flat is None else flat[some]
        two = self.density._generate(size, given, generator, temperature)
        x[some] = torch.cat([x[None, some], two]).median(0).values
        return x.reshape(*batch, *self.event_shape)
