"""The values of one column, from any container to Polars: which are missing, categories, or refused."""

from __future__ import annotations

import datetime
import numbers
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl

from ...errors import InputError

PLAIN = (str, numbers.Real, Decimal, np.generic, datetime.date, datetime.time, datetime.timedelta, UUID)
NAMES = (pl.String, pl.Categorical, pl.Enum)


DESCRIBED = {pl.List: "lists", pl.Array: "arrays", pl.Struct: "dicts", pl.Binary: "bytes", pl.Object: "objects"}


def no_values(name: str, what: str, source: str) -> InputError:
    """The error of a column that holds something else than values."""
    return InputError(
        f"{source}: column {name!r} holds {what}; a column must hold numbers, text, truth values, dates or times: "
        "leave it out, or convert it to one of these"
    )


def series(name: str, values: Any, source: str = "the table") -> pl.Series:
    """A column as a Polars series.

    Args:
        values: A series of pandas or Polars, an Arrow array, a one-dimensional array, or a sequence.
        source: What the errors call its table.
    """
    import pyarrow as pa

    if isinstance(values, pl.Series):
        return values.alias(name) if values.dtype != pl.Object else _mixed(name, values.to_list(), source)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _from_arrow(name, values)
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise InputError(f"{source}: column {name!r} is {values!r}; expected its values, one per row")
    if getattr(values, "ndim", 1) != 1:
        raise InputError(f"{source}: column {name!r} has shape {values.shape}; expected one dimension")
    values = _plain(values)
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return _mixed(name, list(values), source)
    return _from_arrow(name, array, values)


def _plain(values: Any) -> Any:
    """A column in a form that Arrow accepts: pandas periods by their start, arrays in this machine's byte order."""
    if isinstance(values, np.ma.MaskedArray):
        return values.astype(object).tolist()  # None where masked
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiumM":
        if values.dtype.kind == "f" and values.dtype.itemsize > 8:
            return values.astype(np.float64)
        if values.dtype.kind in "mM" and np.datetime_data(values.dtype)[0] not in ("D", "s", "ms", "us", "ns"):
            return values.astype(f"{values.dtype.kind}8[s]")
        return values.astype(values.dtype.newbyteorder("="))
    dtype = str(getattr(values, "dtype", ""))
    if dtype.startswith("period["):
        return values.dt.to_timestamp()
    return values.sparse.to_dense() if dtype.startswith("Sparse[") else values


def _from_arrow(name: str, array: Any, values: Any = None) -> pl.Series:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks() if pa.types.is_dictionary(array.type) else array
    if isinstance(array, pa.ChunkedArray) and pa.types.is_dictionary(array.type):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        return _categories(name, array)
    if isinstance(array.type, pa.BaseExtensionType):  # intervals, UUIDs: labels, not numbers
        return pl.Series(name, _texts(array.to_pylist() if values is None else list(values)), dtype=pl.String)
    return pl.Series(name, array.cast(pa.float32()) if pa.types.is_float16(array.type) else array)


def _categories(name: str, array: Any) -> pl.Series:
    """Categories by name, in their order if they have one."""
    import pyarrow as pa

    values = array.dictionary
    labels = values.to_pandas().tolist() if isinstance(values.type, pa.BaseExtensionType) else values.to_pylist()
    texts = ["" if label is None else str(label) for label in labels]
    places = pl.Series(name, array.indices).cast(pl.UInt32)
    named = pl.Series(name, texts, dtype=pl.String).gather(places)
    return named.cast(pl.Enum([text for text in texts if text]) if array.type.ordered else pl.Categorical)


def _mixed(name: str, values: list[Any], source: str) -> pl.Series:
    """Values of several types: numbers if all of them are, else text."""
    there = [value for value in values if not _is_missing(value)]
    strange = next((value for value in there if not isinstance(value, PLAIN)), None)
    if strange is None and all(isinstance(value, numbers.Real | Decimal) for value in there):
        return pl.Series(name, [None if _is_missing(value) else float(value) for value in values], dtype=pl.Float64)
    if strange is not None or any(isinstance(value, np.complexfloating) for value in there):
        kind = type(strange if strange is not None else there[0]).__name__
        raise no_values(name, f"values of type {kind}", source)
    return pl.Series(name, _texts(values), dtype=pl.String)


def _texts(values: list[Any]) -> list[str | None]:
    return [None if _is_missing(value) else str(value) for value in values]


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pd.NA; none of the last three compares equal to itself."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float | np.generic | Decimal | datetime.date) and bool(value != value)
