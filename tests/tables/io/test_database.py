"""PostgreSQL, SQLite and DuckDB: the same rows out and in, one sentence for what is wrong, no credentials anywhere."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import numpy as np
import polars as pl
import postgres
import pytest

from pushforward.cli import app as cli
from pushforward.errors import InputError
from pushforward.tables.io import database
from pushforward.tables.io.format import ReadOptions
from pushforward.tables.io.parquet import ParquetRows
from pushforward.tables.io.place import Source, SourceOptions, located, without_credentials
from pushforward.tables.io.read import open_large, read_any, read_table
from pushforward.tables.io.write import check_output, write_table

FRAME = pl.DataFrame({"id": [1, 2, 3], "x": [1.5, None, -2.0], "k": ["a", "", "b c"], "n": [True, False, None]})
READ = FRAME.with_columns(k=pl.Series(["a", None, "b c"]))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt: postgresql)")
    with postgres.server() as url:
        yield url


Ask = Callable[..., Any]


@pytest.fixture
def execute(server: str) -> Ask:
    """Runs statements on the server."""

    def command(*statements: str) -> None:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(server) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    return command


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        left = ['DROP SCHEMA IF EXISTS "other one" CASCADE', "DROP SCHEMA public CASCADE"]  # by other tests
        request.getfixturevalue("execute")(*left, "CREATE SCHEMA public")
        return str(request.getfixturevalue("server"))
    return str(tmp_path / f"shop.{request.param}")


def execute_in(base: str, statement: str) -> None:
    """Runs a statement in a database of any kind."""
    with database._connected(located(base), writing=True) as connection:  # type: ignore[arg-type]
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(statement)
        connection.commit()


def test_rows_out_and_in_again(base: str) -> None:
    place = check_output(f"{base}?table=orders")
    write_table(FRAME, place)
    expected = READ if not base.endswith("sqlite") else READ.with_columns(n=pl.Series([1, 0, None]))
    assert read_table(base).frame.equals(expected)  # the only table
    assert read_table(f"{base}?table=orders").frame.equals(expected)
    assert read_table(located(base, SourceOptions(table="orders"))).frame.equals(expected)
    asked = read_table(
        located(base, SourceOptions(query="SELECT id, x * 2 AS y FROM orders WHERE x IS NOT NULL ORDER BY id DESC"))
    )
    assert asked.frame.equals(pl.DataFrame({"id": [3, 1], "y": [-4.0, 3.0]}))


def test_a_table_that_exists_is_kept(base: str) -> None:
    write_table(FRAME, f"{base}?table=orders")
    with pytest.raises(InputError, match=r"\(orders\): the table exists already; choose another name, or drop it"):
        check_output(f"{base}?table=orders")
    with pytest.raises(InputError, match="already exists"):
        write_table(FRAME.head(1), f"{base}?table=orders")
    assert read_table(base).frame.height == 3
    with pytest.raises(InputError, match=r"say which table to write, as in .*\?table=scores"):
        check_output(base)


def test_what_is_wrong_with_a_question_is_one_sentence(base: str) -> None:
    write_table(FRAME, f"{base}?table=t")
    execute_in(base, "DROP TABLE t")
    with pytest.raises(InputError, match="holds no table, or ask it with `query='"):
        read_table(base)
    for table in ("orders", "people"):
        write_table(FRAME, f"{base}?table={table}")
    for options, sentence in (
        ({}, r"holds 2 tables \(orders, people\); choose one with `table=`"),
        ({"table": "nope"}, r"has no table 'nope'; its tables are orders, people"),
        ({"query": "SELECT * FROM nope"}, "nope"),
        ({"query": "SELEC id"}, "(?i)syntax error"),
        ({"query": "SELECT id AS a, x AS a FROM orders"}, "two columns are called 'a'; rename one of them with AS"),
        ({"query": "SELECT * FROM orders WHERE id > 5"}, "has column names but no rows"),
        ({"query": "DELETE FROM orders"}, "."),
        ({"query": "DROP TABLE orders"}, "."),
        ({"query": "SELECT 1; SELECT 2"}, "."),
    ):
        if options.get("query") == "SELECT 1; SELECT 2" and not base.startswith("postgresql"):
            continue  # which answer one of them
        with pytest.raises(InputError, match=sentence) as caught:
            read_table(located(base, SourceOptions(**options)))
        message = str(caught.value)
        assert message.startswith(without_credentials(base))
        assert "\n" not in message
        assert "hunter2" not in message
        assert "ada" not in message
    assert read_table(f"{base}?table=orders").frame.height == 3  # nothing was written


@pytest.mark.parametrize("package", ["adbc_driver_duckdb", "adbc_driver_postgresql", "adbc_driver_sqlite"])
def test_a_driver_that_is_missing_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    base = "postgresql://ada:hunter2@127.0.0.1/x"
    if "postgresql" not in package:
        base = str(tmp_path / f"t.{package.rpartition('_')[2]}")
        write_table(FRAME, f"{base}?table=t")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InputError, match=rf"needs {package}; install it with: pip install 'pushforward\[sql\]'"
    ) as caught:
        read_table(base)
    assert "hunter2" not in str(caught.value)


def test_the_types_of_postgresql(server: str, execute: Ask) -> None:
    execute(
        "CREATE TYPE mood AS ENUM ('low', 'high')",
        "CREATE TABLE kinds (s smallint, i bigint, n numeric(10, 2), f real, t text, c char(3), b boolean, d date, "
        "ts timestamp, tz timestamptz, m mood, u uuid, iv interval, e text)",
        "INSERT INTO kinds VALUES (1, 2, 1.25, 'NaN', 'x', 'ab', true, '2020-01-01', '2020-01-01 05:00', "
        "'2020-01-01 05:00+00', 'high', '00000000-0000-0000-0000-000000000001', '1 day 2 seconds', '')",
        "INSERT INTO kinds VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    frame = read_table(located(server, SourceOptions(table="kinds"))).frame
    row = frame.row(0, named=True)
    assert all(value is None for value in frame.row(1))
    assert row == {
        "s": 1,
        "i": 2,
        "n": 1.25,
        "f": None,
        "t": "x",
        "c": "ab ",
        "b": True,
        "d": dt.date(2020, 1, 1),
        "ts": dt.datetime(2020, 1, 1, 5),
        "tz": dt.datetime(2020, 1, 1, 5, tzinfo=dt.UTC),
        "m": "high",
        "u": "00000000-0000-0000-0000-000000000001",
        "iv": dt.timedelta(days=1, seconds=2),
        "e": None,
    }
    execute('CREATE SCHEMA "other one"', 'CREATE TABLE "other one"."t""x" AS SELECT 1 AS a')
    assert read_table(located(server, SourceOptions(table='other one.t"x'))).frame["a"].to_list() == [1]
    write_table(FRAME, f"{server}?table=other one.scores")
    assert read_table(located(server, SourceOptions(query='SELECT id FROM "other one".scores'))).frame.height == 3


def test_the_types_of_duckdb_and_sqlite(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "t.db")) as connection:  # an ending that may be either's
        connection.execute(
            "CREATE TABLE t AS SELECT 1.25::DECIMAL(5, 2) n, 'high'::ENUM('low', 'high') AS m, INTERVAL 1 DAY AS iv, "
            "DATE '2020-01-01' AS d, 5::HUGEINT AS h, uuid() AS u, [1] AS l"
        )
    row = read_table(located(tmp_path / "t.db", SourceOptions(query="SELECT * EXCLUDE (l) FROM t"))).frame.row(
        0, named=True
    )
    assert float(row["n"]) == 1.25
    assert (row["m"], row["iv"], row["d"]) == ("high", dt.timedelta(days=1), dt.date(2020, 1, 1))
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("CREATE TABLE t (a, b, c)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", [(1, 1, "x"), (2.5, "two", None), (None, 3, "")])
    connection.close()
    frame = read_table(tmp_path / "s.db").frame
    assert frame.to_dict(as_series=False) == {"a": [1.0, 2.5, None], "b": ["1", "two", "3"], "c": ["x", None, None]}


def test_columns_of_sqlite_whose_type_changes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("CREATE TABLE t (a, b, c)")
        rows = [*[(1, 1, None)] * 3000, (1234.56789012, 0.5, None), (None, None, None), ("x", 7, 5)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    connection.close()
    asked = located(tmp_path / "s.db", SourceOptions(query="SELECT * FROM t -- all of it"))
    from adbc_driver_manager.dbapi import Cursor

    ran, execute = list[str](), Cursor.execute
    monkeypatch.setattr(Cursor, "execute", lambda self, text: (ran.append(text), execute(self, text)))
    frame = read_table(asked).frame
    assert sum("-- all of it" in text for text in ran) == 1
    assert frame.equals(read_table(tmp_path / "s.db").frame)
    assert frame["a"][2999:].to_list() == ["1", "1234.56789012", None, "x"]
    assert frame["b"][2999:].to_list() == [1.0, 0.5, None, 7.0]
    assert frame["c"][2999:].to_list() == [None, None, None, 5]


def test_what_is_larger_than_memory_is_read_in_pieces(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 200_000
    frame = pl.DataFrame({"id": np.arange(rows), "x": np.arange(rows) / 2})
    write_table(frame, f"{base}?table=long")
    source = located(base, SourceOptions(query="SELECT * FROM long ORDER BY id"))
    assert isinstance(source, Source)
    table = read_any(source, stream=True)
    pieces = table.pieces
    assert pieces is not None
    assert pieces.rows == rows
    assert str(pieces.path) == str(table.path) == without_credentials(base)
    monkeypatch.setattr("pushforward.tables.io.parquet.LARGE", 1000)
    large = open_large(source, ReadOptions())
    assert isinstance(large, ParquetRows)
    parts = [part for group in large.groups for part in large.read_group(group, 0, group.rows)]  # as a fit reads them
    assert sum(part.frame.height for part in parts) == rows
    found = list(large.read(0, rows, ["id", "x"]))
    assert len(found) > 1
    assert found[0].source == without_credentials(base)
    assert pl.concat(piece.frame for piece in found).equals(frame)
    folder = source.folder
    assert folder.exists()
    del source, table, pieces, large, parts
    assert not folder.exists()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:hunter2@127.0.0.1:1/x",
        "postgresql://ada:hunter2@no.such.host/x",
        "postgresql://ada:hunter2@127.0.0.1:port/x",
        "postgresql://ada:hunter2@127.0.0.1:1/x?nonsense=hunter2",
        "postgresql://127.0.0.1:1/x?user=ada&password=hunter2",
        "postgresql://ada:hun ter2@127.0.0.1:1/x",
        "postgresql://ada:a/b@c?hunter2@127.0.0.1:1/x",
        "postgresql://ada:%hunter2@127.0.0.1:1/x",
        "mysql://ada:hunter2@127.0.0.1/x",
        "postgresql:/ada:hunter2@127.0.0.1:1/x",
    ],
)
def test_no_error_tells_the_password(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.DataFrame({"a": [1.0]}).write_csv(tmp_path / "t.csv")
    model = str(tmp_path / "m")
    for arguments in (
        ["fit", address, "-o", model],
        ["fit", address, "-o", model, "--json"],
        ["fit", address, "-o", model, "--table", "t", "--nonsense", address],
        ["fit", str(tmp_path / "t.csv"), "-o", address],
        ["fit", address],
        ["score", address, address, "-o", address],
        ["score", model, address, "-o", f"{address}&table=t"],
        ["sample", model, "-n", address, "-o", address],
        ["report", model, address, "--output", address],
        ["compare", model, model, address],
        ["info", address],
        ["demo", address, "--output", model],
        [address],
    ):
        assert cli.main(arguments) in (1, 2), arguments
    out, err = capsys.readouterr()
    for secret in ("hunter2", "ter2"):
        assert secret not in out + err
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"hunter2" not in file.read_bytes()


@pytest.mark.slow
def test_the_whole_job_on_a_server_keeps_its_password(
    server: str, execute: Ask, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    table = pl.DataFrame(
        {"id": np.arange(400), "x": x, "y": x + rng.normal(size=400), "k": rng.choice(["u", "v"], 400)}
    )
    execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    write_table(table, f"{server}?table=orders")
    model, job = str(tmp_path / "m"), ["--columns", "x,y,k", "--flow", "maf", "--layers", "1", "--steps", "20"]
    query = ["--query", "SELECT * FROM orders ORDER BY id"]
    with caplog.at_level(logging.DEBUG):
        for arguments in (
            ["fit", server, *query, "-o", model, *job, "--checkpoint-every", "10", "--metrics", str(tmp_path / "log")],
            ["info", model],
            ["info", model, "--json"],
            ["score", model, server, *query, "--keep", "id", "-o", f"{server}?table=scores"],
            ["score", model, server, "--table", "orders", "-o", str(tmp_path / "s.csv"), "--json"],
            ["sample", model, "-n", "30", "-o", f"{server}?table=drawn"],
            ["report", model, server, *query, "-o", str(tmp_path / "r.html")],
            ["compare", model, model, server, *query, "--json"],
        ):
            assert cli.main(arguments) == 0, capfd.readouterr().err
    scores = read_table(located(server, SourceOptions(query="SELECT * FROM scores ORDER BY row"))).frame
    assert scores.columns[:4] == ["row", "id", "log_density", "percentile"]
    assert scores["id"].equals(table["id"])
    np.testing.assert_allclose(scores["log_density"], pl.read_csv(tmp_path / "s.csv")["log_density"], atol=1e-5)
    assert read_table(f"{server}?table=drawn").frame.height == 30
    out, err = capfd.readouterr()
    written = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    written |= {"out": out.encode(), "err": err.encode(), "log": caplog.text.encode()}
    assert len(written) > 6
    for name, content in written.items():
        for secret in (postgres.PASSWORD, quote(postgres.PASSWORD, safe=""), "hunter2", f"{postgres.USER}:"):
            assert secret.encode() not in content, f"{secret} is in {name}"
    assert b"postgresql://127.0.0.1" in written[str(tmp_path / "r.html")]
    assert json.loads(out[out.rindex('{\n  "rows"') :])["rows"] == 40


def test_reasons_are_cut_to_one_line() -> None:
    source = Source("postgresql://ada:hunter2@h/x", "postgresql", SourceOptions())
    assert database._reason(ValueError(), source) == "ValueError"
    assert database._reason(ValueError("a: hunter2"), source).startswith("the address is not one")
    assert database._reason(ValueError('NOT_FOUND: Failed to prepare query: ERROR:  no "x"\nmore'), source) == 'no "x"'
