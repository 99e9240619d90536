"""The report of a fitted table: the rows are scored, drawn, numbered and written as the table has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.models.console import Console
from pushforward.report.tables.evidence import denser_share
from pushforward.report.write import write


@pytest.fixture(scope="module")
def fitted() -> tuple[pf.TableDensity, pl.DataFrame]:
    rng = np.random.default_rng(8)
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 12, 31), eager=True).sample(400, seed=1)
    table = pl.DataFrame({"count": rng.poisson(30, 400), "size": rng.normal(size=400), "day": days})
    return pf.TableDensity("maf", layers=1, hidden=(8,), steps=30, queries=False).fit(table), table


@pytest.fixture(scope="module")
def page(fitted: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    model, table = fitted
    numbers = write(model, model.read_file(_saved(table, path)), path, Console(quiet=True))["report"]
    return numbers, path.read_text()


def _saved(table: pl.DataFrame, path: Path) -> Path:
    place = path.with_name("table.parquet")
    table.write_parquet(place)
    return place


def test_whole_numbers_are_scored_by_their_cells_and_rows_numbered_from_1(fitted: Any, page: Any) -> None:
    (model, table), (numbers, _) = fitted, page
    held, scores = model.saved_held_out().numbers, model.score_samples(table)
    assert numbers["likelihood"]["held_out"] == pytest.approx(scores[held].mean(), abs=1e-3)
    worst = [row["row"] for row in numbers["unlikely"]["rows"]]
    assert {row - 1 for row in worst} <= set(held)
    for row in numbers["unlikely"]["rows"]:
        assert row["log_density"] == pytest.approx(scores[row["row"] - 1], abs=0.01)


def test_the_reasons_are_those_of_explain(fitted: Any, page: Any) -> None:
    (model, table), (numbers, _) = fitted, page
    found = model.explain(table)
    gains = [found["gain"][row["row"] - 1] for row in numbers["unlikely"]["rows"]]
    assert max(gains) >= 1
    for row, gain in zip(numbers["unlikely"]["rows"], gains, strict=True):
        assert (found["unlikely_because"][row["row"] - 1] in row["why"]) == (gain >= 1)


def test_draws_are_whole_and_dates_are_written_as_dates(page: Any) -> None:
    _, text = page
    sampled = re.search(r'<table id="sampled-rows".*?</table>', text, re.S)
    assert sampled is not None
    cells = re.findall(r'data-key="[^"]+" class="number">([^<]*)<', sampled[0])
    assert all(re.fullmatch(r"\d+", count) for count in cells[1::4])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in cells[3::4])


def test_dates_are_dates_in_the_table_of_columns_at_ticks_and_in_menus(page: Any, fitted: Any) -> None:
    _, text = page
    day = re.search(r'<table id="columns".*?(<tr>(?:(?!<tr>).)*?>day<.*?</tr>)', text, re.S)
    assert day is not None
    assert len(re.findall(r">20\d\d-\d\d-\d\d<", day[1])) == 4  # minimum, median, maximum and mean
    figures = re.findall(r"<svg.*?</svg>", text, re.S)
    dated = [figure for figure in figures if re.search(r">\s*20\d\d-\d\d-\d\d\s*<", figure)]
    assert len(dated) == 2  # each column alone, and in pairs
    assert re.search(r'"20\d\d-\d\d-\d\d to 20\d\d-\d\d-\d\d"', text)
    assert re.search(r">\s*20\d\d-\d\d-\d\d\s*<", fitted[0].picture())  # in a notebook


def test_regions_hold_their_share_of_rows_that_are_often_equal() -> None:
    generator = torch.Generator().manual_seed(0)
    own, held = ((torch.rand(n, generator=generator) < 0.4).double() for n in (4000, 2000))
    level = denser_share(own, held + 1e-8)  # 40 % and 60 % of the rows are equal, up to rounding
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert abs(float((level < share).double().mean()) - share) < 0.04
