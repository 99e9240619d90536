"""Rows with holes, the random numbers from which each is filled, and the answers of weighted draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics.hashed import splitmix64, uniforms
from .region import Region

WIDE = 1.5  # one draw in eight has noise wider by this factor
EVERY = 8
REPLICATES, STUDENT = 32, 1.0406  # and the 97.5 % quantile of 31 degrees of freedom, in normal ones


@dataclass(frozen=True)
class RowsWithHoles:
    """Rows whose NaN entries are unknown."""

    x: Tensor  # ``(n, features)``
    context: Tensor | None  # ``(n, context features)`` or None
    keys: Tensor  # a hash of each row, ``(n,)``; all randomness follows from it and the seed
    seed: int  # seed of the Sobol sequence
    numbers: Tensor  # which entries are numbers, ``(features,)``
    # maps rows ``(K, n, features)`` and uniform numbers of that shape to points of the rows' cells
    spread: Callable[[Tensor, Tensor], Tensor] | None = None
    # tells which of the filled rows ``(K, n, features)`` are allowed, ``(K, n)``, from these and what is ``free``
    allowed: Callable[[Tensor, Tensor], Tensor] | None = None
    region: Region | None = None  # where holes may lie; None for anywhere
    replicates: int = 1  # into how many sequences of draws, each with its own shift, those of a row are divided

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> RowsWithHoles:
        context = None if self.context is None else self.context[rows]
        region = None if self.region is None else self.region[rows]
        return replace(self, x=self.x[rows], context=context, keys=self.keys[rows], region=region)

    @property
    def still(self) -> Tensor:
        """Which rows stand for a single point, not a cell, ``(n,)``."""
        if self.spread is None:
            return torch.ones(len(self), dtype=torch.bool, device=self.x.device)
        u = torch.full_like(self.x, 0.5)
        fixed = (self.spread(self.x, u) == self.x) & (self.spread(self.x, 0.5 * u) == self.x)
        return (fixed | self.x.isnan()).all(-1)

    @property
    def free(self) -> Tensor:
        """Which entries may be drawn anywhere, ``(n, features)``."""
        holes = self.x.isnan()
        return holes if self.region is None else holes & ~self.region.named(self.x)

    def told_apart(self) -> RowsWithHoles:
        """The same rows with distinct keys, even for identical rows."""
        return replace(self, keys=splitmix64(self.keys ^ splitmix64(torch.arange(len(self), device=self.keys.device))))

    def draws(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws number ``start`` to ``stop`` of every row, from a Sobol sequence shifted by its key: anew for each of
        its replicates, which take turns of EVERY draws.

        Returns:
            Points of the rows' cells, including holes, and noise for the holes, both ``(K, n, features)``; and how much
            wider than standard normal the noise of each draw is, ``(K,)``.
        """
        features, number = self.x.shape[1], torch.arange(start, stop)
        turn, place = number // EVERY, number % EVERY
        place += turn // self.replicates * EVERY
        first = int(place[0])
        engine = torch.quasirandom.SobolEngine(2 * features, scramble=True, seed=self.seed).fast_forward(first)
        u = engine.draw(int(place.max()) + 1 - first, dtype=torch.float64)[place - first].to(self.x.device)
        shifts = uniforms(self.keys, 2 * features * self.replicates)
        shifts = shifts.view(len(self), self.replicates, 2 * features)
        u = (u[:, None] + shifts.transpose(0, 1)[turn % self.replicates]) % 1.0
        z = normal(u[..., features:])
        wide = (number % EVERY == EVERY - 1).to(z.device)
        z = torch.where(wide[:, None, None] & self.numbers, WIDE * z, z)
        return self.points(u[..., :features]), z, torch.where(wide, WIDE, 1.0)

    def mirrored(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` draws, whose second half repeats the first in reverse order with noise of opposite sign: terms odd
        in the noise, which are most of a mean, cancel (antithetic draws)."""
        points, z, scale = self.draws(0, count // 2)
        parts = (points, points), (z, -z), (scale, scale)
        points, z, scale = (torch.cat([one, other.flip(0)]) for one, other in parts)
        return points, z, scale

    def correction(self, z: Tensor, filled: Tensor, log_mass: Tensor) -> Tensor:
        """log N(z) - log of the mixture of N(0, 1) and N(0, WIDE²) from which z comes, ``(K, n)`` in nats.

        Args:
            z: The noise ``(K, n, features)``.
            filled: Which rows ``(K, n, features)`` have been filled where.
            log_mass: Of both, the log-probability of the region that the noise was moved into, ``(2, K, n)``.
        """
        holes = self.x.isnan() & self.numbers & ~filled.isnan()
        square = torch.where(holes, z.square(), 0.0).sum(-1)
        ratio = 0.5 * (1 - WIDE**-2) * square - holes.sum(-1) * math.log(WIDE)
        shares = torch.tensor([(EVERY - 1) / EVERY, 1 / EVERY], dtype=z.dtype, device=z.device).log()
        return -torch.logaddexp(shares[0] - log_mass[0], shares[1] - log_mass[1] + ratio)

    def uniform(self, count: int, *, stream: int) -> Tensor:
        """Independent numbers in [0, 1), ``(count, n, features)``, different for each stream."""
        features = self.x.shape[1]
        flat = uniforms(splitmix64(self.keys ^ (stream + 1)), count * features)
        return flat.view(len(self), count, features).transpose(0, 1)

    def kept(self, filled: Tensor, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """Filled rows and their log-weights, which are infinitely low where they are not allowed."""
        return filled, log_w if self.allowed is None else log_w.masked_fill(~self.allowed(filled, self.free), -math.inf)

    def points(self, u: Tensor) -> Tensor:
        """Points of each row's cell, from uniform numbers ``(K, n, features)``."""
        x = self.x.expand(u.shape)
        return x if self.spread is None else self.spread(x, u)


def pieces(rows: Tensor, size: int) -> Sequence[Tensor]:
    """Indices of the chosen rows, ``size`` at a time."""
    places = rows.nonzero()[:, 0]
    return places.split(max(size, 1)) if len(places) else ()


def normal(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.clamp(1e-15, 1 - 1e-15))


class Answer(NamedTuple):
    """Log-densities of rows and their accuracy, each of shape ``(n,)``, float64."""

    value: Tensor  # in nats
    error: Tensor  # standard errors, in nats; 0 if the answer is exact
    effective: Tensor  # effective numbers of draws :math:`(\sum w)^2 / \sum w^2`; infinity if the answer is exact

    @classmethod
    def exact(cls, value: Tensor, error: Tensor | float = 0.0) -> Answer:
        """An answer without draws from a guide."""
        return cls(value, torch.zeros_like(value) + error, torch.full_like(value, math.inf))

    def given(self, condition: Answer) -> Answer:
        """log p(a | b) from log p(a, b), this one, and log p(b); NaN where b is impossible."""
        error, effective = self.error.hypot(condition.error), self.effective.minimum(condition.effective)
        return Answer(self.value - condition.value, error, effective)

    @classmethod
    def joined(cls, n: int, parts: Iterable[tuple[Tensor, Answer]]) -> Answer:
        """The answers of n rows from those of some, each with its rows, a mask or indices; NaN for all others."""
        found = cls(*(torch.full((n,), math.nan, dtype=torch.float64) for _ in range(3)))
        for rows, answer in parts:
            for whole, part in zip(found, answer, strict=True):
                whole[rows] = part
        return found


class Weights:
    """Sums of weights and of their squares, for every row and replicate, updated as draws come in.

    Args:
        n: Number of rows.
        device: Where the sums are.
        replicates: Into how many sequences the draws of a row are divided: 1, or REPLICATES.
    """

    def __init__(self, n: int, device: torch.device, replicates: int = 1) -> None:
        self.first = torch.full((replicates, n), -math.inf, dtype=torch.float64, device=device)
        self.second = self.first[0].clone()
        self.count = torch.zeros(n, dtype=torch.float64, device=device)

    def add(self, rows: Tensor, log_w: Tensor) -> None:
        """Adds the log-weights ``(K, n)`` of some rows; K is a multiple of EVERY draws of each replicate, if there are
        several."""
        replicates, turns = len(self.first), log_w[None]
        if replicates > 1:
            turns = log_w.unflatten(0, (-1, replicates, EVERY)).transpose(0, 1).flatten(1, 2)
        self.first[:, rows] = torch.logaddexp(self.first[:, rows], turns.logsumexp(1))
        self.second[rows] = torch.logaddexp(self.second[rows], (2 * log_w).logsumexp(0))
        self.count[rows] += len(log_w)

    def answer(self) -> tuple[Tensor, Tensor, Tensor]:
        """The logarithms of the mean weights, their standard errors, and effective numbers.

        Errors are those of independent draws, by the delta method; or, of several replicates, from how far these are
        apart, wider by Student's quantile, since draws that are spread evenly have smaller ones.

        Reference:
            Owen (2013), Monte Carlo theory, methods and examples, chapter 17: randomised quasi-Monte Carlo.
        """
        first, replicates = self.first.logsumexp(0), len(self.first)
        value = first - self.count.log()
        concentration = (self.second - 2 * first).exp()  # sum w² / (sum w)²
        error = ((self.count * concentration - 1).clamp_min(0) / (self.count - 1)).sqrt()
        if replicates > 1:
            shares = (self.first - first).exp() * replicates
            error = STUDENT * ((shares - 1).square().sum(0) / (replicates * (replicates - 1))).sqrt()
        nothing = value.isinf() | (self.count <= 1)
        return value, torch.where(nothing, 0.0, error), torch.where(nothing, 0.0, 1 / concentration)
