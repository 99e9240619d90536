"""What a user would say of columns for them to be learnt so again."""

from __future__ import annotations

import numpy as np
import polars as pl
from schemas import schema_of

import pushforward as pf
from pushforward.tables.options import TableOptions
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
