"""Columns that another column's values imply, and numbers that are names."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of

import pushforward as pf
from pushforward.tables.schema.schema import Schema
from pushforward.tables.schema.widening import widened

RNG = np.random.default_rng(0)
ROWS = 1200
SCHOOL = RNG.integers(1, 41, ROWS)
GENDER = RNG.choice(["boys", "girls", "mixed"], 41)[SCHOOL]
SCHOOLS = pl.DataFrame(
    {
        "school": SCHOOL,
        "type": np.where(GENDER == "mixed", "mixed", "single"),
        "gender": GENDER,
        "mean": RNG.normal(size=41).round(6)[SCHOOL],
        "score": RNG.normal(size=ROWS),
    }
)
OUNCES = np.round(RNG.normal(110, 20, ROWS)).clip(40, 180)
BIRTHS = pl.DataFrame(
    {"low": np.where(OUNCES < 88, "yes", "no"), "ounces": OUNCES, "age": RNG.normal(30, 5, ROWS)}
).with_columns(ounces=pl.col("ounces").cast(pl.Int64))


def learnt(frame: pl.DataFrame, **options: Any) -> Schema:
    return schema_of(frame, asked=False, **options)


def test_what_only_one_value_implies_tells_it() -> None:
    codes = np.array([7.0, 3.5, 9.25, 1.0])
    at = RNG.integers(4, size=400)
    frame = pl.DataFrame({"town": np.array(list("abcd"))[at], "height": codes[at], "x": RNG.normal(size=400)})
    frame = frame.with_columns(region=pl.Series(np.array(list("nnss"))[at]))
    schema = learnt(frame)
    assert {"height", "region"} <= set(schema.follow_names)
    gone = frame.with_columns(town=pl.lit(None, pl.String))
    town = schema.names.index("town")
    np.testing.assert_array_equal(schema.encode(gone, "t").x[:, town], schema.encode(frame, "t").x[:, town])
    assert schema.encode(gone.drop("height"), "t").x[:, town].isnan().all()


def test_what_only_a_missing_name_implies_tells_nothing_of_others() -> None:
    at = RNG.integers(5, size=600)
    town = pl.Series(np.array(list("abcde"))[at]).set(pl.Series(at == 4), None)
    schema = learnt(pl.DataFrame({"town": town, "region": np.array(list("nnssx"))[at], "x": RNG.normal(size=600)}))
    (relation,) = schema.dependencies
    region = relation.column.read(pl.Series(np.array(list("nnssx"))))
    assert relation.tells(region, {}, schema.dependencies.known).tolist() == [True] * 4 + [False]


def test_a_few_missing_names_that_are_alike_by_chance_imply_nothing() -> None:
    at = np.random.default_rng(1).integers(4, size=600)
    town = pl.Series(np.array(list("abcd"))[at]).set(pl.Series((at == 0) & ((at == 0).cumsum() < 4)), None)
    frame = pl.DataFrame({"town": town, "region": np.array(list("nnss"))[at], "x": np.arange(600.0) % 77})
    schema, fresh = learnt(frame), frame.filter(region="s").with_columns(town=pl.lit(None, pl.String))
    assert not schema.broken(schema.encode(fresh, "t")).any()


def test_a_few_rows_without_either_of_two_names_refute_nothing() -> None:
    at = RNG.integers(4, size=600)
    without = pl.Series(np.arange(600) < 6)
    town, region = (pl.Series(np.array(list(names))[at]).set(without, None) for names in ("abcd", "nnss"))
    schema = learnt(pl.DataFrame({"town": town, "region": region, "x": RNG.normal(size=600)}))
    assert follows(schema) == {"region": ("town",)}


def test_more_names_than_have_places_keep_others_of_the_same() -> None:
    at = np.tile(np.arange(250), 5)
    names = pl.DataFrame(
        {"town": [f"t{i}" for i in at], "code": [f"c{i * 37 % 250}" for i in at], "x": np.sin(at * at)}
    )
    assert follows(learnt(names, columns=names.columns)) == {"code": ("town",)}


def follows(schema: Schema) -> dict[str, tuple[str, ...]]:
    return {relation.column.name: relation.inputs for relation in schema.dependencies}


def test_numbers_are_names_where_a_category_follows_from_them_in_no_order() -> None:
    schema = learnt(SCHOOLS)
    assert schema.names == ["school", "score"]
    assert schema.columns[0].describe().kind.startswith("category")
    assert schema.columns[0].classes == 40
    assert follows(schema) == dict.fromkeys(("type", "gender", "mean"), ("school",))
    assert "school: numbers that are names, as 'type' follows from them (`numbers=` makes them numbers)" in schema.notes
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    x = schema.encode(SCHOOLS, "t.csv").x
    assert schema.decode(x).equals(SCHOOLS)
    assert not any(rows.any() for rows in schema.broken(schema.encode(SCHOOLS, "t.csv")))


def test_numbers_of_names_follow_however_often_they_repeat() -> None:
    patient = np.repeat(np.arange(100), 5)
    age = np.random.default_rng(1).integers(30, 50, 100)[patient]  # a fifth as many ages as patients
    frame = pl.DataFrame({"patient": [f"p{i}" for i in patient], "age": age, "score": RNG.normal(size=500)})
    assert follows(learnt(frame)) == {"age": ("patient",)}
    visits = frame.with_columns(age=age + np.tile(np.arange(5), 100))  # a year later at each
    assert follows(learnt(visits)) == {}


def test_numbers_stay_numbers_where_the_user_says_so() -> None:
    for options in ({"numbers": ["school"]}, {"bounds": {"school": (0, 50)}}):
        schema = learnt(SCHOOLS.drop("mean"), **options)
        assert schema.columns[0].describe().kind == "integer"
        assert schema.names == ["school", "gender", "score"]
        assert follows(schema) == {"type": ("gender",)}


def test_a_category_of_intervals_follows_from_its_number() -> None:
    schema = learnt(BIRTHS)
    assert schema.names == ["low", "ounces", "age"]
    assert schema.columns[1].describe().kind == "integer"
    assert follows(schema) == {"low": ("ounces",)}
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    x = schema.encode(BIRTHS, "t.csv").x
    assert schema.decode(x).equals(BIRTHS)
    odd = pl.DataFrame(
        {
            "low": ["yes", "no", "yes", None, "yes", "maybe"],
            "ounces": [100, 100, 60, 60, 1000, 100],  # 1000 is no training row's, but on the side of "no"
            "age": [30.0] * 6,
        }
    )
    x = schema.encode(odd, "t.csv").x
    assert schema.broken(schema.encode(odd, "t.csv"))[0].tolist() == [True, False, False, False, True, True]
    assert schema.decode(x)["low"].to_list()[1:4] == ["no", "yes", "yes"]


def test_what_follows_from_such_a_category_is_led_back_to_the_number() -> None:
    schema = learnt(BIRTHS.with_columns(ward=pl.col("low").replace_strict({"yes": "B", "no": "A"})))
    assert schema.names == ["ounces", "age", "ward"]  # of two labels that say the same, one is enough
    assert follows(schema) == {"ward": ("ounces",), "low": ("ounces",)}


@pytest.mark.parametrize("names", [["code", "city"], ["city", "code"]])
def test_of_a_number_and_a_name_of_the_same_the_name_is_kept(names: list[str]) -> None:
    city = RNG.integers(0, 20, ROWS)
    frame = pl.DataFrame(
        {"code": RNG.permutation(20)[city] * 7 + 1000, "city": [f"c{k}" for k in city], "a": RNG.normal(size=ROWS)}
    )
    assert follows(learnt(frame.select(*names, "a"))) == {"code": ("city",)}


def test_flags_of_few_rows_follow_where_each_name_has_several() -> None:
    month = np.arange(300) % 12  # a flag has 25 rows, 17 of which are seen
    flags = {f"is_{k}": month == k for k in range(3)}
    frame = pl.DataFrame({"month": [f"m{k}" for k in month], **flags, "x": RNG.normal(size=300)})
    some = frame.sample(200, shuffle=True, seed=0)
    schema = learnt(some)
    assert follows(schema) == dict.fromkeys(flags, ("month",))
    assert not schema.broken(schema.encode(frame, "t")).any()
    again = some.with_columns(month=some["month"].set(pl.Series(np.arange(200) == 7), "m99"))  # seen once
    assert not follows(learnt(again))


def test_squares_of_whole_numbers_follow_from_them_whether_or_not_rows_had_them() -> None:
    age = RNG.integers(20, 60, ROWS)
    frame = pl.DataFrame({"age": age, "square": age**2, "a": RNG.normal(size=ROWS)})
    schema, asked = learnt(frame), pl.DataFrame({"age": [70, 70], "square": [4900, 3481], "a": [0.0, 0.0]})
    assert follows(schema) == {"square": ("age",)}
    assert schema.broken(schema.encode(asked, "t"))[0].tolist() == [False, True]


def test_means_of_groups_follow_from_the_numbers_of_these() -> None:
    frame = SCHOOLS.select("mean", "school", "score")
    schema = learnt(frame)
    assert schema.columns[0].describe().kind == "integer"
    assert follows(schema) == {"mean": ("school",)}
    x = schema.encode(frame, "t.csv").x
    assert schema.decode(x).equals(frame)


def test_nothing_is_found_by_chance_or_refuted_by_a_row() -> None:
    low, ounces, _ = BIRTHS.get_columns()
    few = BIRTHS[:60].with_columns(ounces=pl.Series(np.arange(60) // 3 + 60), low=pl.Series(np.arange(60) > 30))
    assert not learnt(few).relations
    wrong = BIRTHS.with_columns(low=low.set(pl.Series(np.arange(ROWS) == 700), "yes" if low[700] == "no" else "no"))
    assert not learnt(wrong).relations
    rare = BIRTHS.with_columns(low=ounces == ounces[0]).with_columns(pl.col("ounces") // 2 * 2)
    assert not learnt(rare).relations


def claims(rows: int, seed: int) -> pl.DataFrame:
    """Claims in thirty states over eight years, each with a rate of its own, but for one that none made."""
    world, rng = np.random.default_rng(5), np.random.default_rng(seed)
    codes, rates = world.choice(np.arange(11, 99), 30, replace=False), world.integers(30, 120, (30, 8)) / 10
    state, year = rng.integers(0, 30, rows), rng.integers(0, 8, rows)
    year = np.where((state == 4) & (year == 5), 3, year)
    return pl.DataFrame(
        {
            "rate": rates[state, year],
            "name": [f"s{codes[i]}" for i in state],
            "state": codes[state],
            "year": year + 1982,
            "weeks": rng.gamma(3.0, 1 + 0.1 * rates[state, year]).round(3),
        }
    )


@pytest.mark.parametrize(("place", "other"), [("state", "name"), ("name", "state")])
def test_what_two_columns_imply_together_holds_for_rows_that_were_not_seen(place: str, other: str) -> None:
    schema, fresh = learnt(claims(1500, seed=0).drop(other)), claims(4000, seed=1).drop(other)
    assert follows(schema) == {"rate": (place, "year")}
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    rows = schema.encode(fresh, "t")
    assert not schema.broken(rows).any()
    assert schema.decode(rows.x).equals(fresh)
    wrong = fresh.with_columns(rate=fresh["rate"] + 0.1)
    assert schema.broken(schema.encode(wrong, "t")).all()
    strange = fresh.with_columns(year=pl.lit(2050), rate=pl.lit(3.0))[:9]  # which nothing is known of
    assert not schema.broken(schema.encode(strange, "t")).any()
    without = fresh.with_columns(year=pl.lit(None, pl.Int64))
    year = schema.encode(without, "t").x[:, schema.names.index("year")].numpy()
    told = ~np.isnan(year)
    assert told.mean() > 0.5
    assert (year[told] == schema.encode(fresh, "t").x[:, schema.names.index("year")].numpy()[told]).all()


def test_pairs_that_no_row_had_imply_what_is_nearest_and_new_names_nothing() -> None:
    frame = claims(1500, seed=0)
    named, numbered = learnt(frame.drop("state")), learnt(frame.drop("name"))
    gap = frame.filter(pl.col("year") == 1988)
    gap = gap.filter(
        pl.col("name") == next(iter(set(frame["name"]) - set(frame.filter(pl.col("year") == 1987)["name"])))
    )
    asked = gap[:1].with_columns(year=pl.lit(1987))
    for schema in (named, numbered):
        assert (
            schema.decode(schema.encode(asked, "t").x)["rate"].item()
            in frame.filter((pl.col("name") == asked["name"].item()) & pl.col("year").is_in([1986, 1988]))[
                "rate"
            ].to_list()
        )
    new = asked.with_columns(name=pl.lit("s0"))
    (relation,) = named.dependencies
    values = {name: named.encode(new, "t").x[:, j].numpy() for j, name in enumerate(named.names)}
    assert np.isnan(relation.computed(values, named.dependencies.known)).all()


@pytest.mark.parametrize("most", [60, 61])
def test_numbers_beyond_all_imply_what_the_last_do_with_the_same_name(most: int) -> None:
    rng = np.random.default_rng(0)
    number, name, table = rng.integers(0, most, 3000), rng.integers(0, 3, 3000), rng.normal(size=(most, 3)).round(3)
    frame = pl.DataFrame({"found": table[number, name], "number": number, "name": np.array(list("xyz"))[name]})
    schema = learnt(frame.with_columns(x=rng.normal(size=3000)))
    assert follows(schema) == {"found": ("number", "name")}
    asked = pl.DataFrame({"found": [None] * 4, "number": [99, 99, -9, -9], "name": [*"xzxz"], "x": [0.0] * 4})
    assert schema.decode(schema.encode(asked, "t").x)["found"].to_list() == [*table[-1, ::2], *table[0, ::2]]


def test_of_many_rows_without_a_number_what_it_may_be_takes_little_memory() -> None:
    rng = np.random.default_rng(0)
    number, name, table = rng.integers(0, 300, 20000), rng.integers(0, 3, 20000), rng.normal(size=(300, 3)).round(6)
    frame = pl.DataFrame({"found": table[number, name], "number": 7 * number, "name": np.array(list("xyz"))[name]})
    schema = learnt(frame.with_columns(x=rng.normal(size=20000)))
    assert follows(schema) == {"found": ("number", "name")}
    tracemalloc.start()
    x = schema.encode(frame.with_columns(x=0.0, number=pl.lit(None, pl.Int64)), "t").x
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (x[:, 0] == torch.from_numpy(7 * number)).all()
    assert peak < 20e6


def test_new_names_imply_with_another_column_what_new_rows_tell() -> None:
    old, new = claims(1500, seed=0).drop("state"), claims(800, seed=1).drop("state")
    renamed = new["name"] == new["name"][0]
    new = new.with_columns(name=new["name"].set(renamed, "s0"), rate=new["rate"].set(renamed, new["rate"][0]))
    schema, _ = widened(learnt(old), new, lambda: old, len(old))
    assert schema is not None
    for frame in (old, new):
        assert schema.decode(schema.encode(frame, "t").x).equals(frame)
    wrong = new.filter(renamed).with_columns(rate=pl.lit(0.1))
    assert schema.broken(schema.encode(wrong, "t")).all()
    contradicted = pl.concat([new, wrong])
    assert widened(learnt(old), contradicted, lambda: old, len(old))[0] is None


def test_two_columns_imply_nothing_by_chance() -> None:
    frame, rng = claims(1500, seed=0).drop("name"), np.random.default_rng(2)
    assert not learnt(frame.with_columns(rate=frame["rate"].shuffle(0))).dependencies
    assert not learnt(frame[:120]).dependencies  # in which most pairs are seen once
    slip = frame.with_columns(rate=frame["rate"].set(pl.Series(np.arange(1500) == 700), 1.0))
    assert not learnt(slip).dependencies
    assert not learnt(frame.with_columns(pl.col("rate") > 7)).dependencies  # a group, of which the rate says more
    idle = np.arange(3000) >= 900  # of the others each has one row, and these have all the same amount
    person = np.where(idle, rng.integers(0, 100, 3000), np.arange(3000))
    amount = np.where(idle, 0, rng.integers(-1000, 1000, 3000))
    assert not learnt(pl.DataFrame({"idle": idle, "person": person, "amount": amount})).dependencies


def test_groups_too_many_for_names_do_not_replace_what_is_known_of_their_members() -> None:
    person = np.repeat(RNG.permutation(400), 4)
    treated = RNG.choice(["yes", "no"], 400)[person]
    schema = learnt(pl.DataFrame({"person": person, "treated": treated, "a": RNG.normal(size=1600)}))
    assert schema.names == ["person", "treated", "a"]


@pytest.mark.slow
def test_draws_scores_fillings_and_saved_models_keep_what_follows(tmp_path: Path) -> None:
    for frame, name in ((SCHOOLS, "gender"), (BIRTHS, "low"), (claims(1500, seed=0).drop("state"), "rate")):
        model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=10).fit(frame)
        drawn = model.sample(300, random_state=0)
        assert drawn.columns == frame.columns
        assert not any(rows.any() for rows in model.schema.broken(model.schema.encode(drawn, "t.csv")))
        some = frame[:4]
        other = some.with_columns(pl.lit(frame[name].unique().sort()[0]).alias(name))
        scores = model.score_samples(some)
        assert np.isfinite(scores).all()
        assert np.array_equal(np.isneginf(model.score_samples(other)), (other[name] != some[name]).to_numpy())
        holed = some.with_columns(pl.lit(None, frame[name].dtype).alias(name))
        np.testing.assert_allclose(model.score_samples(holed), scores)
        assert model.impute(holed).equals(some)
        model.save(tmp_path / name)
        again = pf.TableDensity.load(tmp_path / name)
        np.testing.assert_allclose(again.score_samples(some), scores)
        assert again.sample(300, random_state=0).equals(drawn)
