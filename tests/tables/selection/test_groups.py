"""Rows that come in groups: found where they are, and only there, and known to what is fitted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.models.console import Console
from pushforward.tables.io.read import read_any
from pushforward.tables.options import TableOptions
from pushforward.tables.prepare import choose_columns, prepare
from pushforward.tables.schema.learner import Learner
from pushforward.tables.selection.groups import recurring, with_cells
from pushforward.tables.selection.members import Points
from pushforward.tables.selection.small_tables import _standardised


def households(rows: int = 500, seed: int = 0, shuffled: bool = False) -> pl.DataFrame:
    """People of 120 households: town, income and region are the household's, the rest is their own."""
    random = np.random.default_rng(seed)
    of = np.random.default_rng(1)  # the same households for every seed
    town, income, region = of.integers(100, 160, 120), of.integers(20, 90, 120), of.integers(0, 3, 120)
    house, age = random.integers(0, 120, rows), random.integers(18, 80, rows)
    score = np.round(town[house] / 40 + income[house] / 20 + age / 30 + 0.5 * random.normal(size=rows), 2)
    table = pl.DataFrame(
        {
            "town": town[house],
            "income": income[house],
            "region": np.array(["north", "south", "west"])[region[house]],
            "age": age,
            "score": score,
        }
    )
    own = random.permuted if shuffled else lambda x: x
    return table.with_columns(pl.Series(name, own(table[name].to_numpy())) for name in ("town", "income"))


def found(table: pl.DataFrame) -> list[str]:
    read = read_any(table)
    options = choose_columns(read, TableOptions())
    rows = prepare(read, Learner(options, "t", asked=False), Console(quiet=True))
    first, _, points, _ = _standardised(rows, None, 0)
    points = with_cells(points, rows.together.x, rows.schema, first)
    return [rows.schema.features[rows.schema.numbers[j]] for j in recurring(points, 0)]


def test_what_is_equal_within_groups_is_found() -> None:
    assert found(households()) == ["town", "income"]


def test_one_number_that_names_a_group_is_found_by_what_the_context_tells() -> None:
    table = households().drop("income", "score")
    at = np.random.default_rng(0).integers(0, 20, 60)
    names = np.array(list("abcdefghijklmnopqrst"))[at[table["town"].to_numpy() - 100]]
    names[::40] = "z"  # not always, or it would follow
    assert found(table.with_columns(pl.Series("mayor", names))) == ["town"]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_where_columns_come_together_by_chance(seed: int) -> None:
    assert found(households(seed=seed, shuffled=True)) == []
    random = np.random.default_rng(seed)
    smooth = random.normal(size=400)
    assert found(pl.DataFrame({"a": smooth.round(1), "b": (smooth + random.normal(size=400)).round(1)})) == []


@pytest.mark.parametrize("seed", range(4))
def test_values_that_many_rows_have_make_no_groups_beside_names_of_few_rows(seed: int) -> None:
    random, n = np.random.default_rng(seed), 160
    names = np.repeat(np.arange(20), [60, 30, 20, 10, 8, 8, 4, 4, 2, 2, 2, 2, *[1] * 8])
    context = torch.from_numpy(random.permutation(names)[:, None] == np.arange(20)).float()
    often = random.choice(random.integers(1000, 6000, 40), n // 2)
    pages = random.permutation(np.concatenate([random.choice(np.arange(1000, 6000), n // 2, replace=False), often]))
    x = np.column_stack([(pages - 3500) / 1500, random.normal(size=n)])
    cells = np.stack([x, x - 0.5 / 1500, x + 0.5 / 1500])
    cells[..., 1] = np.nan
    points = Points(torch.from_numpy(x).float()[None], context, torch.ones(n), torch.from_numpy(cells))
    assert recurring(points, 0) == []


@pytest.mark.slow
def test_unseen_rows_are_likelier_draws_are_of_groups_and_answers_are_as_counted() -> None:
    table, fresh = households(), households(seed=2)
    model = pf.TableDensity(random_state=0).fit(table)
    assert model.summary_["average"]["weights"]["groups"] > 0.5
    alone = pf.TableDensity(flow="nsf", members=5, queries=False, random_state=0).fit(table)
    assert model.score_samples(fresh).mean() > alone.score_samples(fresh).mean() + 2
    keys = ["town", "income", "region"]
    share = [
        rows.join(table.unique(keys), on=keys, how="semi").height / rows.height
        for rows in (fresh, model.sample(2000, random_state=0))
    ]
    assert share[0] > 0.9
    assert share[1] > 0.75
    town, _ = table["town"].value_counts().sort("count")[-1].row(0)
    draws = model.sample(60_000, random_state=1).filter(pl.col("town") == town)
    middle = float(table.filter(pl.col("town") == town)["income"].median())
    counted = (draws["income"] > middle).mean()
    assert abs(model.probability(f"income > {middle}", given={"town": town}) - counted) < 0.06
    below = np.mean(np.asarray(model.percentile(model.score_samples(fresh))) < 5)
    assert 0.01 < below < 0.1
