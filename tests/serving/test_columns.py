"""RowType of every kind on their way from a table to JSON and back, without a server."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.errors import InputError

pytest.importorskip("starlette")
from pydantic import ValidationError

from pushforward.serving.columns import RowType, json_rows
from pushforward.serving.refusals import json_answer, refusal_of
from pushforward.serving.verbs import AskRequest, ImputeRequest, SampleRequest, Score, ScoreRequest, score_fields


def table(rows: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    moments = [dt.datetime(2022, 1, 1) + dt.timedelta(seconds=int(s)) for s in rng.integers(0, 10**7, rows)]
    return pl.DataFrame(
        {
            "group": rng.choice(["a", "b"], rows),
            "day": [dt.date(2022, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 400, rows)],
            "took": [dt.timedelta(seconds=int(s)) for s in rng.gamma(3.0, 100, rows)],
            "opens": [dt.time(int(h), 30) for h in rng.integers(0, 24, rows)],
            "price": [f"{int(v):,}" for v in rng.gamma(3.0, 2000, rows)],
            "exact": pl.Series(rng.normal(size=rows).round(2)).cast(pl.Decimal(10, 2)),
            "at": pl.Series(moments).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
            "stamp": [moment.strftime("%Y/%m/%d %H:%M") for moment in moments[::-1]],
            "small": pl.Series(rng.integers(0, 90, rows), dtype=pl.Int16),
        }
    )


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(8,), steps=20, given=["group", "day"], random_state=0).fit(table())


@pytest.fixture(scope="module")
def cells(model: pf.TableDensity) -> RowType:
    return RowType(model.schema)


def parsed(cells: RowType, rows: list[dict[str, Any]]) -> pl.DataFrame:
    request = ScoreRequest.of(cells, 1000).model_validate_json(json.dumps({"rows": rows}))
    return cells.frame(request.rows)


def test_rows_score_alike_after_the_way_there_and_back(model: pf.TableDensity, cells: RowType) -> None:
    frame = table(40)
    rows = json.loads(json_rows(frame))["rows"]
    assert rows[0]["took"] == frame["took"][0].total_seconds()
    assert rows[0]["at"][-6:] in ("+01:00", "+02:00")  # Berlin, winter and summer
    back = parsed(cells, rows)
    assert back["at"].dtype == pl.Datetime("us", "Europe/Berlin")
    np.testing.assert_allclose(model.score_samples(back), model.score_samples(frame), atol=1e-5)


def test_moments_are_read_in_iso_form_and_in_the_table_s(cells: RowType) -> None:
    (row,) = json.loads(json_rows(table(1)))["rows"]
    ours, iso = (parsed(cells, [{**row, "stamp": text}]) for text in ("2022/03/04 05:06", "2022-03-04T05:06:00"))
    assert ours["stamp"].to_list() == iso["stamp"].to_list() == ["2022/03/04 05:06"]
    local, utc = (parsed(cells, [{**row, "at": text}])["at"][0] for text in ("2022-03-04T05:06", "2022-03-04T04:06Z"))
    assert local == utc


def test_holes_are_filled_by_values_of_the_table_s_kind(model: pf.TableDensity, cells: RowType) -> None:
    row = {"group": "a", "day": "2022-02-01", "small": None, "price": None, "took": None, "at": None}
    (filled,) = json.loads(json_rows(ImputeRequest(seed=0).answer(model, parsed(cells, [row]))))["rows"]
    assert isinstance(filled["small"], int)
    assert int(filled["price"].replace(",", "")) > 0
    assert isinstance(filled["took"], float)
    assert filled["at"].startswith("202")


def test_what_the_density_is_conditioned_on_is_needed(model: pf.TableDensity, cells: RowType) -> None:
    with pytest.raises(ValidationError, match="day"):
        parsed(cells, [{"group": "a", "small": 3}])
    with pytest.raises(InputError, match="is conditioned on group, day"):
        SampleRequest(n=2).answer(model, cells.frame([]))
    given = {"group": "b", "day": dt.date(2022, 2, 1)}
    drawn = SampleRequest(n=2, seed=1, given=given).answer(model, cells.frame([]))
    assert drawn["group"].to_list() == ["b", "b"]


def test_conditions_of_every_kind_of_column_hold_for_what_is_drawn(model: pf.TableDensity, cells: RowType) -> None:
    row = {"group": "a", "day": "2022-02-01"}
    known = {
        "took": {"low": 100, "high": 400},
        "opens": ["08:30:00", "09:30:00"],
        "price": {"low": "1,000"},
        "at": {"high": "2022-03-04T04:06Z"},
        "stamp": {"low": "2022-02-01T00:00:00", "high": "2022/04/01 00:00"},
        "small": [3, 4, 5],
    }
    asked = SampleRequest.of(cells, 9).model_validate_json(json.dumps({"n": 30, "seed": 0, "given": row | known}))
    drawn = asked.answer(model, cells.frame([]))
    assert drawn["took"].is_between(dt.timedelta(seconds=100), dt.timedelta(seconds=400)).all()
    assert set(drawn["opens"]) <= {dt.time(8, 30), dt.time(9, 30)}
    assert (drawn["price"].str.replace_all(",", "").cast(int) >= 1000).all()
    assert (drawn["at"] <= dt.datetime(2022, 3, 4, 5, 7, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))).all()
    assert drawn["stamp"].is_between("2022/02/01 00:00", "2022/04/01 00:00").all()
    assert set(drawn["small"]) <= {3, 4, 5}


def test_why_there_is_no_answer_is_said(model: pf.TableDensity, cells: RowType) -> None:
    given = {"group": "never", "day": dt.date(2022, 2, 1)}
    found = AskRequest(where={"small": (0, 10)}, given=given).answer(model, cells.frame([]))
    assert np.isnan(found["probability"])
    assert "never" in model.notes_[-1]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("took", 1e300),
        ("took", -9.3e12),
        ("took", "1 hour"),
        ("at", "0001-01-01T00:00:00+14:00"),
        ("at", "9999-12-31T23:59:59-12:00"),
        ("at", "2022-13-01"),
        ("stamp", "0001-01-01T00:00:00+14:00"),
        ("opens", "12:00:00+02:00"),
        ("day", "10000-01-01"),
        ("exact", 10**400),
        ("small", True),
        ("price", "1e999"),
        ("group", ["a"]),
    ],
)
def test_cells_that_no_table_could_hold_are_refused_by_their_column(cells: RowType, column: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        parsed(cells, [{"group": "a", "day": "2022-02-01", column: value}])
    refused = refusal_of(caught.value, cells)
    assert (refused.status, refused.problems[0]["column"]) == (422, column)
    assert refused.problems[0]["expected"] == cells.cells[column].expected


def test_scores_are_json_whatever_they_are() -> None:
    found = [Score(-1.5, 20.0, 0.1), Score(-np.inf, 0.0, np.inf), Score(np.nan, None, np.nan)]
    assert json.loads(json_answer(score_fields(found, True)).body) == {
        "log_density": [-1.5, None, None],
        "percentile": [20.0, 0.0, None],
        "standard_error": [0.1, None, None],
    }
    assert set(score_fields(found, False)) == {"log_density", "percentile"}
