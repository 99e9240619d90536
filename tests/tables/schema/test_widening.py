"""A schema takes in what new rows have and it has no place for, and stays as it was decided in all else."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from pushforward.tables.options import TableOptions
from pushforward.tables.schema.decide import learn_schema
from pushforward.tables.schema.learner import Learner
from pushforward.tables.schema.schema import Schema
from pushforward.tables.schema.widening import widened


def rows(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    town = rng.integers(0, 20, n)
    size, weight = rng.gamma(3.0, size=n), rng.gamma(3.0, size=n)
    return pl.DataFrame({
        "town": [f"t{k:02}" for k in town], "region": [f"r{k % 5}" for k in town], "size": size, "weight": weight,
        "total": size + weight, "stars": rng.choice([1, 2, 3], n),
    })  # fmt: skip


OLD = rows(400, 0)


def learnt(**said) -> Schema:
    return learn_schema(OLD, Learner(TableOptions(columns=OLD.columns, **said), "old"))


def taking(schema: Schema, new: pl.DataFrame) -> tuple[Schema | None, list[str]]:
    return widened(schema, new, lambda: OLD, OLD.height)


def test_nothing_new_changes_nothing():
    schema = learnt()
    assert {"region", "total"} <= {*schema.follow_names}
    assert taking(schema, rows(100, 1)) == (schema, [])


def test_new_names_come_after_the_others_and_tables_of_names_grow():
    schema, new = learnt(), rows(100, 2).with_columns(town=pl.lit("a new one"), region=pl.lit("r3"))
    found, notes = taking(schema, new)
    town = next(column for column in found.fields if column.name == "town")
    assert town.labels == (*schema.fields[0].labels, "a new one")
    assert town.kind.fill[-1] == 100 / 500
    assert len(notes) == 1
    assert "region" in found.follow_names
    encoded = found.encode(new, "new")
    assert found.decode(encoded.x)["region"].unique().to_list() == ["r3"]
    assert np.array_equal(found.encode(OLD, "old").x, schema.encode(OLD, "old").x)


def test_impossible_and_missing_values_get_a_place():
    new = rows(100, 3).with_columns(size=pl.col("size") - 5, weight=pl.when(pl.int_range(100) > 3).then("weight"))
    new = new.with_columns(total=pl.col("size") + pl.col("weight"))
    found, notes = taking(learnt(), new)
    size, weight = (next(c for c in found.fields if c.name == name) for name in ("size", "weight"))
    assert size.kind.can(new["size"].to_numpy()).all()
    assert 0 < weight.holes.share < 0.02
    assert "weight is missing" in [column.name for column in found.columns]
    assert len(notes) >= 2


def test_text_that_is_no_number_in_the_unit_of_a_column_is_missing():
    cells = [f"{size:.2f} kg" for size in OLD["size"]]
    old = OLD.with_columns(size=pl.Series(cells))
    schema, new = learn_schema(old, Learner(TableOptions(columns=old.columns), "old")), old.head(50)
    found, notes = widened(schema, new.with_columns(size=pl.Series(["2500 g", *cells[1:50]])), lambda: old, old.height)
    assert found.asked["size"].holes.share == 1 / 450
    assert len(notes) == 1


def test_what_new_rows_contradict_is_learnt_again_unless_it_was_stated():
    new = rows(100, 4)
    broken = new.with_columns(total=pl.col("total") + pl.int_range(100) / 100)
    found, notes = taking(learnt(), broken)
    assert found is None
    assert len(notes) == 1
    assert taking(learnt(), new.with_columns(stars=pl.lit(7)))[0] is None
    stated = taking(learnt(relations="total = size + weight"), broken)[0]
    assert stated is not None
    assert "total" in stated.follow_names


def test_orders_near_relations_and_weekdays_are_given_up_where_new_rows_break_them():
    rng = np.random.default_rng(0)
    days = [dt.date(2020, 1, 6) + dt.timedelta(int(k)) for k in rng.integers(0, 700, 600)]
    low, first, second = rng.gamma(3, size=600), rng.gamma(3, 10, 600).round(1), rng.gamma(3, 10, 600).round(1)
    off = np.where(rng.random(600) < 0.2, rng.normal(size=600), 0)
    table = pl.DataFrame({
        "low": low, "high": low + rng.gamma(3, size=600), "first": first, "second": second,
        "sum": (first + second + off).round(1), "day": days, "weekday": [day.strftime("%a") for day in days],
    })  # fmt: skip
    worked = ~table["weekday"].is_in(["Sat", "Sun"])
    old, new = table.filter(worked)[:300], table.filter(worked)[300:]
    schema = learn_schema(old, Learner(TableOptions(columns=old.columns), "old"))
    schema = schema.with_near(schema.encode(old, "old").x, (), {})
    assert schema.orders
    assert schema.near
    assert schema.weeks
    for other, kept in (
        (new, True),
        (new.with_columns(high=pl.col("low") - 1e-3), False),
        (new.with_columns(sum=5 * pl.col("sum")), False),
        (table[-100:], False),
    ):
        assert (widened(schema, other, lambda: old, old.height)[0] is not None) is kept


def test_names_that_are_expected_wait_until_they_are_common_unless_rows_are_saved():
    names = pl.DataFrame({"who": [f"p{k}" for k in range(60)] * 2 + [f"q{k}" for k in range(9)], "x": range(129)})
    schema = learn_schema(names, Learner(TableOptions(columns=names.columns, categories=("who",)), "old"))
    some = pl.DataFrame({"who": ["p1"] * 97 + ["new"] * 3, "x": range(100)})
    assert widened(schema, some, lambda: names, 129) == (schema, [])
    assert int(schema.unplaced(schema.encode(some, "new").x).sum()) == 3
    common = pl.concat([some, some[-1:]])
    for new, eager in ((some, True), (common, False)):
        found, notes = widened(schema, new, lambda: names, 129, eager)
        assert found.fields[0].labels[-1] == "new"
        assert len(notes) == 1
        assert not found.unplaced(found.encode(new, "new").x).any()


def test_what_lies_just_beyond_is_taken_in_but_not_described_again_and_circles_and_stated_bounds_stay():
    rng = np.random.default_rng(0)

    def days(hours: int, most: float, last: int) -> pl.DataFrame:
        year = rng.integers(2000, last, 400)
        share, hour = rng.uniform(0, most, 400), rng.integers(8, hours, 400)
        return pl.DataFrame({"hour": hour, "share": share, "year": year, "age": 2 * year + 3})

    old, new = days(11, 10.0, 2020), days(23, 90.0, 2023)
    said = TableOptions(columns=old.columns, circular={"hour": (0.0, 24.0)}, bounds={"share": (-5.0, 100.0)})
    schema = learn_schema(old, Learner(said, "old"))
    found, notes = widened(schema, new, lambda: old, old.height)
    assert [note[: note.index(":")] for note in notes] == [f"column '{name}'" for name in ("share", "year", "age")]
    assert [found.asked[name].kind for name in old.columns] == [schema.asked[name].kind for name in old.columns]
    assert "age" in found.follow_names
    x = found.encode(new, "new").x
    assert found.far(x).any()
    assert not found.reaching(x).far(x).any()
