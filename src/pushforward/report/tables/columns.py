"""The columns of the rows that a report is about: what they are, and how their values are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from ...diagnostics.repairs import LogProb, repairs, typical_values
from ..blocks import Entry
from ..words import decimals_of, fixed, number, step_decimals


@dataclass(frozen=True)
class ReportedRemainder:
    """What a formula of other columns leaves of a column.

    Args:
        name: The column.
        formula: In words.
        of: The remainders of encoded rows ``(n, features)``.
        step: Their spacing, 0 if they have none.
    """

    name: str
    formula: str
    of: Callable[[Tensor], Tensor]
    step: float


@dataclass(frozen=True)
class ReportedColumns:
    """The columns of encoded rows (n, features); NaN where a value is missing.

    Args:
        names: What they are called.
        data: Some rows.
        kinds: What each is, and its first transform, in words.
        steps: For columns whose values lie on a grid, the spacing of its values, by index.
        labels: For columns of categories, their names, by index.
        flags: For columns of numbers with missing values, the column that says which are missing.
        typical: Typical values of each column; quantiles of rows where there are none.
        write: Writes a value of a column as text if it is no plain number, such as a date; else None.
        remainders: What formulas leave of columns.
        notes: What was decided about the table, in sentences.
        width: How many columns the table has, with those that are given, or follow from others.
    """

    names: Sequence[str]
    data: Tensor
    kinds: Sequence[tuple[str, str]]
    steps: Mapping[int, float]
    labels: Mapping[int, Sequence[str]] = field(default_factory=dict)
    flags: Mapping[int, int] = field(default_factory=dict)
    typical: Sequence[Sequence[float]] = ()
    write: Callable[[int, float], str | None] = lambda column, value: None
    remainders: Sequence[ReportedRemainder] = ()
    notes: Sequence[str] = ()
    width: int = 0

    @classmethod
    def plain(cls, names: Sequence[str], data: Tensor) -> ReportedColumns:
        """Columns of numbers of which nothing else is known; those with whole numbers alone have a grid of these."""
        steps = {j: 1.0 for j, x in enumerate(data.T) if bool((x == x.round()).all())}
        kinds = [("integer" if j in steps else "continuous", "none") for j in range(len(names))]
        return cls([str(name) for name in names], data, kinds, steps, width=len(names))

    @property
    def numbers(self) -> list[int]:
        """The columns that hold numbers."""
        return [j for j in range(len(self.names)) if j not in self.labels]

    @property
    def classes(self) -> list[int]:
        """The number of categories of every column, 0 for numbers; empty if no column has any."""
        return [len(self.labels.get(j, ())) for j in range(len(self.names))] if self.labels else []

    @cached_property
    def decimals(self) -> list[int]:
        """The number of meaningful decimals of each column, by its grid or its spread."""
        return [
            step_decimals(self.steps[j]) if j in self.steps else decimals_of(float(seen(x).std(correction=0)))
            for j, x in enumerate(self.data.T)
        ]

    def cell(self, value: Any, j: int) -> Entry:
        """A value of a column as a cell of a table."""
        value, places = float(value), self.decimals[j]
        if j in self.labels:
            name = "(missing)" if math.isnan(value) else "(unknown)" if value < 0 else self.labels[j][int(value)]
            return Entry(name, name)
        plain = fixed(value, places) if abs(value) >= 10.0**-places or value == 0 else number(value, 3)
        return Entry(self.write(j, value) or plain, value)

    def repairs(
        self, log_prob: LogProb, rows: Tensor, context: Tensor | None, reference: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How many nats likelier each row is with one column changed to a typical value, and that value, both
        (n, features); see :func:`~pushforward.diagnostics.repairs.repairs`."""
        return repairs(log_prob, rows, typical_values(reference, self.typical), context, self.flags)


def seen(values: Tensor) -> Tensor:
    """The values of a column that are not missing; a single NaN if all are."""
    there = values[~values.isnan()]
    return there if len(there) else values[:1]
