"""Frames of every library: the same rows in, the same kind of frame out, and nothing changed on the way."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import pushforward as pf
from pushforward.errors import InputError
from pushforward.tables.io.frames import from_frame, is_path, to_frame
from pushforward.tables.schema.reading import as_stored, stored_type

EXPECTED = pl.DataFrame({"a": [1.5, None, -3.0], "b": [1, 2, 3], "c": ["x", None, "y"]})
RAW = {"a": [1.5, float("nan"), -3.0], "b": [1, 2, 3], "c": ["x", "", "y"]}
FRAMES: dict[str, Callable[[], Any]] = {
    "polars": lambda: pl.DataFrame(RAW),
    "polars lazy": lambda: pl.LazyFrame(RAW),
    "pandas": lambda: pd.DataFrame(RAW),
    "pyarrow": lambda: pa.table(RAW),
    "pyarrow batch": lambda: pa.RecordBatch.from_pydict(RAW),
    "dict": lambda: {**RAW, "a": np.array(RAW["a"])},
}


@pytest.mark.parametrize("library", FRAMES)
def test_every_library_gives_the_same_rows_and_gets_its_own_kind_back(library: str) -> None:
    native = FRAMES[library]()
    frame, kind = from_frame(native)
    assert frame.equals(EXPECTED)
    assert kind == library
    back = to_frame(frame, kind)
    assert type(back) is type(native)
    assert from_frame(back)[0].equals(EXPECTED)


@pytest.mark.parametrize("library", FRAMES)
def test_the_frame_that_came_is_not_modified(library: str) -> None:
    native, same = FRAMES[library](), FRAMES[library]()
    from_frame(native)
    assert repr(native) == repr(same) or library == "polars lazy"
    assert library != "pandas" or native.equals(same)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (pd.array([1, None], dtype="Int64"), pl.Int64, [1, None]),
        (pd.array([1.5, None], dtype="Float64"), pl.Float64, [1.5, None]),
        (pd.array([True, None], dtype="boolean"), pl.Boolean, [True, None]),
        (pd.array(["a", pd.NA], dtype="string"), pl.String, ["a", None]),
        (pd.array([1, None], dtype="float32[pyarrow]"), pl.Float32, [1.0, None]),
        (pd.Categorical(["b", None, "a"]), pl.Categorical, ["b", None, "a"]),
        (pd.Categorical(["lo", "hi"], ["lo", "hi"], ordered=True), pl.Enum(["lo", "hi"]), ["lo", "hi"]),
        (pd.Categorical([3, 10], ordered=True), pl.Enum(["3", "10"]), ["3", "10"]),
        (pd.Categorical([3, 10]), pl.Categorical, ["3", "10"]),
        (pd.cut(pd.Series([1.0, 2.0]), [0, 1, 2]), pl.Enum(["(0, 1]", "(1, 2]"]), ["(0, 1]", "(1, 2]"]),
        (pd.to_datetime(["2020-01-01", None]), pl.Datetime("us"), [dt.datetime(2020, 1, 1), None]),
        (pd.to_timedelta(["1s", None]), pl.Duration("us"), [dt.timedelta(seconds=1), None]),
        (pd.period_range("2020-01", periods=1, freq="M"), pl.Datetime("us"), [dt.datetime(2020, 1, 1)]),
        (pd.arrays.SparseArray([0.0, np.nan]), pl.Float64, [0.0, None]),
        ([pd.NA, pd.NaT, None, float("nan"), 1.5], pl.Float64, [None, None, None, None, 1.5]),
        ([Decimal("1.20"), None], pl.Decimal(3, 2), [Decimal("1.20"), None]),
        ([2**70, None, 1], pl.Float64, [2.0**70, None, 1.0]),
        ([dt.date(2020, 1, 1), None], pl.Date, [dt.date(2020, 1, 1), None]),
        (["a", 1, None], pl.String, ["a", "1", None]),
        ([uuid.UUID(int=1)], pl.String, ["00000000-0000-0000-0000-000000000001"]),
    ],
)
def test_columns_of_pandas(values: Any, dtype: Any, expected: list[Any]) -> None:
    column = pd.Series(values, dtype=object) if isinstance(values, list) else pd.Series(values)
    frame, _ = from_frame(pd.DataFrame({"x": column}))
    assert frame["x"].dtype.base_type() == dtype.base_type()
    assert frame["x"].dtype == dtype or not isinstance(dtype, pl.Enum | pl.Decimal)
    assert frame["x"].to_list() == expected


def test_time_zones_stay() -> None:
    column = pd.Series(pd.to_datetime(["2020-01-01", None]), name="x").dt.tz_localize("Europe/Berlin")
    frame, kind = from_frame(pd.DataFrame({"x": column}))
    assert frame["x"].dtype.time_zone == "Europe/Berlin"  # type: ignore[attr-defined]
    pd.testing.assert_series_equal(to_frame(frame, kind)["x"], column)


def test_categories_go_back_to_pandas_with_their_order() -> None:
    native = pd.DataFrame(
        {"o": pd.Categorical(["lo", "hi"], ["lo", "hi"], ordered=True), "u": pd.Categorical(["a", "b"])}
    )
    frame, kind = from_frame(native)
    back = to_frame(frame, kind)
    assert back["o"].cat.ordered
    assert list(back["o"].cat.categories) == ["lo", "hi"]
    assert not back["u"].cat.ordered


def test_categories_that_are_numbers_go_back_to_pandas_as_such() -> None:
    grade, digits = pd.Categorical([3, 10, 3], [3, 10], ordered=True), pd.Categorical(["3", "10", "3"])
    native = pd.DataFrame({"grade": grade, "share": pd.Categorical([0.5, None, 1.5]), "name": pd.Categorical([*"aba"])})
    pd.testing.assert_frame_equal(to_frame(*from_frame(native)), native)
    both = to_frame(*from_frame(native.assign(digits=digits)))  # of which no note says what is what
    assert list(both["grade"].cat.categories) == ["3", "10"]
    kind = from_frame(native.assign(digits=pd.Categorical(["3", "x", "3"])))[1]
    assert to_frame(pl.DataFrame({"digits": pl.Series(["3"], dtype=pl.Categorical)}), kind)["digits"].item() == "3"
    rows = pd.concat([native[["grade", "name"]].assign(x=[1.0, 2.5, 7.0])] * 20)
    model = pf.TableDensity("maf", steps=2, relations="none").fit(rows)
    assert model.sample(30, random_state=0)["grade"].isin([3, 10]).all()
    assert set(model.predict(native[["name"]], "grade", "mode")) <= {3, 10}
    model = pf.TableDensity("maf", steps=2, relations="none").fit(rows.set_axis([0, 1, 2], axis=1))
    assert set(model.predict(native[["name"]].set_axis([1], axis=1), "0", "mode")) <= {3, 10}


def test_types_go_back_to_pandas_where_they_hold_all_values() -> None:
    native = pd.DataFrame(
        {
            "code": pd.Categorical([3, None, 1], categories=[3, 2, 1, 9]),
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "text": pd.array(["a", None, "c"], dtype="string"),
            "day": pd.PeriodIndex(["2020-01-01"] * 3, freq="D"),
            "other": pd.Categorical(["p", "q", "p"]),
        }
    )
    frame, kind = from_frame(native)
    filled = frame.with_columns(pl.col("code").fill_null("2"), pl.col("whole", "text").forward_fill())
    back = to_frame(filled.with_columns(other=pl.Series(["p", "new", "p"])), kind, native, typed=True)
    assert back.dtypes[:4].equals(native.dtypes[:4])
    assert back["code"].tolist() == [3, 2, 1]
    assert back["other"].tolist() == ["p", "new", "p"]


def test_names_that_are_numbers_and_the_index_go_back_to_pandas() -> None:
    native = pd.DataFrame(np.arange(4.0).reshape(2, 2), index=["p", "q"])
    frame, kind = from_frame(native)
    assert frame.columns == ["0", "1"]
    assert kind == "pandas numbered"
    pd.testing.assert_frame_equal(to_frame(frame, kind, native), native, check_column_type=False)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.array([1, 2], dtype=">i4"), [1, 2]),
        (np.array([1.5], dtype=np.float16), [1.5]),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.array(["a", ""]), ["a", None]),
        (np.array(["2020-01-01T05", "NaT"], dtype="datetime64[h]"), [dt.datetime(2020, 1, 1, 5), None]),
        (np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"), [dt.date(2020, 1, 1), None]),
        (np.ma.masked_array([1.0, 2.0], [False, True]), [1.0, None]),
        (np.array([], dtype="m8[ns]"), []),
    ],
)
def test_columns_of_numpy(array: np.ndarray, expected: list[Any]) -> None:
    table = {"x": array} if len(array) else {"x": np.append(array, np.timedelta64("NaT", "ns"))}
    assert from_frame(table)[0]["x"].to_list() == (expected or [None])


def test_arrays_of_two_dimensions_and_of_records() -> None:
    array = np.array([[1.0, 2.0], [3.0, np.nan]])
    frame, kind = from_frame(array)
    assert frame.equals(pl.DataFrame({"x1": [1.0, 3.0], "x2": [2.0, None]}))
    np.testing.assert_array_equal(to_frame(frame, kind), array)
    records = np.array([(1.5, 2)], dtype=[("u", "f8"), ("v", "i4")])
    frame, kind = from_frame(records)
    assert frame.to_dict(as_series=False) == {"u": [1.5], "v": [2]}
    assert to_frame(frame, kind).dtype.names == ("u", "v")


def test_anything_that_speaks_arrow_and_single_series() -> None:
    reader = pa.table(RAW).to_reader()
    assert from_frame(reader)[0].equals(EXPECTED)
    frame, kind = from_frame(pd.Series([1.0, 2.0], name="a"))
    assert frame.equals(pl.DataFrame({"a": [1.0, 2.0]}))
    assert kind == "pandas"


def test_arrow_dictionaries_in_chunks() -> None:
    chunks = [pa.array(["a", None]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]
    assert from_frame(pa.table({"x": pa.chunked_array(chunks)}))[0]["x"].to_list() == ["a", None, "b"]


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, pa.table, dict], ids=["pandas", "polars", "pyarrow", "dict"]
)
@pytest.mark.parametrize(
    ("values", "what"), [([[1], [2]], "lists"), ([{"p": 1}, {"p": 2}], "dicts"), ([b"a", b"b"], "bytes")]
)
def test_columns_of_objects_are_one_sentence(make: Callable[[Any], Any], values: list[Any], what: str) -> None:
    with pytest.raises(
        InputError, match=rf"^the table: column 'x' holds {what}; a column must hold numbers, text.*leave it out"
    ):
        from_frame(make({"a": [1, 2], "x": values}))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, "has no columns"),
        ({"a": [1, 2], "b": [1]}, "different numbers of rows: 'a' has 2, 'b' has 1"),
        ({"a": 3}, "column 'a' is 3; expected its values"),
        ({"a": "text"}, "column 'a' is 'text'; expected its values"),
        ({"a": np.zeros((2, 2))}, r"column 'a' has shape \(2, 2\)"),
        ({"a": [1 + 2j]}, "column 'a' holds values of type complex"),
        ({"a": [object()]}, "column 'a' holds values of type object"),
        (pl.DataFrame({"a": [object()]}), "column 'a' holds values of type object"),
        (np.zeros((2, 2, 2)), "has shape"),
        (np.zeros((2, 2), dtype=complex), "holds complex128 values"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are called 'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), "two columns are called 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns are called '1'"),
    ],
)
def test_what_is_no_table_is_one_sentence(table: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_frame(table)


@pytest.mark.parametrize(("table", "what"), [(7, "int"), ([[1, 2]], "list"), (None, "NoneType")])
def test_what_is_no_frame_is_a_type_error(table: Any, what: str) -> None:
    with pytest.raises(TypeError, match=f"expected a frame of pandas, Polars or pyarrow.*got {what}"):
        from_frame(table)


def test_a_library_that_is_not_installed_leaves_polars() -> None:
    assert to_frame(EXPECTED, "cudf").equals(EXPECTED)


def test_paths_are_told_from_frames() -> None:
    assert is_path("t.csv")
    assert is_path(Path("t.csv"))
    assert not is_path({"a": [1]})


def test_a_relation_of_duckdb_is_a_frame() -> None:
    relation = duckdb.sql("SELECT 1.5::DOUBLE AS a, 'x' AS b UNION ALL SELECT NULL, ''")
    assert from_frame(relation)[0].sort("a").equals(pl.DataFrame({"a": [None, 1.5], "b": [None, "x"]}))


def test_a_draw_may_have_a_digit_more_than_all_decimals_that_were_seen() -> None:
    stored = stored_type(pl.Decimal(4, 2))
    drawn = as_stored(pl.Series([99.99, 100.0, None]), stored)
    assert drawn.to_list() == [Decimal("99.99"), Decimal("100.00"), None]
    assert as_stored(pl.Series([1.25]), stored).dtype == pl.Decimal(4, 2)
    assert as_stored(pl.Series([1e60]), stored).to_list() == [1e60]  # no decimal holds it


def test_missing_whole_numbers_and_truth_values_stay_what_they_are_in_pandas() -> None:
    frame = pd.DataFrame({"n": pd.array([1, None, 3], dtype="Int64"), "b": pd.array([True, None, False])})
    back = to_frame(*from_frame(frame))
    assert back.dtypes.astype(str).to_dict() == {"n": "Int64", "b": "boolean"}
    assert back["n"].isna().tolist() == [False, True, False]


def test_a_pandas_frame_of_types_with_missing_values_keeps_them_without_any() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "b": [True, True, False], "x": [0.5, 1.0, 1.5]})
    masked = frame.astype({"n": "Int64", "b": "boolean"})
    assert to_frame(*from_frame(masked)).dtypes.equals(masked.dtypes)
    assert to_frame(*from_frame(frame)).dtypes.equals(frame.dtypes)
    texts = pd.DataFrame({"s": ["a", "b"], "t": pd.array(["a", "b"], dtype="string")})
    assert to_frame(*from_frame(texts)).dtypes.equals(texts.dtypes)
    numbered = masked.set_axis([0, 1, 2], axis=1)
    assert to_frame(*from_frame(numbered)).dtypes.equals(numbered.dtypes)
