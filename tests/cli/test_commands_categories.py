"""Tables with text, truth values and numbers that are names: modelled by their probabilities, written as they came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from mixed_tables import QUICK

Run = Callable[..., Any]


def flats(rows: int = 900, seed: int = 0) -> pl.DataFrame:
    """Flats in three towns: rents, truth values and districts (numbers that are names) hang together."""
    rng = np.random.default_rng(seed)
    town = rng.choice(3, rows, p=[0.6, 0.3, 0.1])
    lift = rng.random(rows) < np.array([0.9, 0.2, 0.5])[town]
    return pl.DataFrame(
        {
            "town": np.array(["Ulm", "Köln", "Bonn, am Rhein"])[town],
            "rent": np.exp(6 + town + 0.3 * lift + 0.2 * rng.normal(size=rows)),
            "lift": lift,
            "district": np.where(town == 0, 7, rng.choice([3, 12], rows)),
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pushforward.cli import app as cli

    folder = tmp_path_factory.mktemp("flats")
    flats().write_csv(folder / "flats.csv")
    fit = ["fit", str(folder / "flats.csv"), "-o", str(folder / "m"), "--categories", "district"]
    assert cli.main([*fit, *QUICK]) == 0
    return folder / "m"


def test_the_density_of_names_and_numbers_is_one_in_all(tmp_path: Path, model: Path, run: Run) -> None:
    rent = np.geomspace(20, 200_000, 3000)
    names = pl.DataFrame({"town": flats()["town"].unique()}).join(pl.DataFrame({"lift": [True, False]}), how="cross")
    names = names.join(pl.DataFrame({"district": [3, 7, 12]}), how="cross")
    names.join(pl.DataFrame({"rent": rent}), how="cross").write_parquet(tmp_path / "grid.parquet")
    run("score", model, tmp_path / "grid.parquet", "-o", tmp_path / "s.parquet")
    density = np.exp(pl.read_parquet(tmp_path / "s.parquet")["log_density"].to_numpy()).reshape(18, 3000)
    assert np.trapezoid(density, rent).sum() == pytest.approx(1.0, abs=0.01)


def test_it_beats_a_gaussian_with_frequencies(model: Path, run: Run) -> None:
    info = run("info", model)
    kinds = [column["kind"] for column in info["schema"]["columns"]]
    assert [kind["type"] for kind in kinds] == ["Category", "Number", "Category", "Category"]
    assert kinds[3]["values"] == ["3", "7", "12"]
    held = info["summary"]["held_out"]
    assert held["gain"] > 2 * held["gain_standard_error"] > 0
    assert held["cell_samples"] is None


def test_columns_in_another_order_and_type_score_the_same(tmp_path: Path, model: Path, run: Run) -> None:
    table = flats(200, seed=1)
    table.write_csv(tmp_path / "a.csv")
    table.select(
        pl.col("district").cast(pl.Float64), "rent", "lift", pl.col("town").cast(pl.Categorical)
    ).write_parquet(tmp_path / "b.parquet")
    run("score", model, tmp_path / "a.csv", "-o", tmp_path / "a.parquet")
    run("score", model, tmp_path / "b.parquet", "-o", tmp_path / "b.scores.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "b.scores.parquet"))


def test_samples_are_a_table_like_the_first(tmp_path: Path, model: Path, run: Run) -> None:
    run("sample", model, "-n", 4000, "-o", tmp_path / "r.parquet")
    drawn, truth = pl.read_parquet(tmp_path / "r.parquet"), flats(20_000, seed=2)
    assert drawn.schema == truth.schema
    for town in truth["town"].unique():
        ours, theirs = (frame.filter(pl.col("town") == town) for frame in (drawn, truth))
        assert len(ours) / 4000 == pytest.approx(len(theirs) / 20_000, abs=0.05)
        assert ours["lift"].mean() == pytest.approx(theirs["lift"].mean(), abs=0.15)
        assert ours["rent"].median() == pytest.approx(theirs["rent"].median(), rel=0.3)


def test_a_name_can_be_to_blame(tmp_path: Path, model: Path, run: Run) -> None:
    table = flats(60, seed=3).with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("Mars")).otherwise("town").alias("town"),
        pl.when(pl.int_range(pl.len()) == 9).then(3).otherwise("district").alias("district"),
    )
    assert table["town"][9] == "Ulm"  # which lies in district 7 alone
    table.write_csv(tmp_path / "t.csv")
    result = run("score", model, tmp_path / "t.csv", "-o", tmp_path / "s.parquet", "--explain-below", 100)
    scores = pl.read_parquet(tmp_path / "s.parquet")
    assert "row 5 has a 'town'" in result["notes"][0]
    assert result["impossible"] == 1
    assert scores["log_density"][4] == -np.inf
    assert (scores["unlikely_because"][4], scores["gain_town"][4]) == ("town", np.inf)
    assert scores["would_fit"].dtype == pl.String
    assert (scores["unlikely_because"][9], scores["would_fit"][9]) == ("district", "7")


@pytest.mark.slow
def test_the_report_speaks_of_names(tmp_path: Path, model: Path, run: Run) -> None:
    result = run("report", model, model.parent / "flats.csv", "-o", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "Bonn, am Rhein" in text
    assert "category, 3" in text
    assert len(result["report"]["latents"]["dimensions"]) == 1
    assert result["report"]["likelihood"]["against"]["a full-covariance Gaussian"]["difference"] > 0
    assert "--seed" not in text
    run("report", model, "-o", tmp_path / "without.html", "--title", "All flats", "--drop-missing", "--seed", 7)
    assert "--title &#39;All flats&#39; --drop-missing --seed 7" in (tmp_path / "without.html").read_text()


@pytest.mark.slow
def test_models_that_know_other_names_are_not_compared(tmp_path: Path, model: Path, run: Run) -> None:
    table = flats().filter(pl.col("town") != "Köln")
    table.write_csv(tmp_path / "t.csv")
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--numbers", "district", *QUICK)
    error = run("compare", model, tmp_path / "m", tmp_path / "t.csv", code=2)["error"]
    assert "'town'" in error


def test_numbers_that_are_names_can_be_given(tmp_path: Path, model: Path, run: Run) -> None:
    fit = ("fit", model.parent / "flats.csv", "-o", tmp_path / "m", "--columns", "rent", "--given", "district,town")
    run(*fit, "--categories", "district", *QUICK)
    sample = ("sample", tmp_path / "m", "-n", 20, "-o", tmp_path / "r.csv", "--given", "town=Ulm")
    assert "the model knows 3, 7, 12" in run(*sample, "--given", "district=8", code=2)["error"]
    run(*sample, "--given", "district=7")
    assert pl.read_csv(tmp_path / "r.csv")["district"].unique().to_list() == [7]


def test_missing_names_are_dropped_by_choice(tmp_path: Path, run: Run) -> None:
    table = flats().with_columns(pl.when(pl.int_range(pl.len()) % 90 == 3).then(None).otherwise("town").alias("town"))
    table.write_csv(tmp_path / "t.csv")
    fit = ("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--columns", "town,rent", *QUICK)
    assert "column 'town', row 4: a missing value" in run(*fit, "--strict", code=2)["error"]
    assert "10 rows with missing" in run(*fit, "--drop-missing")["notes"][0]
    run("score", tmp_path / "m", tmp_path / "t.csv", "-o", tmp_path / "s.csv", "--drop-missing")
    assert pl.read_csv(tmp_path / "s.csv")["log_density"].null_count() == 10


@pytest.mark.slow
def test_names_are_learnt_in_pieces_too(tmp_path: Path, model: Path, run: Run) -> None:
    flats().write_parquet(tmp_path / "t.parquet")
    fit = ("fit", tmp_path / "t.parquet", "--stream", "--categories", "district", *QUICK)
    run(*fit, "-o", tmp_path / "m")
    known = [run("info", path)["schema"]["columns"] for path in (model, tmp_path / "m")]
    assert [column["kind"].get("values") for column in known[0]] == [c["kind"].get("values") for c in known[1]]
    run("sample", tmp_path / "m", "-n", 50, "-o", tmp_path / "r.parquet")
    assert pl.read_parquet(tmp_path / "r.parquet").schema == flats().schema
    fit = ("fit", tmp_path / "t.parquet", "--stream", "--columns", "rent", "--given", "town,district", *QUICK)
    run(*fit, "-o", tmp_path / "given", "--categories", "district")
    sample = ("sample", tmp_path / "given", "-n", 5, "-o", tmp_path / "r.csv", "--given", "town=Ulm")
    assert "the model knows 3, 7, 12" in run(*sample, "--given", "district=8", code=2)["error"]
