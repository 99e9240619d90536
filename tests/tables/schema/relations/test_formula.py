"""Formulas of columns, found where rows obey them: exactly, or up to a remainder."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from schemas import prepared_schema, schema_of

import pushforward as pf
from pushforward.tables.schema.relations.formula import Added, Determined, Formula
from pushforward.tables.schema.relations.formula_search import _formulas, _products, _with_products
from pushforward.tables.schema.relations.stated_formula import parsed
from pushforward.tables.schema.schema import Schema
from pushforward.tables.splits import held_out_order

QUICK = {"flow": "maf", "layers": 1, "hidden": (16,), "steps": 40, "queries": False, "random_state": 0}


def stones(n: int = 400) -> pl.DataFrame:
    """A price that is carats times price per carat, rounded."""
    rng = np.random.default_rng(0)
    carat, each = rng.lognormal(0, 0.5, n).round(2) + 0.2, rng.lognormal(8, 0.4, n).round()
    return pl.DataFrame({"carat": carat, "each": each, "price": (carat * each).round(), "depth": rng.normal(61, 2, n)})


def ages(slips: int = 2, n: int = 460) -> pl.DataFrame:
    """An age that is the age at entry plus a time, but for a few slips."""
    rng = np.random.default_rng(1)
    entry, time = rng.integers(200, 900, n), rng.integers(1, 400, n)
    age = entry + time
    age[:slips] += [2, -3][:slips]
    return pl.DataFrame({"entry": entry, "time": time, "age": age, "dose": rng.gamma(3, size=n)})


def relation_of(model: pf.TableDensity, name: str):
    return next(each for each in model.schema.dependencies if each.column.name == name)


def test_a_product_that_is_rounded_follows_from_its_factors():
    model = pf.TableDensity(**QUICK).fit(stones())
    relation = relation_of(model, "price")
    assert isinstance(relation, Determined)
    assert set(relation.inputs) == {"carat", "each"}
    drawn = model.sample(500, random_state=0)
    assert (drawn["price"] - drawn["carat"] * drawn["each"]).abs().max() <= 0.5 + 1e-6
    wrong = stones().head(2).with_columns(price=pl.Series([1.0, 2.0]))
    assert np.isneginf(model.score_samples(wrong)).all()


def test_a_missing_factor_is_what_the_product_leaves():
    frame = stones()
    schema = schema_of(frame)
    gone = schema.encode(frame.with_columns(carat=pl.lit(None, pl.Float64)), "t").x
    np.testing.assert_allclose(gone[:, schema.names.index("carat")], frame["carat"].to_numpy(), rtol=1e-9)
    rows = schema.encode(frame.with_columns(each=pl.lit(None, pl.Float64)), "t")
    assert not rows.x.isnan().any()
    assert not schema.broken(rows).any()
    log, square, root = (Formula(((2.0, (("x", p),)),), 1.0) for p in (0.0, 2.0, 0.5))
    x = np.array([0.3, 4.0])
    for formula in (log, square, root):
        relation = Determined(schema.columns[0], ("x",), formula)
        np.testing.assert_allclose(relation.solved("x", formula({"x": x}), {"x": np.full(2, np.nan)}), x)


def test_a_factor_of_0_leaves_nothing_of_a_missing_one():
    rng, n = np.random.default_rng(0), 500
    hours, wage = rng.integers(1, 40, n) * rng.integers(0, 2, n), rng.lognormal(2, 0.5, n).round(2)
    income = rng.lognormal(3, 0.5, n).round(1)
    paid = pl.Series(wage).zip_with(pl.Series(hours > 0), pl.Series([None] * n, dtype=pl.Float64))
    frame = pl.DataFrame({"hours": hours, "wage": paid, "income": income, "rest": (income - hours * wage).round(2)})
    schema = schema_of(frame)
    idle = frame.filter(pl.col("hours") == 0).with_columns(rest=pl.col("rest") + 1)
    assert schema.broken(schema.encode(idle, "t")).all()
    ratio = Formula(((1.0, (("a", 1.0), ("b", -1.0))),))
    np.testing.assert_equal(ratio({"a": np.zeros(2), "b": np.array([0.0, np.nan])}), [np.nan, 0.0])


def test_a_difference_of_what_is_infinite_is_undefined_without_a_word():
    ratios = Formula(((1.0, (("a", 1.0), ("x", -1.0))), (-1.0, (("b", 1.0), ("x", -1.0)))))
    np.testing.assert_equal(ratios({"a": np.ones(2), "b": np.full(2, 3.0), "x": np.array([0.0, 2.0])}), [np.nan, -1.0])


def test_a_sum_of_what_is_there_counts_missing_cells_as_nothing(tmp_path):
    rng = np.random.default_rng(0)
    parts = {name: pl.Series([None if rng.random() < 0.1 else v for v in rng.poisson(2, 400)]) for name in "abc"}
    frame = pl.DataFrame({**parts, "other": rng.normal(size=400)}).with_columns(total=pl.sum_horizontal(*"abc"))
    fitted = pf.TableDensity(flow="maf", layers=1, hidden=(16,), steps=40, random_state=0).fit(frame)
    fitted.save(tmp_path / "model")
    model = pf.TableDensity.load(tmp_path / "model")
    assert isinstance(relation_of(model, "total"), Added)
    drawn = model.sample(300, random_state=0)
    assert drawn["a"].null_count() > 0
    assert (drawn["total"] == drawn.select(pl.sum_horizontal(*"abc")).to_series()).all()
    given = model.sample(20, given={"total": 9}, random_state=0)
    assert (given.select(pl.sum_horizontal(*"abc")).to_series() == 9).all()
    nothing = model.sample(20, given={"total": 0}, random_state=0)
    assert (nothing.select(pl.sum_horizontal(*"abc")).to_series() == 0).all()
    rows = frame.filter(pl.col("total") == 3).drop_nulls()
    none = model.probability({"a": 0}, given={"total": 3})
    assert none == pytest.approx((rows["a"] == 0).mean(), abs=0.15)
    lacking = frame.filter(pl.col("a").is_null(), ~pl.col("b").is_null(), ~pl.col("c").is_null())
    assert model.impute(lacking, random_state=0)["a"].max() > 0  # what is missing is not what the total leaves
    assert np.isfinite(model.score_samples(lacking)).all()
    wrong = frame.drop_nulls().with_columns(pl.col("total") + 1)
    assert np.isneginf(model.score_samples(wrong)).all()


@pytest.mark.parametrize("log", [np.log, np.square, np.sqrt])
def test_functions_of_one_column_follow_from_it(log):
    rng = np.random.default_rng(0)
    x = rng.gamma(3.0, size=300) + 0.1
    frame = pl.DataFrame({"x": x, "f": log(x), "other": rng.normal(size=300)})
    model = pf.TableDensity(**QUICK).fit(frame)
    drawn = model.sample(200, random_state=0)
    assert len(model.schema.dependencies) == 1
    assert np.allclose(drawn["f"], log(drawn["x"].to_numpy()), rtol=1e-5)


def test_a_formula_is_found_where_few_rows_have_all_columns():
    rng = np.random.default_rng(0)
    x, *others = rng.gamma(3.0, size=(7, 300)) + 0.1
    table = {"x": np.where(rng.random(300) < 0.3, np.nan, x)}
    table |= {f"other {k}": np.where(rng.random(300) < 0.4, np.nan, each) for k, each in enumerate(others)}
    schema = schema_of({**table, "f": np.log(table["x"])})
    assert list(map(str, schema.dependencies)) == ["'f' is log('x')"]


def test_columns_without_holes_are_searched_once(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(2, 200))
    one, other = schema_of({"x": x, "y": y}).columns
    searched = []
    place = f"{_formulas.__module__}._of_some"
    monkeypatch.setattr(place, lambda *asked: iter(searched.append(asked) or ()))
    assert not [*_formulas(one, x, [other], {"x": x, "y": y})]
    assert len(searched) == 1


def test_a_logarithm_in_single_precision_is_exact_where_it_is_large_beside_its_spread():
    weight = np.random.default_rng(0).normal(3400, 500, 900).round()
    frame = pl.DataFrame({"weight": weight, "log_weight": np.log(weight).astype(np.float32).astype(float)})
    (relation,) = schema_of(frame).dependencies
    assert f"{relation}" == "'log_weight' is log('weight')"


def test_of_a_sum_follows_what_is_missing_where_the_others_tell_nothing():
    rng = np.random.default_rng(0)
    grade, work, gaps = rng.integers(6, 18, 300), rng.integers(0, 20, 300), np.arange(300) % 3 == 0
    frame = pl.DataFrame({"age": grade + work + 6, "grade": grade, "work": work})
    hidden = {name: pl.when(pl.Series(gaps)).then(None).otherwise(name) for name in ("grade", "work")}
    schema = schema_of(frame.with_columns(**hidden))
    assert len(schema.dependencies) == 1
    assert "age" in schema.names


def test_multiples_of_repeated_numbers_are_those_of_the_table_to_the_last_digit():
    rng = np.random.default_rng(0)
    x = rng.choice(np.float32(rng.gamma(3.0, size=200)), 1000)
    frame = pl.DataFrame({"x": x, "f": x * np.float32(0.31678086)}).cast(pl.Float64)
    schema = schema_of(frame)
    assert len(schema.dependencies) == 1
    assert schema.decode(schema.encode(frame, "t").x).equals(frame)


def test_a_slip_below_is_possible_where_all_that_were_seen_are_above() -> None:
    frame = ages(1).with_columns(pl.col("age") + (pl.int_range(460) % 40 == 3))
    model = pf.TableDensity(flow="maf", steps=5, random_state=0, queries=False).fit(frame)
    assert "exactly so in 9" in repr(model.schema)
    assert np.isfinite(model.score_samples(frame.head(20).with_columns(pl.col("age") - 1))).all()


def test_a_sum_with_slips_is_drawn_and_slips_are_rare():
    frame = ages()
    model = pf.TableDensity(**QUICK).fit(frame)
    (near,) = model.schema.near
    assert near.share > 0.99
    assert set(near.formula.inputs) | {near.name} == {"entry", "time", "age"}
    drawn = model.sample(2000, random_state=0)
    assert (drawn["age"] == drawn["entry"] + drawn["time"]).mean() > 0.95
    scores = model.score_samples(frame)
    assert np.isfinite(scores).all()
    assert scores[:2].max() < np.quantile(scores, 0.02)  # the slips


def test_the_density_is_still_that_of_the_tables_units():
    """Given the rest of a row, the probabilities of a whole number near the formula sum to one."""
    frame = ages()
    model = pf.TableDensity(**QUICK).fit(frame)
    row = frame[10:11]
    values = range(int(row["entry"][0] + row["time"][0]) - 400, int(row["entry"][0] + row["time"][0]) + 400)
    rows = pl.concat([row.with_columns(age=pl.lit(value, pl.Int64)) for value in values])
    joint = np.exp(model.score_samples(rows))
    assert joint.max() / joint.sum() > 0.9  # all other numbers together are as rare as slips


def gems(n: int = 1500) -> pl.DataFrame:
    """Round weights, a few of which are heaps; a length that follows from weight and depth, a width that is nearly the
    length, and a height that is the depth's share of both, up to rounding and a wrong row."""
    rng = np.random.default_rng(3)
    weight = np.where(rng.random(n) < 0.6, rng.choice([0.3, 0.5, 0.7, 1.0], n), rng.lognormal(-0.4, 0.5, n) + 0.2)
    weight, depth = weight.round(2), rng.normal(61.8, 1.4, n).round(1)
    long = (25.4 * np.cbrt(weight / depth) * np.exp(0.006 * rng.normal(size=n))).round(2)
    wide = (long * np.exp(0.006 * rng.normal(size=n))).round(2)
    high = (0.005 * depth * (long + wide)).round(2)
    high[4] *= 1.5
    return pl.DataFrame({"weight": weight, "depth": depth, "long": long, "wide": wide, "high": high})


@pytest.mark.slow
def test_of_columns_that_follow_from_each_other_the_heaped_one_stays():
    frame = gems()
    schema = schema_of(frame)
    x = schema.encode(frame, "t").x
    found = {each.name: {each.name, *each.inputs} for each in schema.shaped(x).with_near(x, (), {}).near}
    assert "weight" not in found
    assert {"depth", "long", "wide", "high"} in found.values()


def test_an_offset_is_said_in_few_digits():
    celsius = np.random.default_rng(0).normal(15, 2, 400).round(1)
    wrong = np.where(np.arange(400) < 9, 5.4, 0.0)
    for fahrenheit in ((1.8 * celsius + 32).round(2), (1.8 * celsius + 32).round(1)):
        schema = schema_of(pl.DataFrame({"c": celsius, "f": fahrenheit}))
        assert [f"{each}" for each in schema.dependencies] == ["'f' is 1.8 * 'c' + 32"]
        slips = pl.DataFrame({"c": celsius, "f": fahrenheit + wrong})
        schema = schema_of(slips)
        assert "1.8 * 'c' + 32," in repr(schema.with_near(schema.encode(slips, "t").x, ("c",), {}))


def bills(n: int = 600) -> pl.DataFrame:
    """A use that is nothing for some, rounded after the bill for it was written."""
    rng = np.random.default_rng(0)
    use = rng.normal(60, 50, n).clip(0)
    return pl.DataFrame({"use": use.round(1), "bill": (0.25 * use + 5).round(2), "other": rng.normal(size=n)})


def test_a_sum_up_to_a_small_remainder_is_found_where_it_never_holds_exactly():
    frame = bills()
    schema = schema_of(frame)
    x = schema.encode(frame, "t").x
    (near,) = schema.shaped(x).with_near(x, (), {}).near
    assert near.formula in (Formula(((0.25, (("use", 1.0),)),), 5.0), Formula(((4.0, (("bill", 1.0),)),), -20.0))
    slopes = near.remainder.first_map()(near.left(x, schema.columns))[1]
    assert slopes.max() < math.log(1e4)  # no rounding error of the arithmetic is a scale
    new = frame.with_columns(use=frame["use"].shuffle(0))
    x = schema_of(new).encode(new, "t").x
    assert not schema_of(new).shaped(x).with_near(x, (), {}).near


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_simple_powers_are_told_from_few_rows(share):
    """Free powers come nearer to the rounding of the rows at hand."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cases, deaths = rng.lognormal(6, 1, 90).round(), rng.lognormal(10, 0.3, 90).round()
        wrong = np.where(rng.random(90) < share, rng.lognormal(0, 0.3, 90), 1.0)
        (found,) = _products((1000 * cases / deaths * wrong).round(2), np.stack([cases, deaths]), ["cases", "deaths"])
        assert found == Formula(((1000.0, (("cases", 1.0), ("deaths", -1.0))),))


def test_a_date_is_no_multiple_of_another_but_some_time_after_it():
    rng = np.random.default_rng(0)
    start = np.datetime64("1992-01-01") + rng.integers(0, 300, 400)
    days = np.where(rng.random(400) < 0.9, 168 + rng.integers(0, 2, 400), rng.integers(13, 197, 400))
    table = pl.DataFrame({"start": start, "end": start + days})
    schema = schema_of(table)
    (relation,) = schema.with_near(schema.encode(table, "t").x, (), {}).near
    assert f"{relation}" == "'end' is about 'start' + 168"


def test_the_time_between_two_moments_is_the_remainder_of_one_of_them():
    rng = np.random.default_rng(0)
    start, took = rng.integers(0, 300 * 86_400, 600), (5 + rng.gamma(2, 20, 600)).astype(int) * 60

    def moment(seconds: np.ndarray) -> pl.Series:
        return pl.Series(seconds * 1_000_000).cast(pl.Datetime("us"))

    table = pl.DataFrame({"start": moment(start), "end": moment(start + took), "x": rng.normal(size=600)})
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=150, lr=0.01, queries=False).fit(table)
    assert {relation.name for relation in model.schema.near} <= {"start", "end"}
    assert len(model.schema.near) == 1
    drawn = model.sample(2000, random_state=0)
    lengths = [(frame["end"] - frame["start"]).dt.total_minutes() for frame in (drawn, table)]
    assert lengths[0].min() >= 0
    for q in (0.25, 0.5, 0.9):
        assert abs(lengths[0].quantile(q) - lengths[1].quantile(q)) < 0.35 * lengths[1].quantile(q)
    other = table.with_columns(end=table["end"].shuffle(seed=1))
    assert prepared_schema(other).near == ()


def test_huge_values_do_not_make_all_others_alike():
    rng = np.random.default_rng(0)
    first = np.repeat([1e12, 1e3, 1.0], 200) * rng.lognormal(size=600)
    table = pl.DataFrame({"first": first, "second": first * rng.lognormal(0, 0.3, 600)})
    schema = schema_of(table)
    (found,) = schema.with_near(schema.encode(table, "t").x, (), {"second": Formula(((1.0, (("first", 1.0),)),))}).near
    assert found.share < 0.01


def test_holes_in_columns_whose_difference_is_never_negative_do_not_end_a_fit():
    """Numbers drawn for both are of any two rows, so that their difference may be."""
    rng = np.random.default_rng(0)
    first = rng.normal(15, 8, 600)
    table = pl.DataFrame({"first": first, "second": first + rng.exponential(0.5, 600)})
    said = {"second": Formula(((1.0, (("first", 1.0),)),))}
    holed = table.with_row_index().with_columns(pl.when(pl.col("index") >= 90).then(pl.all())).drop("index")
    for frame, found in (table, 1), (holed, 0):
        schema = schema_of(frame)
        assert len(schema.with_near(schema.encode(frame, "t").x, (), said).near) == found
    assert np.isfinite(pf.TableDensity(**{**QUICK, "steps": 2}).fit(holed).score_samples(table)).all()


def independent(rng: np.random.Generator) -> pl.DataFrame:
    """A few independent columns of several kinds."""
    n = int(rng.choice([60, 150, 500]))
    columns = [
        rng.normal(5, 2, n),
        rng.lognormal(2, 1, n).round(2),
        rng.poisson(40, n),
        np.where(rng.random(n) < 0.6, 0, rng.lognormal(1, 1, n)).round(1),
        rng.uniform(1, 2, n),
    ]
    return pl.DataFrame({f"c{j}": rng.permutation(columns[j % 5]) * (j + 1) for j in rng.permutation(8)[:5]})


def test_values_that_stand_out_in_what_is_nearly_equal_do_not_end_a_fit():
    rng = np.random.default_rng(3)
    first = np.where(rng.random(600) < 0.15, 68.0, (1000 * rng.exponential(1, 600)).round(1) + 0.7)
    last = first + np.where(rng.random(600) < 0.75, 0.0, (400 * rng.exponential(1, 600)).round() + 1)
    frame = pl.DataFrame({"first": first, "last": last})
    model = pf.TableDensity(**QUICK).fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()
    assert (model.sample(500, random_state=0).select(pl.col("last") - pl.col("first")).to_series() >= 0).all()


def test_cells_of_whole_numbers_around_what_is_nearly_equal_and_never_less_do_not_end_a_fit():
    rng = np.random.default_rng(0)
    price, new = rng.lognormal(11, 0.4, 300).round(), rng.random(300) < 0.4
    frame = pl.DataFrame({"price": price, "real": np.where(new, price / 1.5, price), "rooms": rng.normal(size=300)})
    model = pf.TableDensity(**QUICK, relations="price = real").fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()


@pytest.mark.slow
def test_nothing_is_found_among_independent_columns():
    rng = np.random.default_rng(2)
    for _ in range(12):
        schema = prepared_schema(independent(rng))
        assert schema.relations == ()


def test_a_model_with_formulas_is_saved_and_loaded(tmp_path):
    for frame in (ages(), stones()):
        model = pf.TableDensity(**QUICK).fit(frame)
        model.save(tmp_path / "model")
        again = pf.TableDensity.load(tmp_path / "model")
        assert np.array_equal(again.score_samples(frame), model.score_samples(frame))


def meat() -> pl.DataFrame:
    """Meat slaughtered in each month, of two kinds; in every second row, 1944 to 2012."""
    table = pl.from_pandas(pytest.importorskip("plotnine.data").meat)
    return table.select(pl.col("date").cast(pl.Date), "beef", "turkey").drop_nulls()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "found"), [(1, False), (4, True)])
def test_a_season_is_found_where_rows_not_seen_are_likelier_for_it(seed, found):
    """Half of the rows may be too few for it to tell more than a mixture knows by the date itself."""
    rows = np.random.default_rng(seed).permutation(len(meat()))
    train, fresh = (meat()[part] for part in np.split(rows, [len(rows) // 2]))
    seasonal, plain = (pf.TableDensity("gmm", queries=False, relations=r).fit(train) for r in ("auto", "none"))
    assert found == any(relation.formula.waves for relation in seasonal.schema.near)
    gain = seasonal.score_samples(fresh) - plain.score_samples(fresh)
    assert gain.mean() >= 2 * gain.std() / np.sqrt(len(gain))


def test_a_rounded_logarithm_of_numbers_that_seldom_repeat_follows():
    rng = np.random.default_rng(0)
    wage = rng.lognormal(2, 0.5, 400).round(2)
    frame = pl.DataFrame({"wage": wage, "log": np.log(wage).round(4), "educ": rng.integers(8, 18, 400)})
    (relation,) = prepared_schema(frame).dependencies
    assert str(relation) == "'log' is log('wage')"


def test_the_age_in_years_at_a_date_is_seen_in_nearly_all_rows():
    rng = np.random.default_rng(0)
    birth = pl.Series(rng.integers(-11_000, 11_000, 800)).cast(pl.Int32).cast(pl.Date)
    visit = pl.Series(rng.integers(17_600, 19_000, 800)).cast(pl.Int32).cast(pl.Date)
    frame = pl.DataFrame({"birth": birth, "visit": visit, "bp": rng.normal(130, 15, 800)})
    (year, day), (born, birthday) = (
        (pl.col(name).dt.year(), pl.col(name).dt.strftime("%m%d")) for name in ("visit", "birth")
    )
    frame = frame.with_columns(age=year - born - (day < birthday))
    schema = prepared_schema(frame)
    (relation,) = schema.near
    assert {*relation.inputs} | {relation.name} == {"birth", "visit", "age"}
    assert relation.share > 0.97
    left = relation.left(schema.encode(frame, "t").x, schema.columns)  # of whole years, nothing
    assert (left.abs() < 1e-6).double().mean() > 0.97
    assert Schema.from_json(schema.to_json()).near == schema.near


def test_a_season_of_working_days_is_not_of_waves_that_cancel():
    rng = np.random.default_rng(0)
    days = np.arange(900)
    days = days[days % 7 < 5]
    sales = 3 * np.sin(2 * np.pi * days / 7) + rng.normal(size=len(days))
    frame = pl.DataFrame({"day": (days + 4).astype("datetime64[D]"), "sales": sales})
    (relation,) = prepared_schema(frame).near
    assert [period for *_, period, _ in relation.formula.waves] == [7.0]
    assert relation.formula.waves[0][0] == pytest.approx(3, abs=0.3)
    mondays = frame.with_columns(day=(7 * np.arange(len(days)) % 700 + 4).astype("datetime64[D]"))
    assert prepared_schema(mondays).near == ()


def test_a_formula_is_said_as_it_may_be_stated():
    said = Formula(((2.0, (("a", -5 / 3), ("b", 0.5))), (-1.0, (("a b", 1.0),)), (1.0, (("c", 0.0),))), offset=-3.0)
    assert "'a' ** (-5/3)" in str(said)
    again = parsed(str(said))
    assert again.offset == -3
    assert again.inputs == said.inputs
    amounts = {"a": np.array(8.0), "b": np.array(4.0), "a b": np.array(1.0), "c": np.array(2.0)}
    assert again(amounts) == pytest.approx(said(amounts))


def test_as_many_weights_as_points_of_single_rows_are_no_sum():
    """Of three counts that are 0 in nearly all rows; a copy is, and what is one in every row is told by many."""
    rare, one = np.zeros((3, 60), int), np.eye(3, dtype=int)[np.random.default_rng(0).integers(0, 3, 60)].T
    rare[:, 15], rare[:, 38] = (0, 3, 3), (2, 6, 4)
    tables = {"sum": rare, "copy": [rare[0], rare[0]], "multiple": [rare[0], 3 * rare[0]], "one": one}
    found = {}
    for name, columns in tables.items():
        table = {f"p{k}": each for k, each in enumerate(columns)}
        schema = schema_of({**table, "x": np.arange(60) ** 1.5}, numbers=[*table])
        found[name] = {r.column.name: set(r.inputs) for r in schema.dependencies if isinstance(r, Determined)}
    assert found == {"sum": {}, "copy": {"p1": {"p0"}}, "multiple": {}, "one": {"p2": {"p0", "p1"}}}


def test_heaps_of_a_column_take_nothing_from_around_them():
    rng = np.random.default_rng(0)
    inch, rest = np.log(rng.integers(1, 60, 400)), rng.normal(size=400)
    frame = pl.DataFrame({"cm": 2.54 * inch, "inch": inch, "x": rest})
    schema = schema_of(frame[:90])
    assert len(schema.dependencies) == 1
    assert not schema.broken(schema.encode(frame, "t")).any()
    heaps = rng.choice([10.0, 20.0, 50.0], 400)
    total = np.where(rng.random(400) < 0.5, heaps, np.exp(3 + rng.normal(size=400)))
    sums = pl.DataFrame({"net": (0.3 + 0.1 * rest) * total, "total": total}).with_columns(
        tax=pl.col("total") - pl.col("net")
    )
    schema = schema_of(sums.select("net", "tax", "total"))
    x = schema.encode(sums, "t").x + 0.01
    drawn = schema.decode(x)
    assert (drawn["net"] + drawn["tax"] - drawn["total"]).abs().max() < 1e-9


def test_what_follows_and_has_few_values_may_be_drawn_as_one_that_no_row_had_or_not_at_all():
    rng = np.random.default_rng(0)
    start, stay = rng.integers(19_000, 19_700, 300), 1 + rng.poisson(2.2, 300)
    frame = pl.DataFrame({"start": start, "end": start + stay, "stay": stay, "x": rng.normal(size=300)})
    frame = frame.with_columns(pl.col("start", "end").cast(pl.Int32).cast(pl.Date))
    new = frame.with_columns(pl.col("end").dt.offset_by("9d"), pl.col("stay") + 9)
    schema = schema_of(frame)
    x = schema.encode(new, "t").x
    assert schema.decode(x).equals(new.select(schema.order))
    assert not schema.far(x + 0.2).any()  # as draws are, before they are written
    schema = schema_of(frame.filter(pl.col("stay") < 5))  # each in so many rows that no others are possible
    assert schema.far(schema.encode(new, "t").x).all()


def test_seconds_are_a_sixtieth_of_minutes_however_few_these_were():
    rng = np.random.default_rng(0)
    start, minutes = 60 * rng.integers(0, 400_000, 300), 5 + rng.poisson(30, 300)
    frame = pl.DataFrame({"start": start, "end": start + 60 * minutes, "minutes": minutes, "x": rng.normal(size=300)})
    schema = schema_of(frame)
    assert schema.follow_names == ["minutes"]
    long = frame.with_columns(pl.col("end") + 60 * 1000, pl.col("minutes") + 1000)
    assert not schema.broken(schema.encode(long, "t")).any()


def test_what_a_copy_tells_is_not_rounded_to_the_heaps_of_the_column():
    rng = np.random.default_rng(0)
    paid = np.where(rng.random(400) < 0.5, rng.choice([10.0, 20.0, 50.0], 400), np.exp(3 + rng.normal(size=400)))
    gone = pl.Series(rng.random(400) < 0.1)
    frame = pl.DataFrame({"paid": pl.Series(paid).set(gone, None), "copy": paid, "x": rng.normal(size=400)})
    schema, near = schema_of(frame), np.array([10.002, 20.002, 50.002])
    assert schema.follow_names == ["copy"]
    rows = schema.encode(pl.DataFrame({"paid": [None] * 3, "copy": near, "x": [0.0] * 3}), "t")
    assert not schema.broken(rows).any()
    np.testing.assert_allclose(rows.x[:, 0], near)


@pytest.mark.parametrize(
    "formula", [lambda x: 2 * x + 1, lambda x: x + 0.5, lambda x: x // 2, lambda x: np.floor(x / 2 + 0.5), abs]
)
def test_what_lies_between_two_values_is_rounded_as_it_was_in_all_rows(formula):
    x = np.random.default_rng(0).integers(0, 100, 300)
    schema = schema_of(pl.DataFrame({"x": x, "y": formula(x)}))
    (relation,) = schema.dependencies.relations
    fresh = np.arange(100.0)
    columns, rows = {column.name: column for column in schema.columns}, {"x": fresh, "y": formula(fresh)}
    assert relation.column.name == "y"
    np.testing.assert_array_equal(relation.computed(rows, columns), rows["y"])
    assert not relation.broken(rows["y"], rows, columns).any()
    assert relation.broken(rows["y"] - np.median(np.diff(np.unique(rows["y"]))), rows, columns).all()


def invoices(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Invoices: what is charged anyway, and for each unit, less a discount; and logarithms of counts that may be 0."""
    rng = np.random.default_rng(seed)
    fixed, price, off = rng.uniform(5, 30, n).round(2), rng.lognormal(2, 0.7, n).round(2), rng.choice([0, 0.1, 0.15], n)
    units, used = rng.integers(1, 40, n), rng.poisson(4, n) * rng.integers(1, 30, n)
    parts = {"fixed": fixed, "price": price, "units": units, "off": off, "used": used}
    total, plain = fixed + units * price * (1 - off), fixed + 0.5 * used * price
    return parts | {"total": total.round(2), "plain": plain, "log": np.log1p(used)}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["price", "off", "units", "fixed", "total"], "'fixed' + 'units' * 'price' - 'units' * 'price' * 'off'"),
        (["fixed", "used", "price", "plain"], "'fixed' + 0.5 * 'used' * 'price'"),
        (["used", "fixed", "log"], "log(1 + 'used')"),
    ],
)
def test_sums_of_products_and_logarithms_of_one_more_follow(columns, said, tmp_path):
    table = {name: invoices(400)[name] for name in columns}
    model, fresh = (
        pf.TableDensity(**{**QUICK, "queries": True}).fit(table),
        pl.DataFrame(invoices(300, 1)).select(columns),
    )
    (relation,) = model.schema.dependencies
    assert {*f"{relation}".split(" is ")[1].split(" ")} == {*said.split(" ")}
    model.save(tmp_path / "model.pt")
    model = pf.TableDensity.load(tmp_path / "model.pt")
    assert np.isfinite(model.score_samples(fresh)).all()
    last, first = columns[-1], columns[0]
    assert np.isneginf(model.score_samples(fresh.with_columns(pl.col(last) + 0.02))).all()
    for name in (last, first):
        filled = model.impute(fresh[:40].with_columns(pl.lit(None, fresh[name].dtype).alias(name)))
        np.testing.assert_allclose(
            filled[last], relation.formula({c: filled[c].to_numpy() for c in columns}), atol=6e-3
        )


def test_a_column_times_a_flag_follows_beside_many_others():
    """The flag, which tells whether the product is above 0, is its factor rather than its label."""
    rng = np.random.default_rng(0)
    table = {"flag": rng.integers(0, 2, 600), "x": rng.normal(6.3, 0.2, 600).round(4)}
    table |= {f"n{i}": rng.normal(size=600).round(4) if i % 2 else rng.integers(0, 2, 600) for i in range(12)}
    (relation,) = schema_of(table | {"y": table["flag"] * table["x"]}).dependencies
    assert f"{relation}" == "'y' is 'flag' * 'x'"


def test_what_follows_may_be_a_factor_of_what_follows_from_it():
    rng, n = np.random.default_rng(0), 300
    far, after = rng.integers(5_000, 40_000, n), rng.integers(0, 2, n)
    frame = pl.DataFrame(
        {"far": far, "after": after, "log": np.log(far), "both": after * np.log(far), "z": rng.random(n)}
    )
    model = pf.TableDensity(**QUICK).fit(frame)
    said = {each.column.name: str(each) for each in model.schema.dependencies}
    assert said == {"log": "'log' is log('far')", "both": "'both' is 'after' * 'log'"}
    drawn = model.sample(500, random_state=0)
    np.testing.assert_allclose(drawn["both"], drawn["after"] * drawn["far"].log(), rtol=1e-6)
    holes = frame.head(20).with_columns(log=pl.lit(None, pl.Float64), far=pl.lit(None, pl.Int64))
    assert np.isfinite(model.score_samples(holes)).all()
    wrong = frame.filter(after=1).head(5).with_columns(pl.col("both") + 1)
    assert np.isneginf(model.score_samples(wrong)).all()
    assert set(model.explain(wrong)["unlikely_because"].str.split(" ").list.first()) == {"both"}


def test_a_product_is_sought_by_what_its_factors_leave_of_it():
    """Beside them and 22 other columns, it is itself nothing that stands out."""
    rng = np.random.default_rng(0)
    wage = np.exp(rng.normal(5.6, 0.5, 600)).round(2)
    high, others = (wage > 340) * 1.0, [*rng.integers(0, 2, (11, 600)), *rng.normal(size=(11, 600))]
    table = np.stack([high, np.log(wage), wage, *others])
    _, factors = _with_products(high * np.log(wage), table, [f"c{j}" for j in range(len(table))])
    assert (("c0", 1.0), ("c1", 1.0)) in factors


def test_sums_of_products_up_to_a_remainder_leave_it():
    table = invoices(600)
    table["total"] = (
        table["fixed"] + 0.5 * table["used"] * table["price"] + np.random.default_rng(1).normal(0, 0.3, 600)
    )
    (relation,) = prepared_schema({name: table[name] for name in ("fixed", "used", "price", "total")}).near
    assert f"{relation}".startswith("'total' is about ")
    assert {*relation.inputs} == {"fixed", "used", "price"}


def test_a_sum_with_a_product_is_no_composition():
    x, y = np.random.default_rng(0).uniform(1, 5, (2, 400)).round(2)
    assert not schema_of(pl.DataFrame({"x": x, "y": y, "z": 40 - x - 0.5 * x * x})).compositions


def test_a_held_out_row_has_a_density_where_it_has_no_ratio():
    rng, held_out = np.random.default_rng(0), held_out_order(400, 0)[2][:2]
    size, hours = rng.lognormal(1, 0.5, 400).round(2), rng.lognormal(1, 0.5, 400).round(2) + 0.1
    speed = (size / hours * np.exp(rng.normal(0, 0.01, 400))).round(2)
    hours[held_out] = 0.0
    frame = pl.DataFrame({"size": size, "hours": hours, "speed": speed})
    model = pf.TableDensity(**QUICK, relations="speed = size / hours").fit(frame)
    assert [near.name for near in model.schema.near] == ["speed"]
    assert np.isfinite(model.score_samples(frame)).all()
