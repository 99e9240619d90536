"""The report of any density of rows that are at hand, and of whose columns nothing but the names is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diagnostics.repairs import LogProb
from ..distributions.base import Density
from ..tables.schema.cells import Cells
from ..tables.schema.columns import Column
from ..tables.schema.kinds.grid import Grid
from ..tables.schema.kinds.numeric import Number
from ..tables.schema.schema import Schema
from ..training.batches import Rows, check_rows
from .evidence import Page
from .tables.evidence import RowEvidence
from .tables.model import RowModel
from .write import write_page


def write_report(
    path: str | os.PathLike[str],
    flow: Density,
    data: Any,
    *,
    columns: Sequence[str],
    train: Any = None,
    context: Any = None,
    train_context: Any = None,
    history: Sequence[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    command: str = "",
    title: str = "",
    seed: int = 0,
    row_numbers: Sequence[int] | None = None,
    samples: int = 4000,
    timings: bool = False,
    against: Mapping[str, LogProb | Any] | None = None,
) -> dict[str, Any]:
    """Evaluates a flow on held-out rows and writes the findings as one offline HTML file.

    The file is written whole or not at all and, without ``timings``, is byte-for-byte reproducible for equal arguments.
    Fitted tables and images write theirs by their own method ``report``.

    Args:
        path: The HTML file.
        flow: The density.
        data: Held-out rows (n, features), in the data's own units.
        columns: Names of the columns.
        train: Training rows, for the Gaussian baseline, percentiles and the gap to the held-out rows.
        context: Contexts (n, context features) of the held-out rows, for a conditional flow.
        train_context: Contexts of the training rows.
        history, summary, command, title, seed, timings: As in :class:`~pushforward.report.evidence.Page`.
        row_numbers: The rows' numbers in the user's file; 1, 2, … by default.
        samples: Rows drawn from the flow.
        against: Names of other models to compare with, row by row, and their log-densities: functions of (rows,
            context), or their values (n,) for the held-out rows.

    Returns:
        The numbers of the report, by section, as JSON.

    Raises:
        ValueError: shapes or names do not fit, or a row is not finite.
    """
    held = _rows(flow, data, context, "data", columns)
    seen = None if train is None else _rows(flow, train, train_context, "train", columns)
    if row_numbers is not None and len(row_numbers) != len(held):
        raise ValueError(f"row_numbers has {len(row_numbers)} entries, but data has {len(held)} rows")
    rivals = {str(name): _rival(name, theirs, held) for name, theirs in (against or {}).items()}
    page = Page(title or "What the flow learnt", summary or {}, command, history, rivals, seed, timings)
    evidence = RowEvidence(
        page=page,
        model=RowModel(flow, Cells(Schema(tuple(Column(str(j), Number()) for j in range(len(columns))))), seed),
        schema=_plain(columns, (seen or held).x),
        held=held,
        names=range(1, len(held) + 1) if row_numbers is None else row_numbers,
        train=seen,
        samples=samples,
    )
    return write_page(path, evidence)


def _plain(names: Sequence[str], rows: Tensor) -> Schema:
    """Columns of numbers of which nothing else is known; those with whole numbers alone have a grid of these."""
    kinds = [(Grid if (x == np.round(x)).all() else Number).of(x) for x in rows.numpy().T]
    return Schema(tuple(Column(str(name), kind) for name, kind in zip(names, kinds, strict=True)))


def _rows(flow: Density, values: Any, context: Any, name: str, columns: Sequence[str]) -> Rows:
    x, given = (None if part is None else torch.as_tensor(part).double() for part in (values, context))
    rows = check_rows(flow, x, given, name=name).to(torch.device("cpu"))
    if len(rows) == 0 or rows.x.shape[1] != len(columns):
        raise ValueError(
            f"{name} has shape {tuple(rows.x.shape)}, expected (n, {len(columns)}), as columns, with n >= 1"
        )
    return rows


@torch.no_grad()
def _rival(name: str, log_prob: LogProb | Any, rows: Rows) -> Tensor:
    found = log_prob(rows.x, rows.context) if isinstance(log_prob, Callable) else log_prob  # type: ignore[arg-type]
    values = torch.as_tensor(found).detach().cpu().double()
    if values.shape != (len(rows),):
        raise ValueError(f"against[{name!r}] must have shape ({len(rows)},), got {tuple(values.shape)}")
    return values
