"""Averages of densities, be it an ensemble of trained flows or different kinds of density, as one; densities that read
features of a context, which members may share; and averages made narrower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.positions import rows_of
from ..numerics.logs import log_sum_exp
from ..numerics.roots import quantile_between
from .base import Density, Generator
from .conditional import draw_index


class Average(Density):
    r"""A weighted mean of densities, which is again a density.

    .. math:: \log p(x \mid c) = \log \sum_k w_k\, p_k(x \mid c),\qquad \sum_k w_k = 1

    By concavity it is never below the weighted mean of the members' log-densities, and gains most where members trained
    on few rows disagree.

    Args:
        members: Densities of the same events and contexts, at least one.
        weights: w, one for each member, non-negative and not all 0; scaled to sum to 1. Equal by default, and not
            trained.

    Raises:
        ValueError: there are no members, they differ in events or contexts, or the weights do not fit.

    Reference:
        Breiman (1996), Bagging predictors; Smyth, Wolpert (1999), Linearly combining density estimators via stacking.
    """

    log_weight: Tensor

    def __init__(self, members: Sequence[Density], weights: Sequence[float] | Tensor | None = None) -> None:
        super().__init__()
        if not members:
            raise ValueError("members is empty: an average needs at least one density")
        first = members[0]
        for place, member in enumerate(members):
            if (member.event_shape, member.context_features) != (first.event_shape, first.context_features):
                raise ValueError(
                    f"members[{place}] has events of {tuple(member.event_shape)} and context={member.context_features},"
                    f" but members[0] has {tuple(first.event_shape)} and {first.context_features}"
                )
        equal = torch.ones(len(members))
        share = equal if weights is None else torch.as_tensor(weights, dtype=equal.dtype)
        if share.shape != (len(members),) or not bool((share >= 0).all() and share.sum() > 0):
            raise ValueError(f"weights must be {len(members)} numbers of at least 0, not all 0, got {share.tolist()}")
        self.members: Any = nn.ModuleList(members)  # Any: a ModuleList's items are untyped
        self.event_shape, self.context_features = first.event_shape, first.context_features
        self.register_buffer("log_weight", (share / share.sum()).log())

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return log_sum_exp(self.parts(x, context), 0)

    def exact(self, x: Tensor) -> Tensor:
        """Which rows with NaN have a marginal in closed form, ``(*batch,)``: those for which all members have one."""
        return torch.stack([member.exact(x) for member in self.members]).all(0)

    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        logs = torch.stack([member.log_marginal(x, context) for member in self.members])
        return log_sum_exp(logs + self.log_weight.to(logs).view(-1, *[1] * (logs.dim() - 1)), 0)

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """P(X <= x | context), ``(*batch,)``: the weighted mean of the members'."""
        return self._below(x, self._read(context))

    def log_prob_and_cdf(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """log p(x | context) and P(X <= x | context), ``(*batch,)`` each, whose features are computed once."""
        parts = self._read(context)
        return log_sum_exp(self._logs(x, parts), 0), self._below(x, parts)

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        """The quantiles ``(*batch, 1)``, searched between those of the members."""
        parts = self._read(context)
        ends = torch.stack([member.icdf(q, given)[..., 0] for member, given in parts])
        return quantile_between(lambda x: self._below(x[..., None], parts), q, ends.amin(0), ends.amax(0))[..., None]

    def _below(self, x: Tensor, parts: Sequence[tuple[Density, Tensor | None]]) -> Tensor:
        found = torch.stack([member.cdf(x, given) for member, given in parts])
        return torch.einsum("k,k...->...", self.log_weight.exp().to(found), found)

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The nodes of all members, weighted."""
        points, weights = zip(*(member.quadrature(given) for member, given in self._read(context)), strict=True)
        shares = self.log_weight.exp()
        return torch.cat(points), torch.cat([share * weight for share, weight in zip(shares, weights, strict=True)])

    def parts(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log w_k + log p_k(x | context) of every member, ``(members, *batch)``."""
        return self._logs(x, self._read(context))

    def _logs(self, x: Tensor, parts: Sequence[tuple[Density, Tensor | None]]) -> Tensor:
        logs = torch.stack([member.log_prob(x, given) for member, given in parts])
        return logs + self.log_weight.to(logs).view(-1, *[1] * (logs.dim() - 1))

    def _read(self, context: Tensor | None) -> list[tuple[Density, Tensor | None]]:
        """Every member, and its context; features that several members read are computed once."""
        told: dict[nn.Module, Tensor] = {}
        return [member.read(context, told) for member in self.members]

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """Each draw comes from a randomly chosen member."""
        contexts = rows_of(context, batch)
        which = draw_index(self.log_weight[:, None].expand(-1, batch.numel()), generator)
        options: dict[str, Any] = {"generator": generator, "temperature": temperature}
        rows, parts = [], []
        for k, member in enumerate(self.members):
            own = (which == k).nonzero()[:, 0]
            given = None if contexts is None else contexts[own]
            rows.append(own)
            parts.append(member.sample((len(own),) if given is None else (), given, **options))
        return torch.cat(parts)[torch.cat(rows).argsort()].reshape(*batch, *self.event_shape)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        for member in self.members:
            member.initialize(x, context)

    def compile(self, **options: Any) -> Average:  # type: ignore[override]
        """Compiles every member. Returns the density itself."""
        for member in self.members:
            member.compile(**options)
        return self


class Recalibrated(Density):
    r"""The median of three draws of a density p of one number in a share s of cases, and one draw in the others: nearer
    to the median of p, since rows that p did not see are.

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


class GivenFeatures(Density):
    r"""A density given features of its context, which are no part of what is trained.

    .. math:: \log p(x \mid c) = \log p_f(x \mid f(c))

    Args:
        density: :math:`p_f`.
        features: f, from contexts ``(*batch, context)`` to the context features of the density.
        context: Features of c.
    """

    def __init__(self, density: Density, features: nn.Module, *, context: int) -> None:
        super().__init__()
        self.density, self.features = density, features
        self.event_shape, self.context_features = density.event_shape, context

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.log_prob(x, self._features(context))

    def read(self, context: Tensor | None, told: dict[nn.Module, Tensor]) -> tuple[Density, Tensor | None]:
        if self.features not in told:
            told[self.features] = self._features(context)
        return self.density, told[self.features]

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.cdf(x, self._features(context))

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.icdf(q, self._features(context))

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.density.quadrature(self._features(context))

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        return self.density._generate(batch, self._features(context), generator, temperature)

    def _features(self, context: Tensor | None) -> Any:
        return self.features(self._check(None, context)[1])
