"""Tables and queries of databases: PostgreSQL by ADBC, DuckDB by its own module (the extra ``sql``), SQLite by Python.

The database is opened read-only for reading. Of a driver's error, only the first line is passed on, and nothing at all
if it contains the password.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import polars as pl

from ...errors import InputError, listed
from .places import refuse_no_file
from .values import series

if TYPE_CHECKING:
    from .source import Source

BATCH = 65_536  # rows fetched at once
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY 1",
    "duckdb": "SELECT CASE table_schema WHEN 'main' THEN '' ELSE table_schema || '.' END || table_name FROM "
    "information_schema.tables ORDER BY 1",
    "postgresql": "SELECT CASE table_schema WHEN 'public' THEN '' ELSE table_schema || '.' END || table_name FROM "
    "information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
}
NO_ROWS = "the query returns no rows; expected a SELECT"
PACKAGES = {"postgresql": "adbc_driver_postgresql", "duckdb": "duckdb"}


def fetch(source: Source, folder: Path) -> Path:
    """The rows of a table or a query as a Parquet file in ``folder``, written in batches.

    Raises:
        InputError: the database cannot be reached, or refuses the query; says why, and names its tables.
    """
    import pyarrow.parquet as pq

    path = folder / "rows.parquet"
    with _connected(source) as connection, contextlib.ExitStack() as stack:
        query = source.query or f"SELECT * FROM {_quoted(_chosen(source, connection))}"
        writer = None
        for frame in _batches(source, connection, query):
            table = frame.to_arrow()
            writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table)
    return path


def check_new_table(source: Source) -> None:
    """Refuses a table that could not be written to, before any work is done.

    Raises:
        InputError: no table is named, it exists already, or the database cannot be reached.
    """
    if not source.table:
        raise InputError(f"{source}: say which table to write, as in {source}?table=scores")
    if source.database != "postgresql" and not source.path.exists():
        if not source.path.absolute().parent.is_dir():
            raise InputError(f"{source}: the folder {source.path.parent} does not exist; create it first")
        return
    with _connected(source, writing=True) as connection:
        if source.table in _tables(source, connection):
            raise InputError(f"{source}: the table exists already; choose another name, or drop it first")


def write_rows(frames: Iterable[pl.DataFrame], source: Source) -> None:
    """Writes rows to a new table of a database, all of them or none.

    Raises:
        InputError: the database refuses them; says why.
    """
    import pyarrow as pa

    assert source.table
    name = _quoted(source.table)
    frames = iter(frames)
    first = next(frames)
    batches = (batch for frame in itertools.chain([first], frames) for batch in frame.to_arrow().to_batches())
    rows = pa.RecordBatchReader.from_batches(first.to_arrow().schema, batches)
    with _connected(source, writing=True) as connection:
        if source.database == "postgresql":
            schema, _, table = source.table.rpartition(".")
            with connection.cursor() as cursor:
                cursor.adbc_ingest(table, rows, mode="create", db_schema_name=schema or None)
            connection.commit()
        elif source.database == "duckdb":
            connection.register("pushforward_rows", rows)
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM pushforward_rows")
        else:
            columns = ", ".join(
                f"{_quoted(column, parts=False)} {_sqlite_type(first[column])}" for column in first.columns
            )
            with connection:
                connection.execute(f"CREATE TABLE {name} ({columns})")
                marks = ", ".join("?" * first.width)
                for batch in rows:
                    values = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                    connection.executemany(f"INSERT INTO {name} VALUES ({marks})", values)


@contextlib.contextmanager
def _connected(source: Source, *, writing: bool = False) -> Iterator[Any]:
    """An open connection; errors on it are reported as one sentence about the source."""
    try:
        with contextlib.closing(_connect(source, writing)) as connection:
            yield connection
    except ImportError:
        package = PACKAGES[source.database]
        raise InputError(
            f"{source}: {source.database} needs {package}; install it with: pip install 'pushforward[sql]'"
        ) from None
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # each driver has its own exceptions
        raise InputError(f"{source}: {_reason(error, source)}") from None


def _connect(source: Source, writing: bool) -> Any:
    if source.database == "postgresql":
        from adbc_driver_postgresql import dbapi

        connection = dbapi.connect(source.address)
        if not writing:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
        return connection
    if not writing:
        refuse_no_file(source.path)
    if source.database == "duckdb" or _starts_as_duckdb(source.path):
        import duckdb

        connection = duckdb.connect(str(source.path), read_only=not writing)
        connection.execute("SET enable_progress_bar = false")  # the bar goes to standard output
        return connection
    mode = "rwc" if writing else "ro"
    return sqlite3.connect(f"file:{quote(str(source.path))}?mode={mode}", uri=True)


def _batches(source: Source, connection: Any, query: str) -> Iterator[pl.DataFrame]:
    """The rows of a query in batches; at least one frame, which may be empty."""
    import pyarrow as pa

    if isinstance(connection, sqlite3.Connection):
        yield _sqlite_rows(source, connection, query)
        return
    with contextlib.ExitStack() as stack:
        if source.database == "postgresql":
            cursor = stack.enter_context(connection.cursor())
            cursor.execute(query)
            reader = stack.enter_context(cursor.fetch_record_batch())
        else:
            relation = connection.sql(query)
            if relation is None:
                raise InputError(f"{source}: {NO_ROWS}")
            reader = stack.enter_context(pa.RecordBatchReader.from_stream(relation))
        _refuse_repeated(reader.schema.names, source)
        first = next(reader, None)
        yield _frame(reader.schema.empty_table() if first is None else first, source)
        for batch in reader:
            yield _frame(batch, source)


def _frame(batch: Any, source: Source) -> pl.DataFrame:
    columns = zip(batch.schema, batch.columns, strict=True)
    return pl.DataFrame([_column(field, values, str(source)) for field, values in columns])


def _column(field: Any, values: Any, source: str) -> pl.Series:
    """A column, with PostgreSQL's exact numbers as numbers, its enums as text and its intervals as durations."""
    import pyarrow as pa

    type_name = (field.metadata or {}).get(b"ADBC:postgresql:typname", b"")
    if type_name:
        values = getattr(values, "storage", values)
        return pl.Series(field.name, values.cast(pa.string())).cast(
            pl.Float64 if type_name == b"numeric" else pl.String
        )
    if pa.types.is_interval(field.type):
        return pl.Series(field.name, list(map(_duration, values.to_pylist())), dtype=pl.Duration("us"))
    if pa.types.is_dictionary(field.type):
        values = values.cast(field.type.value_type)  # other batches may number the categories differently
    return series(field.name, values, source)


def _duration(value: Any) -> timedelta | None:
    """An interval of months, days and nanoseconds; a month has 30 days, as in PostgreSQL's EXTRACT(EPOCH FROM …)."""
    return value and timedelta(days=30 * value.months + value.days, microseconds=value.nanoseconds // 1000)


def _sqlite_rows(source: Source, connection: sqlite3.Connection, query: str) -> pl.DataFrame:
    """All rows: a column of SQLite may hold values of any type, so its type is known only at the end."""
    connection.text_factory = lambda text: text.decode("utf-8", errors="replace")
    cursor = connection.execute(query)
    if cursor.description is None:
        raise InputError(f"{source}: {NO_ROWS}")
    names = [column[0] for column in cursor.description]
    _refuse_repeated(names, source)
    parts: list[list[pl.Series]] = [[pl.Series(name, [], dtype=pl.Null)] for name in names]
    while rows := cursor.fetchmany(BATCH):
        for part, name, values in zip(parts, names, zip(*rows, strict=True), strict=True):
            part.append(series(name, list(values), str(source)))
    return pl.DataFrame([_joined(part) for part in parts])


def _joined(parts: list[pl.Series]) -> pl.Series:
    """One column from its parts; text if any part is text."""
    if any(part.dtype == pl.String for part in parts):
        parts = [part.cast(pl.String) for part in parts]
    return pl.concat([part.to_frame() for part in parts], how="vertical_relaxed").to_series()


def _chosen(source: Source, connection: Any) -> str:
    """The named table, or the only one there is."""
    tables = _tables(source, connection)
    if source.table in tables or (source.table is None and len(tables) == 1):
        return source.table or tables[0]
    if source.table is not None:
        raise InputError(f"{source}: has no table {source.table!r}; its tables are {listed(tables) or 'none'}")
    what = f"holds {len(tables)} tables ({listed(tables)}); choose one with `table=`" if tables else "holds no table"
    raise InputError(f"{source}: {what}, or ask it with `query='SELECT …'`")


def _tables(source: Source, connection: Any) -> list[str]:
    kind = (
        "sqlite"
        if isinstance(connection, sqlite3.Connection)
        else source.database
        if source.database == "postgresql"
        else "duckdb"
    )
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(TABLES[kind])
        return [row[0] for row in cursor.fetchall()]


def _quoted(name: str, *, parts: bool = True) -> str:
    """A name quoted for SQL; ``schema.table`` in two parts."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (name.split(".") if parts else [name]))


def _refuse_repeated(names: Sequence[str], source: Source) -> None:
    repeated = next((name for name in names if list(names).count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{source}: the query names two columns {repeated!r}; rename one of them with AS")


def _starts_as_duckdb(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"


def _sqlite_type(column: pl.Series) -> str:
    if column.dtype.is_integer() or column.dtype == pl.Boolean:
        return "INTEGER"
    return "REAL" if column.dtype.is_numeric() else "TEXT"


def _reason(error: Exception, source: Source) -> str:
    """The first line of a driver's error, without its prefixes; nothing if it contains the password."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = re.sub(
        r"^[A-Z_]+: (\[libpq\] )?(Failed to (prepare query|execute query|connect)[^:]*: )?(ERROR:\s+)?", "", text
    )
    secrets = re.findall(r"://[^/@]*?:(.*)@", source.address) + re.findall(r"password=([^&]*)", source.address)
    if any(secret and (secret in text or unquote(secret) in text) for secret in secrets) or (
        "://" in source.address and source.address in text
    ):
        return "the address is not one that the driver understands; expected postgresql://USER@HOST:PORT/BASE"
    return text
