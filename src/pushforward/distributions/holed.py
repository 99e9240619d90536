"""Rows with holes, the random numbers of each, and statistics of weighted draws of the holes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..numerics.hashed import row_keys, splitmix64, uniforms

WIDE = 1.5  # one draw in eight has noise wider by this factor
EVERY = 8
BISECTIONS = 14


@dataclass(frozen=True)
class Holed:
    """Rows whose NaN entries are unknown.

    Args:
        x: ``(n, features)``.
        context: ``(n, context features)`` or None.
        keys: A hash of each row, ``(n,)``; all randomness follows from it and the seed.
        seed: Seed of the Sobol sequence.
        numbers: Which entries are numbers, ``(features,)``.
        spread: Maps rows ``(K, n, features)`` and uniform numbers of that shape to points of the rows' cells.
        allowed: Tells which of the filled rows ``(K, n, features)`` are allowed, ``(K, n)``.
    """

    x: Tensor
    context: Tensor | None
    keys: np.ndarray
    seed: int
    numbers: Tensor
    spread: Callable[[Tensor, Tensor], Tensor] | None = None
    allowed: Callable[[Tensor], Tensor] | None = None

    @staticmethod
    def of(x: Tensor, context: Tensor | None, seed: int, numbers: Tensor, spread: Any = None) -> Holed:
        return Holed(x, context, row_keys(x, seed), seed, numbers, spread)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> Holed:
        context = None if self.context is None else self.context[rows]
        return replace(self, x=self.x[rows], context=context, keys=self.keys[rows.cpu().numpy()])

    @property
    def still(self) -> Tensor:
        """Which rows stand for a single point, not a cell, ``(n,)``."""
        if self.spread is None:
            return torch.ones(len(self), dtype=torch.bool, device=self.x.device)
        u = torch.full_like(self.x, 0.5)
        return ((self.spread(self.x, u) == self.spread(self.x, 0.5 * u)) | self.x.isnan()).all(-1)

    def told_apart(self) -> Holed:
        """The same rows with distinct keys, even for identical rows."""
        return replace(self, keys=splitmix64(self.keys ^ splitmix64(np.arange(len(self), dtype=np.uint64))))

    def draws(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws number ``start`` to ``stop`` of every row, from a Sobol sequence shifted by its key.

        Returns:
            Points of the rows' cells, including holes, and noise for the holes, both ``(K, n, features)``; and the
            log-density ratio of a standard normal to the noise's own distribution, ``(K, n)`` in nats.
        """
        features = self.x.shape[1]
        engine = torch.quasirandom.SobolEngine(2 * features, scramble=True, seed=self.seed)
        u = engine.fast_forward(start).draw(stop - start, dtype=torch.float64).to(self.x.device)
        u = (u[:, None] + self._tensor(uniforms(self.keys, 2 * features))) % 1.0
        z = _normal(u[..., features:])
        wide = (torch.arange(start, stop, device=z.device) % EVERY == EVERY - 1)[:, None, None]
        z = torch.where(wide & self.numbers, WIDE * z, z)
        return self._points(u[..., :features]), z, self._correction(z)

    def mirrored(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` draws, whose second half repeats the first in reverse order with noise of opposite sign: terms odd
        in the noise, which are most of a mean, cancel (antithetic draws)."""
        points, z, correction = self.draws(0, count // 2)
        parts = (points, points), (z, -z), (correction, correction)
        points, z, correction = (torch.cat([one, other.flip(0)]) for one, other in parts)
        return points, z, correction

    def _correction(self, z: Tensor) -> Tensor:
        """log N(z) - log of the mixture of N(0, 1) and N(0, WIDE²), over the holes that are numbers."""
        holes = self.x.isnan() & self.numbers
        square = torch.where(holes, z.square(), 0.0).sum(-1)
        ratio = 0.5 * (1 - WIDE**-2) * square - holes.sum(-1) * math.log(WIDE)
        shares = torch.tensor([(EVERY - 1) / EVERY, 1 / EVERY], dtype=z.dtype, device=z.device).log()
        return -torch.logaddexp(shares[0], shares[1] + ratio)

    def points(self, count: int) -> Tensor:
        """``count`` points of each row's cell, ``(count, n, features)``."""
        return self._points(self.uniform(count, stream=0))

    def uniform(self, count: int, *, stream: int) -> Tensor:
        """Independent numbers in [0, 1), ``(count, n, features)``, different for each stream."""
        features = self.x.shape[1]
        flat = uniforms(splitmix64(self.keys ^ np.uint64(stream + 1)), count * features)
        return self._tensor(flat).view(len(self), count, features).transpose(0, 1)

    def normal(self, count: int, *, stream: int) -> Tensor:
        """Independent standard normal numbers, ``(count, n, features)``."""
        return _normal(self.uniform(count, stream=stream))

    def _points(self, u: Tensor) -> Tensor:
        x = self.x.expand(u.shape)
        return x if self.spread is None else self.spread(x, u)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.x.device)


class Weights:
    """Sums of weights and of their squares, for every row, updated as draws come in."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.first, self.second = (torch.full((n,), -math.inf, dtype=torch.float64, device=device) for _ in range(2))
        self.count = torch.zeros(n, dtype=torch.float64, device=device)

    def add(self, rows: Tensor, log_w: Tensor) -> None:
        """Adds the log-weights ``(K, n)`` of some rows."""
        self.first[rows] = torch.logaddexp(self.first[rows], log_w.logsumexp(0))
        self.second[rows] = torch.logaddexp(self.second[rows], (2 * log_w).logsumexp(0))
        self.count[rows] += len(log_w)

    def answer(self) -> tuple[Tensor, Tensor, Tensor]:
        """The logarithms of the mean weights, their standard errors by the delta method, and effective numbers."""
        value = self.first - self.count.log()
        concentration = (self.second - 2 * self.first).exp()  # sum w² / (sum w)²
        error = ((self.count * concentration - 1).clamp_min(0) / (self.count - 1)).sqrt()
        nothing = value.isinf() | (self.count <= 1)
        return value, torch.where(nothing, 0.0, error), torch.where(nothing, 0.0, 1 / concentration)


def effective(log_w: Tensor) -> Tensor:
    """(sum w)² / sum w² of log-weights ``(K, n)``, ``(n,)``; 0 where all weights are 0."""
    found = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    return found.nan_to_num(nan=0.0)


def effective_after(error: Tensor, particles: int) -> Tensor:
    """The effective number of particles after a path, from the standard error of its log-mean weight, ``(n,)``: the
    number of independent draws whose mean weight is equally uncertain."""
    return 1 / (error.square() + 1 / particles)


def tempered(log_w: Tensor, least: float) -> Tensor:
    r"""The log-weights ``(K, n)`` times the largest :math:`\beta \in [0, 1]` for which ``least`` are effective.

    If a few draws carry all the weight, this trades variance for a bias towards the proposals.

    Reference:
        Koblents, Míguez (2015), A population Monte Carlo scheme with transformed weights and its application to
        stochastic kinetic models, Statistics and Computing 25.
    """
    whole = effective(log_w) >= least
    if bool(whole.all()):
        return log_w
    low, high = torch.zeros_like(log_w[0]), torch.ones_like(log_w[0])
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        enough = effective(middle * log_w) >= least
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(whole, 1.0, low.clamp_min(2.0**-BISECTIONS)) * log_w


def resampled(log_w: Tensor, start: Tensor, draws: int) -> Tensor:
    """Indices ``(draws, n)`` in proportion to the weights ``(K, n)``: systematic resampling, ``start`` in [0, 1).

    The second half of the positions mirrors the first, so that mirrored draws are taken together.
    """
    log_w = torch.where(log_w.isneginf().all(0), 0.0, log_w)
    cumulative = log_w.softmax(0).cumsum(0).t().contiguous()
    first = (torch.arange((draws + 1) // 2, device=log_w.device) + start[:, None]) / draws
    places = torch.cat([first, 1 - first[:, : draws // 2]], 1)
    return torch.searchsorted(cumulative, places).clamp(max=len(log_w) - 1).t()


def pieces(rows: Tensor, size: int) -> Sequence[Tensor]:
    """Indices of the chosen rows, ``size`` at a time."""
    places = rows.nonzero()[:, 0]
    return places.split(max(size, 1)) if len(places) else ()


def _normal(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.clamp(1e-15, 1 - 1e-15))
