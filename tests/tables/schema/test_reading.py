"""Columns as they come: what each is taken for, what is drawn of it, and what a missing cell is worth."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of

import pushforward as pf
from pushforward.errors import InputError
from pushforward.models.console import Console
from pushforward.models.options import TrainingOptions
from pushforward.tables.io.parquet import ParquetRows
from pushforward.tables.options import TableOptions
from pushforward.tables.prepare import prepare_large
from pushforward.tables.schema.cells import Cells
from pushforward.tables.schema.learner import Learner
from pushforward.tables.schema.moments import find_form
from pushforward.tables.schema.numbers import row_weights
from pushforward.tables.schema.reading import Marks
from pushforward.tables.schema.schema import Schema

RNG = np.random.default_rng(0)
ROWS = 300
A = RNG.normal(size=ROWS)
QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 30, "lr": 0.02}


def learnt(asked: bool = False, **columns: Any) -> Schema:
    frame = pl.DataFrame(columns, strict=False)
    return schema_of(frame, asked=asked)


def with_holes(values: Any, share: float = 0.3, seed: int = 1) -> list[Any]:
    holes = np.random.default_rng(seed).random(len(values)) < share
    return [None if hole else value for hole, value in zip(holes, list(values), strict=True)]


DAYS = [dt.date(2020, 1, 1) + dt.timedelta(int(day)) for day in RNG.integers(0, 900, ROWS)]
MOMENTS: dict[str, list[Any]] = {
    "Date": DAYS,
    "Datetime": [dt.datetime(2020, 1, 1) + dt.timedelta(minutes=int(k)) for k in RNG.integers(0, 10**6, ROWS)],
    "Time": [dt.time(int(k), 30) for k in RNG.integers(0, 24, ROWS)],
    "Duration": [dt.timedelta(seconds=int(k)) for k in RNG.integers(0, 10**5, ROWS)],
}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.integers(0, 2, ROWS), "values"),
        (RNG.integers(1, 6, ROWS) / 2, "values"),
        (RNG.choice([0.5, 1, 2, 5, 10, 20, 50, 100, 200, 400, 800, 1000, 2000, 5000, 9000], ROWS), "values"),
        (RNG.integers(0, 40, ROWS), "integer"),
        (with_holes(RNG.integers(0, 40, ROWS)), "integer"),
        (A > 0, "category"),
        (pl.Series(list("lmh") * 100, dtype=pl.Enum(["l", "m", "h"])), "category"),
        (pl.Series([f"{value:.1f}" for value in A]).cast(pl.Decimal(10, 1)), "rounded"),
        (pl.Series(RNG.integers(2**62, 2**63, ROWS), dtype=pl.UInt64), "continuous"),
        ([f"${1000 * value:,.2f}" for value in np.abs(A)], "continuous"),
        (DAYS, "date"),
    ],
)
def test_what_a_column_is_taken_for(values: Any, kind: str) -> None:
    assert learnt(a=values).fields[0].describe().kind.split(",")[0].split()[0] == kind


@pytest.mark.parametrize("dtype", MOMENTS)
def test_moments_are_drawn_as_moments(dtype: str) -> None:
    frame = pl.DataFrame({"when": MOMENTS[dtype], "a": A})
    schema = schema_of(frame)
    assert schema.columns[0].reading.dtype == dtype
    x = schema.encode(frame, "t.csv").x
    assert schema.decode(x).equals(frame)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert schema.columns[0].shown(float(x[0, 0])) == str(frame["when"][0])


@pytest.mark.parametrize(
    "column",
    [
        pl.Series(RNG.integers(-100, 100, ROWS), dtype=pl.Int8),
        pl.Series(RNG.integers(2**62, 2**63, ROWS), dtype=pl.UInt64).cast(pl.Float64).cast(pl.UInt64),
        pl.Series(A, dtype=pl.Float32),
        pl.Series([f"{value:.1f}" for value in A]).cast(pl.Decimal(10, 1)),
        pl.Series(list("mlh") * 100, dtype=pl.Enum(["l", "m", "h", "never"])),
        pl.Series(list("mlh") * 100, dtype=pl.Categorical),
        pl.Series(RNG.integers(0, 3, ROWS), dtype=pl.UInt8),
        pl.Series(MOMENTS["Datetime"]).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
        pl.Series(MOMENTS["Datetime"]).cast(pl.Datetime("ms")),
    ],
    ids=lambda column: str(column.dtype),
)
def test_samples_have_the_types_of_the_table(column: pl.Series) -> None:
    frame = pl.DataFrame({"c": column, "a": A})
    schema = Schema.from_json(json.loads(json.dumps(schema_of(frame).to_json())))
    x = schema.encode(frame, "t.csv").x
    back = schema.decode(x)
    assert back.schema == frame.schema
    assert back["c"].to_list() == frame["c"].to_list()
    if isinstance(column.dtype, pl.Enum):
        assert schema.columns[0].kind.labels == ("l", "m", "h")


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%H:%M"])
def test_dates_and_times_that_are_text_stay_text_of_their_form(form: str) -> None:
    moments = MOMENTS["Time"] if form == "%H:%M" else MOMENTS["Datetime"] if "%H" in form else DAYS
    text = pl.Series("when", [moment.strftime(form) for moment in moments])
    assert find_form(text) is not None
    frame = pl.DataFrame({"when": text, "a": A})
    schema = schema_of(frame)
    x = schema.encode(frame, "t.csv").x
    assert schema.decode(x)["when"].to_list() == text.to_list()


@pytest.mark.parametrize(
    ("written", "unit", "read"),
    [
        ("{:.2f} kg", "kg", {"7 kg": 7.0, "1,200.5kg": 1200.5, "7": 7.0, "7 g": math.nan}),
        ("{:.2f} years", "years", {"1 year": 1.0, "2 years old": math.nan}),
        ("{:.2f}°C", "°C", {"-3 °C": -3.0, ".05°C": 0.05}),
        ("({:.2f})", "", {"(1,000)": -1000.0, "3": 3.0, "(3": math.nan}),
        ("${:.2f}", "", {"$3": 3.0, "3": 3.0, "€3": math.nan, "3%": math.nan}),
        ("\u2212{:.2f}", "", {"\u22121\u2019000": -1000.0, "3": 3.0}),
        ("{:.2f}", "", {"3": 3.0, "3%": math.nan}),
    ],
)
def test_numbers_with_units_and_in_parentheses(written: str, unit: str, read: dict[str, float]) -> None:
    (column,) = learnt(x=[written.format(abs(value)) for value in A]).columns
    assert (column.reading.dtype, column.reading.marks.unit) == ("Marked", unit)
    found = column.reading.values(pl.Series(list(read))).to_numpy()
    np.testing.assert_array_equal(found, list(read.values()))
    np.testing.assert_array_equal(column.reading.values(pl.Series(list(read), dtype=pl.Categorical)).to_numpy(), found)


def test_new_text_that_cannot_be_read_is_said_to_be_missing() -> None:
    columns = {
        "a": A,
        "money": [f"${abs(value):.2f}" for value in A],
        "lead": ["<0.5", *(f"{abs(v):.1f}" for v in A[1:])],
    }
    model = pf.TableDensity(**QUICK).fit(columns)
    rows = {"a": [0.0] * 3, "money": ["$1.00", "n.a.", "€2.00"], "lead": ["0.7", "<0.5", "0,7"]}
    model.score_samples(rows)
    said = [note for note in model.notes_ if "cannot be read" in note]
    assert len(said) == 2
    assert "column 'money', row 3: '€2.00'" in said[0]
    model.notes_.clear()
    model.score_samples({name: cells[:2] for name, cells in rows.items()})
    assert not model.notes_


def test_amounts_of_two_currencies_and_shares_beside_per_cent_are_not_in_one_unit() -> None:
    money = [f"{'$€'[place % 2]}{value:.2f}" for place, value in enumerate(A)]
    shares = [f"{value:.1f}%" if place % 2 else f"{value / 100:.3f}" for place, value in enumerate(A)]
    assert {column.reading.dtype for column in learnt(a=A, money=money, shares=shares).columns} <= {"", "String"}
    schema = learnt(a=A, shares=[*(f"{abs(value):.1f}%" for value in A[:-9]), *["0.125"] * 9])
    assert any("'0.125'" in note for note in schema.notes)


def test_text_of_whole_numbers_is_a_name_unless_asked_for() -> None:
    frame = pl.DataFrame({"code": [str(1000 + 7 * place) for place in range(ROWS)], "a": A})
    assert schema_of(frame, asked=False).names == ["a"]
    assert schema_of(frame, asked=False, numbers=["code"]).names == ["code", "a"]


def test_numbers_that_doubles_do_not_hold_apart_are_left_out() -> None:
    assert learnt(a=A, id=pl.Series(range(2**63, 2**63 + ROWS), dtype=pl.UInt64)).names == ["a"]


@pytest.mark.parametrize(
    "written", ["{}A", "flat {}", "{} x 3 cm", "INV-{}", "{:05} Dresden", "{:04}.5", "1.{}", "2.{}0"]
)
def test_codes_are_not_numbers_with_units(written: str) -> None:
    schema = learnt(x=A, code=[written.format(place) for place in range(ROWS)])
    assert [column.name for column in schema.columns] == ["x"]


@pytest.mark.parametrize("other", ["1TB", "AWD"])
def test_a_tenth_of_cells_in_another_unit_make_names(other: str) -> None:
    cells = [other if k % 10 == 0 else f"{k % 30}{other[1:] if other == 'AWD' else 'GB'}" for k in range(ROWS)]
    (column,) = (column for column in learnt(x=A, size=cells).columns if column.name == "size")
    assert column.reading.dtype == "String"


@pytest.mark.parametrize("code", ["{0}-{1:02}", "40{0:02}-{2:02}"])
def test_two_years_and_codes_are_not_months(code: str) -> None:
    cells = [code.format(k, (k + 1) % 100, k % 12 + 1) for k in (RNG.integers(2000, 2014, ROWS) % 10_000)]
    assert find_form(pl.Series(cells)) is None


def test_days_that_are_numbers_are_said_to_be_no_dates() -> None:
    days = [int(day.strftime("%Y%m%d")) for day in DAYS]
    assert learnt(a=A, day=days).notes[0].startswith("day:")
    assert not learnt(a=A, count=[day % 100 + 20_200_100 + 50 * (day % 2) for day in days]).notes


def test_what_is_no_date_is_text() -> None:
    assert find_form(pl.Series(["2020-01-01", "soon", "2020-01-03"])) is None
    assert find_form(pl.Series(["1.5", "2.5", "3.5"])) is None


def test_names_counters_constants_and_empty_columns_are_left_out_or_kept_apart() -> None:
    schema = learnt(
        a=A, row=range(1, ROWS + 1), name=[f"n{k}" for k in range(ROWS)], one=["x"] * ROWS, nothing=[None] * ROWS
    )
    assert schema.names == ["a"]
    assert schema.order == ("a", "one")
    assert len(schema.notes) == 4
    assert "row: left out: it numbers the rows (`columns=` models it)" in schema.notes
    x = schema.encode(pl.DataFrame({"a": A}), "t.csv").x
    assert schema.decode(x)["one"].to_list() == ["x"] * ROWS
    broken = schema.broken(schema.encode(pl.DataFrame({"a": A, "one": ["x"] * (ROWS - 1) + ["y"]}), "t.csv"))
    assert [int(rows.sum()) for rows in broken] == [1]
    assert learnt(asked=True, row=range(1, ROWS + 1)).names == ["row"]
    with pytest.raises(InputError, match=r"t.csv: no column is left to model; row: left out"):
        learnt(row=range(1, ROWS + 1))


def test_names_that_differ_in_most_rows_are_modelled_where_nothing_else_is_left() -> None:
    names = [f"n{k % (ROWS - 5)}" for k in range(ROWS)]
    schema = learnt(name=names, key=[f"k{k}" for k in range(ROWS)])
    assert schema.names == ["name"]
    assert "name: modelled, as nothing else is left: names that differ in most rows" in schema.notes
    assert learnt(name=names, a=A).names == ["a"]


def test_row_numbers_of_a_part_of_a_table_are_left_out_and_days_with_gaps_are_not() -> None:
    part, a = RNG.permutation(500)[:300], RNG.normal(size=300)
    assert learnt(a=a, row=part).names == ["a"]
    assert learnt(a=a, day=np.sort(part) + 100).names == ["a", "day"]
    assert learnt(a=a, count=part // 2).names == ["a", "count"]


def test_a_few_dates_among_holes_are_dates_and_a_few_that_repeat_are_names() -> None:
    days = [f"2020-0{1 + k}-1{k}" for k in range(8)]
    schema = learnt(a=RNG.normal(size=200), end=[*days, *[None] * 192], wave=days * 25)
    assert [column.reading.dtype for column in schema.columns[:3]] == ["", "Date", "String"]


def test_rare_categories_share_one() -> None:
    names = np.array([f"k{k}" for k in range(300)])[np.minimum(RNG.geometric(0.01, 3000), 299)]
    schema = learnt(k=names, a=RNG.normal(size=3000))
    column = schema.columns[0]
    assert len(column.kind.labels) == 200
    assert column.kind.labels[-1] == "(other)"
    assert column.kind.grouped == len(set(names)) - 199
    codes = column.read(pl.Series(["k1", "never seen", None]))
    assert codes[1] == 199
    assert math.isnan(codes[2])


def test_categories_that_another_implies_follow_from_it() -> None:
    city = RNG.integers(0, 12, 600)
    columns = {"country": city // 4, "city": [f"c{k}" for k in city], "code": [f"id{k}" for k in city]}
    schema = learnt(**columns, a=RNG.normal(size=600))
    assert schema.names == ["city", "a"]
    assert {str(relation) for relation in schema.dependencies} == {
        "'country' follows from 'city'",
        "'code' follows from 'city'",
    }
    frame = pl.DataFrame({**columns, "a": RNG.normal(size=600)})
    x = schema.encode(frame, "t.csv").x
    assert schema.decode(x).select(frame.columns).drop("a").equals(frame.drop("a"))
    assert [rows.any() for rows in schema.broken(schema.encode(frame, "t.csv"))] == [False, False]
    noisy = np.where(RNG.random(600) < 0.01, 0, city // 4)
    assert "country" in learnt(country=noisy, city=columns["city"], a=A.repeat(2)).names


def test_missing_cells_are_integrated_out_of_a_known_density() -> None:
    normal = torch.distributions.Normal(0.0, 1.0)
    schema = learnt(a=A, b=A[::-1].copy())
    x = torch.tensor([[0.3, math.nan], [math.nan, -1.0], [0.3, -1.0]], dtype=torch.float64)
    value, error = Cells(schema).log_density(lambda x, c: normal.log_prob(x).sum(-1), x, samples=256)
    exact = torch.tensor([normal.log_prob(torch.tensor(v)).sum() for v in ([0.3], [-1.0], [0.3, -1.0])])
    assert (value - exact).abs().max() < 0.05
    assert (error[:2] > 0).all()


@pytest.mark.slow
def test_whether_a_cell_is_missing_is_part_of_the_probability_where_it_tells_something() -> None:
    k = RNG.choice(["u", "v", None], ROWS, p=[0.4, 0.4, 0.2])
    holed = (RNG.random(ROWS) < np.where(k == "u", 0.5, 0.05)) | ((k == None) & (RNG.random(ROWS) < 0.8))  # noqa: E711
    frame = pl.DataFrame({"a": np.where(holed, np.nan, A), "k": k.tolist()}).with_columns(pl.col("a").fill_nan(None))
    model = pf.TableDensity(**{**QUICK, "steps": 60}, samples=128).fit(frame)
    assert [column.name for column in model.schema.columns] == ["a", "k", "a is missing"]
    grid = np.linspace(-8, 8, 400)
    total = 0.0
    for name in ("u", "v", None):
        present = model.score_samples(pl.DataFrame({"a": grid, "k": [name] * len(grid)}, schema=frame.schema))
        absent = model.score_samples(pl.DataFrame({"a": [None], "k": [name]}, schema=frame.schema))
        total += np.exp(present).sum() * (grid[1] - grid[0]) + np.exp(absent).sum()
    assert total == pytest.approx(1.0, abs=0.05)
    drawn = model.sample(4000, random_state=0)
    for name in frame.columns:
        assert drawn[name].null_count() / 4000 == pytest.approx(frame[name].null_count() / ROWS, abs=0.07)


@pytest.mark.parametrize("told", [True, False])
def test_holes_that_many_small_groups_tell_are_not_at_random(told: bool) -> None:
    """Of 90 clinics with six rows each, two thirds report everything, and the others about half."""
    rng = np.random.default_rng(0)
    clinic = np.arange(540) % 90
    gone = rng.random(540) < (0.45 * (clinic % 3 == 0) if told else 0.15)
    others = {f"x{j}": rng.normal(size=540) for j in range(6)}
    frame = pl.DataFrame({"rate": np.where(gone, np.nan, rng.normal(size=540)), "clinic": clinic, **others})
    schema = schema_of(frame.cast({"clinic": pl.String}).fill_nan(None))
    assert schema.columns[0].holes.at_random != told


def test_holes_that_a_rare_name_tells_are_not_at_random() -> None:
    broken = np.arange(ROWS) % 40 == 3  # so few that less than one hole is expected there by chance
    status = np.where(np.arange(ROWS) % 40 < 2, "late", np.where(broken, "error", "ok"))
    alone = {name: np.where(broken, np.nan, values) for name, values in (("a", A), ("b", A[::-1]))}
    for told in ({"a": alone["a"], "status": status}, alone):
        assert not any(column.holes.at_random for column in schema_of(pl.DataFrame(told).fill_nan(None)).columns)
    by_chance = RNG.permutation(alone["a"])
    found = schema_of(pl.DataFrame({"a": by_chance, "status": status}).fill_nan(None)).columns
    assert [column.name for column in found if column.holes.at_random] == ["a"]


def test_holes_at_random_cost_complete_rows_nothing_and_are_integrated_out() -> None:
    frame = pl.DataFrame(
        {"a": with_holes(A), "k": with_holes(np.random.default_rng(5).choice(["u", "v"], ROWS), seed=2)}
    )
    model = pf.TableDensity(**QUICK, samples=256).fit(frame)
    assert any("missing at random" in note for note in model.notes_)
    assert {c.name for c in model.schema.columns if c.holes.at_random} == {"a", "k"}
    grid, total = np.linspace(-8, 8, 400), 0.0
    for name in ("u", "v"):
        present = model.score_samples(pl.DataFrame({"a": grid, "k": [name] * len(grid)}))
        absent = model.score_samples(pl.DataFrame({"a": [None], "k": [name]}, schema=frame.schema))
        over_a = np.exp(present).sum() * (grid[1] - grid[0])
        assert np.exp(absent) == pytest.approx(over_a, abs=0.05)
        total += over_a
    assert total == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_what_tells_of_holes_at_random_is_no_column_where_a_guide_fills_them() -> None:
    c, told = np.random.default_rng(4).normal(size=(2, ROWS))
    told[(c > 0) & (np.random.default_rng(5).random(ROWS) < 0.6)] = np.nan  # c tells of them
    columns = {"a": with_holes(A), "told": told, "c": c, "k": with_holes(RNG.choice(["u", "v"], ROWS), seed=2)}
    frame = pl.DataFrame(columns).with_columns(pl.col("told").fill_nan(None))
    model = pf.TableDensity(**{**QUICK, "steps": 20}).fit(frame)
    assert [column.name for column in model.schema.columns] == ["a", "told", "c", "k", "told is missing"]
    assert model.schema.missingness.ignored == pytest.approx({j: frame[:, j].null_count() / ROWS for j in (0, 3)})
    assert model.schema.columns[3].labels == ("u", "v")
    assert Schema.from_json(json.loads(json.dumps(model.schema.to_json()))) == model.schema
    drawn = model.sample(500, random_state=0)
    given = model.sample(500, given={"k": "u", "c": 0.1}, random_state=0)
    for rows in (drawn, given):
        assert rows["a"].null_count() / 500 == pytest.approx(model.schema.missingness.ignored[0], abs=0.07)
        assert rows["c"].null_count() == 0
    assert drawn["k"].null_count() / 500 == pytest.approx(model.schema.missingness.ignored[3], abs=0.07)
    assert set(drawn["k"]) == {"u", "v", None}
    assert model.sample(50, given=frame[:1])["a"].to_list() == [columns["a"][0]] * 50  # a seen value stays
    assert model.impute(frame).select("a", "k").null_count().row(0) == (0, 0)
    without = pf.TableDensity(**{**QUICK, "steps": 5}, queries=False).fit(
        frame
    )  # holes are noise, which the flow has to be told
    assert [c.kind.flags for c in without.schema.columns if c.kind.flags] == ["a", "told"]


def test_rows_of_a_stream_are_encoded_without_what_tells_of_holes_at_random(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": with_holes(np.tile(A, 10)), "b": np.random.default_rng(6).normal(size=10 * ROWS)})
    path = tmp_path / "t.parquet"
    frame.write_parquet(path, row_group_size=ROWS)
    options = TableOptions(columns=["a", "b"], training=TrainingOptions())
    rows = prepare_large(ParquetRows(path, [path]), Learner(options, str(path), asked=False), Console(quiet=True))
    assert rows.schema.names == ["a", "b"]
    fewer = rows.encoded_by(rows.schema.ignoring())
    assert rows.stream is not None
    assert fewer.stream is not None
    (before, _), (after, _) = (next(each.stream.read(0, 0)) for each in (rows, fewer) if each.stream is not None)
    assert before.shape[1] == 3
    assert torch.equal(after.nan_to_num(), before[:, :2].nan_to_num())
    assert torch.equal(fewer.val.x.nan_to_num(), rows.val.x[:, :2].nan_to_num())


@pytest.mark.slow
def test_a_table_with_a_hole_in_every_row_is_fitted_and_scored() -> None:
    odd = np.arange(ROWS) % 2 == 1
    frame = pl.DataFrame({"a": np.where(odd, np.nan, A), "b": np.where(odd, A, np.nan)}).fill_nan(None)
    model = pf.TableDensity(**QUICK).fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()
    assert model.explain(frame[:3]).height == 3


def test_tables_of_nothing_but_categories_have_probabilities() -> None:
    frame = pl.DataFrame({"k": RNG.choice(["u", "v"], ROWS), "n": RNG.integers(0, 3, ROWS)})
    model = pf.TableDensity(**QUICK).fit(frame)
    everything = pl.DataFrame({"k": ["u"] * 3 + ["v"] * 3, "n": [0, 1, 2] * 2})
    assert np.exp(model.score_samples(everything)).sum() == pytest.approx(1.0, abs=1e-5)
    assert set(model.sample(200)["n"]) <= {0, 1, 2}
    unseen = model.score_samples(pl.DataFrame({"k": ["u"], "n": [7]}))
    assert unseen[0] == -math.inf


def test_numbers_with_few_values_are_a_scale_by_choice() -> None:
    frame = pl.DataFrame({"n": RNG.integers(0, 3, ROWS), "a": A})
    schema = schema_of(frame, numbers=["n"])
    assert schema.columns[0].describe().kind == "integer"


def test_a_given_column_may_miss_values() -> None:
    frame = pl.DataFrame({"a": A, "k": with_holes(RNG.choice(["u", "v"], ROWS)), "c": with_holes(A[::-1])})
    model = pf.TableDensity(given=["k", "c"], **QUICK).fit(frame)
    assert model.schema.context_features == 5
    assert np.isfinite(model.score_samples(frame)).all()


def sums(rows: int = 400, share: float = 0.2) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two numbers, a few-valued one and the sum of all; and the same with holes."""
    rng = np.random.default_rng(3)
    parts = {
        "a": rng.normal(size=rows).round(4),
        "b": rng.gamma(2.0, size=rows).round(4),
        "k": rng.integers(0, 4, rows),
    }
    whole = pl.DataFrame({**parts, "total": parts["a"] + 2 * parts["b"] - parts["k"]})
    return whole, pl.DataFrame({name: with_holes(whole[name], share, seed) for seed, name in enumerate(whole.columns)})


def test_holes_of_a_sum_are_completed_from_the_rest() -> None:
    whole, holed = sums()
    schema = schema_of(holed)
    assert schema.names == ["a", "b", "k"]
    assert [str(relation) for relation in schema.dependencies] == ["'total' is 'a' + 2 * 'b' - 'k'"]
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    x, there = schema.encode(holed, "t.csv").x.numpy(), holed.select(pl.all().is_null()).to_numpy()
    one = there.sum(1) <= 1
    truth = schema.encode(whole, "t.csv").x.numpy()
    np.testing.assert_allclose(x[one], truth[one], atol=1e-9)
    assert schema.decode(torch.from_numpy(x[one]))["total"].to_numpy() == pytest.approx(whole["total"].to_numpy()[one])
    more = np.isnan(x[:, 0])
    assert 0 < more.mean() == pytest.approx((there[:, 0] & there[:, 1:].any(1)).mean())
    assert schema.fields[0].holes.share == pytest.approx(more.mean())
    assert not any(rows.any() for rows in schema.broken(schema.encode(holed, "t.csv")))
    wrong = holed.with_columns(total=pl.when(pl.Series(one)).then(pl.col("total") + 1.5))
    broken = schema.broken(schema.encode(wrong, "t.csv"))
    assert broken[0].tolist() == (one & ~there.any(1)).tolist()  # elsewhere the sum is what tells


def test_a_sum_is_found_beside_columns_that_miss_nearly_all() -> None:
    whole, _ = sums()
    rare = pl.DataFrame({f"r{seed}": with_holes(RNG.normal(size=400), 0.9, seed) for seed in range(3)})
    assert schema_of(rare.hstack(whole), columns=[*rare.columns, *whole.columns]).follow_names == ["total"]
    few = {"p": with_holes(RNG.normal(size=60), 0.3, 5), "q": with_holes(RNG.normal(size=60), 0.3, 6)}
    assert not learnt(**few, r=with_holes(RNG.normal(size=60), 0.5, 7)).dependencies


def test_what_a_sum_says_is_imputed_and_scored() -> None:
    whole, holed = sums(200)
    model = pf.TableDensity(**QUICK).fit(whole)
    assert model.schema.follow_names == ["total"]
    one = whole.with_columns(a=pl.when(pl.int_range(200) < 90).then("a"))
    np.testing.assert_allclose(model.impute(one)["a"].to_numpy(), whole["a"].to_numpy(), atol=1e-9)
    np.testing.assert_allclose(model.impute(whole.drop("b"))["b"].to_numpy(), whole["b"].to_numpy(), atol=1e-9)
    np.testing.assert_allclose(model.score_samples(one), model.score_samples(whole))
    np.testing.assert_allclose(model.score_samples(whole.drop("a")), model.score_samples(whole))
    filled = model.impute(holed)
    assert filled.null_count().sum_horizontal().sum() == 0
    rest = filled["a"] + 2 * filled["b"] - filled["k"]
    mended = holed.select(pl.sum_horizontal(pl.col("a", "b", "k").is_null()) < 2).to_series() | holed["total"].is_null()
    np.testing.assert_allclose(filled["total"].filter(mended), rest.filter(mended), atol=1e-9)


def test_codes_that_are_no_float64_numbers_are_told_apart() -> None:
    codes = [2**53 + 1, 2**53 + 3]
    table = pl.DataFrame({"code": codes * 100, "x": RNG.normal(size=200)})
    table = table.with_columns(x=pl.col("x") + 6 * (pl.col("code") == codes[1]))
    model = pf.TableDensity("gmm", categories=["code"], queries=False).fit(table)
    assert set(model.sample(50)["code"]) == set(codes)
    one, other = model.score_samples(pl.DataFrame({"code": codes, "x": [0.0, 0.0]}))
    assert one > other + 3
    assert np.isneginf(model.score_samples(pl.DataFrame({"code": [2**53 + 2], "x": [0.0]}))).all()


def test_given_values_are_returned_as_the_table_has_them() -> None:
    times = pl.datetime_range(
        dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 9), "1h", time_zone="Europe/Berlin", eager=True
    )
    table = pl.DataFrame({"t": times, "x": RNG.normal(size=len(times))})
    model = pf.TableDensity(**{**QUICK, "steps": 5}, given=["t"]).fit(table)
    drawn = model.sample(2, given={"t": "2020-01-02 03:00"})
    assert drawn["t"].dtype == table["t"].dtype
    assert drawn["t"].dt.hour().to_list() == [3, 3]


@pytest.mark.slow
def test_files_to_compare_by_are_read_as_the_one_that_was_fitted(tmp_path: Path) -> None:
    rows = pl.DataFrame({"code": ["007", "012", "A9"] * 60, "x": RNG.normal(size=180)})
    model = pf.TableDensity("gmm", queries=False).fit(rows)
    some = rows.filter(pl.col("code") != "A9")
    some.write_csv(tmp_path / "some.csv")
    by_file, by_frame = (model.compare(model, table) for table in (tmp_path / "some.csv", some))
    assert by_file["rows"] == by_frame["rows"]
    model.report(tmp_path / "report.html", tmp_path / "some.csv")
    assert "007" in (tmp_path / "report.html").read_text()


def test_a_number_that_is_no_truth_value_is_none() -> None:
    schema = learnt(asked=True, b=[True, False, False] * 50, x=RNG.normal(size=150))
    for cells in (pl.Series([1, 0, 2, None]), pl.Series([1.0, 0.0, 0.5, None]), pl.Series(["TRUE", "0", "2", None])):
        codes = schema.encode(pl.DataFrame({"b": cells, "x": [0.0] * 4}), "t.csv").x[:, schema.names.index("b")]
        np.testing.assert_array_equal(codes, [1, 0, -1, np.nan])


def test_weights_of_no_rows_are_none() -> None:
    assert len(row_weights(pl.DataFrame({"w": pl.Series([], dtype=pl.Float64)}), "w", "t.csv")) == 0


def test_numbers_that_were_kept_from_spreadsheets() -> None:
    there = pl.Series(["$5", "-$7", "$1,200", "-$80"] * 5)
    numbers = Marks.of(there).numbers(pl.Series(["'-$7", "-$7", "'-$1,200", "''-$7"]))
    assert numbers.to_list() == [-7, -7, -1200, None]
