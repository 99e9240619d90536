"""Conditionals of a normal distribution with the data's mean and covariance, from which any-order models start."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...numerics.hashed import splitmix64
from ...numerics.torch_internals import transformed

SHRINKAGE = 1e-3  # of correlations towards zero: no conditional is narrower than about 0.03

GAIN = 20.0  # from the trained parameter to a share's log-odds, so that shares are learnt within dozens of steps
ROWS = 64  # at a time, so that their matrices stay in the processor's cache

ROUNDS = 4  # of EM, for most of its gain
LEARNT = 20_000  # rows used to initialise it


class NormalConditionals(nn.Module):
    r"""Mean and standard deviation of each number given the known ones, K, in a normal distribution.

    .. math:: \mu_{j|K} = \mu_j + \Sigma_{jK} \Sigma_{KK}^{-1} (t_K - \mu_K),\qquad
              \sigma_{j|K}^2 = \Sigma_{jj} - \Sigma_{jK} \Sigma_{KK}^{-1} \Sigma_{Kj}

    Only a trained share :math:`a_j` of both is applied, :math:`\mu_j + a_j (\mu_{j|K} - \mu_j)` and
    :math:`\sigma_j^{1 - a_j} \sigma_{j|K}^{a_j}`: numbers with few values or with spikes are better left alone.
    Features are the first dimension, rows the last. Starts as independent standard normal features.

    Args:
        features: Features of a row.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("covariance", torch.eye(features))
        self.raw_share = nn.Parameter(torch.full((features,), 2 / GAIN))

    @torch.no_grad()
    def initialize(self, t: Tensor, rounds: int = ROUNDS) -> None:
        """Sets mean and covariance from rows; NaN where a number was not observed, or is not included.

        Correlations are those of the rows in which both numbers were observed, made positive definite, and shrunk by
        1e-3 + features / n. If some were not, a few rounds of EM on up to 20,000 rows follow: partially observed rows
        say more about a pair than the rows that have both.

        Args:
            t: ``(features, n)``.
            rounds: Rounds of EM.

        Reference:
            Little, Rubin (2019), Statistical analysis with missing data, section 11.2.
        """
        seen = t.isfinite()
        count = seen.sum(1).clamp_min(1)
        mean = t.where(seen, 0.0).sum(1) / count
        t = (t - mean[:, None]).where(seen, 0.0)
        deviation = (t.square().sum(1) / count).sqrt()
        part = deviation > 0
        scale = deviation.where(part, 1.0)
        t, seen = t / scale[:, None], seen & part[:, None]
        both = seen.to(t)
        self.mean.zero_()
        shrinkage = len(t) / max(t.shape[1], 1)
        self._take(t @ t.mT / (both @ both.mT).clamp_min(1), part, shrinkage)
        if not bool(seen[part].all()):
            some = slice(None, None, -(-t.shape[1] // LEARNT))
            for _ in range(rounds):  # together they shrink as much as one would
                self._take(self._expect(t[:, some], seen[:, some]), part, shrinkage / rounds)
        self.mean.mul_(scale).add_(mean)
        self.covariance.mul_(scale[:, None] * scale)

    def _take(self, second: Tensor, part: Tensor, shrinkage: float) -> None:
        """Sets the covariance from second moments of standardised rows: correlations made positive definite and shrunk
        towards zero; unit variance and no correlations for numbers that are not included."""
        spread = second.diagonal().clamp_min(0).sqrt().where(part, 1.0)
        values, vectors = torch.linalg.eigh(second / (spread[:, None] * spread))
        correlation = vectors * values.clamp_min(SHRINKAGE) @ vectors.mT
        scale = correlation.diagonal().rsqrt() * max(1 - SHRINKAGE - shrinkage, 0.0) ** 0.5 * part
        correlation = scale[:, None] * correlation * scale
        correlation.diagonal().fill_(1.0)
        self.covariance.copy_(spread[:, None] * correlation * spread)

    def _expect(self, t: Tensor, seen: Tensor) -> Tensor:
        """A step of EM: updates the mean from rows ``(features, n)`` and returns their expected covariance given the
        observed entries."""
        first, second = torch.zeros_like(self.mean), torch.zeros_like(self.covariance)
        for x, known in zip(t.split(ROWS, 1), seen.split(ROWS, 1), strict=True):
            towards, centred = self._towards(x, known)
            filled = torch.where(known, x - self.mean[:, None], (towards.mT @ centred).squeeze(-1).mT)
            holes = (~known).mT.to(t)
            spread = (self.covariance - towards.mT @ towards) * (holes[:, :, None] * holes[:, None, :])
            first += filled.sum(1)
            second += filled @ filled.mT + spread.sum(0)
        shift = first / t.shape[1]
        self.mean.add_(shift)
        return second / t.shape[1] - shift[:, None] * shift

    def forward(self, t: Tensor, known: Tensor, orders: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the unknown numbers of each row given the known, ``(features, n)`` both.

        Args:
            t: ``(features, n)``.
            known: Which numbers are known, of the shape of t.
            orders: ``(orders, features)``, if the known numbers of row i are a prefix of order i modulo
                ``len(orders)``. All prefixes of an order share its Cholesky factor, so one per order suffices instead
                of one per row.
        """
        if orders is None:
            parts = [self._given(*some) for some in zip(t.split(ROWS, 1), known.split(ROWS, 1), strict=True)]
            mean, variance = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        else:
            mean, variance = self._given_first(t, known, orders)
        share, spread = self.shares()[:, None], self.covariance.diagonal()[:, None]
        deviation = (0.5 * torch.lerp(spread.log(), variance.where(~known, spread).log(), share)).exp()
        return self.mean[:, None] + share * mean, deviation

    def shares(self) -> Tensor:
        """The share of its normal conditional applied to each number, ``(features,)``."""
        return (GAIN * self.raw_share).sigmoid()

    def _given(self, t: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        towards, centred = self._towards(t, known)
        mean = (towards.mT @ centred).squeeze(-1)
        return mean.mT, (self.covariance.diagonal() - towards.square().sum(-2)).mT

    def _towards(self, t: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """With L the Cholesky factor of the known numbers' covariance, its inverse times their covariances with all
        numbers, ``(n, features, features)``, and times their deviations from the mean, ``(n, features, 1)``."""
        k = known.mT.to(self.covariance)
        among = self.covariance * (k[:, :, None] * k[:, None, :]) + torch.diag_embed(1 - k)
        centred = (t - self.mean[:, None]).mT * k
        both = torch.cat([self.covariance * k[:, :, None], centred[..., None]], -1)
        both = torch.linalg.solve_triangular(torch.linalg.cholesky(among), both, upper=False)
        return both[..., :-1], both[..., -1:]

    def _given_first(self, t: Tensor, known: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
        features, n = t.shape
        sort = partial(_sorted, orders)
        L = torch.linalg.cholesky(self.covariance[orders[:, :, None], orders[:, None, :]])
        k = sort(known)
        e = torch.linalg.solve_triangular(L, sort((t - self.mean[:, None]) * known), upper=False) * k
        explained = F.pad(L.square().cumsum(-1), (1, 0)).gather(-1, k.sum(1, keepdim=True).expand_as(k))
        back = orders.argsort(-1)[..., None].expand_as(k)
        mean, explained = ((L @ e).gather(1, back), explained.gather(1, back))
        mean, explained = (part.permute(1, 2, 0).reshape(features, -1)[:, :n] for part in (mean, explained))
        return mean, self.covariance.diagonal()[:, None] - explained

    @torch.no_grad()
    def along(self, known: Tensor, wanted: Tensor, order: Sequence[int]) -> Along:
        """The conditionals along an order, in which each wanted number is known to those after it.

        Args:
            known: Which numbers are known from the start, ``(features, n)``.
            wanted: Which become known, of the same shape; the others never do.
            order: The order of the wanted numbers.
        """
        place = torch.full(known.shape[:1], len(known), device=known.device)
        place[list(order)] = torch.arange(len(order), device=known.device)
        place = torch.where(known, -1, torch.where(wanted, place[:, None], len(known))).mT
        which = None
        if not (transformed() or torch.compiler.is_compiling() or place.is_meta):  # rows mostly share a few patterns
            place, which = _patterns(place)
        sorting = place.argsort(dim=-1, stable=True)
        L = torch.linalg.cholesky(self.covariance[sorting[:, :, None], sorting[:, None, :]])
        identity = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
        scale = L.diagonal(dim1=-2, dim2=-1)
        # with t = L e, the mean of t_j given those before it is t_j - L_jj e_j
        onto = identity - scale[..., None] * torch.linalg.solve_triangular(L, identity.expand_as(L), upper=False)
        back = sorting.argsort(-1)
        onto = onto.gather(1, back[:, :, None].expand_as(onto)).gather(2, back[:, None, :].expand_as(onto))
        return Along(self, onto, scale.gather(-1, back), which)


class Along(NamedTuple):
    """Conditionals along an order: each number's weights for those before it, ``(patterns, features, features)``, its
    standard deviation, ``(patterns, features)``, and the pattern of each row."""

    of: NormalConditionals
    onto: Tensor
    scale: Tensor
    which: Tensor | None

    def at(self, j: int, t: Tensor, rows: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of number j, both ``(n,)``, for some rows.

        Args:
            j: The number.
            t: ``(features, n)``: the numbers of these rows, with any finite values where they do not come before j.
            rows: Which of the rows these are.
        """
        which = rows if self.which is None else self.which[rows]
        share, mean, spread = self.of.shares()[j], self.of.mean, self.of.covariance[j, j]
        shift = (self.onto[which, j].mT * (t - mean[:, None])).sum(0)
        return mean[j] + share * shift, spread.sqrt() * (self.scale[which, j] / spread.sqrt()) ** share


def _patterns(place: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows of whole numbers ``(n, features)``, and which of them each row is: found by a hash of each, in
    a tenth of the time that comparing them takes."""
    odd = splitmix64(torch.arange(place.shape[1], device=place.device)) | 1
    keys, which = torch.unique((place * odd).sum(1), return_inverse=True)
    first = place.new_empty(len(keys)).scatter_(0, which, torch.arange(len(place), device=place.device))
    return place[first], which


def _sorted(orders: Tensor, x: Tensor) -> Tensor:
    """Rows ``(features, n)``, row i sorted by order i modulo ``len(orders)``, as ``(orders, features, rows)``."""
    x = F.pad(x, (0, -x.shape[1] % len(orders))).unflatten(1, (-1, len(orders))).permute(2, 0, 1)
    return x.gather(1, orders[..., None].expand_as(x))
