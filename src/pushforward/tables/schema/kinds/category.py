r"""Names: text, truth values, and numbers that are labels; and the probability left for names that no row had.

Where many of the names are held by a single row, fresh rows have others. Any of these has, together with the rest of
its row,

.. math:: p(\text{new}, \text{rest}) = \sum_s u_s\, p(s, \text{rest}), \qquad \text{and s itself} \quad
          p(s, \text{rest})\,(1 - u_s), \qquad u_s = \delta / c_s^2

for the names s that were seen, :math:`c_s` times each: rows of a new name are like those of rare ones. If :math:`n_k`
names were seen k times, :math:`\delta = n_1 / (n_1 + 2 n_2 + 1)`, the discount of a count of 1, and no more than the
share :math:`n_1 / n` is left in all (Good-Turing), and a tenth of a row in any case. None is ever drawn.

Reference:
    Ney, Essen, Kneser (1994), On structuring probabilistic dependences in stochastic language modelling, Computer
    Speech and Language 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from .base import Hints
from .named import ALWAYS, FEWEST, RARE, Named


@dataclass(frozen=True, kw_only=True)
class Category(Named):
    """Names that follow no order."""

    title: ClassVar[str] = "category"
    is_number: ClassVar[bool] = False

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return cls.of(values) if hints.named or not values.dtype.is_numeric() else None

    def expecting(self, counts: np.ndarray) -> Self:
        return replace(self, unseen=() if self.grouped else _shares_of_new_names(counts))

    @property
    def stands_in(self) -> tuple[float, ...]:
        return self.unseen

    def log_unseen(self, x: Tensor) -> Any:
        if not self.unseen:
            return 0.0
        shares = x.new_tensor((*self.unseen, sum(self.unseen)))  # the last, for the code -1
        known = (x >= -1) & (x < len(self.unseen))
        found = shares[x.where(known, 0.0).long()]
        return torch.where(x < 0, found.log(), (-found).log1p()).where(known, 0.0)


def _shares_of_new_names(counts: np.ndarray) -> tuple[float, ...]:
    """u of every name, from how many rows hold each; empty if no other names are possible, as for numbers."""
    if len(counts) < FEWEST or counts.min() >= RARE:
        return ()
    once, twice, each = (counts == 1).sum(), (counts == 2).sum(), counts**-2.0
    most = (once + ALWAYS) / (counts * each).sum()  # which leaves that many rows in all
    return tuple((each * (min(most, once / (once + 2 * twice + 1)) if once else most)).tolist())
