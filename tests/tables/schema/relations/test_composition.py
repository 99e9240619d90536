"""Sums, and copies, of other columns; and parts of a whole, which are drawn as such."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from schemas import prepared_schema, schema_of

import pushforward as pf

QUICK = {"flow": "maf", "layers": 2, "hidden": (32,), "steps": 100, "queries": False}


def test_a_total_of_few_large_amounts_follows_up_to_rounding():
    rng = np.random.default_rng(0)
    first, second = rng.choice([1e8 + 0.1, 2e8 + 0.2, 3e8 + 0.3], (2, 300))
    schema = schema_of({"first": first, "second": second, "total": (first + second).round(1)})
    assert [type(each).__name__ for each in schema.dependencies] == ["Determined"]


def test_a_sum_that_is_drawn_at_its_bound_keeps_the_relation():
    x = np.random.default_rng(0).gamma(3.0, size=300).round(2) + 5
    schema = schema_of({"x": x, "over 5": (x - 5).round(2)})
    drawn = schema.decode(torch.tensor([[3.0], [7.0]], dtype=torch.float64))
    assert drawn["over 5"].to_list() == [0.0, 2.0]
    assert not schema.broken(schema.encode(drawn, "t")).any()


def test_a_total_that_no_row_had_breaks_a_sum_of_few_values():
    first, second = np.random.default_rng(0).integers(0, 3, (2, 300))
    frame = pl.DataFrame({"first": first, "second": second, "total": first + second})
    schema = schema_of(frame)
    assert [type(each).__name__ for each in schema.dependencies] == ["Determined"]
    rows = frame.with_columns(first=pl.col("first").cast(pl.Float64)).cast({"total": pl.Float64})
    for off, breaks in ((0, False), (0.5, True), (10, True)):
        found = schema.broken(schema.encode(rows.with_columns(pl.col("total") + off), "t"))
        assert found.all() if breaks else not found.any()


def probabilities(n: int, seed: int = 0, digits: int = 6) -> pl.DataFrame:
    """Probabilities of four classes, many of them near 0, that sum to one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p = p.round(digits)
    p[:, 3] = (1 - p[:, :3].sum(1)).round(digits)
    p = p[(p >= 0).all(1)]
    return pl.DataFrame({f"p{j}": p[:, j] for j in range(4)} | {"other": rng.normal(size=len(p))})


def time_use(n: int) -> pl.DataFrame:
    """Hours, whole numbers and often 0, that sum to a total which differs by row."""
    rng = np.random.default_rng(0)
    total = rng.integers(20, 60, n)
    parts = np.array([rng.multinomial(t, rng.dirichlet([0.4, 2, 2])) for t in total])
    return pl.DataFrame({"total": total, "sport": parts[:, 0], "work": parts[:, 1], "rest": parts[:, 2]})


@pytest.mark.parametrize("table", [probabilities(800), probabilities(800, digits=2)])
def test_probabilities_are_drawn_as_such(table):
    model = pf.TableDensity(**QUICK).fit(table)
    (composition,) = model.schema.compositions
    assert composition.ratios
    assert {*composition.parts, composition.last} == {"p0", "p1", "p2", "p3"}
    drawn = model.sample(2000, random_state=0).select("p0", "p1", "p2", "p3").to_numpy()
    assert (drawn >= -1e-9).all()
    assert np.abs(drawn.sum(1) - 1).max() < 1e-9
    assert np.isfinite(
        model.score_samples(probabilities(300, seed=1, digits=6 if table["p0"].n_unique() > 200 else 2))
    ).all()


def test_ratios_are_likelier_than_one_part_after_another():
    fresh, scores = probabilities(500, seed=1), []
    for relations in ("auto", "none"):
        columns = ["p0", "p1", "p2", "other"]
        table = probabilities(800) if relations == "auto" else probabilities(800).select(columns)
        model = pf.TableDensity(**QUICK, relations=relations).fit(table)
        scores.append(model.score(fresh if relations == "auto" else fresh.select(columns)))
    assert scores[0] > scores[1] + 0.1


def test_parts_of_another_column():
    model = pf.TableDensity(**QUICK).fit(time_use(600))
    drawn = model.sample(1000, random_state=0)
    assert (drawn["sport"] + drawn["work"] + drawn["rest"] == drawn["total"]).all()
    assert drawn.min_horizontal().min() >= 0
    assert abs((drawn["sport"] == 0).mean() - (time_use(600)["sport"] == 0).mean()) < 0.1


def test_parts_that_are_missing_are_not_learnt_by_their_ratios():
    gaps, table = pl.int_range(pl.len()) % 3 == 0, probabilities(1200)
    holes = {name: pl.when(gaps).then(None).otherwise(name) for name in ("p0", "p1", "p2", "p3")}
    (parts,), (holed,) = (prepared_schema(each).compositions for each in (table, table.with_columns(**holes)))
    assert parts.ratios
    assert not holed.ratios


@pytest.mark.parametrize("seed", [0, 8, 12])
def test_a_part_that_is_all_of_some_wholes_has_no_ratio(seed):
    share = 1 / (1 + np.exp(-9 * np.random.default_rng(seed).normal(size=300)))
    share[:2] = 1.0
    rows = {"one": share, "other": 1 - share}
    model = pf.TableDensity("maf", steps=5, queries=False, random_state=seed).fit(rows)
    assert any("are parts of 1" in str(relation) for relation in model.schema.relations)
    assert np.isfinite(model.score_samples(rows)).mean() > 0.98
