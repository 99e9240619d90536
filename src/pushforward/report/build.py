"""Writes the report: one HTML file that holds its figures, style and script, and needs no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup
from torch import Tensor

from .. import __version__
from ..distributions.base import Density
from ..errors import listed
from ..saving.jsonable import jsonable
from ..tables.io.table import write_atomically
from ..tables.schema.cells import Fill
from ..tables.schema.columns import Column
from ..tables.schema.schema import Schema
from . import measure, sections
from .blocks import Section
from .model import LogProb, Model
from .subject import Subject


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
    schema: Schema | Sequence[Mapping[str, Any]] | None = None,
    row_numbers: Sequence[int] | None = None,
    samples: int = 4000,
    timings: bool = False,
    gaussian: LogProb | None = None,
    percentile: Callable[[Any], Any] | None = None,
    against: Mapping[str, LogProb | Any] | None = None,
    fill: Fill | None = None,
) -> dict[str, Any]:
    """Evaluates a flow on held-out rows and writes the findings as one offline HTML file.

    The file is written whole or not at all and, without ``timings``, is byte-for-byte reproducible for equal arguments.

    Args:
        path: The HTML file.
        flow: The density.
        data: Held-out rows (n, features), in the data's own units.
        columns: Names of the columns.
        train: Training rows, for the Gaussian baseline, percentiles and the gap to the held-out rows.
        context: Contexts (n, context features) of the held-out rows, for a conditional flow.
        train_context: Contexts of the training rows.
        history: Records of the training: ``step``, ``epoch``, ``seconds``, ``train_loss``, ``validation_loss``, ``lr``;
            ``objective`` if it is ``"matching"``.
        summary: Labels and values to show in the overview.
        command: The command that reproduces the report, to be copied from it.
        title: The heading.
        seed: Seed of all random draws.
        schema: The table's ``Schema``, by which whole and rounded numbers are scored over their cells;
            or a mapping per column (``name``, ``kind``, …) to show in the data summary.
        row_numbers: The rows' numbers in the user's file; 0, 1, 2, … by default.
        samples: Rows drawn from the flow.
        timings: Whether to report how long scoring and sampling took; the file is then not reproducible.
        gaussian: Log-densities (rows, context) of a Gaussian fitted to the training rows, if these are no longer at
            hand.
        percentile: Likewise, maps log-densities (k,) to percentiles among the training rows.
        against: Names of other models to compare with, row by row, and their log-densities: functions of (rows,
            context), or their values (n,) for the held-out rows.
        fill: Imputes missing values of rows, if the flow was trained on such draws.

    Returns:
        The numbers of the report, by section, as JSON.

    Raises:
        ValueError: shapes or names do not fit, or a row is not finite.
    """
    holes = isinstance(schema, Schema)
    data = _rows("data", data, columns, holes)
    train = None if train is None else _rows("train", train, columns, holes)
    context = _context("context", context, data)
    train_context = None if train is None else _context("train_context", train_context, train)
    numbers = list(range(len(data)) if row_numbers is None else map(int, row_numbers))
    if len(numbers) != len(data):
        raise ValueError(f"row_numbers has {len(numbers)} entries, but data has {len(data)} rows")
    if isinstance(schema, Schema):
        said, model = [_said(column) for column in schema.columns], Model(flow, schema, seed, fill)
    else:
        said, model = [dict(column) for column in schema or ()], Model(flow, seed=seed)
    evidence = measure.gather(
        model, data, train=train, context=context, train_context=train_context, samples=samples, seed=seed
    )
    subject = Subject(
        model=model,
        columns=[str(name) for name in columns],
        steps=_steps(data, columns, said),
        evidence=evidence,
        context=context,
        history=[dict(row) for row in history],
        summary=dict(summary or {}),
        schema=said,
        row_numbers=numbers,
        command=command,
        seed=seed,
        timings=timings,
        gaussian=gaussian,
        percentile=percentile,
        rivals={str(name): _rival(name, theirs, data) for name, theirs in (against or {}).items()},
    )
    parts = sections.all_sections(subject)
    shown = jsonable({part.id: part.numbers for part in parts if part.numbers})
    text = render(title or "What the flow learnt", parts, shown)
    write_atomically(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return shown


def render(title: str, parts: Sequence[Section], numbers: Mapping[str, Any]) -> str:
    """The HTML text. The template escapes everything that comes from the data."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("template.html").render(
        title=title,
        sections=parts,
        numbers=numbers,
        version=__version__,
        style=Markup(_asset("style.css")),
        script=Markup(_asset("script.js")),
    )


def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _rows(name: str, values: Any, columns: Sequence[str], holes: bool) -> Tensor:
    rows = torch.as_tensor(values).detach().cpu().double()
    if rows.dim() != 2 or len(rows) == 0:
        raise ValueError(f"{name} must have shape (n, features) with n >= 1, got {tuple(rows.shape)}")
    if rows.shape[1] != len(columns):
        raise ValueError(f"{name} has {rows.shape[1]} columns, but columns has {len(columns)} names")
    bad = (rows.isinf() if holes else ~rows.isfinite()).any(1).nonzero()
    if len(bad):
        raise ValueError(f"{name} must be finite, but row {int(bad[0])} is not (and {len(bad) - 1} more)")
    return rows


def _context(name: str, values: Any, rows: Tensor) -> Tensor | None:
    if values is None:
        return None
    context = torch.as_tensor(values).detach().cpu()
    if context.dim() != 2 or len(context) != len(rows):
        raise ValueError(f"{name} must have shape ({len(rows)}, context features), got {tuple(context.shape)}")
    return context


def _rival(name: str, log_prob: LogProb | Any, rows: Tensor) -> LogProb | Tensor:
    if callable(log_prob):
        return log_prob
    values = torch.as_tensor(log_prob).detach().cpu().double()
    if values.shape != rows.shape[:1]:
        raise ValueError(f"against[{name!r}] must have shape ({len(rows)},), got {tuple(values.shape)}")
    return values


def _said(column: Column) -> dict[str, Any]:
    """What a reader needs to know of a column's schema; the training rows' range is for the model alone."""
    said: dict[str, Any] = {"name": column.name, "kind": column.kind, "step": column.step}
    if column.categories:
        return said | {"kind": f"category, {len(column.categories)}"}
    if column.step not in (0, 1):
        said["kind"] = f"{column.kind} to {column.step:g}"
    if column.atoms:
        said["kind"] = f"{column.kind} at {listed(f'{value:g}' for value, _, _ in column.atoms)}"
    first = "none" if column.first == "none" else "arsinh" if column.first == "asinh" else column.first
    low, high = column.bounds or (None, None)
    bounds = "" if low is None else f" above {low:g}" if high is None else f" between {low:g} and {high:g}"
    return said | {"first transform": first + bounds}


def _steps(data: Tensor, columns: Sequence[str], schema: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The spacing of values in columns that lie on a grid: from the schema, or 1 if all are whole numbers."""
    if schema:
        said = {str(column.get("name")): column for column in schema}
        grid = {j: said.get(str(name), {}) for j, name in enumerate(columns)}
        steps = {j: float(c.get("step") or (c.get("kind") == "integer")) for j, c in grid.items()}
        return {j: step for j, step in steps.items() if step > 0}
    return {j: 1.0 for j in range(data.shape[1]) if bool((data[:, j] == data[:, j].round()).all())}
