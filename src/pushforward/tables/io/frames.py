"""Frames of any library in, the same kind of frame out; internally they are Polars frames.

In every library, NaN, None, NaT, ``pd.NA`` and the empty string mean that a value is missing. Ordered categories become
``pl.Enum``, others ``pl.Categorical``. The input frame is never modified.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from ...errors import InputError, listed
from .place import Source
from .values import DESCRIBED, NAMES, no_values, series

NUMBERED = " numbered"  # suffix of the kind of a frame whose column names are whole numbers
NULLABLE = " nullable"  # of a pandas frame whose whole numbers and truth values all are of types with missing values
TYPED = " typed "  # of one with types that are not those of NumPy; then these, by name
PYARROW = "[pyarrow]"  # how types of pandas end that PyArrow holds
CODED = " coded"  # of one with categories that are numbers, and none whose text may be one


def is_path(table: Any) -> bool:
    """Whether a table is given by its path rather than as a frame."""
    return isinstance(table, str | PathLike | Source)


def from_frame(table: Any, name: str = "the table") -> tuple[pl.DataFrame, str]:
    """Reads a frame of any library.

    Args:
        table: A frame of pandas, Polars (lazy ones included), pyarrow (a table or a record batch) or any library
            that narwhals or Arrow's C interface supports; a mapping from names to columns; an array with two
            dimensions or of records.
        name: What the errors call it.

    Returns:
        The rows, and the kind of frame that they came in, for :func:`to_frame`: plain text, which a model can save.
    """
    if isinstance(table, pl.DataFrame) and pl.Object not in table.dtypes:
        frame, kind = table, "polars"
    else:
        kind, found = _columns(table, name)
        refuse_repeated([str(called) for called, _ in found], name)
        made = [series(str(called), values, name) for called, values in found]
        if len({len(column) for column in made}) > 1:
            lengths = listed(f"{column.name!r} has {len(column)}" for column in made)
            raise InputError(f"{name}: its columns have different numbers of rows: {lengths}")
        frame = pl.DataFrame(made)
    frame = with_missing(frame)
    for called, dtype in frame.schema.items():
        if not (dtype.is_numeric() or dtype.is_temporal() or dtype in (*NAMES, pl.Boolean, pl.Null)):
            raise no_values(called, DESCRIBED.get(type(dtype), f"{dtype} values"), name)
    if frame.width == 0:
        raise InputError(f"{name}: has no columns")
    return frame, kind


def rows_at(table: Any, places: np.ndarray) -> Any:
    """These rows of a pandas frame, whose index a result gets; None of any other table."""
    return table.iloc[places] if hasattr(table, "iloc") else None


def to_frame(
    frame: pl.DataFrame,
    kind: str,
    like: Any = None,
    typed: bool = False,
    labels: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Any:
    """Converts a Polars frame to the kind that :func:`from_frame` found; unchanged if that library is not installed.

    Args:
        kind: ``polars``, ``polars lazy``, ``pandas``, ``pyarrow``, ``pyarrow batch``, ``dict``, ``numpy``,
            ``numpy records``, or another library that narwhals knows by this name.
        like: A pandas frame whose index the result gets, if the rows correspond one to one, or several times over.
        typed: Whether columns of the same name get the types that they have there, if these hold all values.
        labels: All categories of columns, whether they occur or not, for pandas, whose types name them.
    """
    if kind == "polars":
        return frame
    kind, coded = kind.removesuffix(CODED), kind.endswith(CODED)
    kind, _, types = kind.partition(TYPED)
    kind, nullable = kind.removesuffix(NULLABLE), kind.endswith(NULLABLE)
    whole = {column.name: dtype for column in frame if nullable and (dtype := _nullable(column))}
    types = json.loads(types or "{}") | whole
    library, numbered = kind.removesuffix(NUMBERED), kind.endswith(NUMBERED)
    names = [int(name) if numbered and name.isdecimal() else name for name in frame.columns]
    match library:
        case "polars lazy":
            return frame.lazy()
        case "pyarrow":
            return frame.to_arrow()
        case "pyarrow batch":
            return _batch(frame.to_arrow())
        case "dict":
            return {name: column.to_numpy() for name, column in zip(names, frame.get_columns(), strict=True)}
        case "numpy" | "numpy records":
            return frame.to_numpy(structured=library != "numpy")
    try:
        if library == "pandas":
            return _pandas(frame, names, like, types, typed, coded, labels)
        import narwhals.stable.v2 as nw

        return nw.from_arrow(frame, backend=library).to_native()  # type: ignore[arg-type]
    except ImportError:
        return frame


def _pandas(
    frame: pl.DataFrame,
    names: Sequence[str | int],
    like: Any,
    types: Mapping[str, str],
    typed: bool,
    coded: bool,
    labels: Mapping[str, Sequence[str]],
) -> Any:
    import pandas as pd

    made = frame.to_pandas()
    for column in frame:  # NumPy has no missing whole numbers or truth values
        if column.null_count() and (dtype := _nullable(column)):
            made[column.name] = pd.array(column.to_list(), dtype=dtype)  # type: ignore[call-overload]
    for column in frame.select(pl.col(pl.Categorical)):
        found, every = made[column.name].cat, labels.get(column.name, ())
        if found.categories.isin(every).all():
            made[column.name] = found.set_categories(every)
    for column in frame.select(pl.col(pl.Categorical, pl.Enum)) if coded else ():
        if not _as_numbers(codes := made[column.name].cat.categories).has_nulls():
            made[column.name] = made[column.name].cat.rename_categories(pd.to_numeric(codes.astype(str)))
    _retype(made, types)
    made.columns = pd.Index(names)
    if isinstance(like, pd.DataFrame) and len(like) and len(made) % len(like) == 0:
        made.index = like.index[np.tile(np.arange(len(like)), len(made) // len(like))]
        _retype(made, like.dtypes.to_dict() if typed else {})
    return made


def _retype(frame: Any, types: Mapping[Any, Any]) -> None:
    """Gives columns of pandas these types, if they hold all their values."""
    import pandas as pd
    import pyarrow as pa

    arrow = {"string[pyarrow]": pd.ArrowDtype(pa.string())}  # the name means another type to pandas
    for name, dtype in types.items():
        if name in frame:
            column = frame[name]
            if isinstance(dtype, pd.CategoricalDtype):  # of values that may be text here
                values = {str(value): value for value in dtype.categories}
                column = column.astype(object).map(lambda value, values=values: values.get(str(value)))
            with contextlib.suppress(ValueError, TypeError):
                same = column.astype(arrow.get(str(dtype), dtype))
                frame[name] = same if same.isna().equals(frame[name].isna()) else frame[name]


def _nullable(column: pl.Series) -> str | None:
    """Pandas' type of whole numbers or truth values some of which are missing."""
    return "boolean" if column.dtype == pl.Boolean else str(column.dtype) if column.dtype.is_integer() else None


def with_missing(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with null in place of NaN and empty text."""
    gone = []
    for column in frame.get_columns():
        if column.dtype.is_float() and column.is_nan().any():
            gone.append(pl.col(column.name).fill_nan(None))
        elif column.dtype in NAMES and (column.cast(pl.String) == "").any():
            gone.append(pl.when(pl.col(column.name).cast(pl.String) != "").then(pl.col(column.name)))
    return frame.with_columns(gone) if gone else frame


def refuse_empty(frame: pl.DataFrame, source: str) -> None:
    """Refuses a table without columns or rows."""
    if frame.width == 0:
        raise InputError(f"{source}: has no columns")
    if frame.height == 0:
        raise InputError(f"{source}: has column names but no rows")


def array_columns(array: np.ndarray, names: Sequence[str] | None, source: str) -> Iterator[tuple[str, np.ndarray]]:
    """The columns of an array, with their names."""
    if array.dtype.names:
        yield from ((name, array[name]) for name in array.dtype.names)
        return
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise InputError(f"{source} has shape {array.shape}; a table has two dimensions, rows and columns")
    if array.dtype.kind not in "fiubO":
        raise InputError(f"{source} holds {array.dtype} values; expected numbers")
    names = [f"x{j}" for j in range(1, array.shape[1] + 1)] if names is None else list(names)
    if len(names) != array.shape[1]:
        raise InputError(f"{source} has {array.shape[1]} columns, but {len(names)} names are given for them")
    yield from ((name, array[:, j]) for j, name in enumerate(names))


def _columns(table: Any, source: str) -> tuple[str, list[tuple[Any, Any]]]:
    """The kind of a frame, and its columns by name in its library's own types."""
    if isinstance(table, np.ndarray):
        return "numpy records" if table.dtype.names else "numpy", list(array_columns(table, None, source))
    if isinstance(table, Mapping):
        return "dict" + _numbered(table), list(table.items())
    import narwhals.stable.v2 as nw

    try:
        frame = nw.from_native(table, allow_series=True, pass_through=True)
    except nw.exceptions.DuplicateError:
        refuse_repeated(list(getattr(table, "column_names", table.columns)), source)
        raise
    if isinstance(frame, nw.Series):
        frame = frame.to_frame()
    if isinstance(frame, nw.LazyFrame):
        kind, found = _frame_columns(frame.collect("polars"))
        return kind + " lazy" * frame.implementation.is_polars(), found
    if isinstance(frame, nw.DataFrame):
        return _frame_columns(frame)
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        import pyarrow as pa

        made = pa.table(table)
        kind = "pyarrow batch" if isinstance(table, pa.RecordBatch) else "pyarrow"
        return kind, list(zip(made.column_names, made.columns, strict=True))
    raise TypeError(
        f"{source}: expected a frame of pandas, Polars or pyarrow, a dict of columns, a two-dimensional array, or the "
        f"path of a file; got {type(table).__name__}"
    )


def _frame_columns(frame: Any) -> tuple[str, list[tuple[Any, Any]]]:
    native, library = frame.to_native(), frame.implementation
    if library.is_polars():
        return "polars", [(column.name, column) for column in native.get_columns()]
    if library.is_pandas():
        return "pandas" + _numbered(native.columns) + _typed(native) + _coded(native.dtypes), [
            (name, native.iloc[:, j]) for j, name in enumerate(native.columns)
        ]
    made = frame.to_arrow()
    return library.value, list(zip(made.column_names, made.columns, strict=True))


def _numbered(names: Iterable[Any]) -> str:
    return NUMBERED if all(isinstance(name, int | np.integer) for name in names) else ""


def _typed(frame: Any) -> str:
    types = zip(map(str, frame.columns), map(str, frame.dtypes), strict=True)
    kept = "boolean", "string", "Int", "UInt", "Float"
    own = {name: of for name, of in types if of.startswith(kept) or of.endswith(PYARROW)}
    return TYPED + json.dumps(own) if own else ""


def _coded(dtypes: Iterable[Any]) -> str:
    labels = [dtype.categories for dtype in dtypes if hasattr(dtype, "categories")]
    numbers = [each.dtype.kind in "iuf" for each in labels]
    return CODED if any(numbers) and numbers == [_as_numbers(each).count() > 0 for each in labels] else ""


def _as_numbers(labels: Any) -> pl.Series:
    """Pandas' labels, numbers or text, as numbers; null for those that are none."""
    return pl.Series(labels.astype(str).to_list(), dtype=pl.String).cast(pl.Float64, strict=False)


def refuse_repeated(names: Sequence[str], source: str, mend: str = "rename one of them") -> None:
    """Refuses columns of the same name."""
    repeated = next((name for name in dict.fromkeys(names) if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{source}: two columns are called {repeated!r}; {mend}")


def _batch(table: Any) -> Any:
    import pyarrow as pa

    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
