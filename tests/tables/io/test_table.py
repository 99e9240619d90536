"""Reading and writing tables: every format gives the same table, and nothing is ever half written."""

from __future__ import annotations

import bz2
import datetime as dt
import gc
import gzip
import io
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import xlsxwriter

from pushforward.errors import InputError
from pushforward.tables.io.format import ReadOptions
from pushforward.tables.io.place import SourceOptions, located
from pushforward.tables.io.read import open_large, read_any, read_table
from pushforward.tables.io.write import check_output, delivered, write_table

FRAME = pl.DataFrame({"a": [1.5, 2.5, -3.0], "b": [1, 2, 3], "c": ["x", "y", "x"]})


def packed(content: bytes, ending: str) -> bytes:
    if ending == "zip":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("inner.csv", content)
            file.writestr("__MACOSX/._inner.csv", b"by-product")
        return archive.getvalue()
    if ending == "zst":
        return pa.compress(content, "zstd", asbytes=True)
    return {"gz": gzip, "bz2": bz2}[ending].compress(content)


WRITTEN = ["csv", "parquet", "tsv", "txt", "jsonl", "ndjson", "arrow", "feather", "ipc", "xlsx"]


@pytest.mark.parametrize("ending", [*WRITTEN, "csv.gz", "csv.zst", "csv.bz2", "csv.zip", "parquet.gz", "json"])
def test_every_format_gives_the_same_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    if ending in WRITTEN:
        write_table(FRAME, path)
    elif ending == "json":
        FRAME.write_json(path)
    else:
        plain = io.BytesIO()
        (FRAME.write_parquet if "parquet" in ending else FRAME.write_csv)(plain)
        path.write_bytes(packed(plain.getvalue(), ending.rpartition(".")[2]))
    table = read_table(path)
    assert table.frame.equals(FRAME)
    assert str(table.path) == str(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file is left


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize(
    "ending", ["csv", "parquet", "arrow", "stream", "jsonl", "json", "xlsx", "gz", "zst", "bz2", "zip"]
)
def test_standard_input_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    if ending in WRITTEN:
        write_table(FRAME, path)
    elif ending == "json":
        FRAME.write_json(path)
    elif ending == "stream":
        FRAME.write_ipc_stream(path)
    else:
        path.write_bytes(packed(FRAME.write_csv().encode(), ending))
    standard_input(monkeypatch, path.read_bytes())
    source = located("-")
    table = read_table(source)
    assert table.frame.equals(FRAME)
    assert str(table.path) == table.path.name == "standard input"
    assert read_table(source).frame.equals(FRAME)  # it is kept, and can be read again


def test_standard_output_is_csv(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    check_output("-")
    write_table(FRAME, "-")
    assert capfdbinary.readouterr().out == FRAME.write_csv().encode()


def test_columns_set_apart_by_blanks_and_row_names_of_r(tmp_path: Path) -> None:
    expected = pl.DataFrame({"a": [1.5, 2.0], "b c": ["x y", "z"]})
    path = tmp_path / "t.txt"
    path.write_text(' a   "b c"\n 1.5  "x y"\n 2.0 z \n\n')
    assert read_table(path).frame.equals(expected)
    for mark in " \t":
        path.write_text(
            mark.join(['"a"', '"b c"'])
            + "\n"
            + mark.join(['"1"', "1.5", '"x y"'])
            + "\n"
            + mark.join(['"2"', "2", '"z"'])
        )
        table = read_table(path)
        assert table.frame.equals(expected)
        assert "row index" in table.notes[0]
    path.write_text("full name\nAda\nBob\n")
    assert read_table(path).frame.columns == ["full name"]


def test_sheets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet("empty")
        for name in ("one", "two"):
            sheet = book.add_worksheet(name)
            rows = [
                ["", "a", "b", "when"],
                [0, 1.5, "7", 1],
                [1, "foo" if name == "two" else "", "", 2],
                [2, "NA", 9, 3],
            ]
            for row, cells in enumerate(rows):
                sheet.write_row(row, 0, cells)
    table = read_table(path)
    assert table.frame.to_dict(as_series=False) == {"a": [1.5, None, None], "b": [7, None, 9], "when": [1.0, 2.0, 3.0]}
    assert any("'one' is read, of one, two" in note for note in table.notes)
    assert any("row index" in note for note in table.notes)
    chosen = read_table(located(path, SourceOptions(sheet="two")))
    assert str(chosen.path) == f"{path} (two)"
    assert chosen.frame["a"].to_list() == ["1.5", "foo", None]
    assert not any("sheet=" in note for note in chosen.notes)
    assert table.frame.dtypes == [pl.Float64, pl.Int64, pl.Int64]
    assert not caplog.text
    with pytest.raises(InputError, match=r"t\.xlsx \(three\): has no sheet 'three'; its sheets are empty, one, two"):
        read_table(located(path, SourceOptions(sheet="three")))
    with pytest.raises(InputError, match=r"\(empty\): has no columns"):
        read_table(located(path, SourceOptions(sheet="empty")))


def test_columns_of_json_that_hold_several_kinds_of_values_are_text(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": [1], "b": 1}\n{"a": 2, "b": 2.5}\n{"a": {"c": "x"}}\n')
    expected = {"a": ["[1]", "2", '{"c": "x"}'], "b": [1.0, 2.5, None]}
    assert read_table(tmp_path / "t.jsonl").frame.to_dict(as_series=False) == expected


def test_texts_of_json_may_hold_any_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": "x\u2028y\x85z", "b": NaN}\r\n{"a": "u"}\r\n', encoding="utf-8")
    assert read_table(tmp_path / "t.jsonl").frame["a"].to_list() == ["x\u2028y\x85z", "u"]


def test_rows_of_json_may_lack_keys_and_hold_nan(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('\ufeff{"a": NaN, "b": 1}\n\n{"b": 2, "c": "x"}\n', encoding="utf-8")
    expected = pl.DataFrame({"a": [None, None], "b": [1, 2], "c": [None, "x"]})
    assert read_table(tmp_path / "t.jsonl").frame.equals(expected)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": 1}\n[2]\n', r"row 2 is \[2\]; expected an object per row"),
        ('{"a": 1}\nnonsense\n', "row 2 is not JSON"),
        ("[1, 2]", "row 1 is 1; expected an object per row"),
        ('[{"a": 1}, {"a"', "it is not JSON"),
        ("{\n", "row 1 is not JSON"),
        ("[]", "has no columns"),
        ("\n", "has no columns"),
    ],
)
def test_json_that_is_not_rows(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_table(tmp_path / "t.jsonl")


def test_an_archive_with_several_tables_names_them(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.csv", "folder/b.csv"):
            archive.writestr(name, FRAME.write_csv())
    with pytest.raises(InputError, match=r"t\.zip: holds 2 files \(a\.csv, folder/b\.csv\); choose one with `table="):
        read_table(path)
    assert read_table(located(path, SourceOptions(table="folder/b.csv"))).frame.equals(FRAME)
    with pytest.raises(InputError, match=r"has no file 'c\.csv'; it holds a\.csv"):
        read_table(located(path, SourceOptions(table="c.csv")))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.zip", b"PK\x03\x04nonsense", "cannot be unpacked"),
        ("t.csv.gz", b"nonsense", "cannot be unpacked"),
        ("t.csv.zst", b"nonsense", "cannot be unpacked"),
        ("t.zip", b"", "the file is empty"),
        ("t.xlsx", b"nonsense", r"t\.xlsx: cannot be read as xlsx"),
        ("t.xls", b"nonsense", r"t\.xls: cannot be read as xls"),
        ("t.docx", b"x", "cannot tell what it holds from its ending; expected one of .csv"),
        ("t.sqlite", b"nonsense, and more of it", "file is not a database"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
def test_a_damaged_packed_file_leaves_nothing_in_memory(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.csv.{ending}"
    path.write_bytes(packed(b"a,b\n1.5,2\n" * 1000, ending)[:20] + b"nonsense" * 10)
    tracemalloc.start()
    try:
        for _ in range(5):
            with pytest.raises(InputError, match="cannot be unpacked"):
                read_table(path)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", ["zip", "csv.gz", "xlsx", "jsonl", "sqlite", "duckdb"])
def test_folders_and_files_that_are_not_there(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"folder.{ending}").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path / f"folder.{ending}")
    with pytest.raises(InputError, match="there is no such file"):
        read_table(tmp_path / f"t.{ending}")


def test_files_are_one_table_whatever_the_order_of_their_columns(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "b": ["x"]}).write_parquet(tmp_path / "0.parquet")
    pl.DataFrame({"b": ["y"], "a": [2]}).write_parquet(tmp_path / "1.parquet")
    assert read_any(tmp_path).frame.to_dict(as_series=False) == {"a": [1, 2], "b": ["x", "y"]}
    pl.DataFrame({"b": ["y"], "A": [2]}).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(InputError, match="do not have the same columns"):
        read_any(tmp_path)


def test_empty_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, b"")
    with pytest.raises(InputError, match=r"^standard input: is empty$"):
        read_table("-")
    standard_input(monkeypatch, b"a,b\n1,2,3\n")
    with pytest.raises(InputError, match=r"^standard input: row 1 has 3 cells"):
        read_table("-")


def test_processes_of_torchrun_share_files_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_table(FRAME, f"{tmp_path}/t.sqlite?table=t")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for place in ("-", str(tmp_path / "t.sqlite")):
        with pytest.raises(InputError, match="processes of torchrun can share files"):
            read_table(place)
    with pytest.raises(InputError, match="processes of torchrun can share files"), delivered(located("-")):
        pass


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("t.csv", {"sheet": "x"}, "^sheet: applies to an Excel file"),
        ("t.json", {"decimal": ","}, "^decimal: applies to a CSV file"),
        ("t.parquet", {"sheet": "x"}, "^sheet: applies to an Excel file"),
        ("t.csv", {"decimal": "x"}, "expected a comma or a point"),
        ("t.csv", {"query": "x"}, "^query: applies to a database"),
        ("t.csv", {"table": "x"}, "^table: applies to a database or a .zip file"),
        ("t.sqlite", {"table": "x", "query": "y"}, "^query: give no `table="),
        ("mysql://ada:secret@host/db", {}, "^mysql://host/db: no database is known by mysql; expected postgresql://"),
    ],
)
def test_options_for_another_kind_of_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, str], sentence: str
) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    (tmp_path / "t.json").write_text('[{"a": 1}]')
    FRAME.write_parquet(tmp_path / "t.parquet")
    monkeypatch.chdir(tmp_path)
    for read in (read_table, read_any, lambda place: open_large(place, ReadOptions())):
        with pytest.raises(InputError, match=sentence):
            read(located(name, SourceOptions(**options)))


def test_dates_times_and_codes_of_excel_are_such(tmp_path: Path) -> None:
    moments = [dt.datetime(2020, 1, 1, 9), dt.datetime(2020, 3, 31)]
    times = [dt.time(9, 30), dt.time(0)]
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
        sheet, form = book.add_worksheet(), book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        for place, name in enumerate(("moment", "day", "time", "code")):
            sheet.write(0, place, name)
        for row, (moment, time, code) in enumerate(zip(moments, times, ["01067", "10115"], strict=True), 1):
            sheet.write_datetime(row, 0, moment, form)
            sheet.write_datetime(row, 1, dt.datetime.combine(moment, dt.time(0)), form)
            sheet.write_datetime(row, 2, time, form)
            sheet.write_string(row, 3, code)
    frame = read_table(tmp_path / "t.xlsx").frame
    assert frame.rows() == [
        (moments[0], moments[0].date(), times[0], "01067"),
        (moments[1], moments[1].date(), times[1], "10115"),
    ]


def test_cells_that_are_merged_over_rows_are_said_to_hold_nothing_but_in_the_first(tmp_path: Path) -> None:
    for rows in (1, 2):
        with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
            sheet = book.add_worksheet()
            for row, cells in enumerate([FRAME.columns, *FRAME.rows()]):
                sheet.write_row(row, 0, cells)
            sheet.merge_range(1, 0, rows, 1, "wide")
        assert any("merged" in note for note in read_table(tmp_path / "t.xlsx").notes) == (rows > 1)


@pytest.mark.parametrize("above", [["Sales", None], [None, "Sales"], ["Sales", "of 2020"], [None], []], ids=str)
def test_titles_above_the_names_of_a_sheet_are_left_out(tmp_path: Path, above: list[str | None]) -> None:
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
        sheet = book.add_worksheet()
        for row, cells in enumerate([*([cell] for cell in above), *[FRAME.columns, *FRAME.rows()]]):
            sheet.write_row(row, 0, cells)
    table = read_table(tmp_path / "t.xlsx")
    assert table.frame.equals(FRAME)
    assert bool(table.notes) == bool(above)


def test_what_excel_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(InputError, match=r"needs fastexcel; install it with: pip install 'pushforward\[excel\]'"):
        read_table(tmp_path / "t.xlsx")
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(InputError, match=r"needs xlsxwriter; install it with: pip install 'pushforward\[excel\]'"):
        write_table(FRAME, tmp_path / "u.xlsx")


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

    def fail(self: pl.LazyFrame, file: Path, **_: object) -> None:
        Path(file).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(pl.LazyFrame, "sink_csv", fail)
    with pytest.raises(OSError, match="disk full"):
        write_table(FRAME.head(1), path)
    assert read_table(path).frame.equals(FRAME)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("t.doc", "the ending says the format"), ("no/t.csv", "create it first"), ("folder.csv", "is a folder")],
)
def test_outputs_are_refused_before_the_work(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=sentence):
        check_output(tmp_path / name)
