"""Tables and queries of PostgreSQL, SQLite and DuckDB, all through ADBC (the extra ``sql``).

The database is opened read-only for reading. Of a driver's error, only the first line is passed on, and nothing at all
if it contains the password.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import polars as pl

from ...errors import InputError, listed
from .frames import refuse_repeated
from .place import Source, refuse_no_file
from .values import series

INFERRED = 2**30  # rows of SQLite, whose columns have no type of their own, from which one is inferred: all there are
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY 1",
    "duckdb": "SELECT CASE table_schema WHEN 'main' THEN '' ELSE table_schema || '.' END || table_name FROM "
    "information_schema.tables ORDER BY 1",
    "postgresql": "SELECT CASE table_schema WHEN 'public' THEN '' ELSE table_schema || '.' END || table_name FROM "
    "information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
}


def fetch(source: Source, folder: Path) -> Path:
    """The rows of a table or a query as a Parquet file in ``folder``, written in batches."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "rows.parquet"
    with _connected(source) as connection, contextlib.ExitStack() as stack:
        query = source.options.query or f"SELECT * FROM {_quoted(_chosen(source, connection))}"
        cursor = stack.enter_context(connection.cursor())
        if _kind(source) == "sqlite":
            if source.options.query:  # whose rows are read twice if they hold text
                cursor.execute(f"CREATE TEMP TABLE asked AS {query}")
                query = "SELECT * FROM temp.asked"
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(INFERRED)})
        cursor.execute(query)
        reader = stack.enter_context(cursor.fetch_record_batch())
        texts = [field.name for field in reader.schema if field.type == pa.string()]
        if _kind(source) == "sqlite" and texts:
            cursor.execute(_with_all_digits(query, reader.schema.names, texts))
            reader = stack.enter_context(cursor.fetch_record_batch())
        names = [name.removesuffix(":1") if source.options.query else name for name in reader.schema.names]
        refuse_repeated(names, str(source), "rename one of them with AS")  # SQLite calls a second one a:1
        writer = None
        for batch in itertools.chain([reader.schema.empty_table()], reader):
            table = _frame(batch, source).to_arrow()
            writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema))
            writer.write_table(table)
    return path


def _with_all_digits(query: str, names: list[str], texts: list[str]) -> str:
    """A query of SQLite whose numbers beside text are written by SQLite; its driver writes seven digits of them."""
    cast = "CASE typeof({0}) WHEN 'real' THEN CAST({0} AS TEXT) ELSE {0} END AS {0}"
    columns = ", ".join((cast if name in texts else "{0}").format(quoted_word(name)) for name in names)
    return f"SELECT {columns} FROM ({query})"


def check_new_table(source: Source) -> None:
    """Refuses a table that could not be written to, before any work is done."""
    if not source.options.table:
        raise InputError(f"{source}: say which table to write, as in {source}?table=scores")
    if source.database != "postgresql" and not source.path.exists():
        if not source.path.absolute().parent.is_dir():
            raise InputError(f"{source}: the folder {source.path.parent} does not exist; create it first")
        return
    with _connected(source, writing=True) as connection:
        if source.options.table in _tables(source, connection):
            raise InputError(f"{source}: the table exists already; choose another name, or drop it first")


def write_rows(frames: Iterable[pl.DataFrame], source: Source) -> None:
    """Writes rows to a new table of a database, all of them or none."""
    import pyarrow as pa

    tables = (frame.to_arrow() for frame in frames)
    first = next(tables)
    batches = (batch for table in itertools.chain([first], tables) for batch in table.to_batches())
    rows = pa.RecordBatchReader.from_batches(first.schema, batches)
    schema, _, name = (
        str(source.options.table).rpartition(".") if _kind(source) != "sqlite" else ("", "", source.options.table)
    )
    with _connected(source, writing=True) as connection:
        with connection.cursor() as cursor:
            cursor.adbc_ingest(name, rows, mode="create", db_schema_name=schema or None)
        connection.commit()


@contextlib.contextmanager
def _connected(source: Source, *, writing: bool = False) -> Iterator[Any]:
    """An open connection; errors on it are reported as one sentence about the source."""
    if not writing and source.database != "postgresql":
        refuse_no_file(source.path)
    try:
        with contextlib.closing(CONNECT[_kind(source)](source, writing)) as connection:
            yield connection
    except ImportError as error:
        needs = f"{source.database} needs {error.name}; install it with: pip install 'pushforward[sql]'"
        raise InputError(f"{source}: {needs}") from None
    except InputError:
        raise
    except Exception as error:  # each driver has its own exceptions
        raise InputError(f"{source}: {_reason(error, source)}") from None


def _postgresql(source: Source, writing: bool) -> Any:
    from adbc_driver_postgresql import dbapi

    connection = dbapi.connect(source.address)
    if not writing:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
    return connection


def _sqlite(source: Source, writing: bool) -> Any:
    from adbc_driver_sqlite import dbapi

    return dbapi.connect(f"file:{quote(str(source.path))}?mode={'rwc' if writing else 'ro'}")


def _duckdb(source: Source, writing: bool) -> Any:
    import adbc_driver_duckdb
    from adbc_driver_manager import dbapi

    options = {"path": str(source.path), "access_mode": "READ_WRITE" if writing else "READ_ONLY"}
    return dbapi.connect(adbc_driver_duckdb.driver_path(), entrypoint="duckdb_adbc_init", db_kwargs=options)


CONNECT: dict[str, Callable[[Source, bool], Any]] = {"postgresql": _postgresql, "sqlite": _sqlite, "duckdb": _duckdb}


def _kind(source: Source) -> str:
    """Which database it is; what is called ``.db`` may be DuckDB's."""
    if source.database == "sqlite" and source.path.is_file():
        with source.path.open("rb") as file:
            return "duckdb" if file.read(12)[8:] == b"DUCK" else "sqlite"
    return source.database


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


def _chosen(source: Source, connection: Any) -> str:
    """The named table, or the only one there is."""
    tables = _tables(source, connection)
    if source.options.table in tables or (source.options.table is None and len(tables) == 1):
        return source.options.table or tables[0]
    if source.options.table is not None:
        raise InputError(f"{source}: has no table {source.options.table!r}; its tables are {listed(tables) or 'none'}")
    what = f"holds {len(tables)} tables ({listed(tables)}); choose one with `table=`" if tables else "holds no table"
    raise InputError(f"{source}: {what}, or ask it with `query='SELECT …'`")


def _tables(source: Source, connection: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(TABLES[_kind(source)])
        return [row[0] for row in cursor.fetchall()]


def _quoted(name: str) -> str:
    """A name quoted for SQL; ``schema.table`` in two parts."""
    return ".".join(map(quoted_word, name.split(".")))


def quoted_word(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reason(error: Exception, source: Source) -> str:
    """The first line of a driver's error, without its prefixes; nothing if it contains the password."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = re.sub(
        r"^([A-Z_]+: )?(\[\w+\] )?(Failed to (prepare query|execute query|step query|connect)[^:]*: )?(ERROR:\s+)?",
        "",
        text,
    )
    secrets = re.findall(r"://[^/@]*?:(.*)@", source.address) + re.findall(r"password=([^&]*)", source.address)
    if any(secret and (secret in text or unquote(secret) in text) for secret in secrets) or (
        "://" in source.address and source.address in text
    ):
        return "the address is not one that the driver understands; expected postgresql://USER@HOST:PORT/BASE"
    return text
