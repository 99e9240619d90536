"""Reports of densities of plain numbers, without a fitted table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pushforward.report.evidence import Page
from pushforward.report.tables.evidence import RowEvidence
from pushforward.report.write import write_page
from pushforward.tables.schema.cells import Cells
from pushforward.tables.schema.columns import Column
from pushforward.tables.schema.kinds.numeric import Number
from pushforward.tables.schema.schema import Schema
from pushforward.training.batches import Rows


def write_rows(
    path: Path,
    flow: Any,
    x: Tensor,
    *,
    columns: Sequence[str],
    context: Tensor | None = None,
    train: Rows | None = None,
    gaussian: Any = None,
    samples: int = 500,
    **page: Any,
) -> dict[str, Any]:
    """Writes what a density makes of held-out rows, beside independent Gaussians and percentiles among training rows;
    returns the numbers."""
    x = x.double()
    schema = Schema(tuple(Column(name, Number.of(values)) for name, values in zip(columns, x.numpy().T, strict=True)))
    points = Schema(tuple(Column(name, Number()) for name in columns))
    flow, known = flow.double(), Rows(x, context) if train is None else train
    spread = torch.distributions.Normal(x.mean(0), x.std(0, correction=0) + 1e-3)
    with torch.no_grad():
        reference = np.sort(flow.log_prob(known.x.double(), known.context).numpy())
    evidence = RowEvidence(
        page=Page(**page),
        density=flow,
        cells=Cells(points),
        schema=schema,
        held=(held := Rows(x, context)),
        whole=held,
        names=range(1, len(x) + 1),
        train=train,
        gaussian=gaussian or (lambda rows, _: spread.log_prob(rows).sum(-1)),
        explain=lambda rows: pl.DataFrame(
            {
                "unlikely_because": columns[0],
                "would_fit": 0.0,
                "also_unlikely": None,
                "gain": rows.x[:, 0].abs().tolist(),
            }
        ),
        percentile=lambda values: 100 * np.searchsorted(reference, values) / len(reference),
        others="the training rows",
        samples=samples,
    )
    return write_page(path, evidence)
