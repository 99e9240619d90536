"""Outputs: refused before the work if they cannot be written; what spreadsheets would run is told of or guarded."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

from pushforward.errors import InputError
from pushforward.tables.io.place import located
from pushforward.tables.io.read import read_table
from pushforward.tables.io.write import check_output, delivered, write_table

TEXTS = pl.DataFrame({"k": ["=cmd|'/C calc'!A0", "-5", "+1,5 %", "@SUM(A1)", "plain"], "=x": [1.0, 2.0, 3.0, 4.0, 5.0]})
GUARDED = ["'=cmd|'/C calc'!A0", "-5", "+1,5 %", "'@SUM(A1)", "plain"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt"])
def test_formulas_are_kept_with_a_note_or_guarded(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    with pytest.warns(UserWarning, match=r"texts in 'k' begin with .*spreadsheet_safe=True"):
        write_table(TEXTS, path)
    assert read_table(path).frame.equals(TEXTS)
    place = check_output(located(path, writing=True, spreadsheet_safe=True))
    write_table(TEXTS, place)
    assert read_table(path).frame.to_dict(as_series=False) == {"k": GUARDED, "'=x": TEXTS["=x"].to_list()}
    path.unlink()
    with delivered(place) as temporary:
        TEXTS.write_parquet(temporary)
    assert read_table(path).frame["k"].to_list() == GUARDED


def test_formulas_in_categories_and_on_standard_output(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    rows = pl.DataFrame({"k": pl.Series(["=a", "b"], dtype=pl.Categorical)})
    write_table(rows, located(tmp_path / "t.csv", writing=True, spreadsheet_safe=True))
    assert (tmp_path / "t.csv").read_text() == "k\n'=a\nb\n"
    write_table(rows, located("-", writing=True, spreadsheet_safe=True))
    assert capfdbinary.readouterr().out == b"k\n'=a\nb\n"
    with pytest.warns(UserWarning, match="spreadsheet_safe=True"):
        write_table(rows, located("-", writing=True))
    assert capfdbinary.readouterr().out == b"k\n=a\nb\n"


def test_formats_that_no_spreadsheet_runs_need_no_guard(tmp_path: Path) -> None:
    write_table(TEXTS, tmp_path / "t.parquet")
    with pytest.raises(InputError) as caught:
        check_output(located(tmp_path / "t.parquet", writing=True, spreadsheet_safe=True))
    assert caught.value.argument == "spreadsheet_safe"


@pytest.mark.parametrize("name", ["a" * 300 + ".csv", "no/t.csv"])
def test_names_that_nothing_can_be_written_under(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv|cannot be written"):
        check_output(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_long_names_that_a_disk_takes_are_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".csv")
    write_table(pl.DataFrame({"a": [1]}), check_output(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_folders_that_take_no_files() -> None:
    with pytest.raises(InputError, match=r"^/proc/t\.csv: cannot be written"):
        check_output("/proc/t.csv")
