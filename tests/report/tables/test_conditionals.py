"""One column given another: shares that add up, follow the model's rows, and are drawn without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pushforward as pf


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
    centre = np.dot([float(t) for t in data["ticks"][0]], data["given"][0][2][a])
    assert centre > 0.3  # x given kind = a is positive
    lowest = np.dot([float(t) for t in data["ticks"][1]], data["given"][1][0][0])
    assert lowest < -0.6  # y given the lowest fifth of x


def test_two_menus_stand_on_the_page(page: str) -> None:
    assert page.count('class="of"') == page.count('class="by"') == 1
    assert "One column given another" in page
