"""What a model knows about one column of a table: a modelled one, or one that is conditioned on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Column:
    """A modelled column.

    Args:
        name: Its name in the table.
        kind: ``continuous``, ``integer``, ``rounded`` (values on a grid), ``inflated`` (some values stand out) or
            ``category`` (encoded as its place in ``categories``).
        step: Distance of the grid's values, 0 where there is no grid.
        origin: One value of the grid.
        decimals: Decimals that the grid's values need.
        atoms: For ``inflated``, (value, low, width) of each: rows that hold the value are spread over value + low +
            [0, width).
        bounds: The open interval that the values lie in, where one was stated or found; None for no upper end.
        first: The column's first transform: ``none``, ``log``, ``asinh``, ``softplus`` or ``logit``.
        loc, scale: The first transform sees (x - loc) / scale.
        minimum, maximum: Of the training rows.
        quantiles: Of the training rows, evenly spaced in probability.
        integer: Whether every value is a whole number, so that samples are written as whole numbers.
        categories: The values of a category, as text.
        dtype: What a category's values are in the table: ``String``, ``Boolean``, ``Int64`` or ``Float64``.
    """

    name: str
    kind: str = "continuous"
    step: float = 0.0
    origin: float = 0.0
    decimals: int = 0
    atoms: tuple[tuple[float, float, float], ...] = ()
    bounds: tuple[float, float | None] | None = None
    first: str = "none"
    loc: float = 0.0
    scale: float = 1.0
    minimum: float = 0.0
    maximum: float = 0.0
    quantiles: tuple[float, ...] = ()
    integer: bool = False
    categories: tuple[str, ...] = ()
    dtype: str = "String"

    @property
    def has_cells(self) -> bool:
        """Whether values of this column are cells of a width above 0, and its density is averaged over them."""
        return self.step > 0 or len(self.atoms) > 0

    def snap(self, values: np.ndarray) -> np.ndarray:
        """Puts samples back where data can be: on the grid, on the atom, inside the bounds."""
        if self.step > 0:
            values = np.round(np.round((values - self.origin) / self.step) * self.step + self.origin, self.decimals)
            if self.bounds is not None:
                values = np.clip(values, *self.bounds)
        for value, low, width in self.atoms:
            values = np.where((values >= value + low) & (values < value + low + width), value, values)
        return values

    def shown(self, value: float) -> str:
        """An encoded value as text."""
        if self.categories:
            return self.categories[int(value)] if value >= 0 else "(unknown)"
        return f"{value:.6g}"

    def written(self, values: np.ndarray) -> pl.Series:
        """Encoded values as the table has them: snapped, whole numbers as integers, categories by their names."""
        if self.categories:
            named = pl.Series(self.name, self.categories).gather(values.astype(np.int64))
            return named == "true" if self.dtype == "Boolean" else named.cast(getattr(pl, self.dtype))
        snapped = self.snap(values)
        whole = self.integer and bool((np.abs(snapped) < 2**62).all())
        return pl.Series(self.name, snapped.astype(np.int64) if whole else snapped)


@dataclass(frozen=True)
class Given:
    """A column that is conditioned on: a standardised number, or text as one indicator for each category."""

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Context features that it becomes."""
        return len(self.categories) or 1
