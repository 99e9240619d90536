"""The demo of a table does every step, on a table of one's own too, and names the row that was made odd."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mixed_tables import mixed_table

from pushforward.cli.demo.steps import Steps, as_typed
from pushforward.cli.demo.table import bundled_table, counted, oddest, questions, told
from pushforward.cli.options import PrintOptions
from pushforward.errors import InputError
from pushforward.tables.io.place import SourceOptions, located

Run = Callable[..., Any]


@pytest.mark.slow
def test_the_whole_job_whatever_files_are_called(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = pl.Series("name", [f"n{row}" for row in range(600)])
    mixed_table().with_columns(names).write_csv("-t.csv")
    result = run("demo", "./-t.csv", "-o", "./-demo", "--budget", "1s", "--flow", "maf")
    written = {path.name for path in (tmp_path / "-demo").iterdir()}
    assert written == {"model", "scores.parquet", "samples.parquet", "report.html"}
    assert result["fit"]["columns"] == ["size", "price", "count", "colour"]
    assert result["odd"]["log_density"] == pl.read_parquet(result["scores"])["log_density"].min()
    assert len(result["ask"]) == 3
    assert all(abs(each["probability"] - each["counted"]) < 0.3 for each in result["ask"])


def test_the_oddest_row_is_told_with_its_reason() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 99.0], "b": ["x", "y", "x"]})
    reasons = {"unlikely_because": [None, None, "a"], "would_fit": [None, None, "1.5"]}
    odd = oddest(frame, pl.DataFrame({"log_density": [-1.0, -2.0, -50.0], **reasons}))
    assert (odd["row"], odd["column"], odd["cells"]) == (3, "a", {"a": 99.0, "b": "x"})
    assert "99.0" in told(odd)
    assert "1.5" in told(odd)


def test_questions_quote_what_needs_it() -> None:
    frame = pl.DataFrame({'the "price"': range(100), "cut": ["it's"] * 100, "size": range(100)})
    asked = list(questions(frame))
    assert len(asked) == 3
    assert counted(frame, *asked[0]) == pytest.approx(0.2, abs=0.02)
    assert counted(frame, *asked[1]) == counted(frame, *asked[0])
    assert 0 < counted(frame, *asked[2]) < 1
    assert asked[0][0].startswith('"the ""price""" > ')
    plain = frame.rename({'the "price"': "price", "size": "order"}).with_columns(cut=pl.lit("Ideal"))
    assert [*questions(plain)] == [
        ("price > 79", None),
        ("price > 79", "cut = 'Ideal'"),
        ("price > 79", '"order" BETWEEN 50 AND 89'),
    ]


def test_the_table_is_real() -> None:
    pytest.importorskip("plotnine")
    assert pl.read_csv(bundled_table()).shape == (53_940, 10)


def test_a_database_is_named_as_it_is_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = located(tmp_path / "shop.sqlite", SourceOptions(table="two words"))
    steps = Steps(tmp_path, PrintOptions(), data)
    with pytest.raises(InputError):
        steps.run("score", tmp_path / "none", data, "-o", tmp_path / "s.csv")
    assert f"{tmp_path}/shop.sqlite --table 'two words' -o" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["cut = 'Ideal'", '"order" = 1', "a b", "it's $HOME", r"it's \n", "plain"])
def test_commands_are_read_by_a_shell_as_they_are_meant(word: str) -> None:
    assert shlex.split(as_typed(word)) == [word]
    assert (as_typed(word)[0] == '"') == (word == "cut = 'Ideal'")
