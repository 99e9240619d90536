"""CSV: its dialect by its first rows, its types and its decimal mark by all of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from pushforward.errors import InputError
from pushforward.tables.io.csv_rows import CsvRows
from pushforward.tables.io.format import ReadOptions
from pushforward.tables.io.place import SourceOptions, located
from pushforward.tables.io.read import local_file, read_any, read_table
from pushforward.tables.io.table import Table

SEMICOLONS = {
    "a group of three alone": ("a\n5\n5,346", [5.0, 5.346]),
    "judged by a later row": ("a\n5\n5,346\n7,1", [5.0, 5.346, 7.1]),
    "points part thousands": ("a\n1.234\n1.234,5", [1234.0, 1234.5]),
    "points elsewhere": ("a\n1.234\n7,5", [1234.0, 7.5]),
    "blanks part thousands": ("a\n1 234,5\n12 345 678\n1\u00a0234,25", [1234.5, 12345678.0, 1234.25]),
    "apostrophes part thousands": ("a\n1'234,5\n7", [1234.5, 7.0]),
    "signs and exponents": ("a\n-5,3\n+7,1e2", [-5.3, 710.0]),
    "points alone": ("a\n1.5\n1.234", [1.5, 1.234]),
    "per cent": ("a\n5,3 %\n7 %", ["5.3 %", "7 %"]),
    "money": ("a\n1.234,50 €\n2,00 €", ["1234.50 €", "2.00 €"]),
    "units": ("a\n5,3 kg\n1.234,5 kg\n7 kg", ["5.3 kg", "1234.5 kg", "7 kg"]),
    "parentheses": ("a\n(5,3)\n1.234,5", ["(5.3)", "1234.5"]),
    "addresses": ("a\n12, Main Street\n7, Elm Street", ["12, Main Street", "7, Elm Street"]),
    "beside words": ("a\n5,3\nk.A.\n7,1", ["5.3", "k.A.", "7.1"]),
    "words with commas": ("a\nx, y\nz, 5,3 each\nu", ["x, y", "z, 5,3 each", "u"]),
    "dates": ("a\n01.02.2020\n05.03.2021", ["01.02.2020", "05.03.2021"]),
}


def read(folder: Path, text: str | bytes, name: str = "t.csv", options: ReadOptions | None = None) -> Table:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(folder / name, options)


def values(table: Table, name: str = "a") -> list[object]:
    return table.frame[name].to_list()


def test_blanks_behind_separators_and_quotes_behind_backslashes_are_no_text(tmp_path: Path) -> None:
    rows = 'a, b, "c", d\nred, 1.5, "x, y", NA\n, NA, "z", 2\nblue, 2, "z", 3\n'
    expected = [("red", 1.5, "x, y", None), (None, None, "z", 2), ("blue", 2.0, "z", 3)]
    assert read(tmp_path, rows).frame.rows() == expected
    escaped = read(tmp_path, 'a,b\n"say \\"hi, you\\" now",1\n"so be it",2\n', "escaped.csv")
    assert escaped.frame.rows() == [('say "hi, you" now', 1), ("so be it", 2)]
    assert read(tmp_path, 'a,b\n"C:\\",1\n"D:\\",2\n', "paths.csv").frame["a"].to_list() == ["C:\\", "D:\\"]
    json = [('{"said": "so \\"be\\", it"}', 1), ('{"said": "x"}', 2)]
    written = pl.DataFrame(json, schema=["a", "b"], orient="row").write_csv(quote_style="non_numeric")
    assert read(tmp_path, written, "json.csv").frame.rows() == json  # quotes are doubled, and backslashes text


@pytest.mark.parametrize("case", SEMICOLONS)
def test_decimal_commas_between_semicolons(tmp_path: Path, case: str) -> None:
    text, expected = SEMICOLONS[case]
    header, *rows = text.split("\n")
    table = read(tmp_path, "\n".join([f"{header};b", *(f"{row};1" for row in rows)]))
    assert values(table) == expected
    assert any("'a'" in note for note in table.notes) == (table.decimal == ",")


@pytest.mark.parametrize(
    ("above", "names"),
    [
        ("# exported\n# today\n", ["a", "b"]),
        ("Report\nof 2024\n\n", ["a", "b"]),
        ("# exported\n#", ["#a", "b"]),
        ("#", ["#a", "b"]),
    ],
)
def test_what_stands_above_the_names_is_left_out_and_said(tmp_path: Path, above: str, names: list[str]) -> None:
    table = read(tmp_path, f"{above}a;b\n1;2\n3;4\n")
    assert (table.frame.columns, table.frame.rows()) == (names, [(1, 2), (3, 4)])
    assert len(table.notes) == (above != "#")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,\n1,x,\n2,y,\n", 0),
        ("a;b;;\n1;x;;\n2;y;;\n", 0),
        ("sep=;\na;b\n1;x\n2;y\n", 1),
        ("a,b\n1,x\na,b\n2,y\n", 1),
        ("a,b\n1,x\n2,y\n\nSource: the office\n(2 rows)\n", 1),
        ("a,b\n1,x\n2,y\nSource: the office\n   \n", 1),
        ("a,b\n1,x\n2,y\n\x1a", 1),
    ],
)
def test_what_is_no_row_and_no_column_is_left_out_and_said(tmp_path: Path, text: str, said: int) -> None:
    table = read(tmp_path, text)
    assert table.frame.to_dict(as_series=False) == {"a": [1, 2], "b": ["x", "y"]}
    assert len(table.notes) == said


def test_what_may_be_a_row_or_a_column_is_none_that_is_left_out(tmp_path: Path) -> None:
    assert values(read(tmp_path, 'a,b\n1,"two\nlines\nof text"\n'), "b") == ["two\nlines\nof text"]
    assert values(read(tmp_path, "a\na\nb\nSource\n")) == ["a", "b", "Source"]
    assert values(read(tmp_path, "a,b\n1\n2\n")) == [1, 2]
    with pytest.raises(InputError, match="column 3 has no name"):
        read(tmp_path, "a,b,\n" + "1,x,\n" * 50 + "2,y,z\n")


def test_marks_of_missing_values_among_numbers_and_truth_values_are_such_and_names_elsewhere(tmp_path: Path) -> None:
    text = "a,b,c,d\n-,TRUE,-,.\n2,None,x,.\n3,false,None,.\n"
    table = read(tmp_path, text)
    assert table.frame.rows() == [(None, True, "-", "."), (2, None, "x", "."), (3, False, "None", ".")]
    assert len(table.notes) == 1
    assert values(read(tmp_path, text, options=ReadOptions(codes=["a"]))) == ["-", "2", "3"]
    assert values(read(tmp_path, text, options=ReadOptions(text=["b"])), "b") == ["TRUE", "None", "false"]
    assert values(read(tmp_path, "a;b\n1,5;x\n-;x\n-;y\n")) == [1.5, None, None]


@pytest.mark.parametrize("names", ["#a\tb", "#a;b"])
def test_names_with_a_mark_of_comments_are_no_title_where_numbers_have_commas(tmp_path: Path, names: str) -> None:
    mark = names[2]
    table = read(tmp_path, f"{names}\n1,5{mark}2,5\n3,5{mark}4,5\n")
    assert (table.frame.columns, table.frame.rows()) == (["#a", "b"], [(1.5, 2.5), (3.5, 4.5)])


@pytest.mark.parametrize("above", ["Report\n", "Report\nof 2024\n", "Report;;\n;;\n", '"Report; of 2024"\n'])
def test_titles_directly_above_three_names_are_left_out(tmp_path: Path, above: str) -> None:
    table = read(tmp_path, f"{above}a;b;c\n1;2,5;x\n3;4;y\n")
    assert table.frame.to_dict(as_series=False) == {"a": [1, 3], "b": [2.5, 4.0], "c": ["x", "y"]}
    assert "above the column names" in table.notes[0]


@pytest.mark.parametrize("text", ["I came; I saw; I won\nI sat; I ate; I slept", "Action|Comedy|War\nWar|Drama|Drama"])
def test_text_under_a_single_name_is_no_title_above_names(tmp_path: Path, text: str) -> None:
    assert values(read(tmp_path, f"a\n{text}\n")) == text.split("\n")
    assert values(read(tmp_path, "a,\n1,\n\n3,\n4,\n")) == [1, 3, 4]
    assert values(read(tmp_path, "a b\nx,y,c 1\nz,y,d 2\n", "t.txt")) == ["x,y,c", "z,y,d"]


def test_lines_may_be_longer_than_a_cell(tmp_path: Path) -> None:
    names, row = ",".join(f"x{j}" for j in range(2000)), ",".join(["0" * 70] * 2000)
    for above in ("", "Report\n\n"):
        assert read(tmp_path, f"{above}{names}\n{row}\n{row}\n").frame.shape == (2, 2000)


def test_a_blank_line_is_no_title_in_quotes_and_above_the_names_is_none_of_the_rows(tmp_path: Path) -> None:
    assert read(tmp_path, '"a\n\nb",c\n1,2\n3,4\n').frame.columns == ["a\n\nb", "c"]
    assert read(tmp_path, "Report\n\na,b\n1,2\n,\n3,4\n").frame.rows() == [(1, 2), (None, None), (3, 4)]


def test_quoted_text_under_a_single_name_is_no_table_under_a_title(tmp_path: Path) -> None:
    assert values(read(tmp_path, 'a\n"hello, world"\n"so, long"\n')) == ["hello, world", "so, long"]
    with pytest.raises(InputError):
        read(tmp_path, "a\nhello, world\nso, long\n")


def test_text_of_windows_is_read_and_said_and_bytes_are_not(tmp_path: Path) -> None:
    table = read(tmp_path, "a,größe\nBär,1\nx €,2\n".encode("cp1252"))
    assert table.frame.to_dict(as_series=False) == {"a": ["Bär", "x €"], "größe": [1, 2]}
    assert len(table.notes) == 1
    for other in (b"a,b\n\x81\xff,2\n", b"a,b\n\xff\x00,2\n", "a,b\nжизнь,2\n".encode("cp1251")):
        with pytest.raises(InputError):
            read(tmp_path, other)


def test_what_is_open_is_decided_by_other_columns_and_else_by_the_separator_and_said(tmp_path: Path) -> None:
    open_cells = 'a,b\n"5,346",{}\n7,2\n'
    thousands = read(tmp_path, open_cells.format("1.5"))
    assert (values(thousands), thousands.decimal, thousands.notes) == (["5,346", "7"], ".", ())
    decimals = read(tmp_path, open_cells.format('"1,5"'))
    assert (values(decimals), decimals.decimal) == ([5.346, 7.0], ",")
    undecided = read(tmp_path, open_cells.format("1"))
    assert (values(undecided), undecided.decimal) == (["5,346", "7"], ".")
    assert "5,346" in undecided.notes[-1]
    assert values(read(tmp_path, open_cells.format("1"), options=ReadOptions(decimal=","))) == [5.346, 7.0]
    told = located(tmp_path / "t.csv", SourceOptions(decimal=","))
    assert values(read_table(told, ReadOptions(decimal="."))) == [5.346, 7.0]  # before what a model knows
    assert values(read(tmp_path, "a;b\n5,346;1\n", options=ReadOptions(decimal="."))) == ["5,346"]


def test_a_column_that_can_be_read_in_one_way_only_decides_for_itself(tmp_path: Path) -> None:
    table = read(tmp_path, "a;b\n1,5;1.25\n2,25;2.5\n")
    assert table.frame.to_dict(as_series=False) == {"a": [1.5, 2.25], "b": [1.25, 2.5]}
    table = read(tmp_path, "a;b\n1,5;1.365e+04\n2,25;2.709e+01\n")
    assert table.frame.to_dict(as_series=False) == {"a": [1.5, 2.25], "b": [13650.0, 27.09]}
    assert table.decimal == ""


def test_pieces_have_the_types_and_marks_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushforward.tables.io.csv_rows.PIECE", 100)
    rows = [f"{i};{i},5;c{i % 3}" for i in range(1000)]
    table = read(tmp_path, "\n".join(["i;x;k", *rows, "1000,25;7;c0"]))
    pieces = CsvRows(tmp_path / "t.csv", tmp_path / "t.csv", ReadOptions())
    found = list(pieces.read(130, 1001, ["i", "x", "nope"]))
    assert [piece.first for piece in found] == [130 + sum(p.frame.height for p in found[:i]) for i in range(len(found))]
    assert pl.concat(piece.frame for piece in found).equals(table.frame.select("i", "x")[130:])
    assert table.frame.dtypes == [pl.Float64, pl.Float64, pl.String]


def test_columns_that_are_text_for_a_model_stay_text(tmp_path: Path) -> None:
    options = ReadOptions(text=["a", "c"])
    table = read(tmp_path, "a,b,c\n007,1,True\n012,2,false\n", options=options)
    assert table.frame.to_dict(as_series=False) == {"a": ["007", "012"], "b": [1, 2], "c": [True, False]}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("2019,2020,2021\n5,6,7\n8,9,10.5\n", ["2019", "2020", "2021"]),
        ("2019,2020\n5.5,6\n", ["2019", "2020"]),
        ("2002,2001,2000\n5,6,7\n", ["2002", "2001", "2000"]),
        ("1990,2000,2007\n5,6,7\n", ["1990", "2000", "2007"]),
        ("2021,2020\n5.5,6\n", ["2021", "2020"]),
        ("1990,2000,1995\n5,6,7\n", ["x1", "x2", "x3"]),
        ("1990,2000,2010\n5,6,7\n1991,2002,1850\n", ["x1", "x2", "x3"]),
        ("0,1,2\n5.5,6,7\n", ["0", "1", "2"]),
        ("2019,2020,2021\n2020,2021,2022\n", ["x1", "x2", "x3"]),
        ("1,2\n3,4\n", ["x1", "x2"]),
        ("1,2,3\n4,5,6\n", ["x1", "x2", "x3"]),
        ("2019,2021\n5,6\n", ["x1", "x2"]),
        ("1,1\n3,4\n", ["x1", "x2"]),
    ],
)
def test_a_line_of_numbers_is_names_if_they_count_or_are_years_in_order_and_the_rows_do_not(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    table = read(tmp_path, text)
    assert table.frame.columns == names
    assert len(table.notes) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_every_end_of_a_line(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(["größe;k", "1,5;a", '2,25;"b ""c"""', ""])
    table = read(tmp_path, text.encode(encoding))
    assert table.frame.to_dict(as_series=False) == {"größe": [1.5, 2.25], "k": ["a", 'b "c"']}


def test_names_in_quotes_may_go_over_lines_and_hold_separators(tmp_path: Path) -> None:
    table = read(tmp_path, '"size\nin cm","a, b"\n1,2\n3,4\n')
    assert table.frame.to_dict(as_series=False) == {"size\nin cm": [1, 3], "a, b": [2, 4]}
    assert read(tmp_path, '"x, y";b\n1;2\n').frame.columns == ["x, y", "b"]


def test_blanks_around_numbers_and_truth_values_and_large_whole_numbers(tmp_path: Path) -> None:
    table = read(tmp_path, "a, b,c\n1, 1.5,True\n2, 2.5,FALSE\n")
    assert table.frame.to_dict(as_series=False) == {"a": [1, 2], "b": [1.5, 2.5], "c": [True, False]}
    assert values(read(tmp_path, "a\n99999999999999999999\n5\n")) == [1e20, 5.0]
    assert read(tmp_path, "a,b\n1,\n2,\n").frame["b"].null_count() == 2


def test_an_empty_name_and_a_name_that_is_no_text_are_no_table() -> None:
    for name in ("", "t\udcff.csv", "t\0.csv"):
        with pytest.raises(InputError) as caught:
            read_table(name)
        str(caught.value).encode()


def test_zeros_before_codes_are_kept_where_these_are_names_and_else_said_to_be_lost(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("zip,x\n01067,0\n10115,20\n")
    table = read_any(path)
    assert table.frame["zip"].to_list() == [1067, 10115]
    assert ["01067" in note for note in table.notes] == [True]
    table = read_any(path, codes=["zip", "x"])
    assert table.frame.rows() == [("01067", 0), ("10115", 20)]
    assert not table.notes
    assert not read_table(path).notes


def test_local_copies_of_a_packed_file_are_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n2\n"))
    places = [located(tmp_path / "t.csv.gz") for _ in range(2)]  # as a stopped run that goes on reads it twice
    first, again = (CsvRows(place, local_file(place), ReadOptions()).identity() for place in places)
    assert first == again


def test_codes_of_two_letters_of_which_na_is_none_are_said(tmp_path: Path) -> None:
    rows = "country,state,word\nNA,NA,NA\nDE,NY,yes\nZA,,no\n"
    read_at_fit = ReadOptions(codes=())
    (note,) = read(tmp_path, rows, options=read_at_fit).notes
    assert note.startswith("t.csv: country, state: NA is a missing value")
    assert not read(tmp_path, rows.replace("NA", ""), options=read_at_fit).notes
    assert not read(tmp_path, rows).notes  # scores say nothing again
