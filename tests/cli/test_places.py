"""The shell reads standard input, Excel, archives and databases, and writes to standard output and new tables."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pushforward.cli import app as cli
from pushforward.tables.io.place import located
from pushforward.tables.io.read import read_table
from pushforward.tables.io.write import write_table

Run = Callable[..., Any]


@pytest.mark.slow
def test_scores_through_pipes_in_a_process_of_its_own(workshop: Path, tmp_path: Path, run: Run) -> None:
    """Whose locale has no signs beyond ASCII."""
    run("score", workshop / "plain", workshop / "table.csv", "-o", tmp_path / "s.csv", "--keep", "colour,size")
    expected = pl.read_csv(tmp_path / "s.csv")
    assert expected.columns[:3] == ["colour", "size", "log_density"]
    table = io.BytesIO()
    pl.read_csv(workshop / "table.csv").write_parquet(table)
    arguments = ["score", str(workshop / "plain"), "-", "-o", "-", "--keep", "colour,size"]
    command = [sys.executable, "-m", "pushforward", *arguments]
    plain = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, input=table.getvalue(), env=plain, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pl.read_csv(done.stdout).equals(expected)
    assert b"standard input: 600 rows" in done.stderr  # lines for people go beside
    assert b"saved standard output" in done.stderr


def test_samples_to_standard_output(workshop: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.main(["sample", str(workshop / "plain"), "-n", "7", "-o", "-"]) == 0
    assert pl.read_csv(capsysbinary.readouterr().out).height == 7


def test_samples_to_a_new_table(workshop: Path, tmp_path: Path, run: Run) -> None:
    run("sample", workshop / "plain", "-n", 7, "-o", f"{tmp_path}/t.duckdb?table=drawn")
    assert read_table(f"{tmp_path}/t.duckdb?table=drawn").frame.columns == ["size", "price", "count"]
    run("sample", workshop / "plain", "-n", 7, "-o", f"{tmp_path}/t.xlsx")
    assert read_table(tmp_path / "t.xlsx").frame.height == 7


@pytest.mark.slow
def test_the_whole_job_on_a_database_and_a_sheet(workshop: Path, tmp_path: Path, run: Run) -> None:
    table = pl.read_csv(workshop / "table.csv")
    for name in ("shop.sqlite", "shop.duckdb"):
        write_table(table.with_row_index("id"), f"{tmp_path / name}?table=orders")
        write_table(table.head(5), f"{tmp_path / name}?table=others")
        query = ["--query", "SELECT size, price, count FROM orders WHERE id >= 0"]
        model = tmp_path / f"model_of_{name[5:]}"
        quick = ["--flow", "maf", "--layers", "1", "--steps", "5"]
        run("fit", tmp_path / name, *query, "-o", model, *quick)
        assert run("info", model)["data"] == name
        scores = f"{tmp_path / name}?table=scores"
        found = run("score", model, tmp_path / name, "--table", "orders", "--keep", "id", "-o", scores)
        assert found["output"] == str(located(scores))
        written = read_table(scores).frame
        assert written["id"].to_list() == list(range(600))
        assert written["row"].to_list() == list(range(1, 601))
        run("compare", model, model, tmp_path / name, *query)
        report = run("report", model, tmp_path / name, *query, "-o", tmp_path / "r.html")
        assert report["rows"] == 60  # the rows are known again, and those held out are used
        assert "--query" in (tmp_path / "r.html").read_text()
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", table.write_csv())
        archive.writestr("b.csv", table.head(3).write_csv())
    found = run("score", model, tmp_path / "t.zip", "--table", "b.csv", "-o", tmp_path / "s.jsonl")
    assert found["rows"] == pl.read_ndjson(tmp_path / "s.jsonl").height == 3


@pytest.mark.parametrize("output", ["s.csv", "s.jsonl", "s.arrow", "s.tsv", "t.duckdb?table=s", "t.sqlite?table=s"])
def test_tables_that_are_read_in_pieces(
    workshop: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    table = pl.read_csv(workshop / "table.csv").with_row_index("id")
    write_table(table, f"{tmp_path}/shop.duckdb?table=orders")
    monkeypatch.setattr("pushforward.tables.io.parquet.LARGE", 100)
    place = f"{tmp_path}/{output}"
    found = run("score", workshop / "plain", tmp_path / "shop.duckdb", "--keep", "id", "-o", place)
    assert found["output"] == str(located(place))
    assert read_table(place).frame["id"].to_list() == list(range(600))
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("fit {}/t.xlsx --sheet Q3 -o {}/m", r"t.xlsx (Q3): has no sheet 'Q3'; its sheets are Sheet1"),
        ("fit {}/t.csv --sheet Q3 -o {}/m", "--sheet: applies to an Excel file"),
        ("fit {}/t.xlsx --decimal , -o {}/m", "--decimal: applies to a CSV file"),
        ("fit {}/t.csv --query x -o {}/m", "--query: applies to a database"),
        ("score {model} {}/t.csv -o - --json", "-o -: goes to standard output"),
        ("score {model} {}/t.csv -o {}/s.csv --keep nope", "no column 'nope'"),
        ("score {model} {}/t.csv -o {}/s.csv --keep percentile", "the scores have a column of that name"),
        ("score {model} {}/t.csv -o {}/t.sqlite", "say which table to write"),
        ("score {model} {}/t.csv -o {}/no/t.sqlite?table=x", "create it first"),
        ("score {model} {}/t.csv -o {}/s.zip", "the ending says the format"),
        ("score {images} {}/t.sqlite -o {}/s.csv", "is not a source of images"),
        ("score {images} {}/t.csv -o {}/s.csv --keep a", "--keep: applies to tables"),
        ("sample {images} -n 3 -o -", "the ending says the format"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    workshop: Path, gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    table = pl.read_csv(workshop / "table.csv").with_columns(percentile=1)
    table.write_csv(tmp_path / "t.csv")
    table.write_excel(tmp_path / "t.xlsx")
    before = sorted(tmp_path.rglob("*"))
    filled = arguments.replace("{model}", str(workshop / "plain")).replace("{images}", str(gallery / "glow"))
    assert cli.main(filled.replace("{}", str(tmp_path)).split()) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
