"""Whether another column has no value in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import polars as pl

from .base import Description, Hints, Kind, Numbers


@dataclass(frozen=True, kw_only=True)
class Flag(Kind):
    """1 in rows where a column of numbers has no value, else 0; no column of the table itself.

    Args:
        flags: That column.
    """

    flags: str

    is_number: ClassVar[bool] = False

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return None  # it is no column of the table

    @property
    def labels(self) -> tuple[str, ...]:
        return "no", "yes"

    def read(self, values: pl.Series) -> Numbers:
        return values.is_null().to_numpy().astype(np.float64)

    def write(self, numbers: Numbers) -> pl.Series:
        return pl.Series(["no", "yes"]).gather(pl.Series(numbers > 0.5).cast(pl.Int64))

    def describe(self) -> Description:
        return Description("missing")
