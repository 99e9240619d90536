"""Numbers some of which stand out: zeros, amounts that are asked for again and again, listed prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl

from ....errors import listed
from .base import MOST_ATOMS, Atom, Description, Hints, Numbers
from .grid import REMARK
from .numeric import Numeric, end_atom, never_negative, present

ATOM, HEAP = 0.02, 0.003  # shares of rows that make a value an atom: always, and if it has room
HEAPED, ROOM = 10, 1e-5  # rows of such a value, and standard deviations to the next one
CLOSEST = 1e-9  # the same for any atom
TILES, REPEATED = 2000, 3  # distinct values on no scale, and rows of each on average, if no others are possible


@dataclass(frozen=True, kw_only=True)
class Spikes(Numeric):
    """Numbers some or all of which are *atoms*, values that many rows hold: rows of one are spread over its cell.

    Args:
        atoms: (value, low, width) of each: its rows lie in value + low + [0, width).
    """

    atoms: tuple[Atom, ...] = ()

    remark: ClassVar[str] = REMARK

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        x = present(values)
        unique, counts = np.unique(x, return_counts=True)
        resolved = np.diff(unique).min() > CLOSEST * np.ptp(x)  # or cells would be points
        if REPEATED * len(unique) <= len(x) and len(unique) <= TILES and resolved:
            atoms = _tiles(unique)
        else:
            spread = float(x.std())
            often = _often(unique, counts, spread).tolist() if len(unique) > 2 else []
            atoms = tuple(end_atom(unique, place, spread) for place in often)
        if hints.bounds is None and x.min() == 0 and never_negative(x, hints) and all(v != 0 for v, _, _ in atoms):
            atoms = (end_atom(unique, 0, float(x.std())), *atoms)  # which a map that starts at 0 could not reach
        return cls.of(x, atoms=atoms).mapped(values, hints) if atoms else None

    def snap(self, numbers: Numbers) -> Numbers:
        value, low, width = np.array(sorted(self.atoms)).T
        place = (np.searchsorted(value + low, numbers, side="right") - 1).clip(0)
        inside = (numbers >= (value + low)[place]) & (numbers < (value + low + width)[place])
        return super().snap(np.where(inside | (self.tiled & ~np.isnan(numbers)), value[place], numbers))

    def describe(self) -> Description:
        return replace(super().describe(), kind=f"inflated at {listed((f'{v:g}' for v, _, _ in self.atoms), 3)}")


def _often(unique: Numbers, counts: np.ndarray, spread: float) -> np.ndarray:
    """Indices of the values that stand out, at most the ``MOST_ATOMS`` commonest."""
    rows, gaps = counts.sum(), np.diff(unique)
    nearest = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
    always = (counts >= ATOM * rows) & (counts >= 5) & (nearest >= CLOSEST * spread)
    heaps = (counts >= HEAP * rows) & (counts >= HEAPED) & (nearest >= ROOM * spread)
    places = np.flatnonzero(always | heaps)
    return np.sort(places[np.argsort(-counts[places], kind="stable")[:MOST_ATOMS]])


def _tiles(unique: Numbers) -> tuple[Atom, ...]:
    """Cells of listed values that meet half-way between neighbours."""
    half = 0.5 * np.diff(unique)
    low, high = np.array([half[0], *half]), np.array([*half, half[-1]])
    return tuple(zip(unique.tolist(), (-low).tolist(), (low + high).tolist(), strict=True))
