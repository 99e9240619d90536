"""Continuous numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import polars as pl

from .base import Hints
from .numeric import Numeric, present


@dataclass(frozen=True, kw_only=True)
class Number(Numeric):
    """Numbers between which any other may lie."""

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return cls.of(present(values)).mapped(values, hints)
