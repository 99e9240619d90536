"""The report on new rows says whether the table has changed, and shows what has; on the fitted table's it does not."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

import pushforward as pf


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
