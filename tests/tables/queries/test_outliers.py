"""Odd rows of a table by conformal p-values, draws checked against training rows, and mixtures beside the flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import multivariate_normal

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.diagnostics.sampling_quality import closeness
from pushforward.errors import InputError

QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 150, "lr": 0.02, "queries": False}


def table(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return pl.DataFrame({"x": x, "y": x + 0.3 * rng.normal(size=rows), "k": rng.choice(["a", "b"], rows)})


TABLE = table(2000, 0)


@pytest.fixture(scope="module")
def small_fits() -> None:
    """Of networks as they come: small ones do not overfit."""


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(TABLE)


def test_of_usual_rows_a_share_of_the_level_is_flagged(model: pf.TableDensity) -> None:
    found = model.outliers(table(4000, 1), level=0.05)
    assert found["outlier"].mean() == pytest.approx(0.05, abs=0.02)  # of 400 held-out rows
    assert found["p_value"].is_sorted()
    assert (found["outlier"] == (found["p_value"] <= 0.05)).all()
    assert sorted(found["row"]) == list(range(1, 4001))
    assert (found["unlikely_because"].is_not_null() == found["outlier"]).all()


def test_slips_beside_values_that_many_rows_share_are_found() -> None:
    def table(rows: int, seed: int) -> pl.DataFrame:
        """Earnings of two years, of which those of most persons are 0, and two numbers."""
        rng = np.random.default_rng(seed)
        level, idle = rng.normal(8.5, 0.6, rows), rng.random((2, rows)) < 0.6
        earnings = {f"y{k}": np.where(idle[k], 0.0, np.exp(level + rng.normal(0, 0.3, rows)).round(2)) for k in (0, 1)}
        return pl.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows), **earnings})

    model, fresh = pf.TableDensity(**QUICK | {"queries": True, "members": 4}).fit(table(220, 0)), table(400, 1)
    assert (model.outliers(fresh)["p_value"] <= 0.05).mean() < 0.1
    slips = fresh.filter((pl.col("y0") == 0) & (pl.col("y1") > 0)).with_columns(a=5.0)
    found = model.outliers(slips)
    assert (found["p_value"] <= 0.05).mean() > 0.95
    assert (found["unlikely_because"] == "a").mean() > 0.9


def test_rows_of_the_fit_are_said_to_be_such(model: pf.TableDensity) -> None:
    before = len(model.notes_)
    model.outliers(TABLE[:-1])
    assert len(model.notes_) == before
    model.outliers(TABLE)
    assert "fitted to" in model.notes_[-1]


def test_the_oddest_row_comes_first_with_the_cell_to_blame(model: pf.TableDensity) -> None:
    rows = pl.concat([TABLE[:50], pl.DataFrame({"x": [0.0], "y": [6.0], "k": ["a"]})])
    first = model.outliers(rows).row(0, named=True)
    assert first["row"] == 51
    assert first["unlikely_because"] == "y"
    assert abs(float(first["would_fit"])) < 1.5
    assert first["gain"] > 10
    assert first["p_value"] == pytest.approx(1 / 401)  # of validation and test rows


@pytest.mark.parametrize(
    ("ask", "argument"),
    [
        (lambda model: model.outliers(TABLE, level=0.0), "level"),
        (lambda model: model.outliers(TABLE, level=0.001), "level"),  # of 400 rows that it did not see
        (lambda model: pf.TableDensity().outliers(TABLE), None),
        (lambda model: model.outliers(TABLE.rename({"y": "w"})), None),
        (lambda model: pf.TableDensity(**QUICK).fit(pl.DataFrame({"x": [1.0] * 50})), None),
    ],
)
def test_outliers_are_refused(model: pf.TableDensity, ask: Any, argument: str | None) -> None:
    with pytest.raises(InputError) as raised:
        ask(model)
    assert raised.value.argument == argument


def run(*arguments: str, capsys: Any) -> tuple[int, dict[str, Any], str]:
    code = cli.main([*arguments, "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out) if out.out else {}, out.err


def test_the_shell_finds_odd_rows(model: pf.TableDensity, tmp_path: Path, capsys: Any) -> None:
    model.save(tmp_path / "model")
    TABLE.write_csv(tmp_path / "rows.csv")
    at, data, output = (str(tmp_path / name) for name in ("model", "rows.csv", "odd.csv"))
    code, said, _ = run("outliers", at, data, "-o", output, "--level", "0.1", capsys=capsys)
    assert code == 0
    written = pl.read_csv(output)
    assert said["outliers"] == written["outlier"].sum()
    assert said["oddest"][0]["row"] == written["row"][0]
    code, _, error = run("outliers", at, data, "-o", output, "--level", "2", capsys=capsys)
    assert code == 2
    assert "--level 2: expected a probability" in error


def test_draws_are_checked_against_training_rows(model: pf.TableDensity, tmp_path: Path, capsys: Any) -> None:
    model.save(tmp_path / "model")
    TABLE.write_csv(tmp_path / "rows.csv")
    table(500, 5).write_csv(tmp_path / "other.csv")
    at, data, output = (str(tmp_path / name) for name in ("model", "rows.csv", "drawn.csv"))
    sample = ("sample", at, "-n", "300", "-o", output)
    code, said, _ = run(*sample, "--check", data, "--privacy-check", capsys=capsys)
    assert code == 0
    assert said["closeness"]["private"]
    assert said["sampling"]["told_apart"] < 0.8
    code, _, error = run(*sample, "--check", str(tmp_path / "other.csv"), capsys=capsys)
    assert code == 2
    assert "is not the table that the model" in error
    code, _, error = run(*sample, "--privacy-check", capsys=capsys)
    assert code == 2
    assert "needs the table that the model was fitted to" in error


def test_copies_of_training_rows_are_not_private(
    model: pf.TableDensity, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save(tmp_path / "model")
    TABLE.write_csv(tmp_path / "rows.csv")
    monkeypatch.setattr("pushforward.tables.queries.sample.draw", lambda *arguments: TABLE[:300])
    output = tmp_path / "drawn.csv"
    at, data = str(tmp_path / "model"), str(tmp_path / "rows.csv")
    options = ("-n", "300", "-o", str(output), "--check", data, "--privacy-check")
    code, _, error = run("sample", at, *options, capsys=capsys)
    assert code == 1
    assert "repeat training rows" in error
    assert not output.exists()


def test_closeness_of_copies_and_of_fresh_rows() -> None:
    rng = np.random.default_rng(0)
    train, held_out, fresh = rng.normal(size=(800, 3)), rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    honest, copied = closeness(train, held_out, fresh), closeness(train, held_out, train[:400])
    assert honest.private
    assert honest.drawn < 0.03
    assert not copied.private
    assert copied.drawn > 0.95
    assert copied.median_drawn < 1e-6 < copied.median_held_out
    with pytest.raises(ValueError, match="no rows"):
        closeness(train, held_out[:0], fresh)


def test_copies_are_found_where_some_training_rows_are_equal() -> None:
    train, held_out = (np.random.default_rng(n).normal(size=(n, 2)) for n in (500, 200))
    train = np.concatenate([train, train[:20]])
    copied = closeness(train, held_out, train[::2])
    assert copied.drawn == 1
    assert not copied.private


def test_fresh_rows_pass_also_beside_few_held_out_rows() -> None:
    random = np.random.default_rng(3)
    fresh = [closeness(*(random.normal(size=(n, 4)) for n in (500, 60, 500))).private for _ in range(40)]
    whole = [closeness(*(random.integers(0, 4, (n, 3)) for n in (60, 60, 200))).private for _ in range(40)]
    assert min(sum(fresh), sum(whole)) >= 37  # about 34 and 24 without the error


@pytest.mark.slow
def test_auto_takes_a_mixture_where_held_out_rows_are_likelier_under_it() -> None:
    rng = np.random.default_rng(0)
    which = rng.integers(0, 4, 4000)
    centres, noise, turn = rng.normal(size=(4, 5)) * 4, rng.normal(size=(4000, 5)), rng.normal(size=(5, 5))
    rows = centres[which] + noise @ turn
    frame = pl.DataFrame({f"c{j}": column for j, column in enumerate(rows.T)})
    model = pf.TableDensity(steps=30).fit(frame)
    candidates = model.summary_["candidates"]
    assert model.summary_["flow"] == "gmm"
    best = max(candidates, key=candidates.get)
    assert best.startswith("mixture of ")
    assert model.score(frame) == pytest.approx(candidates[best], abs=0.4)
    pair = [3, 1]  # its marginals are closed, and say how far the rows let them be known
    value, error = model.score_samples(frame[:300].select("c3", "c1"), errors=True)
    parts = [multivariate_normal(c[pair], (turn.T @ turn)[np.ix_(pair, pair)]).pdf(rows[:300, pair]) for c in centres]
    off = np.abs(value - np.log(np.mean(parts, 0)))
    assert off.mean() < 0.1
    assert (off < 2 * error).mean() > 0.8
    assert 0 < error.mean() < 0.1
    again = pf.TableDensity("nsf", steps=5, queries=False).fit(frame)
    assert "candidates" not in again.summary_


@pytest.mark.slow
def test_auto_takes_an_average_of_small_flows_where_the_flow_overfits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushforward.tables.selection.small_tables.FEW_ROWS", 100)
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(size=(3, 160))
    frame = pl.DataFrame({"a": a, "b": a**2 + 0.3 * b, "c": np.exp(c + 0.5 * a), "group": rng.choice(["u", "v"], 160)})
    model = pf.TableDensity(queries=False).fit(frame)
    names = list(model.summary_["candidates"])
    assert names[1].startswith("average of ")
    assert model.summary_["flow"] == "auto"
    assert sum(model.summary_["average"]["weights"].values()) == pytest.approx(1)
    assert "candidates" not in pf.TableDensity(flow="nsf", steps=2, queries=False).fit(frame).summary_


@pytest.mark.slow
def test_a_mixture_beside_categories_is_saved_and_trained_further(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    group = rng.integers(0, 3, 4000)
    x = rng.normal(size=(4000, 3)) + 5.0 * group[:, None]
    frame = pl.DataFrame({**{f"c{j}": x[:, j] for j in range(3)}, "group": np.array(["u", "v", "w"])[group]})
    model = pf.TableDensity(steps=20, queries=False).fit(frame)
    assert model.summary_["flow"] == "gmm"
    before = model.score(frame)
    model.save(tmp_path / "model")
    loaded = pf.TableDensity.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.score_samples(frame), model.score_samples(frame), rtol=1e-6)
    assert loaded.fit(frame, more=1.0).score(frame) > before - 0.05


@pytest.mark.slow
def test_few_rows_are_judged_by_the_densities_that_did_not_see_each() -> None:
    rng = np.random.default_rng(5)
    rows, fresh = (pl.DataFrame(rng.normal(size=(n, 2)), schema=["a", "b"]) for n in (90, 2000))
    model = pf.TableDensity("gmm", random_state=0).fit(rows)
    found = model.outliers(fresh, level=0.05)
    assert found["p_value"].min() == pytest.approx(1 / 91)
    assert 0.01 < found["outlier"].mean() < 0.1
