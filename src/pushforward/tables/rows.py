"""Encoded rows of a table: how they are divided, spread over their cells, recognised, and measured."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..diagnostics.averages import mean_and_error
from ..distributions.base import Density
from ..errors import InputError
from ..models.train import Rows
from .io.table import Table
from .schema.cells import Cells, Fill, cell_log_density
from .schema.schema import Schema

MIN_ROWS = 10
HELD_OUT = 0.1  # of the rows for early stopping, and as many again for the reported figures
MOST_HELD_OUT = 20_000  # rows; a standard error of 1/140 of their spread


def divide(table: Table, seed: int, share: float = HELD_OUT) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Training, validation and test rows: the file's own splits, or a random division by the seed.

    Raises:
        InputError: there are too few rows.
    """
    if table.splits:
        train = table.splits["train"]
        given = [table.splits[name] for name in ("val", "test") if name in table.splits]
        if len(given) == 2:
            return train, given[0], given[1]
        order = np.random.default_rng(seed).permutation(train.height)
        cut = max(round(share * train.height), 1)
        if given:
            return train[order[cut:]], train[order[:cut]], given[0]
        return _cut(train, seed, share)
    return _cut(table.frame, seed, share)


def held_out_order(rows: int, seed: int, share: float = HELD_OUT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (from 0) of the training, validation and test rows."""
    order = np.random.default_rng(seed).permutation(rows)
    cut = min(max(round(share * rows), 1), MOST_HELD_OUT)
    return np.sort(order[2 * cut :]), np.sort(order[cut : 2 * cut]), np.sort(order[:cut])


def _cut(frame: pl.DataFrame, seed: int, share: float) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    train, val, test = (frame[rows] for rows in held_out_order(frame.height, seed, share))
    return train, val, test


def refuse_few_rows(rows: int, source: str) -> None:
    """Refuses a table that is too small to fit and to check a density.

    Raises:
        InputError: says how many rows there are, and how many are needed.
    """
    if rows < MIN_ROWS:
        raise InputError(f"{source}: has {rows} usable rows, and a density needs at least {MIN_ROWS}")


def spread(rows: Rows, schema: Schema, seed: int) -> Tensor:
    """Each row at one random point of its cell; unchanged if no column has cells."""
    generator = torch.Generator().manual_seed(seed)
    return Cells(schema)(rows.x, torch.rand(rows.x.shape, generator=generator, dtype=rows.x.dtype))


def against(
    flow: Density,
    gaussian: Callable[..., Tensor],
    schema: Schema,
    rows: Rows,
    samples: int,
    seed: int,
    fill: Fill | None = None,
) -> dict[str, Any]:
    """Held-out log-likelihood of the flow and of a Gaussian, at the same points of the same cells."""
    here = next(flow.parameters()).device
    context = None if rows.context is None else rows.context.to(here)
    options: dict[str, Any] = {"samples": samples, "seed": seed, "fill": fill}
    ours, error = cell_log_density(flow, schema, rows.x.to(here), context, **options)
    theirs, _ = cell_log_density(gaussian, schema, rows.x, rows.context, **options)
    mean, se = mean_and_error(ours, rows.weights)
    gaussian_mean, gaussian_se = mean_and_error(theirs, rows.weights)
    gain, gain_se = mean_and_error(ours - theirs, rows.weights)
    return {
        "rows": len(rows),
        "log_likelihood": mean,
        "standard_error": se,
        "gaussian_log_likelihood": gaussian_mean,
        "gaussian_standard_error": gaussian_se,
        "gain": gain,
        "gain_standard_error": gain_se,
        "cell_samples": samples if schema.has_cells else None,
        "cell_error": float(error.mean()) if schema.has_cells else None,
    }


def fingerprint(rows: Rows) -> str:
    """A digest of encoded rows: recognises the file that a model was fitted to."""
    x = torch.where(rows.x.isnan(), math.nan, rows.x)  # a single NaN, of all bit patterns
    digest = hashlib.sha256(np.ascontiguousarray(x.numpy()).tobytes())
    if rows.context is not None:
        digest.update(np.ascontiguousarray(rows.context.numpy()).tobytes())
    return digest.hexdigest()
