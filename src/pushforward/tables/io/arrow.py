"""Arrow files and streams."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from .format import Format, ReadOptions
from .parquet import sound_frame
from .table import Table


class Arrow(Format):
    endings = written = (".arrow", ".feather", ".ipc")
    starts = (b"ARROW1", b"\xff\xff\xff\xff")  # of a file and of a stream
    long = True

    def read(self, path: Path, options: ReadOptions) -> Table:
        import pyarrow as pa

        with pa.OSFile(str(path)) as file:
            as_file = file.read(6) == b"ARROW1"
            file.seek(0)
            with (pa.ipc.open_file if as_file else pa.ipc.open_stream)(file) as reader:
                return Table(path, sound_frame(reader.read_all(), path))

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        rows.sink_ipc(path)
