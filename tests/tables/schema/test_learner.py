"""What a user would say of columns for them to be learnt so again."""

from __future__ import annotations

import numpy as np
import polars as pl
from schemas import schema_of

import pushforward as pf
from pushforward.tables.options import TableOptions
from pushforward.tables.prepare import why_no_row
from pushforward.tables.schema.learner import said_of
from pushforward.tables.schema.relations.stated_formula import parsed


def test_columns_that_are_learnt_as_said_again_are_the_same() -> None:
    rng = np.random.default_rng(0)
    hours = rng.integers(0, 24, 400)
    frame = pl.DataFrame(
        {
            "hour": hours,
            "zip": rng.choice([10115, 80331, 20095], 400),
            "size": rng.gamma(3.0, size=400),
            "start": hours + rng.gamma(1.0, size=400),
            "few": rng.integers(0, 5, 400),
        }
    )
    said = {"circular": {"hour": (0.0, 24.0)}, "categories": ["zip"], "numbers": ["few"], "order": [("few", "start")]}
    frame = frame.with_columns(start=pl.col("start") + pl.col("few"))
    schema = schema_of(frame, **said)
    assert said_of(schema)["circular"] == said["circular"]
    again = schema_of(frame, **said_of(schema))
    assert again.columns == schema.columns
    assert {*again.orders} == {*schema.orders}


def test_what_a_person_would_not_take_for_a_value_is_said() -> None:
    rng = np.random.default_rng(0)
    day = np.datetime64("2020-01-01") + rng.integers(0, 900, 300)
    frame = pl.DataFrame(
        {"x": rng.gamma(3.0, size=300), "n": rng.poisson(2, 300), "day": day, "y": rng.gamma(3.0, size=300)}
    )
    bare = schema_of(frame, asked=False)
    assert not bare.notes
    rows = pl.int_range(300) % 40 == 7
    marks = {"x": -999.0, "n": 99, "day": np.datetime64("1900-01-01"), "y": 250.0}
    marked = frame.with_columns(
        pl.when(rows).then(pl.lit(mark)).otherwise(name).alias(name) for name, mark in marks.items()
    )
    notes = schema_of(marked.with_columns(__index_level_0__=pl.Series(rng.normal(size=300))), asked=False).notes
    assert [note.split(":")[0] for note in notes] == ["x", "n", "day", "__index_level_0__"]


def test_a_last_row_that_seems_to_stand_below_the_table_is_said_to() -> None:
    frame = pl.DataFrame({"a": np.arange(20.0), "b": np.arange(20) % 7, "c": ["x", "y"] * 10})
    assert not why_no_row(frame)
    assert not why_no_row(frame[:1])
    total = frame.select(pl.col("a", "b").sum(), c=pl.lit("x"))
    below = [(None, None, "Source: the harbour"), (9.0, 3, "Average")]
    source, mean = (pl.DataFrame([row], schema=frame.schema, orient="row") for row in below)
    assert why_no_row(pl.concat([frame, total])) == "is the sum of the others in a, b"
    assert why_no_row(pl.concat([frame, source])) == "has a single cell, 'Source: the harbour'"
    assert why_no_row(pl.concat([frame, mean])) == "is 'Average' in 'c'"
    assert not why_no_row(pl.concat([frame, mean, mean]))  # the name of several rows
    assert not why_no_row(pl.concat([frame, source, source]))


def test_names_that_differ_in_capitals_and_blanks_are_said_to() -> None:
    names = pl.DataFrame({"answer": ["Agree", "agree", "Agree ", "no", "No way"] * 20, "x": np.arange(100.0) ** 2})
    (note,) = schema_of(names).notes
    assert "'Agree', 'Agree ', 'agree' are 3 names" in note
    assert not schema_of(names.with_columns(pl.col("answer").str.strip_chars().str.to_lowercase())).notes


def test_stated_formulas_are_said_again() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.gamma(3.0, size=(2, 300)) + 0.1
    off = np.where(rng.random(300) < 0.3, rng.normal(size=300), 0.0)
    frame = pl.DataFrame({"a": a, "b's": b, "exact": 2 * a**0.5 - 1, "near it": a / b + np.log(b) + off})
    schema = schema_of(frame, relations="exact = 2 * sqrt(a) - 1, 'near it' = a / \"b's\" + log(\"b's\")")
    schema = schema.with_near(schema.encode(frame, "t").x, (), {"near it": parsed('a / "b\'s" + log("b\'s")')})
    said = TableOptions(relations=said_of(schema)["relations"]).formulas
    assert parsed(said["exact"]) == next(iter(schema.dependencies)).formula
    assert parsed(said["near it"]) == schema.near[0].formula


def test_given_names_of_a_single_row_share_a_place_with_new_ones() -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b"] * 60 + [f"rare {k}" for k in range(40)]
    y = 3.0 * np.array([name == "a" for name in names]) - 3.0 * np.array(["rare" in name for name in names])
    frame = pl.DataFrame({"name": names, "own": [f"row {k}" for k in range(160)], "y": y + rng.normal(size=160)})
    model = pf.TableDensity("gmm", columns=["y"], given=["name", "own"]).fit(frame)
    assert model.schema.given_names == ["name"]
    assert [note.split(":")[0] for note in model.schema.notes] == ["name", "own"]  # what is left out shares nothing
    rows = pl.DataFrame({"name": ["a", "b", "rare 3", "never seen"]})
    np.testing.assert_allclose(model.predict(rows, "y"), [3.0, 0.0, -3.0, -3.0], atol=0.6)
    assert model.sample(2, given=rows)["name"].to_list() == [name for name in rows["name"] for _ in range(2)]
