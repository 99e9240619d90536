r"""Few numbers, each with a probability of its own, and what is left for those that no training row had.

Near a number that few rows hold there may be others that none holds by chance, as a count of 8 beside 7 and 9: a value
v, t steps of the column's resolution away from s, the nearest number that was seen, has

.. math:: p(v) = p(s)\, u_s\, q_s(t), \qquad \text{and s itself} \quad p(s)\,(1 - u_s), \qquad u_s = \frac{d}{c_s + d},

where :math:`c_s` of n rows hold s. The total left over, :math:`\sum_s c_s u_s / n`, is roughly the Good-Turing
estimate, the share of the values that a single row holds; values that two or three rows hold count less and less,
:math:`\frac1n \sum_s c_s e^{1 - c_s}`, and a tenth of a row is left in any case: in few-valued columns of 160 real
tables, with every value held by three rows or more, 0.08 / n of the subsequent rows held others. Between two numbers
that were seen, q is uniform; beyond the last of them it is :math:`1 / t(t + 1)`; with room on both sides, each gets
half.

No other value has a probability if ten rows or more hold each number, if there are only two (a flag), or below the
zero of a quantity that is never negative. And none is ever drawn.

In encoded rows, such a value is the code k of s plus a fraction that encodes t: :math:`k + \frac{1}{4 (1 + t)}` above
s, a quarter more below it.

Reference:
    Good (1953), The population frequencies of species and the estimation of population parameters, Biometrika 40.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import Hints, Numbers
from .named import ALWAYS, FEWEST, RARE, Named
from .numeric import numbers_of, present

FEW, SOME = 12, 60  # distinct values that have a probability each: always, and if they lie on no scale
DECIMALS, BLUR = 6, 2.5e-7  # of a resolution; of numbers that passed through float32
FARTHEST = 1e6  # steps


@dataclass(frozen=True, kw_only=True)
class FewValues(Named):
    """Numbers so few, and each so frequent, that each is better given a probability."""

    title: ClassVar[str] = "values"
    remark: ClassVar[str] = (
        "values: each has a probability, and no others are drawn (`numbers=` treats a column as a scale)"
    )

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        return cls.of(values) if np.ptp(x) == 0 or (not hints.scale and are_few(x)) else None

    def expecting(self, counts: np.ndarray) -> Self:
        numbers = [float(name) for name in self.values]
        return replace(self, unseen=unseen_shares(numbers, counts) if numbers == sorted(numbers) else ())

    @property
    def may_be_scale(self) -> bool:
        return len(self.values) > FEW

    @cached_property
    def possible(self) -> PossibleNumbers:
        """The grid of possible numbers."""
        return PossibleNumbers.of([float(name) for name in self.values])

    def read(self, values: pl.Series) -> Numbers:
        codes = super().read(values)
        odd = (codes == -1) if self.unseen else np.zeros(0, bool)
        if odd.any():
            numbers = torch.tensor(numbers_of(values.cast(pl.Float64, strict=False))[odd])
            codes[odd] = self._unseen_codes(numbers).numpy()
        return codes

    def encoded(self, values: Tensor) -> Tensor:
        codes = super().encoded(values)
        return codes.where(codes != -1, self._unseen_codes(values)) if self.unseen else codes

    def _unseen_codes(self, v: Tensor) -> Tensor:
        """The codes of unseen numbers; -1 for those that are not on the grid of the numbers seen."""
        grid = self.possible
        seen, rooms = v.new_tensor(grid.seen), v.new_tensor(grid.room)
        k = torch.searchsorted(0.5 * (seen[1:] + seen[:-1]) + 1e-6 * grid.step, v)
        t, above = (v - seen[k]).abs() / grid.step, v > seen[k]
        room = torch.where(above, rooms[k, 1], rooms[k, 0])
        blur = (0.01 + BLUR * v.abs() / grid.step).clamp_max(0.4)
        place = torch.minimum(t.round().clamp(1, FARTHEST), room.clamp_min(1))
        on = (room > 0) & (((t - place).abs() <= blur) | (not grid.whole) | (t > FARTHEST)) & v.isfinite()
        codes = torch.where(on, k + 0.25 / (1 + place) + torch.where(above, 0.0, 0.25), -1.0)
        return torch.where(t <= blur, k, codes)  # first, the same number, rounded differently

    def nearest(self, values: pl.Series) -> Numbers:
        codes, numbers = self.read(values), numbers_of(values.cast(pl.Float64, strict=False))
        seen = self.amounts(np.arange(len(self.values), dtype=float))
        odd = (codes < 0) & ((numbers >= 0) | (seen.min() < 0))  # an amount that is never negative stays so
        return np.where(odd, np.abs(numbers[:, None] - seen).argmin(1), codes)

    def write(self, numbers: Numbers) -> pl.Series:
        written = super().write(numbers)
        odd = np.flatnonzero(is_unseen(numbers)) if self.unseen else ()  # what follows may be none that a row had
        return written.scatter(odd, [f"{x:.15g}" for x in self.amounts(numbers[odd])]) if len(odd) else written

    def shown(self, number: float) -> str:
        unseen = self.unseen and is_unseen(number)
        return f"{self.amounts(np.array([number]))[0]:.6g}" if unseen else super().shown(number)

    def amounts(self, codes: NDArray[Any]) -> Numbers:
        numbers = super().amounts(codes)
        odd = (codes >= 0) & (codes < len(self.values)) & is_unseen(codes)
        if self.unseen and odd.any():
            k = np.floor(codes[odd]).astype(np.int64)
            t, below = _steps(torch.from_numpy(codes[odd] - k))
            away = self.possible.step * np.where(below.numpy(), -t.numpy(), t.numpy())
            numbers[odd] = np.round(self.possible.seen[k] + away, 12)
        return numbers

    def log_unseen(self, x: Tensor) -> Any:
        """log(1 - u) for codes of numbers that were seen, log(u q) for unseen ones; 0 for any other code."""
        if not self.unseen:
            return 0.0
        k = x.nan_to_num(-1.0).floor()
        known = (k >= 0) & (k < len(self.values))
        at, none = k.where(known, 0).long(), torch.zeros((), dtype=torch.float64, device=x.device)
        shares, places = none.new_tensor(self.unseen)[at], none.new_tensor(self.possible.room)[at]
        t, below = _steps((x - k).nan_to_num(0.0).double())
        room = torch.where(below, places[..., 0], places[..., 1])
        q = torch.where(room.isinf(), 1 / (t * (t + 1)), 1 / room) / (places > 0).sum(-1)
        return torch.where(x > k, shares.log() + q.log(), (-shares).log1p()).where(known, none)


def are_few(x: Numbers) -> bool:
    """Whether numbers are few and frequent; up to ``SOME`` of them if they lie on no common scale."""
    unique = np.unique(x)
    if len(unique) <= FEW:
        return 2 * len(unique) <= len(x)
    if len(unique) > SOME or 10 * len(unique) > len(x):
        return False
    gaps = np.sort(np.diff(unique))
    common = np.isclose(gaps, gaps[:, None], rtol=1e-6).sum(0).max()
    return bool(common < 0.5 * len(gaps))


def unseen_shares(numbers: Sequence[float], counts: np.ndarray) -> tuple[float, ...]:
    """u of every number, in increasing order, from how many rows hold each; empty if no others are possible."""
    if len(numbers) < FEWEST or counts.min() >= RARE:
        return ()
    some = (PossibleNumbers.of(numbers).room > 0).any(1)
    expected = (counts * np.exp(1.0 - counts)).sum() + ALWAYS
    each = min(expected / max(some.sum(), 1), 1.0)
    return tuple((some * each / (counts + each)).tolist()) if some.any() else ()


def is_unseen(codes: Any) -> Any:
    """Whether codes stand for numbers that no training row had; takes a number or an array."""
    part = codes % 1  # by the fractions that such have
    return (part < 0.5) & (part % 0.25 > 0.2 / (1 + FARTHEST)) & (part % 0.25 <= 0.125)


def _steps(part: Tensor) -> tuple[Tensor, Tensor]:
    """t, and whether the value lies below the number that was seen, from the fraction added to a code."""
    below = part > 0.1875  # between an eighth and a quarter
    return (0.25 / (part - 0.25 * below).clamp_min(1e-9) - 1).round(), below


@dataclass(frozen=True)
class PossibleNumbers:
    """The grid of possible numbers."""

    seen: np.ndarray  # the numbers that were seen, increasing, on the grid
    step: float  # a unit of their last decimal; half of the smallest gap if they have none
    whole: bool  # whether they have a last decimal, so that no others lie between the grid points
    room: np.ndarray  # how many unseen numbers are nearest to each seen one, below and above it, ``(numbers, 2)``

    @classmethod
    def of(cls, numbers: Sequence[float]) -> PossibleNumbers:
        seen = np.array(numbers, dtype=float)
        step, whole = float(np.diff(seen).min()) / 2, False
        for decimals in range(DECIMALS + 1):
            scaled = seen * 10.0**decimals
            off = np.abs(scaled - scaled.round()).max()
            if off <= max(BLUR * np.abs(scaled).max(), 1e-9) and (off == 0 or BLUR * np.abs(scaled).max() < 0.1):
                seen, step, whole = seen.round(decimals), 10.0**-decimals, True
                break
        gaps = (np.diff(seen) / step).round()
        lowest = 0.0 if seen[0] == 0 else math.inf
        room = np.stack([[lowest, *(np.ceil(gaps / 2) - 1).clip(0)], [*np.floor(gaps / 2), math.inf]], 1)
        return cls(seen, step, whole, room)
