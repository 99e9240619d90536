"""Few numbers, each with a probability of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from .base import Hints, Numbers
from .named import Named
from .numeric import numbers_of, present
from .unseen import encode_unseen, is_unseen, log_of_unseen, unseen_numbers, unseen_shares

FEW, SOME = 12, 60  # distinct values that have a probability each: always, and if they lie on no scale


@dataclass(frozen=True, kw_only=True)
class FewValues(Named):
    """Numbers so few, and each so frequent, that each is better given a probability.

    Args:
        unseen: For each, the share of the values encoded as it that no training row had (:mod:`~.unseen`); empty if no
            other values are possible.
    """

    unseen: tuple[float, ...] = ()

    title: ClassVar[str] = "values"
    remark: ClassVar[str] = (
        "values: each has a probability, and no others are drawn (`numbers=` treats a column as a scale)"
    )

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        return cls.of(values) if len(np.unique(x)) == 1 or (not hints.scale and are_few(x)) else None

    @classmethod
    def of(cls, values: pl.Series) -> Self:
        kind = super().of(values)
        counts = np.array(kind.fill) * (len(values) - np.isnan(numbers_of(values)).sum())
        return kind.expecting(counts.round())

    def expecting(self, counts: np.ndarray) -> Self:
        numbers = [float(name) for name in self.values]
        return replace(self, unseen=unseen_shares(numbers, counts) if numbers == sorted(numbers) else ())

    def read(self, values: pl.Series) -> Numbers:
        codes = super().read(values)
        if self.unseen and (codes == -1).any():
            return encode_unseen(self.values, codes, numbers_of(values.cast(pl.Float64, strict=False)))
        return codes

    def nearest(self, values: pl.Series) -> Numbers:
        codes, numbers = self.read(values), numbers_of(values.cast(pl.Float64, strict=False))
        seen = self.amounts(np.arange(len(self.values), dtype=float))
        odd = (codes < 0) & ((numbers >= 0) | (seen.min() < 0))  # an amount that is never negative stays so
        return np.where(odd, np.abs(numbers[:, None] - seen).argmin(1), codes)

    def shown(self, number: float) -> str:
        if self.unseen and is_unseen(number):
            return f"{unseen_numbers(self.values, np.array([number]))[0]:.6g}"
        return super().shown(number)

    def amounts(self, codes: NDArray[Any]) -> Numbers:
        numbers = super().amounts(codes)
        odd = (codes >= 0) & (codes < len(self.values)) & is_unseen(codes)
        if self.unseen and odd.any():
            numbers[odd] = unseen_numbers(self.values, codes[odd])
        return numbers

    def log_unseen(self, x: Tensor) -> Any:
        return log_of_unseen(self.values, self.unseen, x) if self.unseen else 0.0


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
