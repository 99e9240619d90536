"""Frames of any library in, the same kind of frame out; in between they are frames of Polars.

In every library NaN, None, NaT, ``pd.NA`` and the empty string mean that a value is missing. Ordered categories become
``pl.Enum``, others ``pl.Categorical``. The frame that came is never modified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..errors import InputError, listed
from .values import refuse_objects, series, with_missing


@dataclass(frozen=True)
class FrameKind:
    """Which kind of frame a table came as; plain values, so that a saved model can keep them.

    Args:
        library: ``polars``, ``polars lazy``, ``pandas``, ``pyarrow``, ``pyarrow batch``, ``dict``, ``numpy``,
            ``numpy records``, or any other library that narwhals knows by this name.
        numbered: Whether the columns were called by whole numbers, as in a pandas frame made of an array.
    """

    library: str = "polars"
    numbered: bool = False

    def native(self, frame: pl.DataFrame, like: Any = None) -> Any:
        """A Polars frame as this kind of frame.

        Args:
            frame: The rows.
            like: A pandas frame whose index these rows get, where they are its rows one by one.

        Raises:
            InputError: the library is not installed here.
        """
        try:
            return self._native(frame, like)
        except ImportError as error:
            raise InputError(
                f"the rows belong into a frame of {self.library}, which is not installed: {error}"
            ) from None

    def _native(self, frame: pl.DataFrame, like: Any) -> Any:
        match self.library:
            case "polars":
                return frame
            case "polars lazy":
                return frame.lazy()
            case "pandas":
                return self._pandas(frame, like)
            case "pyarrow":
                return frame.to_arrow()
            case "pyarrow batch":
                return _batch(frame.to_arrow())
            case "dict":
                return {self._name(name): frame[name].to_numpy() for name in frame.columns}
            case "numpy":
                return frame.to_numpy()
            case "numpy records":
                return frame.to_numpy(structured=True)
        import narwhals.stable.v2 as nw

        return nw.from_arrow(frame, backend=self.library).to_native()  # type: ignore[arg-type]

    def _pandas(self, frame: pl.DataFrame, like: Any) -> Any:
        made = frame.to_pandas()
        if self.numbered:
            made.columns = [self._name(name) for name in made.columns]
        index = getattr(like, "index", None)
        if index is not None and not callable(index) and len(index) == len(made):
            made.index = index
        return made

    def _name(self, name: str) -> str | int:
        return int(name) if self.numbered and name.isdecimal() else name


def read_frame(
    table: Any, columns: Iterable[str] | None = None, names: Sequence[str] | None = None, source: str = "the table"
) -> tuple[pl.DataFrame, FrameKind]:
    """Reads a frame of any library.

    Args:
        table: A frame of pandas, Polars (lazy ones too), pyarrow (a table or a record batch) or any library that
            narwhals or Arrow's C interface know; a mapping from names to columns; an array of two dimensions or of
            records.
        columns: The columns to read, where others do not matter; those that the frame lacks are passed over.
        names: The columns' names, for an array [default: x1, x2, …].
        source: What the errors call the frame.

    Returns:
        The rows, and the kind of frame that they came in.

    Raises:
        InputError: it is no frame, has no rows, or has a column of lists, dicts or other objects; says which.
    """
    kind, found = _columns(table, names, source)
    found = [(str(name), values) for name, values in found]
    _refuse_repeated([name for name, _ in found], source)
    wanted = None if columns is None else set(columns)
    made = [series(name, values, source) for name, values in found if wanted is None or name in wanted]
    if len({len(column) for column in made}) > 1:
        lengths = listed(f"{column.name!r} has {len(column)}" for column in made)
        raise InputError(f"{source}: its columns have different numbers of rows: {lengths}")
    frame = with_missing(pl.DataFrame(made))
    refuse_objects(frame, frame.columns, source)
    refuse_empty(frame, source)
    return frame, kind


def refuse_empty(frame: pl.DataFrame, source: str) -> None:
    """Refuses a table without columns or rows.

    Raises:
        InputError: says which of them it lacks.
    """
    if frame.width == 0:
        raise InputError(f"{source}: has no columns")
    if frame.height == 0:
        raise InputError(f"{source}: has column names but no rows")


def array_columns(array: np.ndarray, names: Sequence[str] | None, source: str) -> Iterator[tuple[str, np.ndarray]]:
    """The columns of an array, with their names.

    Raises:
        InputError: it does not have two dimensions, holds something other than numbers, or has another number of names.
    """
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


def _columns(table: Any, names: Sequence[str] | None, source: str) -> tuple[FrameKind, list[tuple[Any, Any]]]:
    """The kind of a frame, and its columns by name as its library has them."""
    if isinstance(table, np.ndarray):
        kind = FrameKind("numpy records" if table.dtype.names else "numpy")
        return kind, list(array_columns(table, names, source))
    if isinstance(table, Mapping):
        return FrameKind("dict", _are_numbers(table)), list(table.items())
    import narwhals.stable.v2 as nw

    try:
        frame = nw.from_native(table, allow_series=True, pass_through=True)
    except nw.exceptions.DuplicateError:
        _refuse_repeated(list(getattr(table, "column_names", table.columns)), source)
        raise
    if isinstance(frame, nw.Series):
        frame = frame.to_frame()
    if isinstance(frame, nw.LazyFrame):
        library = "polars lazy" if frame.implementation.is_polars() else "polars"
        made = frame.collect("polars").to_native()
        return FrameKind(library), [(column.name, column) for column in made.get_columns()]
    if isinstance(frame, nw.DataFrame):
        return _frame_columns(frame)
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        import pyarrow as pa

        library = "pyarrow batch" if isinstance(table, pa.RecordBatch) else "pyarrow"
        made = pa.table(table)
        return FrameKind(library), list(zip(made.column_names, made.columns, strict=True))
    raise InputError(
        f"{source}: expected a frame of pandas, Polars or pyarrow, a dict of columns, a two-dimensional array, or the "
        f"path of a file; got {type(table).__name__}"
    )


def _frame_columns(frame: Any) -> tuple[FrameKind, list[tuple[Any, Any]]]:
    native, library = frame.to_native(), frame.implementation
    if library.is_polars():
        return FrameKind(), [(column.name, column) for column in native.get_columns()]
    if library.is_pandas():
        kind = FrameKind("pandas", _are_numbers(native.columns))
        return kind, [(name, native.iloc[:, j]) for j, name in enumerate(native.columns)]
    made = frame.to_arrow()
    return FrameKind(library.value), list(zip(made.column_names, made.columns, strict=True))


def _are_numbers(names: Iterable[Any]) -> bool:
    names = list(names)
    return bool(names) and all(isinstance(name, int | np.integer) for name in names)


def _refuse_repeated(names: Sequence[str], source: str) -> None:
    repeated = next((name for name in dict.fromkeys(names) if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{source}: two columns are called {repeated!r}; rename one of them")


def _batch(table: Any) -> Any:
    import pyarrow as pa

    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
