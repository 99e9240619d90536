r"""Few numbers, and what is left for those that no training row had: a count of 8 where 7 and 9 were seen.

Each of few numbers has a probability of its own. Beside one that few rows hold there may be others that none holds by
chance: a value v, t steps of the column's resolution away from s, the nearest number that was seen, has

.. math:: p(v) = p(s)\, u_s\, q_s(t), \qquad \text{and s itself} \quad p(s)\,(1 - u_s), \qquad u_s = \frac{d}{c_s + d},

where :math:`c_s` rows of n hold s. All that is left, :math:`\sum_s c_s u_s / n`, is about what Good and Turing expect,
the share of the values that one row holds; values that two, three rows hold count less and less,
:math:`\frac1n \sum_s c_s e^{1 - c_s}`, and a tenth of a row is left in any case: in columns of few numbers on 160 real
tables, of which every value was held by three rows or more, 0.08 / n of the rows that came next held others. Between
two numbers that were seen q is even, beyond the last of them :math:`1 / t(t + 1)`; with room on both sides each has a
half.

No other value has a probability where ten rows or more hold each number, where there are two alone, a flag, and below
the zero of what is never negative. And none is ever drawn.

In encoded rows such a value is the code k of s and a part of 1 that tells t: :math:`k + \frac{1}{4 (1 + t)}` above s,
a quarter more below it.

Reference:
    Good (1953), The population frequencies of species and the estimation of population parameters, Biometrika 40.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .columns import Column

FEWEST, RARE = 3, 10  # different numbers, of which there may be others, if not as many rows hold each
ALWAYS = 0.1  # rows that hold an unseen number, at least
DECIMALS, BLUR = 6, 2.5e-7  # of a resolution; of numbers that went through float32
FARTHEST = 1e6  # steps


def unseen_shares(numbers: Sequence[float], counts: np.ndarray) -> tuple[float, ...]:
    """u of every number, in increasing order; empty where there can be no others.

    Args:
        numbers: Those that were seen, increasing.
        counts: How many rows hold each.
    """
    if len(numbers) < FEWEST or counts.min() >= RARE:
        return ()
    some = (Grid.of(numbers).room > 0).any(1)
    expected = (counts * np.exp(1.0 - counts)).sum() + ALWAYS
    each = min(expected / max(some.sum(), 1), 1.0)
    return tuple((some * each / (counts + each)).tolist()) if some.any() else ()


def encode_unseen(column: Column, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The codes, with those of unseen numbers in place of -1 where these are on the column's grid."""
    grid, odd = grid_of(column.categories), (codes == -1) & np.isfinite(values)
    v = values[odd]
    k = np.searchsorted(0.5 * (grid.seen[1:] + grid.seen[:-1]) + 1e-6 * grid.step, v)
    t, above = np.abs(v - grid.seen[k]) / grid.step, v > grid.seen[k]
    room, blur = np.where(above, grid.room[k, 1], grid.room[k, 0]), 0.01 + BLUR * np.abs(v) / grid.step
    place = np.minimum(np.clip(t.round(), 1, FARTHEST), np.maximum(room, 1))
    there = (room > 0) & ((np.abs(t - place) <= blur) | (not grid.whole) | (t > FARTHEST))
    found = np.where(there, k + 0.25 / (1 + place) + np.where(above, 0.0, 0.25), -1.0)
    codes = codes.copy()
    codes[odd] = np.where((t <= blur) & grid.whole, k, found)  # first, the same number, rounded in another way
    return codes


def is_unseen(codes: Any) -> Any:
    """Whether codes stand for numbers that no training row had: of a number, or of an array."""
    return codes % 1 > 0


def unseen_numbers(column: Column, codes: np.ndarray) -> np.ndarray:
    """The unseen numbers that codes stand for."""
    grid, k = grid_of(column.categories), np.floor(codes).astype(np.int64)
    t, below = _steps(torch.from_numpy(codes - k))
    away = grid.step * np.where(below.numpy(), -t.numpy(), t.numpy())
    return np.round(grid.seen[k] + away, 12)


def log_of_unseen(column: Column, x: Tensor) -> Tensor:
    """log(1 - u) of codes of numbers that were seen, log(u q) of others; 0 of others than numbers."""
    k = x.nan_to_num(-1.0).floor()
    known = (k >= 0) & (k < len(column.categories))
    at, none = k.where(known, 0).long(), torch.zeros((), dtype=torch.float64, device=x.device)
    shares = none.new_tensor(column.unseen)[at]
    places = none.new_tensor(grid_of(column.categories).room)[at]
    t, below = _steps((x - k).nan_to_num(0.0).double())
    room = torch.where(below, places[..., 0], places[..., 1])
    q = torch.where(room.isinf(), 1 / (t * (t + 1)), 1 / room) / (places > 0).sum(-1)
    return torch.where(x > k, shares.log() + q.log(), (-shares).log1p()).where(known, none)


def _steps(part: Tensor) -> tuple[Tensor, Tensor]:
    """t, and whether the value lies below the number that was seen, of what is added to a code."""
    below = part > 0.1875  # between an eighth and a quarter
    return (0.25 / (part - 0.25 * below).clamp_min(1e-9) - 1).round(), below


@dataclass(frozen=True)
class Grid:
    """Where numbers can be.

    Args:
        seen: The numbers that were seen, increasing, on the grid.
        step: A unit of their last decimal; half of the smallest gap where they have none.
        whole: Whether they have a last decimal, so that no others lie between the points of the grid.
        room: How many unseen numbers are nearest to each that was seen, below and above it, ``(numbers, 2)``.
    """

    seen: np.ndarray
    step: float
    whole: bool
    room: np.ndarray

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Grid:
        seen = np.array(numbers, dtype=float)
        step, whole = float(np.diff(seen).min()) / 2, False
        for decimals in range(DECIMALS + 1):
            scaled = seen * 10.0**decimals
            if np.abs(scaled - scaled.round()).max() <= max(BLUR * np.abs(scaled).max(), 1e-9) < 0.1:
                seen, step, whole = seen.round(decimals), 10.0**-decimals, True
                break
        gaps = (np.diff(seen) / step).round()
        lowest = 0.0 if seen[0] == 0 else math.inf
        room = np.stack([[lowest, *(np.ceil(gaps / 2) - 1).clip(0)], [*np.floor(gaps / 2), math.inf]], 1)
        return cls(seen, step, whole, room)


@lru_cache(maxsize=256)
def grid_of(names: tuple[str, ...]) -> Grid:
    """The grid of a column's numbers, as text."""
    return Grid.of([float(name) for name in names])
