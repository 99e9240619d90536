"""Columns alone, in pairs and given another, what formulas leave of them, and how new rows differ."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
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


@pytest.mark.slow
def test_new_rows_are_compared_with_those_held_out_at_the_fit(tmp_path) -> None:
    old, page = rows(400, 0), tmp_path / "report.html"
    model = pf.TableDensity("maf", steps=5, queries=False).fit(old)
    new = rows(200, 1).with_columns(weight=pl.col("weight") + 2)
    model.report(page, new)
    text = page.read_text()
    assert "200 rows of another table than the one that was fitted" in text
    assert 'id="drift"' in text
    part = text[text.index('id="drift"') :]
    assert re.search(r"<svg", part)
    assert part.index("weight") < part.index("size")
    model.report(page, old)
    assert 'id="drift"' not in page.read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    table = pl.DataFrame(
        {"x": x, "y": x + 0.3 * rng.normal(size=600), "kind": np.where(x + 0.2 * rng.normal(size=600) > 0, "a", "b")}
    )
    model = pf.TableDensity("maf", layers=2, hidden=(16,), steps=300, lr=0.01, queries=False).fit(table)
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    model.report(path)
    return path.read_text()


def test_shares_of_every_pair(page: str) -> None:
    found = re.search(r'<script type="application/json" class="shares">(.*?)</script>', page, re.S)
    assert found is not None
    data = json.loads(found.group(1))
    assert data["columns"] == ["x", "y", "kind"]
    for j in range(3):
        assert sum(data["alone"][j]) == pytest.approx(1, abs=0.01)
        assert data["given"][j][j] is None
        for k in {0, 1, 2} - {j}:
            assert len(data["given"][j][k]) == len(data["groups"][k])
            for shares in data["given"][j][k]:
                assert len(shares) == len(data["ticks"][j])
                assert sum(shares) == pytest.approx(1, abs=0.01)
    a = data["groups"][2].index("a")
    ticks = [[float(tick.replace("\u2212", "-")) for tick in column] for column in data["ticks"][:2]]
    centre = np.dot(ticks[0], data["given"][0][2][a])
    assert centre > 0.3  # x given kind = a is positive
    lowest = np.dot(ticks[1], data["given"][1][0][0])
    assert lowest < -0.6  # y given the lowest fifth of x


def test_two_menus_stand_on_the_page(page: str) -> None:
    assert page.count('class="of"') == page.count('class="by"') == 1
    assert "One column given another" in page
