"""The flow and the columns as the report uses them: rows in, log-densities, latents and words out; and drawn rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from ...diagnostics.repairs import LogProb, repairs, typical_values
from ...distributions.base import Density, StandardNormal
from ...distributions.mixed import Mixed
from ...distributions.truncated import untruncated
from ...transforms.precision import rounds_itself
from ..blocks import Entry
from ..words import decimals_of, fixed, number, step_decimals

BATCH = 2048


class RowCells(Protocol):
    """How values of a table, such as whole numbers, stand for cells of numbers that have a density."""

    def score(self, log_prob: LogProb, rows: Tensor, context: Tensor | None, points: int) -> Tensor | None:
        """Log-densities (n,) of rows averaged over their cells; None if no row has any."""
        ...

    def spread(self, rows: Tensor) -> Tensor:
        """A random point of each row's cell."""
        ...

    def drawn(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of a density as rows that the table can have, missing values included."""
        ...


class RowModel:
    """A density of rows, and what values stand for, if not all are numbers with a density; all results are float64 on
    the CPU."""

    def __init__(self, flow: Density, cells: RowCells | None = None) -> None:
        self.flow, self.cells = flow, cells
        self.device, self.dtype = _home(flow)
        takes_double = rounds_itself(flow) and self.device.type != "mps"
        self.rows_dtype = torch.float64 if takes_double else self.dtype

    @torch.no_grad()
    def log_prob(self, rows: Tensor, context: Tensor | None = None, points: int = 16) -> Tensor:
        """Log-densities (n,) in nats of rows (n, features); -inf where the flow does not give a number.

        Of whole or rounded numbers, the average over each row's cell, at ``points`` points.
        """
        return self.score(
            lambda x, c: self.flow.log_prob(self.rows(x), self.given(c)).double().cpu(), rows, context, points
        )

    def score(self, log_prob: LogProb, rows: Tensor, context: Tensor | None, points: int = 16) -> Tensor:
        """Log-densities of rows under any density, computed in the same way as those of the flow."""
        found = None if self.cells is None else self.cells.score(log_prob, rows, context, points)
        values = _in_chunks(log_prob, rows, context) if found is None else found
        return values.masked_fill(values.isnan(), -math.inf)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Rows (n, features); one for each context, if there are contexts."""
        if context is None:
            sizes = [min(BATCH, n - start) for start in range(0, n, BATCH)]
            drawn = torch.cat([self.flow.sample((size,), generator=generator).double().cpu() for size in sizes])
        else:
            drawn = _in_chunks(lambda c, _: self.flow.sample((), self.given(c), generator=generator), context, None)
        return drawn if self.cells is None else self.cells.drawn(drawn, generator)

    @torch.no_grad()
    def latent(self, rows: Tensor, context: Tensor | None) -> Tensor | None:
        """z = f(x) of shape (n, dimensions), at a random point of each row's cell; None for a model without latents."""
        whole = untruncated(self.flow)
        inner = whole.numbers if isinstance(whole, Mixed) else whole
        transform = getattr(inner, "transform", None)
        if transform is None or not isinstance(getattr(inner, "base", None), StandardNormal):
            return None

        def run(x: Tensor, c: Tensor | None) -> Tensor:
            x, given = self.rows(x), self.given(c)
            if isinstance(whole, Mixed):
                _, x, given = whole.divide(x, given)
            return transform(x, given)[0].flatten(1)

        return _in_chunks(run, self.spread(rows), context)

    def spread(self, rows: Tensor) -> Tensor:
        """A random point of each row's cell."""
        return rows if self.cells is None else self.cells.spread(rows)

    def rows(self, rows: Tensor) -> Tensor:
        """Rows on the flow's device, in its precision."""
        return rows.to(self.device, self.rows_dtype)

    def given(self, context: Tensor | None) -> Tensor | None:
        """Contexts on the flow's device, in the precision of its parameters."""
        return None if context is None else context.to(self.device, self.dtype)


def _in_chunks(function: Callable[..., Tensor], x: Tensor, context: Tensor | None) -> Tensor:
    parts = []
    for start in range(0, len(x), BATCH):
        part = slice(start, start + BATCH)
        parts.append(function(x[part], None if context is None else context[part]).double().cpu())
    return torch.cat(parts)


def _home(flow: Density) -> tuple[torch.device, torch.dtype]:
    """The device and dtype of the flow's first tensor."""
    for tensor in (*flow.parameters(), *flow.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()


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
