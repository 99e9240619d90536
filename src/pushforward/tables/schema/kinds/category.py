"""Names: text, truth values, and numbers that are labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import polars as pl

from .base import Hints
from .named import Named


@dataclass(frozen=True, kw_only=True)
class Category(Named):
    """Names that follow no order."""

    title: ClassVar[str] = "category"
    is_number: ClassVar[bool] = False

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return cls.of(values) if hints.named or not values.dtype.is_numeric() else None
