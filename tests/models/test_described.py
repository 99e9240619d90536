"""What a fitted model says of itself: one line that a reader can run, its columns, and how many the table has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pushforward as pf


@pytest.fixture(scope="module")
def fitted() -> pf.TableDensity:
    """A model of a table of five columns: one with holes that are no accident, one given, one that follows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    holed = np.where(x > 0.5, np.nan, x + rng.normal(size=300))
    table = {"x": x, "holed": holed, "kind": rng.choice(["a", "b"], 300), "g": rng.normal(size=300), "twice": 2 * x}
    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5, given=["g"], queries=False)
    return model.fit(pl.DataFrame(table).with_columns(pl.col("holed").fill_nan(None)))


def test_a_loaded_model_shows_how_to_load_it(fitted: pf.TableDensity, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m")
    assert repr(fitted).startswith("TableDensity(flow='maf', ")
    loaded = pf.TableDensity.load(tmp_path / "m")
    assert repr(loaded).startswith(f"TableDensity.load('{tmp_path / 'm'}'), fitted to ")
    again = eval(repr(loaded).partition(", fitted")[0], {"TableDensity": pf.TableDensity})
    assert again.summary_ == loaded.summary_


def test_a_schema_shows_the_columns_of_the_table(fitted: pf.TableDensity, tmp_path: Path) -> None:
    lines = repr(fitted.schema).splitlines()
    assert lines[0] == "Schema of 5 columns"
    assert [line.split(":")[0].strip() for line in lines[1:5]] == ["x", "holed", "kind", "g"]
    assert len(lines) == 6
    assert max(map(len, lines)) < 160
    fitted.report(tmp_path / "r.html")
    assert "fitted to a table of 5 columns" in (tmp_path / "r.html").read_text()
