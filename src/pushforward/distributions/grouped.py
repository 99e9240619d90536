"""A density of rows that come in groups, such as pupils of a school: what is equal within a group is one of the known
combinations, and the rest is given by a density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nets.positions import rows_of
from .base import Density, Generator
from .conditional import draw_index

PRIORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)  # pseudo-rows of each group, of which one number is chosen
LEAST = 1e-6  # share of a group's rows that have a feature of the context


class Grouped(Density):
    r"""Rows of known groups, within which some features, S, lie in one cell each.

    .. math:: p(x_S, x_R \mid c) = \sum_k w_k(c)\, u_k(x_S)\, p(x_R \mid x_S, c)

        w_k(c) \propto (n_k - d) \prod_{i:\, c_i = 1} \frac{n_{ki} + a_i s_i}{n_k + a_i},\; d = \frac{m_1}{m_1 + 2 m_2}

    with the rows :math:`n_k` of group k, of which :math:`n_{ki}` have feature i of the context, as a share :math:`s_i`
    of all rows has, and with m₁ groups of one row and m₂ of two: the fewer groups were met twice, the less certain it
    is that one that was met once comes again. The pseudo-rows :math:`a_i` are those with which a group's other rows
    best tell if one has feature i. :math:`u_k` is a logistic density, cut off at its group's cells; elsewhere it is 0.

    Args:
        features: Features of a row.
        inside: S.
        groups: Number of groups.
        inner: The density of the other features, R, given c and then :math:`x_S`; None if there are none.
        context: Features of c; of these, those that are 0 or 1 in all rows tell how likely each group is.

    Reference:
        Ney, Essen, Kneser (1994), On structuring probabilistic dependences in stochastic language modelling: d.
    """

    cells: Tensor
    values: Tensor
    log_count: Tensor
    log_share: Tensor

    def __init__(
        self, features: int, inside: Sequence[int], groups: int, inner: Density | None, *, context: int = 0
    ) -> None:
        super().__init__()
        self.event_shape, self.context_features = torch.Size((features,)), context
        self.features, self.context, self.inside, self.groups, self.inner = features, context, inside, groups, inner
        self.rest = [j for j in range(features) if j not in inside]
        self.register_buffer("cells", torch.zeros(2, groups, len(inside)))  # their ends, groups in increasing order
        self.register_buffer("values", torch.zeros(groups, len(inside)).double())  # what the cells stand for
        self.register_buffer("log_count", torch.zeros(groups))  # log(n - d)
        self.register_buffer("log_share", torch.zeros(groups, context))  # log of the shares of features of the context

    def learn(
        self, cells: Tensor, values: Tensor, group: Tensor, weight: Tensor, context: Tensor | None = None
    ) -> None:
        """Takes the groups as they are.

        Args:
            cells: The ends of their cells, ``(2, groups, |S|)``, in lexicographic order of the lower ends; the cells of
                a feature are equal or apart.
            values: What they stand for elsewhere, ``(groups, |S|)``.
            group, weight, context: Of each row its group ``(n,)``, its weight ``(n,)`` and its context.
        """
        weight, count = weight / weight.mean(), torch.bincount(group, minlength=self.groups)
        once, twice = int((count == 1).sum()), int((count == 2).sum())
        rows = torch.zeros(self.groups).to(weight).index_add(0, group, weight)
        self.cells.copy_(cells)
        self.values.copy_(values)
        self.log_count.copy_((rows * (1 - once / max(once + 2 * twice, 1) / count).clamp_min(LEAST)).log())
        if context is not None:
            told = ((context == 0) | (context == 1)).all(0)
            have = torch.zeros_like(self.log_share).index_add(0, group, weight[:, None] * context)
            share = weight @ context / weight.sum()
            a = pseudo_rows(rows[:, None], have, share)
            found = (have + a * share) / (rows[:, None] + a)
            self.log_share.copy_(torch.where(told, found.clamp_min(LEAST).log(), 0.0))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        flat, given = x.reshape(-1, self.features), rows_of(context, x.shape[:-1])
        z = flat[:, self.inside]
        group, known = self.group_of(z)
        log_p = self._log_weight(given, group) + log_cut_off(z.double(), *self.cells.double()[:, group]).sum(1).to(z)
        if self.inner is not None:
            log_p = log_p + self.inner.log_prob(flat[:, self.rest], self._before(z, given))
        return torch.where(known, log_p, -torch.inf).view(x.shape[:-1])

    def log_weights(self, context: Tensor | None, n: int) -> Tensor:
        """log w of all groups given n contexts, ``(n, groups)``; a context without any indicator tells nothing."""
        told = 0.0 if context is None else context.to(self.log_share) @ self.log_share.t()
        return (self.log_count.expand(n, -1) + told).log_softmax(1)

    def _log_weight(self, context: Tensor | None, group: Tensor) -> Tensor:
        """That of one group for each context, of which many are equal."""
        if context is None:
            return self.log_count.log_softmax(0)[group]
        if torch.compiler.is_compiling():
            return self.log_weights(context, context.shape[0]).gather(1, group[:, None])[:, 0]
        different, place = torch.unique(context, dim=0, return_inverse=True)
        return self.log_weights(different, len(different))[place, group]

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """P(X <= x | context), ``(*batch,)``, of events of one number."""
        x, context = self._check(x, context)
        low, high = self.cells.double()[..., 0].sigmoid()
        below = (x.reshape(-1, 1).double().sigmoid() - low) / (high - low)
        shares = self.log_weights(rows_of(context, x.shape[:-1]), len(below)).exp()
        return (shares * below.clamp(0, 1)).sum(1).to(x).view(x.shape[:-1])

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        """The quantiles ``(*batch, 1)``: of the group in which they lie."""
        u = q.reshape(-1, 1).double()
        shares = self.log_weights(rows_of(context, q.shape), len(u)).double().exp()
        above = shares.cumsum(1)
        group = torch.searchsorted(above, u).clamp_max(self.groups - 1)
        low, high = self.cells.double()[:, group[:, 0]]
        share = shares.gather(1, group)
        return cut_off(((u - above.gather(1, group)) / share + 1).clamp(0, 1), low, high).to(q).view(*q.shape, 1)

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The medians of all groups, weighted."""
        _, context = self._check(None, context)
        batch = torch.Size() if context is None else context.shape[:-1]
        shares = self.log_weights(rows_of(context, batch), batch.numel()).exp().t()
        nodes = cut_off(torch.tensor(0.5), *self.cells.double()).to(shares)
        return nodes.view(-1, *[1] * len(batch), 1).expand(-1, *batch, 1), shares.view(-1, *batch)

    def group_of(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The group in whose cells each row ``(n, |S|)`` lies, and whether there is one, ``(n,)``: by bisection."""
        low, high = self.cells.to(z)
        first = torch.zeros_like(z[:, 0], dtype=torch.long)
        last, group, known = torch.full_like(first, self.groups), first, torch.zeros_like(first, dtype=torch.bool)
        for _ in range(self.groups.bit_length()):
            at = ((first + last) // 2).clamp_max(self.groups - 1)
            side = (z > high[at]).int() - (z < low[at]).int()
            side = side.gather(1, (side != 0).int().argmax(1, keepdim=True))[:, 0]  # in the first that differs
            first, last = torch.where(side > 0, at + 1, first), torch.where(side < 0, at, last)
            group, known = torch.where(side == 0, at, group), known | (side == 0) & (first <= at)
        return group, known

    def _before(self, z: Tensor, context: Tensor | None) -> Tensor:
        """What the rest is given."""
        return z if context is None else torch.cat([context, z], 1)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        n, given = batch.numel(), rows_of(context, batch)
        group = draw_index(self.log_weights(given, n).t().contiguous(), generator)
        low, high = self.cells.double()[:, group]
        u = torch.rand(low.shape, generator=generator, dtype=low.dtype, device=low.device)
        z, x = cut_off(u, low, high).to(self.log_count), self.log_count.new_empty(n, self.features)
        x[:, self.inside] = z
        if self.inner is not None:
            before = self._before(z, given)
            x[:, self.rest] = self.inner.sample((), before, generator=generator, temperature=temperature)
        return x.reshape(*batch, *self.event_shape)


def pseudo_rows(rows: Tensor, have: Tensor, share: Tensor) -> Tensor:
    """Those of each feature under which rows are likeliest given the others of their groups: of ``rows (groups, 1)``,
    so many ``have`` it, ``(groups, features)``, and of all a ``share``."""
    a, others = torch.tensor(PRIORS).to(share)[:, None, None], (rows - 1).clamp_min(0)
    there, gone = (have, share), (rows - have, 1 - share)
    each = [torch.xlogy(n, ((n - 1).clamp_min(0) + a * s) / (others + a)) for n, s in (there, gone)]
    return a[(each[0] + each[1]).sum(1).argmax(0), 0, 0]


def log_cut_off(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The log-density of a logistic number that is known to lie between two ends."""
    _, low, high = _precise(low, high)
    mass = F.logsigmoid(high) + torch.log(-torch.expm1(F.logsigmoid(low) - F.logsigmoid(high)))
    return F.logsigmoid(z) + F.logsigmoid(-z) - mass


def cut_off(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Such numbers from uniform ones, which are their distribution function."""
    sign, first, last = _precise(low, high)
    first, last = first.sigmoid(), last.sigmoid()
    u = torch.where(sign < 0, 1 - u, u)
    return (sign * torch.logit(first + u * (last - first))).clamp(low, high)


def _precise(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An interval, mirrored at 0 if it lies above, where the distribution function is near 1: its sign and its ends."""
    above = low > 0
    return torch.where(above, -1.0, 1.0), torch.where(above, -high, low), torch.where(above, -low, high)
