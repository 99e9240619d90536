"""Formulas that the user states: read from text, exact or up to a remainder, or refused."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from schemas import prepared_schema

import pushforward as pf
from pushforward.errors import InputError
from pushforward.tables.schema.relations.stated_formula import parsed

QUICK = {"flow": "maf", "layers": 1, "hidden": (16,), "steps": 40, "queries": False, "random_state": 0}
RNG = np.random.default_rng(0)


def boxes(n: int) -> pl.DataFrame:
    wide, high = RNG.gamma(9.0, size=n).round(2) + 1, RNG.gamma(9.0, size=n).round(2) + 1
    noisy = 3 * np.sqrt(high) - wide / high + RNG.normal(scale=0.5, size=n)
    deep = wide + RNG.gamma(9.0, size=n).round(2)
    return pl.DataFrame({"wide": wide, "the height": high, "area": wide * high / 2, "noisy": noisy, "deep": deep})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * a + b - 3", 5.0),
        ("-(a + b) * (a - b)", 12.0),
        ("a * 'b c' / 4 ** 2", 2 * 9 / 16),
        ("sqrt(4 * b) + log(2 * a ** 3)", 4.0 + math.log(16)),
        ("a ** -0.5", 2**-0.5),
    ],
)
def test_sums_of_products_are_read(text: str, value: float) -> None:
    columns = {"a": np.array([2.0]), "b": np.array([4.0]), "b c": np.array([9.0])}
    assert parsed(text)(columns)[0] == pytest.approx(value)


def test_a_column_that_is_as_stated_in_every_row_is_computed() -> None:
    frame = boxes(40)  # too few for it to be found
    stated = {"relations": "area = wide * 'the height' / 2"}
    assert not prepared_schema(frame).dependencies
    model = pf.TableDensity(**QUICK, **stated, strict=True).fit(frame)
    assert model.schema.follow_names == ["area"]
    drawn = model.sample(100, random_state=0)
    assert np.allclose(drawn["area"], drawn["wide"] * drawn["the height"] / 2, rtol=1e-6)


@pytest.mark.parametrize("order", [1, -1])
def test_formulas_may_be_of_columns_that_are_computed(order: int) -> None:
    frame = boxes(40).with_columns(box=pl.col("area") + 2 * pl.col("deep")).drop("noisy")
    chain = ["area = wide * 'the height' / 2", "box = area + 2 * deep", "wide = 2 * area / 'the height'"]
    model = pf.TableDensity(**QUICK, relations=", ".join(chain[:2][::order] + chain[2:])).fit(frame)
    assert model.schema.follow_names == ["area", "box"]
    drawn = model.sample(50, random_state=0)
    assert np.allclose(drawn["box"], drawn["area"] + 2 * drawn["deep"])
    assert np.isfinite(model.score_samples(frame)).all()
    near = prepared_schema(boxes(60), relations=f"{chain[0]}, noisy = area + 1")
    assert not near.follow_names
    assert [relation.name for relation in near.near] == ["noisy"]
    assert any("'area' is modelled without" in note for note in near.notes)


def test_otherwise_the_flow_sees_the_remainder() -> None:
    frame = boxes(500)
    model = pf.TableDensity(**QUICK, relations="noisy = 3 * sqrt('the height') - wide / 'the height'").fit(frame)
    assert [relation.name for relation in model.schema.near] == ["noisy"]
    assert [(order.low, order.high) for order in model.schema.orders] == [("wide", "deep")]
    drawn = model.sample(2000, random_state=0)
    high = drawn["the height"].to_numpy()
    rest = drawn["noisy"].to_numpy() - 3 * np.sqrt(high) + drawn["wide"].to_numpy() / high
    assert rest.std() == pytest.approx(0.5, rel=0.25)
    again = pf.TableDensity(**QUICK, relations="none").fit(frame)
    assert model.score(boxes(500)) > again.score(boxes(500))


@pytest.mark.parametrize("stated", ["auto", "area = wide * high"])
def test_a_product_that_some_rows_miss_follows_as_a_sum_does(stated: str) -> None:
    wide, high = np.random.default_rng(0).integers(1, 300, (2, 200)).astype(float)
    frame = pl.DataFrame({"wide": wide, "high": high, "area": wide * high})
    frame = frame.with_columns(area=pl.when(pl.int_range(200) % 37 > 0).then("area"))
    model = pf.TableDensity(**QUICK, relations=stated).fit(frame)
    assert model.schema.follow_names == ["area"]
    assert np.isfinite(model.score(frame))
    assert model.sample(200, random_state=0).select(pl.col("wide") * pl.col("high") == pl.col("area")).to_series().all()
    wrong = frame.with_columns(pl.col("area") + 1)
    assert (np.isneginf(model.score_samples(wrong)) == wrong["area"].is_not_null().to_numpy()).all()


WRONG = ["area = wide *", "area = depth * 2", "area = area + 1", "area = cos(wide)", "area", "area = sqrt(wide ** 2)"]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_formula_of_other_columns_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        pf.TableDensity(**QUICK, relations=text).fit(boxes(60))
    assert caught.value.argument == "relations"
