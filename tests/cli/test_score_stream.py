"""Scoring tables larger than memory: the same scores as in one piece, resumed after a kill, shared by two processes."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch.distributed as dist

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.tables.io import csv_rows, parquet
from pushforward.tables.queries import score_files

ROWS = 1000


@pytest.fixture
def folder(tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``rows`` of three files with row groups of 130 rows, and the same rows as ``rows.csv``."""
    monkeypatch.setattr(score_files, "SIZE", 180)
    table = pl.read_csv(workshop / "table.csv").sample(ROWS, with_replacement=True, seed=5)
    (tmp_path / "rows" / "later").mkdir(parents=True)
    for i, name in enumerate(("a.parquet", "b.parquet", "later/c.parquet")):
        pq.write_table(table[i * 350 : (i + 1) * 350].to_arrow(), tmp_path / "rows" / name, row_group_size=130)
    for name in ("_metadata.parquet", ".hidden.parquet", "notes.txt"):
        (tmp_path / "rows" / name).write_text("not data")
    table.write_csv(tmp_path / "rows.csv")
    return tmp_path


@pytest.fixture
def whole(folder: Path, workshop: Path, run) -> tuple[pl.DataFrame, dict]:
    """The scores of the same rows in one piece, and their summary."""
    summary = run("score", workshop / "given", folder / "rows.csv", "-o", folder / "whole.parquet")
    return pl.read_parquet(folder / "whole.parquet"), summary


def full(*_):
    """What is left undone on a full disk."""
    raise OSError("full")


def close(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.columns == expected.columns
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["rows", "rows/**/*.parquet"])
@pytest.mark.parametrize("output", ["s.parquet", "s.csv", "s"])
def test_a_folder_has_the_scores_of_the_table_in_one_piece(folder, workshop, run, whole, name, output):
    summary = run("score", workshop / "given", folder / name, "-o", folder / output)
    path = folder / output
    close(pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path), whole[0])
    for key in ("rows", "scored", "log_likelihood", "standard_error", "median", "below_1_percent", "impossible"):
        assert summary[key] == pytest.approx(whole[1][key], rel=1e-4), key
    assert not (folder / f"{output}.parts").exists()
    if not path.suffix:
        assert sorted(p.name for p in path.iterdir()) == [f"part-{i:05d}.parquet" for i in range(6)]
        run("score", workshop / "given", folder / name, "-o", path)  # replaces the folder of scores


def test_a_large_csv_is_read_in_pieces_too(folder, workshop, run, whole, monkeypatch):
    monkeypatch.setattr(csv_rows, "LARGE", 0)
    monkeypatch.setattr("pushforward.tables.io.csv_rows.PIECE", 64)
    run("score", workshop / "given", folder / "rows.csv", "-o", folder / "s.parquet")
    close(pl.read_parquet(folder / "s.parquet"), whole[0])


def test_a_large_parquet_file_is_read_in_pieces_too(folder, workshop, run, whole, monkeypatch):
    pl.read_csv(folder / "rows.csv").write_parquet(folder / "one.parquet")
    monkeypatch.setattr(parquet, "LARGE", 0)
    run("score", workshop / "given", folder / "one.parquet", "-o", folder / "s")
    close(pl.read_parquet(folder / "s"), whole[0])


def test_explanations_and_gaps_are_where_they_belong(folder, workshop, run):
    table = pl.read_csv(folder / "rows.csv").with_columns(
        size=pl.when(pl.int_range(pl.len()).is_between(200, 620)).then(None).otherwise("size")
    )
    table.write_csv(folder / "gaps.csv")
    (folder / "gaps").mkdir()
    pq.write_table(table.to_arrow(), folder / "gaps" / "a.parquet", row_group_size=100)
    options = ["--explain-below", "20", "--drop-missing"]
    run("score", workshop / "plain", folder / "gaps.csv", "-o", folder / "a.parquet", *options)
    summary = run("score", workshop / "plain", folder / "gaps", "-o", folder / "b.parquet", *options)
    expected, found = pl.read_parquet(folder / "a.parquet"), pl.read_parquet(folder / "b.parquet")
    assert found.schema == expected.schema
    assert found["log_density"].is_null().to_list() == table["size"].is_null().to_list()
    assert found["unlikely_because"].to_list() == expected["unlikely_because"].to_list()
    assert any("421 rows with missing" in note for note in summary["notes"])


def test_a_row_given_what_no_row_had_has_no_score_and_the_others_have_theirs(folder, workshop, run, whole):
    path = folder / "rows" / "b.parquet"
    table = pl.read_parquet(path)
    table = table.with_columns(colour=pl.when(pl.int_range(pl.len()) == 300).then(None).otherwise("colour"))
    pq.write_table(table.to_arrow(), path, row_group_size=130)
    summary = run("score", workshop / "given", folder / "rows", "-o", folder / "s.parquet")
    assert summary["scored"] == ROWS - 1
    assert sum("b.parquet: column 'colour', row 301: a missing value" in note for note in summary["notes"]) == 1
    scores = pl.read_parquet(folder / "s.parquet")["log_density"]
    (gap,) = np.flatnonzero(scores.is_null())
    np.testing.assert_allclose(
        scores.drop_nulls(), whole[0]["log_density"].to_numpy()[np.arange(ROWS) != gap], rtol=1e-3
    )


def test_a_fault_is_named_by_file_and_the_parts_before_it_are_kept(folder, workshop, run):
    path = folder / "rows" / "b.parquet"
    right = path.read_bytes()
    table = pl.read_parquet(path).with_columns(size=pl.col("size").cast(pl.String))
    pq.write_table(table.to_arrow(), path, row_group_size=130)
    arguments = ["score", workshop / "given", folder / "rows", "-o", folder / "s.parquet"]
    assert f"{path}: column 'size' holds text" in run(*arguments, code=2)["error"]
    assert len(list((folder / "s.parquet.parts").glob("part-*.parquet"))) == 1
    path.write_bytes(right)
    assert run(*arguments)["scored"] == ROWS


def test_files_of_unequal_columns_are_refused_before_any_work(folder, workshop, run):
    path = folder / "rows" / "later" / "c.parquet"
    pl.read_parquet(path).drop("size").write_parquet(path)
    error = run("score", workshop / "plain", folder / "rows", "-o", folder / "s.parquet", code=2)["error"]
    assert f"{path}: has no column 'size'" in error
    assert not (folder / "s.parquet.parts").exists()


def test_a_file_without_rows_does_not_say_which_columns_there_are(folder, workshop, run):
    arguments = ["score", workshop / "plain", folder / "rows", "-o", folder / "s.parquet"]
    whole = run(*arguments)
    pl.read_parquet(folder / "rows" / "b.parquet")[:0].select("size").write_parquet(folder / "rows" / "0.parquet")
    again = run(*arguments)
    assert (again["log_likelihood"], again["notes"]) == (whole["log_likelihood"], whole["notes"])


def test_parts_of_another_run_are_not_taken_for_this_one(folder, workshop, run, monkeypatch):
    arguments = ["score", workshop / "given", folder / "rows", "-o", folder / "s.parquet"]
    monkeypatch.setattr(
        "pushforward.tables.queries.score_files._finish", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    run(*arguments, code=1)
    monkeypatch.undo()
    monkeypatch.setattr(score_files, "SIZE", 180)
    summary = run(*arguments, "--seed", "7")
    assert any("held the parts of another run" in note for note in summary["notes"])
    expected = run("score", workshop / "given", folder / "rows.csv", "-o", folder / "t.parquet", "--seed", "7")
    assert summary["log_likelihood"] == pytest.approx(expected["log_likelihood"], rel=1e-5)


@pytest.mark.parametrize("change", ["a cell", "rows with gaps"])
def test_parts_of_a_packed_file_are_made_again_where_it_or_what_is_asked_changed(
    folder, workshop, run, monkeypatch, change
):
    monkeypatch.setattr(csv_rows, "LARGE", 0)
    lines = (folder / "rows.csv").read_text().splitlines()
    lines[7] = ",".join(cell if k else "" for k, cell in enumerate(lines[7].split(",")))
    (folder / "t.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    arguments = ["score", workshop / "plain", folder / "t.csv.gz", "-o", folder / "s.parquet"]
    with monkeypatch.context() as within:
        within.setattr(score_files, "_finish", full)
        run(*arguments, code=1)
    if change == "a cell":
        lines[3] = lines[3].replace("1", "2").replace("3", "4")
        (folder / "t.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        arguments.append("--drop-missing")
    run(*arguments)
    (folder / "t.csv").write_text("\n".join(lines))
    run("score", workshop / "plain", folder / "t.csv", "-o", folder / "t.parquet", *arguments[5:])
    assert pl.read_parquet(folder / "s.parquet").equals(pl.read_parquet(folder / "t.parquet"))


def test_a_damaged_part_is_made_again(folder, workshop, run, whole, monkeypatch):
    arguments = ["score", workshop / "given", folder / "rows", "-o", folder / "s.parquet"]
    monkeypatch.setattr(
        "pushforward.tables.queries.score_files._finish", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    run(*arguments, code=1)
    monkeypatch.undo()
    monkeypatch.setattr(score_files, "SIZE", 180)
    part = folder / "s.parquet.parts" / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    summary = run(*arguments)
    assert any("5 of 6 parts are there already" in note for note in summary["notes"])
    close(pl.read_parquet(folder / "s.parquet"), whole[0])


def test_numbers_known_in_part_are_read_in_pieces_as_they_are_in_one(tmp_path, run, monkeypatch):
    rng = np.random.default_rng(0)
    x, width = rng.normal(size=(2, 200))
    columns = {"a": x + rng.normal(size=200), "x": x, "flag": rng.random(200) < 0.3, "low": x, "high": x + width**2}
    pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
    model = pf.TableDensity(
        "maf", layers=1, hidden=(8,), steps=5, censored={"x": "flag"}, limits={"y": ("low", "high")}
    )
    model.fit(tmp_path / "t.csv").save(tmp_path / "model")
    arguments = ["score", tmp_path / "model", tmp_path / "t.csv", "-o", tmp_path / "s.parquet", "--keep", "flag"]
    run(*arguments)
    expected = pl.read_parquet(tmp_path / "s.parquet")
    monkeypatch.setattr(csv_rows, "LARGE", 0)
    assert not any("lacks" in note for note in run(*arguments)["notes"])
    close(pl.read_parquet(tmp_path / "s.parquet"), expected)
    assert "has the columns" in run(*arguments, "--given", "nothing", code=2)["error"]


def test_what_no_training_row_had_is_said_of_pieces_as_of_the_whole(folder, run, monkeypatch):
    paid = pl.format("${}", pl.Series(np.random.default_rng(0).integers(10, 90, ROWS)))
    table = pl.read_csv(folder / "rows.csv").select("size", "colour", paid=paid, twice=2 * pl.col("size"))
    model, row = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5), pl.int_range(ROWS)
    model.fit(table).save(folder / "model")
    odd = table.with_columns(
        colour=pl.when(~row.is_in([300, 700])).then("colour").otherwise(pl.lit("pink")),
        size=pl.when(row != 500).then("size"),
        paid=pl.when(~row.is_in([310, 650])).then("paid").otherwise(pl.lit("$1-ish")),
        twice=pl.when(row == 500).then(None).when(row % 400 == 50).then(0.0).otherwise("twice"),
    )
    monkeypatch.setattr("pushforward.tables.io.csv_rows.PIECE", 64)
    arguments = ["score", folder / "model", folder / "odd.csv", "-o", folder / "s.parquet"]
    for rows in (odd.drop("colour"), odd):
        rows.write_csv(folder / "odd.csv")
        expected = run(*arguments)["notes"]
        assert len(expected) == 3 + 2 * ("colour" in rows)
        scores = pl.read_parquet(folder / "s.parquet")
        with monkeypatch.context() as within:
            within.setattr(csv_rows, "LARGE", 0)
            with monkeypatch.context() as stopped:
                stopped.setattr(score_files, "_finish", full)
                run(*arguments, code=1)
            found = run(*arguments)["notes"]
        assert sum("6 of 6 parts are there already" in note for note in found) == 1
        assert {*found} > {*expected}
        close(pl.read_parquet(folder / "s.parquet").select(scores.columns), scores)
    assert any("row 301 (and 1 more row like it) has a 'colour'" in note for note in expected)
    assert any("column 'paid', row 311 (and 1 more row like it): '$1-ish' cannot be read" in note for note in expected)
    (folder / "odd").mkdir()
    for name, part in (("a", odd.drop("colour")), ("b", odd)):
        part.write_parquet(folder / "odd" / f"{name}.parquet")
    error = run("score", folder / "model", folder / "odd", "-o", folder / "s.parquet", code=2)["error"]
    assert "a.parquet: has no column 'colour'" in error


REFUSED = {
    "an empty folder": (
        lambda f: (f / "none").mkdir(),
        "{}/none",
        "{}/s",
        "expected a file, or a folder with .parquet files",
    ),
    "no match": (lambda f: None, "{}/no*.parquet", "{}/s", "matches no file"),
    "inside the input": (lambda f: None, "{}/rows", "{}/rows/s", "lies in"),
    "among the inputs": (lambda f: None, "{}/rows/*.parquet", "{}/rows/s.parquet", "lies in"),
    "the input": (lambda f: None, "{}/rows", "{}/rows", "folder with other files in it"),
    "in the way": (lambda f: (f / "s.parts").mkdir(), "{}/rows", "{}/s", "is in the way"),
    "cut off": (
        lambda f: (f / "rows/b.parquet").write_bytes((f / "rows/b.parquet").read_bytes()[:-9]),
        "{}/rows",
        "{}/s",
        "b.parquet: cannot be read as parquet",
    ),
    "an odd column": (
        lambda f: pl.read_parquet(f / "rows/b.parquet").drop("size").write_parquet(f / "rows/b.parquet"),
        "{}/rows",
        "{}/s",
        "b.parquet: has no column 'size'",
    ),
    "text": (
        lambda f: pl.read_parquet(f / "rows/a.parquet").cast({"size": pl.String}).write_parquet(f / "rows/a.parquet"),
        "{}/rows",
        "{}/s",
        "a.parquet: column 'size' holds text",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored_is_refused_in_one_sentence(folder, workshop, run, case):
    spoil, data, output, sentence = REFUSED[case]
    spoil(folder)
    arguments = ["score", workshop / "plain", data.replace("{}", str(folder)), "-o", output.replace("{}", str(folder))]
    error = run(*arguments, code=2)["error"]
    assert sentence in error
    assert "\n" not in error


@pytest.mark.slow
@pytest.mark.skipif(not (hasattr(os, "fork") and dist.is_gloo_available()), reason="needs fork and gloo")
def test_kill_9_loses_no_finished_part_and_two_processes_share_the_rows(folder, workshop):
    command = [sys.executable, Path(__file__).with_name("stream_faults.py"), workshop / "given", folder]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr + "".join(log.read_text() for log in folder.glob("*.log"))
    straight = pl.read_parquet(folder / "straight.parquet")
    assert pl.read_parquet(folder / "killed.parquet").equals(straight)
    assert pl.read_parquet(folder / "shared.parquet").equals(straight)


def test_the_shell_says_what_a_stopped_run_leaves(folder, workshop, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pushforward.tables.queries.score.Scoring.scores", stop)
    assert cli.main(["score", str(workshop / "plain"), str(folder / "rows"), "-o", str(folder / "s.csv")]) == 1
    assert f"the parts so far are in {folder}/s.csv.parts; the same command goes on" in capsys.readouterr().err
