"""Reading and writing tables: every format gives the same table, and nothing is ever half written."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pushforward.tables.errors import InputError
from pushforward.tables.formats.table import check_output, read_table, write_table

FRAME = pl.DataFrame({"a": [1.5, 2.5, -3.0], "b": [1, 2, 3], "c": ["x", "y", "x"]})


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow", "t.feather", "t.csv.gz", "t.tsv"])
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(("arrow", "feather")):
        FRAME.write_ipc(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(FRAME.write_csv().encode()))
    elif name.endswith("tsv"):
        FRAME.write_csv(path, separator="\t")
    else:
        write_table(FRAME, path)
    assert read_table(path).frame.equals(FRAME)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no temporary file is left


def test_bars_separate_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a|b\n1|2\n3|4\n")
    assert read_table(tmp_path / "t.csv").frame.equals(pl.DataFrame({"a": [1, 3], "b": [2, 4]}))


def test_blank_lines_are_no_rows_but_lines_of_commas_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n\n1,2\n\n3,4\n\n")
    table = read_table(tmp_path / "t.csv")
    assert table.frame.equals(pl.DataFrame({"a": [1, 3], "b": [2, 4]}))
    assert "blank lines" in table.notes[0]
    (tmp_path / "t.csv").write_text("a,b\n1,2\n,\n3,4\n")
    assert read_table(tmp_path / "t.csv").frame.height == 3


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1,5;2\n2,5;3\n")
    assert read_table(tmp_path / "t.csv").frame.equals(pl.DataFrame({"a": [1.5, 2.5], "b": [2, 3]}))


def test_a_byte_order_mark_and_quoted_names_are_no_part_of_the_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\ufeff"a","b, c"\n1,2\n', encoding="utf-8")
    assert read_table(tmp_path / "t.csv").frame.columns == ["a", "b, c"]


def test_a_csv_without_names_gets_some_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    table = read_table(tmp_path / "t.csv")
    assert table.frame.equals(pl.DataFrame({"x1": [1, 3], "x2": [2, 4]}))
    assert "no line of column names" in table.notes[0]


def test_an_unnamed_first_column_is_a_row_index(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",a\n0,1.5\n1,2.5\n")
    table = read_table(tmp_path / "t.csv")
    assert table.frame.equals(pl.DataFrame({"a": [1.5, 2.5]}))
    assert "row index" in table.notes[0]


def test_missing_values_have_many_spellings(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\nNA,1\n?,2\n,3\n1.5,4\n")
    assert read_table(tmp_path / "t.csv").frame["a"].to_list() == [None, None, None, 1.5]


def test_numpy_arrays(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "t.npy", array)
    assert read_table(tmp_path / "t.npy").frame.equals(pl.DataFrame({"x1": [0.0, 2.0, 4.0], "x2": [1.0, 3.0, 5.0]}))
    np.savez(tmp_path / "t.npz", train=array, val=array[:1], test=array[1:], columns=np.array(["u", "v"]))
    table = read_table(tmp_path / "t.npz")
    assert table.frame.columns == ["u", "v"]
    assert {name: split.height for name, split in table.splits.items()} == {"train": 3, "val": 1, "test": 2}
    assert table.held_out().frame.height == 2
    assert "'test'" in table.held_out().notes[-1]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    write_table(FRAME, path)

    def fail(self: pl.DataFrame, file: Path) -> None:
        Path(file).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(pl.DataFrame, "write_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        write_table(FRAME.head(1), path)
    assert read_table(path).frame.equals(FRAME)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("t.xls", "expected .csv or .parquet"), ("no/t.csv", "create it first"), ("folder.csv", "is a folder")],
)
def test_outputs_are_refused_before_the_work(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=sentence):
        check_output(tmp_path / name)
