"""How good a fitted table is on rows that it did not see, and the facts that are saved with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import torch

from ..diagnostics.averages import mean_and_error
from ..diagnostics.linear_gaussian import LinearGaussian
from ..diagnostics.sampling_quality import SamplingQuality, sampling_quality
from ..distributions.base import Density
from ..models.compare import beside_gaussian
from ..models.train import Rows
from ..numerics.partly_known import partly_known
from .io.table import Table
from .options import TableOptions
from .schema.cells import Cells, Fill
from .schema.schema import Schema
from .selection.candidate import Fitted
from .splits import RECOGNISED, TableSplits, fingerprint, keys_of

DRAWN = 1_000  # draws, and held-out rows beside them
TRAINING = 20_000  # rows beside these
SEEN = 2_000  # training rows that are scored, to tell overfitting
KEPT_ROWS = 1000  # held-out rows that are saved with the model, for reports without the data


def measured(
    fitted: Fitted, gaussian: LinearGaussian, rows: TableSplits, options: TableOptions, fill: Fill | None
) -> dict[str, Any]:
    """The summary's facts on a density."""
    return {
        "training_rows": rows.training_rows,
        "validation_rows": len(rows.val),
        "columns": rows.schema.names,
        "given": rows.schema.given_names,
        **({} if options.weights is None else {"weights": options.weights}),
        "flow": fitted.flow,
        "objective": options.objective,
        "parameters": sum(map(torch.numel, fitted.density.parameters())),
        "held_out": _held_out(fitted.density, gaussian, rows, options, fill),
    }


def facts_of(
    table: Table,
    rows: TableSplits,
    history: list[dict[str, Any]],
    options: TableOptions,
) -> dict[str, Any]:
    """What is saved with a density, apart from its calibration."""
    learnt = np.concatenate(rows.split[:2])
    return {
        "kind": "table",
        "schema": rows.schema,
        "history": [{**row, "objective": options.objective} for row in history],
        "data": table.path.name,
        "decimal": table.decimal,
        "seed": options.training.seed,
        "validation": options.validation,
        "samples": options.samples,
        "held_out": _kept(rows.test, rows.test_numbers, KEPT_ROWS, options.training.seed),
        **({"kept": _kept(rows.together, learnt, options.keep, options.training.seed)} if options.keep else {}),
        "keep": options.keep,
        "said": {name: getattr(options, name) for name in ("bounds", "relations", "layers", "hidden")},
        "drop_missing": options.drop_missing,
        "weighted": rows.train.weights is not None,
        "rows": len(rows.rows) if rows.complete else None,
        "fingerprint": fingerprint(rows.rows) if rows.complete else None,
        "learnt": keys_of(rows.together) if len(rows.together) <= RECOGNISED and rows.stream is None else [],
        "torch": torch.__version__,
    }


@torch.no_grad()
def drawn_beside_held_out(density: Density, rows: TableSplits, seed: int) -> SamplingQuality | None:
    """As many rows as there are held-out ones, drawn given their contexts, and compared in the table's own units, in
    all columns but those whose cells may be known in part; None if there are no others.

    If rows have weights, held-out and training rows are resampled by them.
    """
    if all(column.holes.in_part for column in rows.schema.columns):
        return None
    held = _resampled(rows.test, DRAWN, seed)
    generator, given = torch.Generator(density.device).manual_seed(seed), held.to(density.device).context
    x = density.sample((len(held),) if given is None else (), given, generator=generator)
    x = rows.schema.missingness.drawn(x, generator)
    tables = (_resampled(rows.train, TRAINING, seed), held, Rows(x, held.context))
    return sampling_quality(*[_frame(rows.schema, each) for each in tables], seed=seed)


def _held_out(
    density: Density, gaussian: LinearGaussian, rows: TableSplits, options: TableOptions, fill: Fill | None
) -> dict[str, Any]:
    """Held-out log-likelihood of the density and of a Gaussian, at the same points of the same cells."""
    test, cells = rows.test, Cells(rows.schema, fill)
    here, some = test.to(density.device), rows.train[:: max(len(rows.train) // SEEN, 1)].to(density.device)
    choices: dict[str, Any] = {"samples": options.samples, "seed": options.training.seed}
    ours, error = cells.log_density(density, here.x, here.context, **choices)
    theirs, _ = cells.log_density(gaussian, test.x, test.context, **choices)
    seen, seen_error = mean_and_error(cells.log_density(density, some.x, some.context, **choices)[0], some.weights)
    averaged = rows.schema.has_cells
    return {
        **beside_gaussian(ours, theirs, test.weights),
        "training_log_likelihood": seen if math.isfinite(seen) else None,
        "training_standard_error": seen_error,
        "cell_samples": options.samples if averaged else None,
        "cell_error": float(error.mean()) if averaged else None,
    }


def _kept(rows: Rows, numbers: np.ndarray, most: int, seed: int) -> dict[str, Any]:
    """Some rows to save: a random selection, because files may be sorted."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    return saved(rows[chosen], numbers[chosen])


def saved(rows: Rows, numbers: np.ndarray) -> dict[str, Any]:
    """Rows as facts of a model, with their positions in the table; and the bits of cells that are known in part, which
    JSON has no number for."""
    context, partly = None if rows.context is None else rows.context.tolist(), partly_known(rows.x)
    bits = torch.cat([partly.nonzero(), rows.x.view(torch.int64)[partly, None]], 1).tolist()
    return {"x": rows.x.tolist(), "context": context, "numbers": numbers.tolist(), "bits": bits}


def _resampled(rows: Rows, most: int, seed: int) -> Rows:
    """At most this many of the rows at random, by their weights if they have any."""
    generator = torch.Generator().manual_seed(seed)
    if rows.weights is None:
        return rows[torch.randperm(len(rows), generator=generator)[:most]]
    return rows[torch.multinomial(rows.weights, min(most, len(rows)), replacement=True, generator=generator)]


def _frame(schema: Schema, rows: Rows) -> pl.DataFrame:
    """Rows in the table's own units, together with the numeric columns of their contexts."""
    partly = [column.name for column in schema.columns if column.holes.in_part]
    partly += [name for each in schema.in_part for name in each.aside]
    frame = schema.amounts(schema.decode(rows.x)).drop(partly, strict=False)
    if rows.context is None:
        return frame
    return frame.with_columns(**{f"given {j}": c for j, c in enumerate(rows.context.double().cpu().numpy().T)})
