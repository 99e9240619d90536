r"""Values that have a probability each: what names and few numbers share; and names, with what is left for new ones.

Names are text, truth values, and numbers that are labels. Where many of the names are held by a single row, fresh rows
have others. Any of these has, together with the rest of its row,

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

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..reading import OTHER, as_text
from .base import Description, Hints, Kind, Numbers

MOST = 200  # values with a probability of their own
SINGLE = 1e-6  # relative difference between the same number, written in two ways
FEWEST, RARE = 3, 10  # values from which others are possible, and rows holding each from which they are not
ALWAYS = 0.1  # rows that hold one that none had, at least
GUARDED = ("=", "+", "-", "@", "\t", "\r")  # of text that may stand behind an apostrophe, as spreadsheets keep it
SHORT = 512  # number of cells below which a loop is faster than a query of Polars


@dataclass(frozen=True, kw_only=True)
class Named(Kind):
    """Values that are encoded as their place in a list."""

    values: tuple[str, ...]  # the values as text, in order
    grouped: int = 0  # how many rare values the last one, ``(other)``, stands for; 0 if every value has its own place
    fill: tuple[float, ...] = ()  # the share of the rows that hold each
    # u of each, the share of what is encoded as it that no training row had; empty if no others are possible
    unseen: tuple[float, ...] = ()

    title: ClassVar[str]

    @classmethod
    def of(cls, values: pl.Series, *, single: bool = True) -> Self:
        """The kind of some values, at least one of them present. If there are too many, the rarest share a place; so do
        those of a single row each, if these have no place of their own and are several."""
        names = value_names(values)
        codes = codes_of(values, names)
        counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(names))
        alone = 0 if single else int((counts == 1).sum())
        most = len(names) - alone if alone > 1 else len(names)
        most = most if most <= MOST else MOST - 1
        if grouped := len(names) - most:
            first = np.unique(codes[codes >= 0], return_index=True)[1]  # so other names of the same are chosen alike
            often = np.sort(np.lexsort((first, -counts))[:most])
            counts = np.append(counts[often], counts.sum() - counts[often].sum())
            names = [*(names[place] for place in often), OTHER]
        fill = tuple((counts / counts.sum()).tolist())
        return cls(values=tuple(names), grouped=grouped, fill=fill).expecting(counts)

    def widened(self, values: pl.Series, known: int) -> Self:
        new = value_names(values.filter(pl.Series(self.read(values) == -1)))
        kind = replace(self, values=(*self.values, *new))
        if len(kind.values) > MOST and new:
            kind = replace(self, values=(*self.values, OTHER), grouped=len(new))
        codes = np.floor(kind.read(values))
        counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(kind.values)).astype(float)
        counts[: len(self.fill)] += np.round(np.array(self.fill) * known)
        return replace(kind, fill=tuple((counts / counts.sum()).tolist())).expecting(counts)

    @abstractmethod
    def expecting(self, counts: NDArray[Any]) -> Self:
        """The kind with what is left for values that no row had, from how many rows hold each."""

    @property
    def labels(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.values

    def read(self, values: pl.Series) -> Numbers:
        return codes_of(values, self.values, self.unknown)

    def encoded(self, values: Tensor) -> Tensor:
        return _number_codes(values, self.values, self.unknown)

    @property
    def unknown(self) -> float:
        """The code of values that are none of these."""
        return len(self.values) - 1.0 if self.grouped else -1.0

    def as_new(self, codes: Tensor) -> Tensor:
        """Codes of rows that the shares were counted over, as if each row had come after the others, and its name were
        held by one row fewer: a name of one row would have no place, and one of two stands as a name of one."""
        shares = np.array(self.fill[:-1] if self.grouped else self.fill)
        times = shares / shares.min(initial=1.0)  # their counts, where a name is held by one row
        counts = np.allclose(times, times.round())
        if not self.grouped and not (self.stands_in and counts):
            return codes
        once, twice = np.flatnonzero(np.isclose(times, 1)), np.flatnonzero(np.isclose(times, 2) & counts)
        fewer = np.arange(len(self.values) + 1.0)  # the last is that of missing values
        fewer[twice] = np.resize(once, len(twice))
        fewer[once] = self.unknown
        return torch.where(codes >= 0, codes.new_tensor(fewer)[codes.nan_to_num().clamp_min(0).long()], codes)

    def write(self, numbers: Numbers) -> pl.Series:
        places = pl.Series(np.nan_to_num(numbers, nan=len(self.values)).astype(np.int64))
        named = pl.Series(self.values).gather(places.clip(0, len(self.values) - 1))
        return named.set((places >= len(self.values)) | (places < 0), None)

    def shown(self, number: float) -> str:
        return self.values[int(number)] if 0 <= number < len(self.values) else "(unknown)"

    def amounts(self, codes: NDArray[Any]) -> Numbers:
        numbers = pl.Series([*self.values, None], dtype=pl.String).cast(pl.Float64, strict=False).to_numpy()
        known = (codes >= 0) & (codes < len(self.values))
        return np.asarray(numbers[np.where(known, codes, len(self.values)).astype(np.int64)])

    def describe(self) -> Description:
        return Description(f"{self.title}, {len(self.values)}")


def value_names(values: pl.Series) -> list[str]:
    """The distinct values in order, as text."""
    if values.dtype.is_integer():
        return values.drop_nulls().unique().sort().cast(pl.String).to_list()
    if values.dtype.is_numeric():
        there = np.unique(values.drop_nulls().cast(pl.Float64).drop_nans().to_numpy() + 0.0)
        whole = bool((there % 1 == 0).all())
        return [str(int(v)) if whole and abs(v) < 2**62 else repr(float(v)) for v in there]
    names = as_text(values).drop_nulls().unique().sort().to_list()
    if isinstance(values.dtype, pl.Enum):  # which defines its own order
        names.sort(key=values.dtype.categories.to_list().index)
    return names


def codes_of(values: pl.Series, names: Sequence[str], unknown: float = -1.0) -> Numbers:
    """The place of each value among the names; NaN for missing values, ``unknown`` for others."""
    if values.dtype.is_numeric() and not (values.dtype.is_integer() and _beyond_doubles(values)):
        numbers = torch.tensor(values.cast(pl.Float64).to_numpy() if len(values) else [], dtype=torch.float64)
        return _number_codes(numbers, names, unknown).numpy()
    places = {name: float(place) for place, name in enumerate(names)}
    places = {f"'{name}": place for name, place in places.items() if name.startswith(GUARDED)} | places
    text = as_text(values)
    if len(text) <= SHORT:
        codes = [np.nan if name is None else places.get(name, unknown) for name in text.to_list()]
        return np.array(codes, dtype=np.float64)
    found = text.replace_strict(places, default=unknown, return_dtype=pl.Float64)
    return np.where(text.is_null().to_numpy(), np.nan, found.to_numpy())


def _beyond_doubles(values: pl.Series) -> bool:
    """Whether float64 does not tell apart all whole numbers of this size."""
    low, high = values.min(), values.max()
    return low is not None and max(-int(low), int(high)) >= 2**53  # type: ignore[arg-type, call-overload]


def _number_codes(numbers: Tensor, names: Sequence[str], unknown: float) -> Tensor:
    """Numbers are matched by value, however they are written, also in float32; whole ones exactly."""
    named = pl.Series(names).cast(pl.Float64, strict=False).fill_null(np.inf).to_numpy()
    order = np.lexsort((np.array([len(name) for name in names]), named))  # of 7 and 007, the first
    known, codes = torch.tensor(named[order]), torch.tensor(order, dtype=torch.float64)
    above = torch.searchsorted(known, numbers).clamp_max(len(known) - 1)
    near = torch.stack([above, (above - 1).clamp_min(0)])
    off, slack = (known[near] - numbers).abs(), SINGLE * numbers.abs()
    slack = torch.where(numbers % 1 == 0, slack.clamp_max(0.4), slack)
    found = codes[torch.where(off[1] < off[0], near[1], near[0])].where(off.amin(0) <= slack, unknown)
    return found.where(numbers.isfinite(), unknown).where(~numbers.isnan(), torch.nan)


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
    def stands_in(self) -> tuple[float, ...]:  # type: ignore[override]
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
