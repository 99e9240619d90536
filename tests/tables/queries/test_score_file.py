"""Rows scored as they come: a line in, a line out, at once, and an error where a line is no row."""

from __future__ import annotations

import datetime as dt
import io
import json

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli.app import main
from pushforward.tables.queries.score import Scoring


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"size": rng.normal(size=200), "kind": rng.choice(["a", "b"], 200)})
    return pf.TableDensity("maf", steps=5, queries=False).fit(table)


def test_every_line_is_answered_before_the_next_is_read(model):
    rows = [{"size": 0.5, "kind": "a", "id": 7}, {"size": -1.0, "kind": "b", "id": 8, "tags": ["x"]}]
    out, seen = io.StringIO(), []

    def lines():
        for row in rows:
            seen.append(out.getvalue().count("\n"))
            yield json.dumps(row).encode()

    assert model.run("follow", lines(), out, keep=["id"]) == {"rows": 2}
    assert seen == [0, 1]
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["id"] for each in found] == [7, 8]
    expected = model.score_samples(pl.DataFrame(rows).drop("tags"))
    assert [each["log_density"] for each in found] == pytest.approx(expected.tolist(), abs=1e-4)


WRONG = [
    b"",
    b"[1]",
    b"{}",
    b"{",
    b"\xff",
    b'{"size": "x", "kind": "a"}',
    b'{"other": 1}',
    b'{"kind": "\\ud800"}',
    b'{"kind": ["a"]}',
]


@pytest.mark.parametrize("line", WRONG)
def test_a_line_that_is_no_row_gets_an_error(model, line):
    out = io.StringIO()
    model.run("follow", [line, b'{"size": 1, "kind": "a"}'], out)
    bad, good = map(json.loads, out.getvalue().splitlines())
    assert bad["row"] == 1
    assert bad["error"]
    assert np.isfinite(good["log_density"])


def test_lines_that_are_there_together_are_answered_as_each_alone(model):
    row = b'{"size": 0.25, "kind": "b"}'
    lines = [row, *WRONG, row, row, b'{"size": 2, "kind": "z"}', row.replace(b"0.25", b"null"), row]
    stream = io.BytesIO(b"\n".join(lines))
    stream.read1 = lambda _: stream.read(7)  # parts of lines
    alone, together, in_parts = io.StringIO(), io.StringIO(), io.StringIO()
    for given, out in ((iter(lines), alone), (lines, together), (stream, in_parts)):
        assert model.run("follow", given, out, keep=["kind"]) == {"rows": len(lines)}
    assert together.getvalue() == in_parts.getvalue() == alone.getvalue()


def test_of_lines_that_are_refused_each_is_told_and_the_others_are_scored_without_asking_for_each(monkeypatch):
    days = [dt.date(2024, 1, 1) + dt.timedelta(k % 90) for k in range(300)]
    table = pl.DataFrame({"day": days, "size": np.random.default_rng(0).normal(size=300)})
    dated = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5).fit(table)
    bad = [3, 4, 77, 400, 999]
    lines = [json.dumps({"day": "2024-02-31" if k in bad else "2024-02-03", "size": 0.1}).encode() for k in range(1000)]
    asked, query = [], Scoring.query
    monkeypatch.setattr(Scoring, "query", lambda self, piece: asked.append(piece) or query(self, piece))
    out = io.StringIO()
    dated.run("follow", lines, out)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [k for k, each in enumerate(found) if "error" in each] == bad
    assert found[77]["error"] == "standard input: column 'day', row 78: '2024-02-31' is not a date; correct it"
    assert len(asked) == 5  # all, and the four runs between the wrong ones
    for wrong in (b'{"day": 5, "size": 0.1}', b'{"time": 5}'):
        asked.clear()
        dated.run("follow", [wrong] * 100, out := io.StringIO())
        assert out.getvalue().count("error") == 100
        assert len(asked) == 1
    asked.clear()
    dated.run("follow", [lines[0], b"no row"] * 100, out := io.StringIO())
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(each["row"], "error" in each) for each in found] == [(k + 1, k % 2 == 1) for k in range(200)]
    assert len(asked) == 1


def test_the_shell_follows_standard_input(model, tmp_path, monkeypatch, capsys):
    model.save(tmp_path / "model")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"size": 1, "kind": "a"}\n')))
    assert main(["score", str(tmp_path / "model"), "-", "--follow"]) == 0
    assert json.loads(capsys.readouterr().out)["row"] == 1
    lines = b'{"size": null, "kind": "a"}\n{"size": 1, "kind": "a"}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["score", str(tmp_path / "model"), "-", "--follow", "--drop-missing"]) == 0
    bad, good = map(json.loads, capsys.readouterr().out.splitlines())
    assert bad["log_density"] is None
    assert good["log_density"] is not None
    assert main(["score", str(tmp_path / "model"), "rows.csv", "--follow"]) == 2
    assert main(["score", str(tmp_path / "model"), "rows.csv"]) == 2
