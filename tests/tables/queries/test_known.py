"""Values that a question is conditioned on: frames as they come are taken, strange values touch their own rows."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.errors import InputError
from pushforward.models.console import Console
from pushforward.tables.queries.predict import predict

N = 600
QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 60, "lr": 0.02, "random_state": 0}


def bills(seed: int = 0) -> pl.DataFrame:
    """Bills and tips, few sizes, a day, a sum, a constant, an identifier, and a time in a time zone."""
    rng = np.random.default_rng(seed)
    bill = np.exp(3 + 0.4 * rng.normal(size=N))
    start = dt.datetime(2024, 1, 1)
    when = [start + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 500_000, N)]
    return pl.DataFrame(
        {
            "bill": bill,
            "tip": 0.15 * bill * np.exp(0.3 * rng.normal(size=N)),
            "size": rng.choice([2, 3, 4, 6, 8], N),
            "day": rng.choice(["sat", "sun"], N),
            "euro": np.round(2 * bill + 1, 12),
            "place": ["here"] * N,
            "when": pl.Series(when).dt.replace_time_zone("Europe/Berlin", non_existent="null", ambiguous="earliest"),
        }
    )


TABLE = bills().with_columns(ticket=pl.Series([f"no {k}" for k in range(N)]))


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(TABLE)


def test_frames_as_they_come_can_be_given(model: pf.TableDensity) -> None:
    assert {"euro", "place"} <= set(model.schema.follow_names)
    rows = TABLE.head(4)
    drawn = model.sample(2, given=rows.drop("tip"))
    assert drawn.height == 8
    np.testing.assert_allclose(drawn["bill"].to_numpy(), np.repeat(rows["bill"].to_numpy(), 2))
    others = [name for name in rows.columns if name != "tip"]
    assert np.isfinite(model.score_samples(rows, given=others)).all()
    np.testing.assert_allclose(
        model.score_samples(rows, given=others),
        model.score_samples(rows, given=[name for name in others if name in model.schema.names]),
    )


def test_no_rows_have_no_answers(model: pf.TableDensity) -> None:
    none = TABLE.head(0)
    given = none.select("bill", "day")
    for answers, shape in (
        (model.score_samples(none), (0,)),
        (model.score_samples(none, given=["day"]), (0,)),
        (model.sample(3, given=given), (0, len(model.schema.table_names))),
        (model.impute(none, draws=2), none.shape),
        (model.explain(none).select("gain"), (0, 1)),
        (model.outliers(none, level=0.5), (0, 8)),
        (model.predict(none, "tip"), (0,)),
        (model.predict(none, "day", "proba"), (0, 2)),
        (model.predict(none, "size", "median"), (0,)),
        (model.predict(none, "tip", "interval"), (0, 2)),
        (model.quantile("tip", [0.1, 0.9], given=given), (0, 2)),
        (model.probability({"tip": (0, 5)}, given=given), (0,)),
    ):
        assert answers.shape == shape
    with pytest.raises(InputError, match="no mean"):
        model.score(none)


def test_rows_of_which_nothing_is_known_are_drawn(model: pf.TableDensity) -> None:
    assert model.sample(2, given=pl.DataFrame({"bill": [None] * 3})).height == 6


@pytest.mark.slow
def test_what_cannot_be_touches_its_own_rows(model: pf.TableDensity, tmp_path: Path) -> None:
    rows = TABLE.head(5).select(
        pl.Series("bill", [20.0, -5.0, 30.0, 25.0, 40.0]),
        "tip",
        "size",
        pl.Series("day", ["sat", "sun", "mon", "sat", "sun"]),
        pl.Series("place", ["here", "here", "here", "there", "here"]),
    )
    given, answered = rows.drop("tip"), [True, False, False, False, True]
    for ask in (
        lambda: model.predict(rows, "tip"),
        lambda: model.predict(rows.with_columns(euro=None), "size", "median"),
        lambda: model.predict(rows, "tip", "interval")["low"],
        lambda: model.quantile("tip", 0.5, given=given),
        lambda: model.probability({"tip": (0, 5)}, given=given),
        lambda: model.sample(1, given=given)["tip"].fill_null(np.nan),
    ):
        assert np.isfinite(np.asarray(ask(), float)).tolist() == answered
        for said in ("column 'bill', row 2: -5.0", "column 'day', row 3: 'mon'", "row 4 contradicts this"):
            assert sum(said in note for note in model.notes_) == 1
    usual = model.predict(rows[[0, 0, 0, 0, 4]], "tip")  # as many, of which there are as many draws
    np.testing.assert_allclose(model.predict(rows, "tip")[answered], usual[answered])
    scores = model.score_samples(rows, given=["day", "bill"])
    assert np.isnan(scores).tolist() == [False, True, True, False, False]
    assert np.isneginf(scores).tolist() == [False, False, False, True, False]
    pl.concat([rows[:1].with_columns(tip=pl.lit(None, pl.Float64)), rows]).write_csv(
        tmp_path / "rows.csv"
    )  # a row that is dropped, and the same
    asked = {"given": ["day", "bill"], "drop_missing": True}
    console = Console(quiet=True)
    model.run("score", tmp_path / "rows.csv", tmp_path / "scores.csv", console, **asked)
    for said in ("column 'bill', row 3: -5.0", "column 'day', row 4: 'mon'", "row 5 contradicts this"):
        assert sum(said in note for note in console.notes) == 1
    dropped = pl.read_csv(tmp_path / "scores.csv")["log_density"]
    assert dropped.is_null().to_list() == [True, False, True, True, False, False]
    out = io.StringIO()
    model.run("follow", rows.write_ndjson().encode().splitlines(), out, given=["day", "bill"])
    errors = [json.loads(line).get("error", "") for line in out.getvalue().splitlines()]
    assert ["cannot be" in error for error in errors] == [False, True, False, False, False]
    assert ["'mon'" in error for error in errors] == [False, False, True, False, False]


@pytest.mark.parametrize("given", [{"day": "mon"}, "day = 'mon'", {"bill": -5.0}, {"place": "there"}, {"size": {2, 3}}])
def test_one_row_that_cannot_be_is_refused(model: pf.TableDensity, given: Any) -> None:
    with pytest.raises(InputError) as raised:
        model.sample(3, given=given)
    assert raised.value.argument == "given"


def test_each_row_may_ask_its_own_of_a_column_that_follows(model: pf.TableDensity) -> None:
    ends = np.array([(30.0, 40.0), None, (60.0, 90.0), (30.0, 50.0)], dtype=object)
    given = {"day": np.array(["sat", "sat", "sat", "mon"]), "euro": ends}
    drawn = model.sample(50, given=given, random_state=1)["euro"].to_numpy().reshape(4, 50)
    assert ((drawn[0] >= 30) & (drawn[0] <= 40)).all()
    assert np.ptp(drawn[1]) > 30
    assert ((drawn[2] >= 60) & (drawn[2] <= 90)).all()
    assert np.isnan(drawn[3].astype(float)).all()
    with pytest.raises(InputError) as raised:
        model.sample(2, given=given | {"euro": np.array([(30.0, 40.0), None, (1e7, 2e7), None], dtype=object)})
    assert raised.value.argument == "given"


def test_a_column_is_not_answered_as_if_a_condition_among_draws_were_not_given(model: pf.TableDensity) -> None:
    for ask in (lambda given: model.quantile("tip", 0.5, given), lambda given: model.region(["tip"], given)):
        for given in ({"euro": (30, 40)}, "tip > bill"):
            with pytest.raises(InputError) as raised:
                ask(given)
            assert raised.value.argument == "given"


def test_a_number_that_is_none_of_few_counts_as_the_nearest(model: pf.TableDensity) -> None:
    rows = TABLE.head(6).select("bill", "tip", "size")
    near = rows.with_columns(size=pl.lit(8))
    np.testing.assert_allclose(
        model.score_samples(rows.with_columns(size=pl.lit(9)), given=["size"]),
        model.score_samples(near, given=["size"]),
    )
    assert set(model.sample(2, given={"size": 9})["size"]) == {8}
    assert "given: column 'size', row 1: 9 is none of its values, of which 8 is the nearest" in model.notes_
    model.predict(near.with_columns(size=pl.Series([8, 9, 2, 5, 7, 3])), "tip")
    assert any("'size', row 2 (and 2 more rows like it): 9 is none" in note for note in model.notes_)


@pytest.mark.parametrize("columns", [{}, {"columns": ["x"], "given": ["n"]}], ids=["joint", "given"])
def test_a_fraction_given_for_a_whole_number_is_told(columns: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"n": rng.poisson(30, N), "x": rng.normal(size=N).round(2)})
    model = pf.TableDensity(**{**QUICK, "steps": 5, **columns}).fit(frame)
    before = [*model.notes_]
    for given in ({"n": 20}, {"n": "20"}, frame.cast({"n": pl.Float32})[:9]):
        model.sample(1, given=given)
        assert model.notes_ == before
    assert {*model.sample(3, given={"n": 20.5})["n"]} <= {20, 21}
    (said,) = {*model.notes_} - {*before}
    assert said.startswith("given: column 'n', row 1: 20.5 is none of its values, of which 2")


def test_columns_that_the_model_lacks_are_told(model: pf.TableDensity) -> None:
    rows = TABLE.head(3).rename({"size": "seize"})
    for source, ask in (
        ("the table", lambda: model.predict(rows, "tip")),
        ("given", lambda: model.sample(1, given=rows)),
        ("given", lambda: model.probability({"tip": (0, 5)}, given=rows.drop("tip"))),
    ):
        ask()
        assert sum(f"{source}: the model does not use seize, ticket" in note for note in model.notes_) == 1


def test_answers_in_times_are_of_the_columns_zone(model: pf.TableDensity) -> None:
    day = pl.DataFrame({"day": ["sun"]})
    (median,) = predict(model, day, "when", "median", 0.9, 0, "the table")[0]["when"]
    clock = np.datetime64(median.replace(tzinfo=None))  # arrays have no zones
    assert model.predict(day, "when", "median")[0] == clock
    low, high = model.predict(day, "when", "interval")
    assert low.dtype == high.dtype == pl.Datetime("us", "Europe/Berlin")


def test_a_time_without_a_zone_is_of_the_columns_own(model: pf.TableDensity) -> None:
    when = dt.datetime(2024, 5, 1, 8)
    zoned = pl.Series("when", [when]).dt.replace_time_zone("Europe/Berlin")
    drawn = model.sample(2, given=pl.DataFrame({"when": [when]}))
    assert drawn["when"].to_list() == zoned.to_list() * 2


def test_a_time_in_sql_is_of_the_columns_own_zone(model: pf.TableDensity) -> None:
    when = TABLE["when"].drop_nulls().sort()[len(TABLE) // 3]
    clock = when.replace(tzinfo=None)
    told = model.probability({"when": (None, clock)})
    assert model.probability(f"\"when\" <= TIMESTAMP '{clock}'") == pytest.approx(told, abs=1e-9)
    assert 0.1 < told < 0.6


def test_a_column_is_named_by_text(model: pf.TableDensity) -> None:
    for ask in (lambda: model.quantile(["tip"], 0.5), lambda: model.predict(TABLE, ["tip"]), lambda: model.region([1])):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="none of them"):
            ask()


def test_a_condition_that_cannot_be_touches_its_own_row() -> None:
    rng = np.random.default_rng(0)
    bill = np.round(rng.gamma(4, 5, 200) + 1, 2)
    rows = pl.DataFrame({"tip": np.round(0.2 * bill, 2), "bill": bill, "cold": rng.normal(size=200)})
    model = pf.TableDensity(given=["bill", "cold"], steps=2).fit(rows)
    asked = pl.DataFrame({"tip": [2.0] * 4, "bill": [20.0, -5.0, 0.0, 9000.0], "cold": [-9.0] * 4})
    assert np.isnan(model.score_samples(asked)).tolist() == [False, True, False, False]
    assert sum("column 'bill', row 2: -5.0 cannot be" in note for note in model.notes_) == 1
    assert model.sample(given=asked)["tip"].is_null().to_list() == [False, True, False, False]
    with pytest.raises(InputError, match=r"row 1: -5\.0 cannot be"):
        model.sample(3, given={"bill": -5.0, "cold": 0.0})


def test_a_number_that_cannot_be_is_told_where_it_is_scored_and_where_cells_are_filled(
    model: pf.TableDensity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = TABLE.drop("euro").head(3).with_columns(bill=pl.Series([20.0, -5.0, 20.0]), tip=pl.Series([3.0, None, None]))
    assert model.impute(rows)["tip"].is_null().to_list() == [False, True, False]
    assert any("column 'bill', row 2: -5.0 cannot be" in note for note in model.notes_)
    assert not any("no draw agrees" in note for note in model.notes_)
    model.save(tmp_path / "m")
    rows.write_parquet(table := str(tmp_path / "rows.parquet"))
    assert cli.main(["score", f"{tmp_path}/m", table, "-o", f"{tmp_path}/scores.csv"]) == 0
    assert f"note: {table}: column 'bill', row 2: -5.0 cannot be" in "".join(capsys.readouterr())


def test_columns_that_were_left_out_can_be_given_by_name(model: pf.TableDensity) -> None:
    assert "ticket" not in model.schema.names
    assert model.sample(2, given={"ticket": "no 3", "day": "sun"})["day"].to_list() == ["sun"] * 2
    assert model.notes_.count("given: the model does not use ticket") == 1
    assert model.probability({"day": "sun"}, {"ticket": "no 9"}) == model.probability({"day": "sun"})
    with pytest.raises(InputError, match="no such column"):
        model.sample(2, given={"tickets": "no 3"})
