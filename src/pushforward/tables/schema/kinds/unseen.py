r"""Few numbers, and the probability left for those that no training row had: a count of 8 if 7 and 9 were seen.

Each of few numbers has its own probability. Near a number that few rows hold there may be others that none holds by
chance: a value v, t steps of the column's resolution away from s, the nearest number that was seen, has

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
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

FEWEST, RARE = 3, 10  # distinct numbers from which others are possible, and rows holding each from which they are not
ALWAYS = 0.1  # rows that hold an unseen number, at least
DECIMALS, BLUR = 6, 2.5e-7  # of a resolution; of numbers that passed through float32
FARTHEST = 1e6  # steps


def unseen_shares(numbers: Sequence[float], counts: np.ndarray) -> tuple[float, ...]:
    """u of every number, in increasing order; empty if no others are possible.

    Args:
        numbers: The numbers that were seen, increasing.
        counts: How many rows hold each.
    """
    if len(numbers) < FEWEST or counts.min() >= RARE:
        return ()
    some = (PossibleNumbers.of(numbers).room > 0).any(1)
    expected = (counts * np.exp(1.0 - counts)).sum() + ALWAYS
    each = min(expected / max(some.sum(), 1), 1.0)
    return tuple((some * each / (counts + each)).tolist()) if some.any() else ()


def encode_unseen(names: tuple[str, ...], codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The codes, with -1 replaced by the codes of unseen numbers if these are on the grid of the numbers seen."""
    grid, odd = grid_of(names), (codes == -1) & np.isfinite(values)
    v = values[odd]
    k = np.searchsorted(0.5 * (grid.seen[1:] + grid.seen[:-1]) + 1e-6 * grid.step, v)
    t, above = np.abs(v - grid.seen[k]) / grid.step, v > grid.seen[k]
    room, blur = np.where(above, grid.room[k, 1], grid.room[k, 0]), np.minimum(0.01 + BLUR * np.abs(v) / grid.step, 0.4)
    place = np.minimum(np.clip(t.round(), 1, FARTHEST), np.maximum(room, 1))
    there = (room > 0) & ((np.abs(t - place) <= blur) | (not grid.whole) | (t > FARTHEST))
    found = np.where(there, k + 0.25 / (1 + place) + np.where(above, 0.0, 0.25), -1.0)
    codes = codes.copy()
    codes[odd] = np.where((t <= blur) & grid.whole, k, found)  # first, the same number, rounded differently
    return codes


def is_unseen(codes: Any) -> Any:
    """Whether codes stand for numbers that no training row had; takes a number or an array."""
    return codes % 1 > 0


def unseen_numbers(names: tuple[str, ...], codes: np.ndarray) -> np.ndarray:
    """The unseen numbers that the codes stand for."""
    grid, k = grid_of(names), np.floor(codes).astype(np.int64)
    t, below = _steps(torch.from_numpy(codes - k))
    away = grid.step * np.where(below.numpy(), -t.numpy(), t.numpy())
    return np.round(grid.seen[k] + away, 12)


def log_of_unseen(names: tuple[str, ...], unseen: tuple[float, ...], x: Tensor) -> Tensor:
    """log(1 - u) for codes of numbers that were seen, log(u q) for unseen ones; 0 for any other code."""
    k = x.nan_to_num(-1.0).floor()
    known = (k >= 0) & (k < len(names))
    at, none = k.where(known, 0).long(), torch.zeros((), dtype=torch.float64, device=x.device)
    shares = none.new_tensor(unseen)[at]
    places = none.new_tensor(grid_of(names).room)[at]
    t, below = _steps((x - k).nan_to_num(0.0).double())
    room = torch.where(below, places[..., 0], places[..., 1])
    q = torch.where(room.isinf(), 1 / (t * (t + 1)), 1 / room) / (places > 0).sum(-1)
    return torch.where(x > k, shares.log() + q.log(), (-shares).log1p()).where(known, none)


def _steps(part: Tensor) -> tuple[Tensor, Tensor]:
    """t, and whether the value lies below the number that was seen, from the fraction added to a code."""
    below = part > 0.1875  # between an eighth and a quarter
    return (0.25 / (part - 0.25 * below).clamp_min(1e-9) - 1).round(), below


@dataclass(frozen=True)
class PossibleNumbers:
    """The grid of possible numbers.

    Args:
        seen: The numbers that were seen, increasing, on the grid.
        step: A unit of their last decimal; half of the smallest gap if they have none.
        whole: Whether they have a last decimal, so that no others lie between the grid points.
        room: How many unseen numbers are nearest to each seen one, below and above it, ``(numbers, 2)``.
    """

    seen: np.ndarray
    step: float
    whole: bool
    room: np.ndarray

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


@lru_cache(maxsize=256)
def grid_of(names: tuple[str, ...]) -> PossibleNumbers:
    """The grid of a column's numbers, given as text."""
    return PossibleNumbers.of([float(name) for name in names])
