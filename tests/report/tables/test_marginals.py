"""Columns alone and in pairs, and what formulas leave of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

import pushforward as pf
from pushforward.report.tables.marginals import remainders
from pushforward.tables.describe import reported_columns


class Rows:
    """Evidence of a model as far as this section reads it."""

    def __init__(self, model: pf.TableDensity, table: pl.DataFrame) -> None:
        self.data = model.schema.encode(table, "rows").x
        self.own, self.columns = self, reported_columns(model.schema, self.data)


def test_what_formulas_leave_is_what_rows_are_beside_them() -> None:
    rng = np.random.default_rng(1)
    entry, time = rng.integers(200, 900, 460), rng.integers(1, 400, 460)
    age = entry + time + np.where(np.arange(460) < 2, 3, 0)
    table = pl.DataFrame({"entry": entry, "time": time, "age": age})
    quick = {"layers": 1, "hidden": (16,), "steps": 20, "queries": False}
    evidence = Rows(pf.TableDensity("maf", **quick).fit(table), table)
    (remainder,) = evidence.columns.remainders
    assert torch.equal(remainder.of(evidence.data).abs(), torch.tensor(3.0 * (np.arange(460) < 2)))
    _, figure = remainders.write(evidence)
    assert remainder.formula in figure.caption
    evidence.columns = reported_columns(
        pf.TableDensity("gmm", queries=False).fit(table[["entry"]]).schema, evidence.data[:, :1]
    )
    assert not list(remainders.write(evidence))
