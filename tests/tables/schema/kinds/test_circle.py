"""Circular columns: one density where the ends of a period meet, draws within it, values outside refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from schemas import prepared_schema

import pushforward as pf
from pushforward.errors import InputError

SMALL = {"steps": 30, "layers": 2, "hidden": (16, 16)}


def table(n: int = 600) -> pl.DataFrame:
    """Hours around midnight, a temperature that follows them, and a name."""
    rng = np.random.default_rng(0)
    hour = (rng.vonmises(0.0, 1.5, n) / (2 * np.pi) * 24) % 24
    warmth = 10 - 5 * np.cos(hour * np.pi / 12) + rng.normal(size=n)
    return pl.DataFrame({"hour": hour, "warmth": warmth, "kind": rng.choice(["a", "b"], n)})


def at(row: pl.DataFrame, hours: list[float]) -> pl.DataFrame:
    return pl.concat([row] * len(hours)).with_columns(pl.Series("hour", hours).cast(row["hour"].dtype))


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", circular={"hour": (0, 24)}, **SMALL).fit(table())


def test_the_density_is_periodic_and_survives_saving(model, tmp_path):
    rows = at(table()[:1], [0.0, 24.0, 1e-6, 24 - 1e-6])
    scores = model.score_samples(rows)
    np.testing.assert_allclose(scores, scores[0], atol=1e-3)
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model")
    assert again.schema.columns[0].kind.period == (0.0, 24.0)
    np.testing.assert_array_equal(again.score_samples(rows), scores)


def test_draws_and_imputed_cells_are_within_the_period(model):
    drawn = model.sample(500)["hour"]
    assert drawn.is_between(0, 24, closed="left").all()
    holed = table()[:20].with_columns(pl.lit(None, pl.Float64).alias("hour"))
    assert model.impute(holed)["hour"].is_between(0, 24).all()


def test_the_marginal_of_the_column_integrates_to_one(model):
    hours = np.linspace(0, 24, 97)[:-1] + 0.125
    total = np.exp(model.score_samples(pl.DataFrame({"hour": hours}))).sum() * 0.25
    assert abs(total - 1) < 0.03  # each is an importance-weighted mean


def test_alone_it_integrates_to_one():
    model = pf.TableDensity("nsf", columns=["hour"], circular={"hour": (0, 24)}, **SMALL).fit(table())
    hours = np.linspace(0, 24, 2401)[:-1] + 0.005
    assert abs(np.exp(model.score_samples(pl.DataFrame({"hour": hours}))).sum() * 0.01 - 1) < 1e-3


def test_whole_hours_have_cells_that_go_round():
    rows = table().with_columns(pl.col("hour").floor().cast(pl.Int64)).select("hour", "warmth")
    model = pf.TableDensity("maf", circular={"hour": (0, 24)}, queries=False, **SMALL).fit(rows)
    column = model.schema.columns[0]
    assert (column.describe().kind, column.kind.circle) == ("integer", (-0.5, 23.5))
    assert set(model.sample(400)["hour"]) <= set(range(24))
    total = np.exp(model.score_samples(at(rows[:1], list(range(24)))))
    assert np.isfinite(total).all()
    scores = model.score_samples(at(rows[:1], [0, 24]))
    assert scores[0] == scores[1]


def test_a_grid_that_does_not_go_round_is_taken_for_continuous():
    rows = table().with_columns((pl.col("hour") / 24 * 2 * np.pi).round(1).alias("hour")).select("hour", "warmth")
    schema = prepared_schema(rows, circular={"hour": (0, 2 * np.pi + 0.02)})
    assert schema.columns[0].describe().kind == "continuous"


def test_missing_hours():
    rows = table().with_columns(pl.when(pl.int_range(600) % 7 == 0).then(None).otherwise(pl.col("hour")).alias("hour"))
    model = pf.TableDensity("maf", circular={"hour": (0, 24)}, **SMALL | {"steps": 15}).fit(rows)
    assert np.isfinite(model.score_samples(rows[:20])).all()
    assert model.sample(200)["hour"].drop_nulls().is_between(0, 24, closed="left").all()


def test_values_outside_the_period_are_refused(model):
    with pytest.raises(InputError, match=r"column 'hour', row 2: 24\.5 lies outside its period, 0 to 24"):
        model.score_samples(at(table()[:1], [3.0, 24.5]))
    bad = pl.concat([table(), at(table()[:1], [-1.0])])
    with pytest.raises(InputError, match=r"column 'hour', row 601: -1 lies outside its period, 0 to 24"):
        pf.TableDensity("maf", circular={"hour": (0, 24)}, **SMALL).fit(bad)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"circular": {"hour": (24, 0)}}, "circular"),
        ({"circular": {"hour": (0, 24)}, "bounds": {"hour": (0, 24)}}, "circular"),
        ({"circular": {"kind": (0, 24)}}, "circular"),
        ({"circular": {"day": (0, 24)}}, "circular"),
        ({"circular": {"hour": (0, 24)}, "members": 2}, "members"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, argument):
    with pytest.raises(InputError, match=argument) as caught:
        pf.TableDensity(**options).fit(table())
    assert caught.value.argument in (argument, None)


def test_the_default_is_one_flow():
    model = pf.TableDensity(circular={"hour": (0, 24)}, columns=["hour", "warmth"], steps=20, queries=False).fit(
        table()
    )
    assert model.summary_["flow"] == "nsf"
