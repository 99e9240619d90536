"""Odd names, pipes and locales at the shell: exit code 2 or 0, one sentence, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from pushforward.cli import app as cli


def sentence(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    assert cli.main(list(map(str, arguments))) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    return err


def test_no_name_and_names_that_are_no_text(tmp_path: Path, workshop: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.read_csv(workshop / "table.csv").write_parquet("rows.parquet")  # which the current folder would score
    assert "empty name" in sentence(capsys, "score", workshop / "plain", "", "-o", "s.csv")
    assert "empty name" in sentence(capsys, "score", workshop / "plain", "rows.parquet", "-o", "")
    assert "no text" in sentence(capsys, "score", workshop / "plain", "t\udcff.csv", "-o", "s.csv")
    assert "no text" in sentence(capsys, "sample", workshop / "plain", "-n", 3, "-o", "s\udcff.csv")
    assert os.listdir() == ["rows.parquet"]


def test_values_and_conditions_that_are_no_text(workshop: Path, tmp_path: Path, capsys) -> None:
    assert "no text" in sentence(capsys, "ask", workshop / "plain", "size > 3 AND t\udcff > 1")
    given = ("--given", "colour=\udcff")
    assert "no text" in sentence(capsys, "sample", workshop / "given", "-n", 3, "-o", tmp_path / "s.csv", *given)


@pytest.mark.parametrize("output", ["/proc/x", "a" * 300])
def test_outputs_that_cannot_be_written(tmp_path: Path, workshop: Path, capsys, monkeypatch, output: str) -> None:
    monkeypatch.chdir(tmp_path)
    table, model = workshop / "table.csv", workshop / "plain"
    sentence(capsys, "score", model, table, "-o", f"{output}.csv")
    sentence(capsys, "sample", model, "-n", 3, "-o", f"{output}.parquet")
    sentence(capsys, "fit", table, "-o", output, "--steps", 1)
    sentence(capsys, "report", model, "-o", f"{output}.html")


def test_an_archive_whose_paths_lead_outside_holds_no_table(tmp_path: Path, workshop: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("../../t.csv", "a\n1\n")
    assert "holds no file" in sentence(
        capsys, "score", workshop / "plain", tmp_path / "t.zip", "-o", tmp_path / "s.csv"
    )


@pytest.mark.slow
def test_a_reader_that_has_enough(workshop: Path) -> None:
    command = [sys.executable, "-m", "pushforward", "sample", workshop / "plain", "-n", "20000", "-o", "-"]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=unbuffered) as process:
        process.stdout.read(10)  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]
        err = process.stderr.read().decode()  # type: ignore[union-attr]
    assert process.returncode == 0, err
    assert err.splitlines()[-1] == "pushforward: standard output was closed before all was written"


def test_nobody_reads_the_help() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "pushforward", "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"pushforward: standard output was closed before all was written\n")


def test_texts_that_spreadsheets_would_run(workshop: Path, tmp_path: Path, capsys) -> None:
    table = pl.read_csv(workshop / "table.csv").with_columns(note=pl.lit("=1+1"))
    table.write_csv(tmp_path / "t.csv")
    score = ["score", str(workshop / "plain"), str(tmp_path / "t.csv"), "--keep", "note", "-o"]
    assert cli.main([*score, str(tmp_path / "s.csv"), "--spreadsheet-safe"]) == 0
    assert "apostrophe" not in capsys.readouterr().err
    assert set(pl.read_csv(tmp_path / "s.csv")["note"]) == {"'=1+1"}
    assert cli.main([*score, str(tmp_path / "s.parquet"), "--spreadsheet-safe"]) == 2


def test_a_batch_is_read_with_the_decimal_mark_of_the_fit(workshop: Path, tmp_path: Path, run) -> None:
    table = pl.read_csv(workshop / "table.csv").select("size", "price").with_columns(pl.col("size") + 0.1234)
    table.write_csv(tmp_path / "fit.csv", separator="\t", decimal_comma=True)
    model, batch = tmp_path / "m", tmp_path / "batch.csv"
    run("fit", tmp_path / "fit.csv", "-o", model, "--flow", "maf", "--layers", 1, "--steps", 5, "--no-queries")
    scores = []
    for text in ("size\tprice\n5,346\t12\n", "size\tprice\n5.346\t12\n"):
        batch.write_text(text)
        run("score", model, batch, "-o", tmp_path / "s.csv")
        scores.append(pl.read_csv(tmp_path / "s.csv")["log_density"].item())
    assert scores[0] == scores[1]
