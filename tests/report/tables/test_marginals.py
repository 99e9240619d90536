"""Columns alone and in pairs, what formulas leave of them, and how new rows differ."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import torch

import pushforward as pf
from pushforward.report.tables.marginals import remainders


class Rows:
    """Evidence of a model as far as this section reads it."""

    def __init__(self, model: pf.TableDensity, table: pl.DataFrame) -> None:
        self.data = model.schema.encode(table, "rows").x
        self.own, self.schema = self, model.schema


def test_what_formulas_leave_is_what_rows_are_beside_them() -> None:
    rng = np.random.default_rng(1)
    entry, time = rng.integers(200, 900, 460), rng.integers(1, 400, 460)
    age = entry + time + np.where(np.arange(460) < 2, 3, 0)
    table = pl.DataFrame({"entry": entry, "time": time, "age": age})
    quick = {"layers": 1, "hidden": (16,), "steps": 20, "queries": False}
    evidence = Rows(pf.TableDensity("maf", **quick).fit(table), table)
    (remainder,) = evidence.schema.near
    left = remainder.left(evidence.data, evidence.schema.columns)
    assert torch.equal(left.abs(), torch.tensor(3.0 * (np.arange(460) < 2)))
    _, figure = remainders.write(evidence)
    assert str(remainder) in figure.caption
    evidence.schema = pf.TableDensity("gmm", queries=False).fit(table[["entry"]]).schema
    assert not list(remainders.write(evidence))


def rows(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"size": rng.normal(size=n), "kind": rng.choice(["a", "b"], n), "weight": rng.normal(size=n)})


def test_new_rows_are_compared_with_those_held_out_at_the_fit(tmp_path) -> None:
    old, page = rows(400, 0), tmp_path / "report.html"
    model = pf.TableDensity("maf", steps=5, queries=False).fit(old)
    new = rows(200, 1).with_columns(weight=pl.col("weight") + 2)
    model.report(page, new)
    text = page.read_text()
    assert 'id="drift"' in text
    part = text[text.index('id="drift"') :]
    assert re.search(r"<svg", part)
    assert part.index("weight") < part.index("size")
    model.report(page, old)
    assert 'id="drift"' not in page.read_text()
