"""Columns that have no density because they follow from others: constants, sums, copies in other units or on another
scale, implied labels.

Such a column is not part of the flow. It is recomputed when rows are sampled, and a row that violates the relation has
density 0. If a sum has one hole, in itself or in its inputs, the hole is completed from the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from .columns import Column
from .unseen import is_unseen

CLOSE = 1e-9  # of a column's spread: the rounding error of float64


@dataclass(frozen=True)
class Relation:
    r"""A column that follows from others: :math:`y = b + \sum_i w_i x_i`, or the value that another one implies.

    Args:
        column: The column that follows.
        inputs: The columns from which it follows; none for a constant.
        weights: w, one for each input; empty if values are implied one by one.
        offset: b; for a constant, its encoded value.
        implied: For every category of the only input, the encoded value that it implies.
        at: If the only input is a number, its values, increasing, each of which implies one; otherwise empty.
    """

    column: Column
    inputs: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    offset: float = 0.0
    implied: tuple[float, ...] = ()
    at: tuple[float, ...] = ()

    def computed(self, values: Mapping[str, np.ndarray], columns: Mapping[str, Column], rows: int) -> np.ndarray:
        """The encoded column from encoded inputs; NaN if one of them is missing."""
        if not self.inputs:
            return np.full(rows, self.offset)
        inputs = [columns[name].amounts(values[name]) if self.weights else values[name] for name in self.inputs]
        if self.at:
            middles = np.convolve(self.at, [0.5, 0.5], "valid")
            nearest = np.array(self.implied)[np.searchsorted(middles, inputs[0])]
            return np.where(np.isnan(inputs[0]), np.nan, nearest)
        if self.implied:
            known = (inputs[0] >= 0) & (inputs[0] < len(self.implied)) & (inputs[0] == np.floor(inputs[0]))
            codes = np.where(known, inputs[0], np.nan)
            return np.where(known, np.array(self.implied)[np.where(known, codes, 0).astype(np.int64)], np.nan)
        total = self._total(inputs)
        return self.column.read(pl.Series(total.round(9))) if self.column.categories else self.column.snap(total)

    def rest(
        self, found: np.ndarray, values: Mapping[str, np.ndarray], columns: Mapping[str, Column]
    ) -> dict[str, np.ndarray]:
        """What a sum leaves for each of its inputs, encoded, in rows where only this one is missing; NaN in others.

        Args:
            found: The encoded column that follows.
            values: The encoded columns.
            columns: Their descriptions.
        """
        amounts = np.stack([columns[name].amounts(values[name]) for name in self.inputs], 1)
        holes, weights = np.isnan(amounts), np.array(self.weights)
        left = self.column.amounts(found) - self.offset - np.nan_to_num(amounts) @ weights
        alone = holes & (holes.sum(1, keepdims=True) == 1)
        return {
            name: np.where(alone[:, i], _encoded(columns[name], left / weights[i]), np.nan)
            for i, name in enumerate(self.inputs)
            if alone[:, i].any()
        }

    def broken(self, found: np.ndarray, values: Mapping[str, np.ndarray], columns: Mapping[str, Column]) -> np.ndarray:
        """Which rows contradict the relation; none if a value is missing, or the input's value was never seen.

        If two neighbours on the grid are equally near to a sum, either is accepted: tools round halves up, down or to
        even.
        """
        computed, step = self.computed(values, columns, len(found)), self.column.step
        off, there = np.abs(found - computed), ~np.isnan(found) & ~np.isnan(computed)
        if self.at:
            there &= np.isin(values[self.inputs[0]], self.at)
        if self.weights and self.column.categories:  # a missing value is encoded as the code after the last
            there &= np.maximum(found, computed) < len(self.column.categories)
        if self.column.categories:
            return there & (off > CLOSE)
        spread = max(self.column.maximum - self.column.minimum, abs(self.column.maximum), 1e-300)
        wrong = there & (off > CLOSE * spread)
        if self.weights and wrong.any():
            total = self._total([columns[name].amounts(values[name]) for name in self.inputs])
            off_total = np.abs(found - total)  # for values that no training row had, which snapping cannot find
            wrong &= off_total > CLOSE * spread
            if step:
                wrong &= (off > 1.000001 * step) | (off_total > 0.500001 * step)
        return wrong

    def _total(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(self.offset + np.stack(inputs, 1) @ np.array(self.weights))

    def __str__(self) -> str:
        name = repr(self.column.name)
        if not self.inputs:
            return f"{name} is {self.column.shown(self.offset)} in every row"
        if self.implied:
            return f"{name} follows from {self.inputs[0]!r}"
        terms = [f"{w:+.6g} · {x}" if w not in (1, -1) else f"{'+' if w > 0 else '-'} {x}"
                 for w, x in zip(self.weights, self.inputs, strict=True)]  # fmt: skip
        offset = f" {self.offset:+.6g}" if self.offset else ""
        return f"{name} is {' '.join(terms).removeprefix('+ ').removeprefix('+')}{offset}"


def complete(
    values: dict[str, np.ndarray], columns: Sequence[Column], relations: Sequence[Relation], frame: pl.DataFrame
) -> dict[str, np.ndarray]:
    """The encoded columns, with missing values completed from the sums of the table where possible.

    Args:
        values: The encoded columns by name.
        columns: Their descriptions.
        relations: The relations between columns.
        frame: The rows, which may hold some of the columns that follow.
    """
    known, values = {column.name: column for column in columns}, dict(values)
    for relation in relations:
        if relation.weights and relation.column.name in frame.columns:
            found = relation.column.read(frame[relation.column.name])
            for name, rest in relation.rest(found, values, known).items():
                values[name] = np.where(np.isnan(rest), values[name], rest)
    return values


def _encoded(column: Column, amounts: np.ndarray) -> np.ndarray:
    """Numbers as the column encodes them; NaN for those that it cannot hold, or that no training row had."""
    if column.categories:
        codes = column.read(pl.Series(amounts.round(9)).fill_nan(None))
        return np.where((codes < 0) | is_unseen(codes) | column.missing(codes), np.nan, codes)
    low, high = column.bounds or (-np.inf, np.inf)
    inside = (amounts > low) & (amounts < (np.inf if high is None else high)) & (column.period is None)
    return np.where(inside, column.snap(amounts), np.nan)
