"""A region of a table's rows: what some columns may hold, as intervals of encoded numbers and sets of codes.

A range of values is one of cells: ``(3, 5)`` of whole numbers is the interval from 2.5 to 5.5 that the density sees. A
missing value lies in no range and is none of the values of a choice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ...distributions.guided.region import Region as RegionOfDraws
from ...errors import InputError, listed
from ..io.values import PLAIN, series
from ..schema.columns import Column
from ..schema.kinds.base import Numbers
from ..schema.schema import Schema

Part = NDArray[Any]  # codes (classes,), bool; or disjoint intervals (2, intervals) in increasing order
SEVERAL = 16  # intervals of a number that are met in no time
NARROW = 1.001  # resolutions of a column, up to which an interval is the cell of one value
CLOSE = 1e-6  # widths of a cell, by which the ends of an interval may be off it


@dataclass(frozen=True, eq=False)
class Region:
    """Rows whose features each lie in a part of what they can be; a feature that is not named may be anything."""

    parts: Mapping[int, Part]  # for some features, which codes are allowed, or the intervals of their numbers

    def __and__(self, other: Region) -> Region:
        """The rows that lie in both."""
        shared = {j: both(part, other.parts[j]) for j, part in self.parts.items() if j in other.parts}
        return Region({**self.parts, **other.parts, **shared})

    @cached_property
    def empty(self) -> bool:
        """Whether no row can lie in it."""
        return any(map(is_empty, self.parts.values()))

    def complement(self) -> list[Region]:
        """All other rows, in regions that have no row in common."""
        names = list(self.parts)
        return [
            Region({**{i: self.parts[i] for i in names[:place]}, j: others(self.parts[j])})
            for place, j in enumerate(names)
        ]

    def holds(self, x: torch.Tensor) -> torch.Tensor:
        """Which encoded rows ``(n, features)`` have no value outside, ``(n,)``; NaN is not."""
        inside = torch.ones(len(x), dtype=torch.bool)
        for j, part in self.parts.items():
            value = x[:, j, None]
            if part.dtype == bool:
                code = value[:, 0].nan_to_num(0.0).long()
                known = torch.from_numpy(part)[code.clamp(0, len(part) - 1)] & (code >= 0) & (code < len(part))
            else:
                low, high = torch.from_numpy(part)
                known = ((value >= low) & (value <= high)).any(1)
            inside &= known | value[:, 0].isnan()
        return inside

    def of_codes(self) -> Iterator[Region]:
        """One region for each combination of the codes of a region that names no numbers."""
        codes = {j: np.flatnonzero(part) for j, part in self.parts.items()}
        for chosen in itertools.product(*codes.values()):
            yield Region({j: np.arange(len(self.parts[j])) == code for j, code in zip(codes, chosen, strict=True)})

    def filled(self, x: torch.Tensor, schema: Schema) -> tuple[torch.Tensor, float, Region]:
        """Rows ``(n, features)`` with the only values that features can have, where these have none; the
        logarithm of how wide the cells of these are together; and the region of all others."""
        known, log_width, rest = {}, 0.0, {}
        for j, part in self.parts.items():
            kind = schema.columns[j].kind
            if part.dtype == bool and part.sum() == 1:
                known[j] = float(part.argmax())
            elif part.dtype != bool and part.shape[1] == 1 and _is_cell(schema.columns[j], part[:, 0]):
                known[j] = float(kind.snap(part.mean(0))[0])
                log_width += math.log(float(np.diff(part[:, 0])[0]))
            else:
                rest[j] = part
        x = x.clone()
        for j, value in known.items():
            x[:, j] = x[:, j].masked_fill(x[:, j].isnan(), value)
        return x, log_width, Region(rest)


def fewer(draws: int, regions: Sequence[Region]) -> int:
    """How many draws take the time of so many, as each draw meets all intervals of a number that regions name."""
    parts = [part for region in regions for part in region.parts.values() if part.dtype != bool]
    return draws >> (max((part.shape[1] for part in parts), default=0) // SEVERAL).bit_length()


def narrowed(x: torch.Tensor, regions: Sequence[Region], schema: Schema) -> tuple[torch.Tensor, RegionOfDraws | None]:
    """Rows ``(n, features)`` with what their regions leave but one value, and the regions of all other features."""
    x, rest = x.clone(), list[Region]()
    for row, region in enumerate(regions):
        x[row : row + 1], _, other = region.filled(x[row : row + 1], schema)
        rest.append(other)
    return x, stacked(rest, schema)


def stacked(regions: Sequence[Region], schema: Schema) -> RegionOfDraws | None:
    """The regions of as many rows; None if they name nothing."""
    numbers: dict[int, torch.Tensor] = {}
    codes: dict[int, torch.Tensor] = {}
    for j in sorted({j for region in regions for j in region.parts}):
        classes = schema.classes[j]
        unnamed = np.zeros(classes, bool) if classes else np.full((2, 1), np.nan)
        parts = [region.parts.get(j, unnamed) for region in regions]
        if classes:
            codes[j] = torch.from_numpy(np.stack(parts, -1))
        else:
            most = max(part.shape[1] for part in parts)
            padded = [
                np.concatenate([part, np.repeat(part[:1, :1], 2, 0).repeat(most, 1)], 1)[:, :most] for part in parts
            ]
            numbers[j] = torch.from_numpy(np.stack(padded, -1))
    return RegionOfDraws(numbers, codes) if numbers or codes else None


def reached(schema: Schema, names: Iterable[int]) -> Region:
    """Where the numbers of features lie that are drawn: not far from the training rows."""
    return Region({j: torch.stack(schema.reach)[:, j, None].numpy() for j in names if not schema.classes[j]})


def near_in(region: Region, schema: Schema) -> Region:
    """What of a region lies near the training rows; of parts that lie beyond, all, since they were asked for."""
    near = region & reached(schema, region.parts)
    return Region({j: part if is_empty(near.parts[j]) else near.parts[j] for j, part in region.parts.items()})


def part_of(column: Column, asked: Any, argument: str) -> Part:
    """Where a column holds what is asked for: a value, one of a list, or a range."""
    try:
        return _part_of(column, asked)
    except InputError as error:
        raise InputError(error.sentence, argument, {column.name: asked}) from None


def _part_of(column: Column, asked: Any) -> Part:
    values = asked if isinstance(asked, list) else [asked]
    if not values:
        raise InputError(f"{column.name!r} is to be one of no values")
    ranged = isinstance(asked, tuple)
    parts = [column.kind.between(*_ends(column, asked)) if ranged else _value(column, one) for one in values]
    if odd := [one for one, part in zip(values, parts, strict=True) if is_empty(part)]:
        ends = " to ".join(column.shown(float(end)) for end in column.kind.ends)
        alone = "" if column.kind.resolution else ", and a number alone has no probability"
        told = f"reaches from {ends}{alone}" if not column.classes else f"has {listed(column.kind.labels, 4)}"
        raise InputError(f"no value of {column.name!r} can be {'that' if odd[0] is asked else odd[0]}; it {told}")
    return parts[0] if len(parts) == 1 else union(parts)


def is_empty(part: Part) -> bool:
    """Whether no value lies in a part of a feature."""
    return not (part.any() if part.dtype == bool else part.size)


def region_of(schema: Schema, name: str, part: Part) -> Region:
    """The rows in which a column's encoded value lies in a part, and is not missing."""
    j = schema.features.index(name)
    column = schema.columns[j]
    if column.classes:
        return Region({j: np.append(part, np.zeros(column.classes - len(part), bool))})
    return there(schema, name) & Region({j: part})


def there(schema: Schema, name: str) -> Region:
    """The rows in which no flag says that a column is missing."""
    flag = schema.missingness.flag_of.get(name)
    return Region({} if flag is None else {flag: np.array([True, False])})


def union(parts: Sequence[Part]) -> Part:
    """What lies in one of several parts of the same feature."""
    if parts[0].dtype == bool:
        return np.any(parts, axis=0)
    low, high = np.concatenate(parts, 1)
    order = np.argsort(low, kind="stable")
    low, high = low[order], np.maximum.accumulate(high[order])
    fresh = np.append(True, low[1:] > high[:-1])
    last = np.append(np.flatnonzero(fresh)[1:] - 1, len(low) - 1)
    return np.stack([low[fresh], high[last]])


def both(one: Part, other: Part) -> Part:
    """What lies in both of two parts of the same feature."""
    if one.dtype == bool:
        return np.asarray(one & other)
    low = np.maximum(one[0][:, None], other[0]).ravel()
    high = np.minimum(one[1][:, None], other[1]).ravel()
    return np.stack([low, high])[:, low < high]


def others(part: Part) -> Part:
    """What lies outside of a part of a feature."""
    if part.dtype == bool:
        return ~part
    low, high = np.append(-np.inf, part[1]), np.append(part[0], np.inf)
    return np.stack([low, high])[:, low < high]


def _ends(column: Column, asked: tuple[Any, ...]) -> tuple[float, float]:
    if len(asked) != 2:
        raise InputError("a range has two ends, a low and a high one, of which None is open")
    if column.classes and np.isnan(column.kind.amounts(np.arange(float(column.kind.classes)))).all():
        raise InputError(f"{column.name!r} holds names, which have no range; list them")
    low, high = (
        open_end if end is None or end == open_end else _number(column, end)
        for end, open_end in zip(asked, (-np.inf, np.inf), strict=True)
    )
    if low > high and column.kind.circle is None:
        raise InputError("the low end of a range lies above its high end")
    return low, high


def _number(column: Column, value: Any) -> float:
    """A value as an amount: that of few numbers, the end of a range."""
    values = _read(column, value)
    if column.kind.classes or column.kind.circle is not None:
        numbers: Numbers = values.cast(pl.Float64, strict=False).to_numpy()
    else:
        numbers = column.kind.read(values)
    if not len(numbers) or not np.isfinite(numbers[0]):
        takes = "takes a number" if column.reading.takes_numbers else f"takes {column.expected}"
        raise InputError(f"{column.name!r} {takes}")
    return float(numbers[0])


def _value(column: Column, value: Any) -> Part:
    if not column.classes:
        number = _number(column, value)
        return column.kind.between(number, number)
    codes = column.kind.read(_read(column, value))
    return np.asarray(codes[0] == np.arange(column.kind.classes))


def _read(column: Column, value: Any) -> pl.Series:
    if not isinstance(value, PLAIN):
        raise InputError(f"{column.name!r} takes a value, a list of values, or a pair of ends")
    if is_odd_truth(column, value):
        raise InputError(f"{column.name!r} takes a number")
    return column.reading.values(series(column.name, [value]))


def is_odd_truth(column: Column, value: Any) -> bool:
    """Whether a truth value stands for a number of a column that has others than 0 and 1."""
    of_two = column.kind.classes > 0 and {*column.kind.labels} <= {"0", "1"}
    return isinstance(value, bool | np.bool_) and column.contents in ("number", "marked", "values") and not of_two


def _is_cell(column: Column, ends: Numbers) -> bool:
    """Whether an interval is the cell of a single value."""
    kind, width = column.kind, float(ends[1] - ends[0])
    value, low, wide = kind.atom_cells
    off = np.maximum(np.abs(value + low - ends[0]), np.abs(value + low + wide - ends[1]))
    return bool((off <= CLOSE * wide).any()) or width <= NARROW * kind.resolution
