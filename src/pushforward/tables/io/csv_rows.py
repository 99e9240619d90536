"""A CSV file too large for memory, read in pieces; each column is read as the type that the model expects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from ...errors import InputError
from .csv_form import MISSING, csv_form
from .parquet import Piece
from .source import Location, local_file

BLOCK = 2**22  # bytes parsed at once


class CsvRows:
    """The rows of one CSV file. Counting them takes a first pass; every read starts at the top of the file.

    Args:
        path: The file.
        text: The columns that hold text; all others that are read hold numbers.

    Raises:
        InputError: the file cannot be read as CSV.
    """

    def __init__(self, path: Location, text: Sequence[str] = ()) -> None:
        self.path, self.text = path, list(text)
        self.file = local_file(path)
        self.form = csv_form(self.file)
        self.columns = self.form.names
        status = self.file.stat()
        self.sizes = [(str(self.file.resolve()), status.st_size, status.st_mtime_ns)]
        self.rows = sum(batch.num_rows for batch in self._batches(self.columns[:1], text=True))
        if not self.rows:
            raise InputError(f"{path}: has column names but no rows")

    def read(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[Piece]:
        """Rows ``start`` to ``stop`` (exclusive) in pieces, with those of the named columns that are present."""
        row = 0
        for batch in self._batches([name for name in columns if name in self.columns]):
            low, high = max(start - row, 0), min(stop - row, batch.num_rows)
            if low < high:
                frame = pl.from_arrow(batch.slice(low, high - low))
                assert isinstance(frame, pl.DataFrame)
                yield Piece(frame, str(self.path), row + low)
            row += batch.num_rows
            if row >= stop:
                return

    def _batches(self, names: Sequence[str], *, text: bool = False) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.csv as pc

        texts = names if text else self.text
        form = self.form
        try:
            with contextlib.closing(
                pc.open_csv(
                    self.file,
                    pc.ReadOptions(
                        use_threads=False,
                        block_size=BLOCK,
                        column_names=form.all_names,
                        skip_rows=0 if form.headless else 1,
                    ),
                    pc.ParseOptions(delimiter=form.separator, newlines_in_values=True),
                    pc.ConvertOptions(
                        include_columns=list(names),
                        column_types={name: pa.string() if name in texts else pa.float64() for name in names},
                        null_values=MISSING,
                        strings_can_be_null=True,
                        decimal_point="," if form.decimal_comma else ".",
                    ),
                )
            ) as reader:
                yield from reader
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{self.path}: cannot be read as CSV: {reason}") from None
