"""Spikes in columns, listed values, rounded sums and looked-up columns: draws that pass for real rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from schemas import prepared_schema, schema_of

import pushforward as pf
from pushforward.tables.schema.cells import Cells
from pushforward.tables.schema.columns import Column
from pushforward.tables.schema.preprocessing import preprocessing
from pushforward.tables.schema.schema import Schema
from pushforward.transforms import Compose

RNG = np.random.default_rng(0)
SCHOOL = np.where(RNG.random(2000) < 0.4, 12, RNG.integers(1, 25, 2000))  # years of school: many have twelve


def described(table: dict[str, np.ndarray]) -> tuple[Schema, torch.Tensor]:
    frame = pl.DataFrame(table)
    schema = schema_of(frame)
    x = schema.encode(frame, "t.csv").x
    return schema.shaped(x), x


def has_bins(column: Column) -> bool:
    return "shares" in column.describe().first


def test_a_column_of_spikes_becomes_normal() -> None:
    schema, x = described({"school": SCHOOL})
    (column,) = schema.columns
    assert has_bins(column)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    spread = Cells(schema)(x, torch.rand(x.shape, dtype=torch.float64))
    z, _ = Compose(preprocessing(schema, spread))(spread)
    at = torch.linspace(-2, 2, 9)
    torch.testing.assert_close((z <= at).float().mean(0), torch.special.ndtr(at), atol=0.03, rtol=0)
    drawn = Compose(preprocessing(schema, spread)).inverse(torch.randn(20_000, 1))[0]
    values = schema.decode(drawn)["school"].to_numpy()
    assert (values == 12).mean() == pytest.approx((SCHOOL == 12).mean(), abs=0.02)
    assert values.min() >= 0


def test_smooth_columns_keep_their_first_transforms() -> None:
    schema, _ = described({"height": (170 + 10 * RNG.standard_normal(3000)).round(), "x": RNG.standard_normal(3000)})
    assert schema.columns[1].describe().first == "-"


def test_weights_count_in_the_shares() -> None:
    schema, x = described({"school": SCHOOL})
    weights = torch.from_numpy(np.where(SCHOOL == 12, 0.0, 1.0))
    low, high = (
        dict(schema.shaped(x, w).columns[0].kind.first.knots)
        for w in (weights, torch.ones(len(x), dtype=torch.float64))
    )
    assert low[12.5] - low[11.5] < 0.02 < 0.3 < high[12.5] - high[11.5]


def drawn_from(schema: Schema, x: torch.Tensor, name: str) -> np.ndarray:
    spread = Cells(schema)(x, torch.rand(x.shape, dtype=torch.float64))
    drawn = Compose(preprocessing(schema, spread)).inverse(torch.randn(20_000, 1))[0]
    return schema.decode(drawn)[name].to_numpy()


def test_listed_values_on_no_scale_are_all_there_is() -> None:
    listed = np.sort(RNG.standard_normal(90)).round(9)
    schema, x = described({"score": RNG.choice(listed, 3000)})
    (column,) = schema.columns
    assert {value for value, _, _ in column.kind.atoms} == set(listed)
    assert has_bins(column)
    assert np.isin(drawn_from(schema, x, "score"), listed).mean() > 0.999


@pytest.mark.parametrize("least", [40, 200, 1000])
def test_numbers_on_no_grid_are_repeated_as_often_as_by_other_rows(least: int) -> None:
    rng = np.random.default_rng(least)
    weight, other = (np.log((least * rng.lognormal(0, 0.5, 600)).round()) for _ in range(2))
    schema, x = described({"weight": weight})
    drawn = drawn_from(schema, x, "weight")
    assert np.isin(drawn, weight).mean() == pytest.approx(np.isin(other, weight).mean(), abs=0.05)
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(other, [0.1, 0.5, 0.9]), abs=0.15)


def test_listed_values_may_be_so_near_that_their_cells_meet() -> None:
    twelfths = np.random.default_rng(0).integers(0, 300, 6000) / 12
    schema, x = described({"mean": twelfths})
    drawn = drawn_from(schema, x, "mean")
    assert np.isin(drawn, twelfths).mean() > 0.999
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(twelfths, [0.1, 0.5, 0.9]), abs=0.3)


def test_a_pair_of_numbers_side_by_side_leaves_the_others_what_is_repeated() -> None:
    inches = np.random.default_rng(0).normal(68, 4, 1500).round(1) / 2.54
    inches[0] = np.nextafter(np.median(inches), 100)
    schema, x = described({"height": inches})
    drawn = drawn_from(schema, x, "height")
    assert np.isin(drawn, inches).mean() > 0.9
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(inches, [0.1, 0.5, 0.9]), abs=0.2)


def test_numbers_that_are_equal_by_chance_do_not_stand_out() -> None:
    table = {f"{k}": np.random.default_rng(k).normal(size=300).round(2) for k in range(20)}
    schema, _ = described(table)
    assert sum(len(column.kind.atoms) > 0.1 * 300 for column in schema.columns) == 0


@pytest.mark.parametrize("often", [0.55, 0.9])
def test_draws_repeat_numbers_as_often_as_other_rows_do(often: float) -> None:
    heaps = [1000, 1500, 2000, 2500, 4000]
    rng = np.random.default_rng(3)
    pay, other = (
        np.where(rng.random(800) < often, rng.choice(heaps, 800), rng.lognormal(8, 1, 800).round()) for _ in range(2)
    )
    schema, x = described({"pay": pay})
    assert has_bins(schema.columns[0])
    values = drawn_from(schema, x, "pay")
    assert np.isin(values, pay).mean() == pytest.approx(np.isin(other, pay).mean(), abs=0.05)


def test_numbers_that_people_give_again_and_again_are_drawn_again() -> None:
    heaps = np.sort(RNG.lognormal(size=40))
    wage = np.where(RNG.random(4000) < 0.4, RNG.choice(heaps, 4000), RNG.lognormal(size=4000))
    schema, x = described({"wage": wage})
    (column,) = schema.columns
    assert {value for value, _, _ in column.kind.atoms} <= set(heaps)
    assert len(column.kind.atoms) >= 30  # all but those that stand too near to another number
    values = drawn_from(schema, x, "wage")
    assert np.isin(values, heaps).mean() == pytest.approx(np.isin(wage, heaps).mean(), abs=0.06)
    assert np.isin(values, wage).mean() < 0.5


def test_positive_numbers_far_above_0_are_drawn_near_the_least_rather_than_down_to_0() -> None:
    rng = np.random.default_rng(0)
    weight, stated = rng.normal(128, 20, 1000).clip(85), rng.random(1000) < 0.6  # in pounds, many of them about so
    often = np.unique(rng.integers(85, 200, 24))  # in no rhythm
    near = often[np.abs(often - weight[:, None]).argmin(1)]
    table = pl.DataFrame({"weight": np.where(stated, near, weight.round())})
    (column,) = prepared_schema(table).columns
    assert column.kind.bounds == (0, None)
    beyond = column.kind.first_map().inverse(torch.linspace(-5, -3.4, 20))[0]
    assert beyond.min() > 40
    assert (beyond.diff() > 0).all()


def test_sums_that_were_rounded_half_up_are_recognised() -> None:
    minutes = RNG.integers(0, 600, 2000) / 10
    charge = np.floor(minutes * 8.5 + 0.5 + 1e-9) / 100
    frame = pl.DataFrame({"minutes": minutes, "calls": RNG.integers(0, 150, 2000), "charge": charge})
    schema = schema_of(frame)
    assert [str(relation) for relation in schema.dependencies] == ["'charge' is 0.085 * 'minutes'"]
    wrong = frame.with_columns(charge=pl.col("charge") + 0.01 * (pl.int_range(pl.len()) == 7))
    assert [np.flatnonzero(rows).tolist() for rows in schema.broken(schema.encode(frame, "t.csv"))] == [[]]
    assert np.flatnonzero(schema.broken(schema.encode(wrong, "t.csv"))[0]).tolist() in ([7], [])


def test_a_column_on_another_scale_follows_beyond_the_rows() -> None:
    wage = RNG.integers(100, 400, 3000)
    frame = pl.DataFrame({"wage": wage, "log_wage": np.log(wage).round(6), "age": RNG.integers(18, 70, 3000)})
    schema = schema_of(frame)
    assert [(r.column.name, r.inputs) for r in schema.dependencies] == [("log_wage", ("wage",))]
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    x = schema.encode(frame, "t.csv").x
    assert np.allclose(schema.decode(x)["log_wage"], frame["log_wage"])
    unheard = pl.DataFrame({"wage": [1000, 150], "log_wage": [1.0, 1.0], "age": [30, 30]})
    x = schema.encode(unheard, "t.csv").x
    assert schema.broken(schema.encode(unheard, "t.csv"))[0].tolist() == [True, True]
    assert np.allclose(schema.decode(x)["log_wage"], np.log([1000, 150]))


def test_draws_have_each_value_as_often_as_the_rows(tmp_path: Path) -> None:
    table = {"school": SCHOOL, "wage": np.exp(0.1 * SCHOOL + RNG.standard_normal(2000))}
    model = pf.TableDensity("maf", layers=1, steps=5, queries=False).fit(table)
    drawn = model.sample(4000, random_state=0)["school"]
    for value in (12, 3, 20):
        assert (drawn == value).mean() == pytest.approx((value == SCHOOL).mean(), abs=0.03)
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model").sample(4000, random_state=0)["school"]
    assert np.array_equal(again, drawn)
    assert np.isfinite(model.score_samples({"school": [0, 12, 30, 300], "wage": [1.0, 1.0, 1.0, 1.0]})).all()


def test_blocks_of_numbers_and_zeros_have_bins() -> None:
    blocks = np.concatenate([[at * 123_457 + k for k in RNG.permutation(4000)[:300]] for at in range(10)])
    rain = np.where(RNG.random(3000) < 0.3, 0.0, RNG.gamma(2.0, 5.0, 3000))
    schema, x = described({"number": blocks, "rain": rain})
    assert all(map(has_bins, schema.columns))
    spread = Cells(schema)(x, torch.rand(x.shape, dtype=torch.float64))
    maps = Compose(preprocessing(schema, spread))
    drawn = schema.decode(maps.inverse(torch.randn(5000, 2))[0])
    assert (drawn["rain"] == 0).mean() == pytest.approx((rain == 0).mean(), abs=0.03)
    assert drawn["rain"].min() == 0
    assert (drawn["number"] % 123_457 < 4001).mean() > 0.95
    assert bool(maps(spread)[1].isfinite().all())


def test_times_of_few_days_have_bins_though_each_is_another_second() -> None:
    rng = np.random.default_rng(0)
    seconds = 86_400 * rng.choice(180, 30, replace=False)[rng.integers(0, 30, 900)] + rng.integers(0, 7200, 900)
    schema, _ = described({"played": seconds})
    assert has_bins(schema.columns[0])


def test_many_categories_are_drawn_in_the_shares_of_all_rows() -> None:
    states = np.random.default_rng(5).choice([f"state {k}" for k in range(50)], 4000)
    table = pl.DataFrame({"state": states, "x": np.random.default_rng(6).standard_normal(4000)})
    table = table.with_columns(given=pl.Series(np.random.default_rng(7).standard_normal(4000)))
    model = pf.TableDensity("maf", given=["given"], layers=1, hidden=(16,), steps=3, queries=False).fit(table)
    drawn = model.sample(20_000, given={"given": 0.0})
    shares = [dict(rows["state"].value_counts(normalize=True).iter_rows()) for rows in (table, drawn)]
    assert 0.5 * sum(abs(share - shares[1].get(name, 0.0)) for name, share in shares[0].items()) < 0.06


def test_repeated_values_side_by_side_are_not_all_there_is_where_others_lie_beyond() -> None:
    often, once = np.repeat(np.arange(7, 13), 9), [*range(1, 7), *range(13, 80)]
    imports = np.concatenate([np.concatenate([often, once]) / 100, RNG.uniform(1, 2000, 100)])
    schema, _ = described({"imports": imports})
    (column,) = schema.columns
    assert len(column.kind.atoms) > 1
    beyond = RNG.uniform(1, 2000, 200)
    assert np.allclose(column.kind.snap(beyond), beyond)
