"""A column with one value in every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kinds.base import Numbers
from .base import Columns, Dependency, Rows


@dataclass(frozen=True, repr=False)
class Constant(Dependency):
    """A column that has one value in every row.

    Args:
        value: The encoded value.
    """

    value: float = 0.0

    def computed(self, values: Rows, columns: Columns) -> Numbers:
        return np.full(len(next(iter(values.values()))), self.value)

    def __str__(self) -> str:
        return f"{self.column.name!r} is {self.column.shown(self.value)} in every row"
