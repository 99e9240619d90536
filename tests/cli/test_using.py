"""The shell's commands on a small table: what they write, what they say, and that it is right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from mixed_tables import BRIEF, QUICK, mixed_table

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.tables.density import TableDensity
from pushforward.tables.splits import held_out_order

Run = Callable[..., Any]


@pytest.mark.slow
def test_fit_reports_the_flow_beside_a_gaussian_and_is_the_same_again(tmp_path: Path, workshop: Path, run: Run) -> None:
    summary = run("fit", workshop / "table.csv", "-o", tmp_path / "m", "--columns", "size,price,count", *QUICK[:-1])
    held = summary["held_out"]
    assert (summary["training_rows"], summary["validation_rows"], held["rows"]) == (480, 60, 60)
    assert held["gain"] == pytest.approx(held["log_likelihood"] - held["gaussian_log_likelihood"])
    assert held["gain"] > 2 * held["gain_standard_error"] > 0
    assert summary["training"]["steps"] == 40
    first, second = (pf.load(path).state_dict() for path in (workshop / "plain", tmp_path / "m"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_columns_are_counted_as_the_table_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, n = np.random.default_rng(0), 60
    names, plain = [f"n{row}" for row in range(n)], rng.normal(size=(n, 2))
    rows = pl.DataFrame({"id": names, "a": plain[:, 0], "b": plain[:, 1], "one": [1] * n, "w": rng.random(n) + 0.1})
    rows.write_csv(tmp_path / "t.csv")
    words = ["fit", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/m", "--weights", "w", "--no-queries", "--steps", "5"]
    assert cli.main(words) == 0
    assert "60 rows, 4 columns, 1 of them left out\n" in capsys.readouterr().out


def test_fit_says_what_it_did(tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "m"
    assert cli.main(["fit", str(workshop / "table.csv"), "-o", str(output), "--given", "colour", *QUICK[:-1]]) == 0
    said = capsys.readouterr().out
    assert "600 rows, 4 columns, given colour" in said
    assert "full-covariance Gaussian" in said
    assert f"saved {output}" in said


def test_scores_are_log_densities_in_the_data_s_units(tmp_path: Path, workshop: Path, run: Run) -> None:
    run("fit", workshop / "table.csv", "-o", tmp_path / "m", "--columns", "size", *QUICK)
    grid = pl.DataFrame({"size": np.linspace(0.001, 40, 4001)})
    grid.write_parquet(tmp_path / "grid.parquet")
    run("score", tmp_path / "m", tmp_path / "grid.parquet", "-o", tmp_path / "s.parquet")
    scores = pl.read_parquet(tmp_path / "s.parquet")
    assert scores.columns == ["log_density", "percentile"]
    mass = np.trapezoid(np.exp(scores["log_density"].to_numpy()), grid["size"].to_numpy())
    assert mass == pytest.approx(1.0, abs=0.03)
    assert scores["log_density"].to_numpy() == pytest.approx(
        pf.load(tmp_path / "m")(torch.tensor(grid.to_numpy())).detach().numpy()
    )


@pytest.mark.slow
def test_percentiles_are_those_of_the_training_rows(tmp_path: Path, workshop: Path, run: Run) -> None:
    summary = run("score", workshop / "plain", workshop / "table.csv", "-o", tmp_path / "s.csv")
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores.columns == ["log_density", "percentile", "standard_error"]
    assert scores.height == summary["rows"] == 600
    assert scores["percentile"].mean() == pytest.approx(50, abs=3)
    assert scores.sort("log_density")["percentile"].is_sorted()


def test_scores_outliers_and_reports_are_drawn_by_the_seed_of_the_fit(
    tmp_path: Path, workshop: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = workshop / "table.csv"
    run("fit", table, "-o", tmp_path / "m", "--seed", 3, "--columns", "size,count", *BRIEF)
    run("score", tmp_path / "m", table, "-o", tmp_path / "s.parquet")
    run("outliers", tmp_path / "m", table, "-o", tmp_path / "o.parquet")
    found = pl.read_parquet(tmp_path / "o.parquet").sort("row")["log_density"]
    assert found.equals(pl.read_parquet(tmp_path / "s.parquet")["log_density"])
    monkeypatch.setattr("pushforward.report.write.write", lambda *_, seed, **__: {"seed": seed})
    assert run("report", tmp_path / "m", "-o", tmp_path / "r.html")["seed"] == 3


def test_columns_are_found_by_name(tmp_path: Path, workshop: Path, run: Run) -> None:
    shuffled = mixed_table().select("colour", pl.lit("more").alias("extra"), "count", "price", "size")
    shuffled.write_csv(tmp_path / "t.csv")
    run("score", workshop / "given", workshop / "table.csv", "-o", tmp_path / "a.parquet")
    notes = run("score", workshop / "given", tmp_path / "t.csv", "-o", tmp_path / "b.parquet")["notes"]
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "b.parquet"))
    assert any("does not use extra" in note for note in notes)


def test_rows_with_gaps_keep_their_place(tmp_path: Path, workshop: Path, run: Run) -> None:
    table = mixed_table().with_columns(pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise("size").alias("size"))
    table.write_csv(tmp_path / "t.csv")
    arguments = ("score", workshop / "plain", tmp_path / "t.csv", "-o", tmp_path / "s.csv")
    integrated = run(*arguments)
    assert integrated["scored"] == 600
    assert "row 3 lacks 'size', as no training row does, so it is integrated out" in str(integrated["notes"])
    assert run(*arguments, "--drop-missing")["scored"] == 599
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores["log_density"].is_null().arg_true().to_list() == [2]
    fit = run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--columns", "size", "--drop-missing", *BRIEF)
    assert "1 row with missing" in fit["notes"][0]


def test_the_column_that_was_spoilt_is_the_one_to_blame(tmp_path: Path, workshop: Path, run: Run) -> None:
    table = mixed_table().with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(400).otherwise(pl.col("count")).alias("count")
    )
    table.write_csv(tmp_path / "t.csv")
    run("score", workshop / "plain", tmp_path / "t.csv", "-o", tmp_path / "s.parquet", "--explain")
    scores = pl.read_parquet(tmp_path / "s.parquet")
    assert scores["log_density"].arg_min() == 5
    row = scores.row(5, named=True)
    assert row["unlikely_because"] == "count"
    assert row["would_fit"] < 30
    assert row["gain_count"] > max(10, row["gain_size"])
    explained = scores["unlikely_because"].is_not_null()
    assert (explained == (scores["percentile"] <= 5)).all()


def test_samples_look_like_the_table(tmp_path: Path, workshop: Path, run: Run) -> None:
    arguments = ("sample", workshop / "given", "-n", 2000, "--given", "colour=red")
    run(*arguments, "-o", tmp_path / "r.csv")
    rows = pl.read_csv(tmp_path / "r.csv")
    assert rows.columns == ["colour", "size", "price", "count"]
    assert rows["colour"].unique().to_list() == ["red"]
    assert (rows["price"].dtype, rows["count"].dtype) == (pl.Float64, pl.Int64)
    assert (rows["price"] % 1 == 0).all()
    truth = mixed_table(5000, seed=1)
    for name in ("size", "price"):
        assert rows[name].median() == pytest.approx(truth[name].median(), rel=0.25)
    run(*arguments, "-o", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "r.csv").read_bytes()
    run(*arguments, "-o", tmp_path / "other.csv", "--seed", 1)
    assert (tmp_path / "other.csv").read_bytes() != (tmp_path / "r.csv").read_bytes()


def test_compare_takes_rows_that_neither_model_saw(workshop: Path, run: Run) -> None:
    result = run("compare", workshop / "plain", workshop / "given", workshop / "table.csv")
    assert result["rows"] == len(held_out_order(600, 0)[2]) == 60
    first, second = (model["log_likelihood"] for model in result["models"])
    assert result["difference"] == pytest.approx(first - second)
    assert 0 < result["standard_error"] < max(model["standard_error"] for model in result["models"])
    assert run("compare", workshop / "plain", workshop / "plain", workshop / "table.csv")["better"] is None


def test_compare_refuses_other_columns(tmp_path: Path, workshop: Path, run: Run) -> None:
    run("fit", workshop / "table.csv", "-o", tmp_path / "m", "--columns", "size,count", *BRIEF)
    error = run("compare", workshop / "plain", tmp_path / "m", workshop / "table.csv", code=2)["error"]
    assert "price" in error


@pytest.mark.slow
def test_report_with_and_without_the_data(tmp_path: Path, workshop: Path, run: Run) -> None:
    result = run("report", workshop / "given", workshop / "table.csv", "-o", tmp_path / "a.html")
    assert result["rows"] == 60
    assert run("report", workshop / "given", "-o", tmp_path / "b.html")["rows"] == 60
    for name in ("a.html", "b.html"):
        text = (tmp_path / name).read_text()
        assert "price" in text
        assert "pushforward fit" in text


@pytest.mark.slow
def test_a_report_against_another_model_is_their_comparison(tmp_path: Path, workshop: Path, run: Run) -> None:
    models, data = (workshop / "given", workshop / "plain"), workshop / "table.csv"
    compared = run("compare", *models, data)
    found = run("report", models[0], data, "-o", tmp_path / "r.html", "--against", models[1])
    theirs = found["report"]["likelihood"]["against"][str(models[1])]
    assert theirs["difference"] == pytest.approx(compared["difference"])
    assert theirs["difference_error"] == pytest.approx(compared["standard_error"])
    assert f"--against {models[1]}" in (tmp_path / "r.html").read_text()
    error = run("report", models[0], "-o", tmp_path / "b.html", "--against", models[1], code=2)["error"]
    assert "--against: give the rows too" in error


def test_a_report_without_the_data_shows_any_of_the_held_out_rows_under_their_numbers(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushforward.tables.measure.KEPT_ROWS", 20)
    values = np.linspace(0, 1, 900) ** 2  # sorted, as files often are
    pl.DataFrame({"x": values}).write_csv(tmp_path / "t.csv")
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *QUICK)
    rows = run("report", tmp_path / "m", "-o", tmp_path / "r.html")["report"]["unlikely"]["rows"]
    kept = TableDensity.load(tmp_path / "m").facts["held_out"]
    assert [values[n] for n in kept["numbers"]] == pytest.approx([row[0] for row in kept["x"]])
    assert max(kept["numbers"]) > 450
    assert {row["row"] - 1 for row in rows} <= set(kept["numbers"])


def test_a_row_has_one_number_in_scores_outliers_and_the_report(tmp_path: Path, workshop: Path, run: Run) -> None:
    rows = pl.read_csv(workshop / "table.csv")
    n = 137
    size = pl.when(pl.int_range(len(rows)) == n).then(60.0).otherwise(pl.col("size")).alias("size")
    rows.with_columns(size).write_csv(tmp_path / "odd.csv")
    model, table = workshop / "plain", tmp_path / "odd.csv"
    run("score", model, table, "-o", tmp_path / "s.csv")
    run("outliers", model, table, "-o", tmp_path / "o.csv")
    report = run("report", model, table, "-o", tmp_path / "r.html")["report"]
    assert pl.read_csv(tmp_path / "s.csv")["log_density"].arg_min() == n
    assert pl.read_csv(tmp_path / "o.csv")["row"][0] == report["unlikely"]["rows"][0]["row"] == n + 1


def test_info_is_what_fit_saved(workshop: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("info", workshop / "plain")
    assert found["command"].startswith("pushforward fit")
    assert [column["kind"]["type"] for column in found["schema"]["columns"]] == ["Number", "Grid", "Grid"]
    assert cli.main(["info", str(workshop / "plain")]) == 0
    assert "log" in capsys.readouterr().out


def test_a_divided_file_is_used_as_it_is_divided(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(size=(n, 2)) for name, n in (("train", 300), ("val", 50), ("test", 70))}
    np.savez(tmp_path / "t.npz", **parts)
    summary = run("fit", tmp_path / "t.npz", "-o", tmp_path / "m", *QUICK)
    assert (summary["training_rows"], summary["validation_rows"], summary["held_out"]["rows"]) == (300, 50, 70)
    run("score", tmp_path / "m", tmp_path / "t.npz", "-o", tmp_path / "s.csv")
    assert pl.read_csv(tmp_path / "s.csv").height == 70


def test_bounded_columns_stay_inside(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    pl.DataFrame({"share": rng.beta(0.4, 0.6, 500), "x": rng.normal(size=500)}).write_csv(tmp_path / "t.csv")
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", "--bounds", "share=0,1", *QUICK, "--no-queries")
    run("sample", tmp_path / "m", "-n", 2000, "-o", tmp_path / "r.parquet")
    share = pl.read_parquet(tmp_path / "r.parquet")["share"]
    assert share.is_between(0, 1).all()
    pl.DataFrame({"share": [0.5, 1.5], "x": [0.0, 0.0]}).write_csv(tmp_path / "far.csv")
    run("score", tmp_path / "m", tmp_path / "far.csv", "-o", tmp_path / "s.parquet")
    scores = pl.read_parquet(tmp_path / "s.parquet")
    assert np.isfinite(scores["log_density"][0])
    assert scores["log_density"][1] == -np.inf
    assert scores["percentile"][1] == 0


def test_what_is_never_negative_is_not_drawn_negative(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    table = {"n": rng.poisson(30, 500) // 5, "size": rng.gamma(0.5, size=500), "count": rng.geometric(0.02, 500) - 1}
    pl.DataFrame(table).write_csv(tmp_path / "t.csv")
    sample = ("-n", 2000, "-o", tmp_path / "r.parquet", "--temperature", 2)
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *QUICK, "--no-queries")
    run("sample", tmp_path / "m", *sample)
    drawn = pl.read_parquet(tmp_path / "r.parquet")
    assert set(drawn["n"]) <= set(table["n"])
    assert drawn["size"].min() > 0
    assert drawn["count"].min() == 0


@pytest.mark.slow
def test_training_is_resumed_where_a_state_exists(tmp_path: Path, workshop: Path, run: Run) -> None:
    arguments = ("fit", workshop / "table.csv", "--columns", "size,price,count", *QUICK)
    run(*arguments, "-o", tmp_path / "m", "--checkpoint-every", 20, "--resume")
    assert (tmp_path / "m.training").is_dir()
    lines = tmp_path / "metrics.jsonl"
    run(*arguments, "-o", tmp_path / "m", "--checkpoint-every", 20, "--resume", "--metrics", lines)
    first, second = (pf.load(path).state_dict() for path in (workshop / "plain", tmp_path / "m"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_flow_matching_from_the_shell(tmp_path: Path, workshop: Path, run: Run) -> None:
    """Matching learns nearly the density that likelihood does, and its report does not call the loss a likelihood."""
    flow = ["--flow", "ffjord", "--hidden", "32,32", "--columns", "size,price", "--lr", "0.01", "--steps", "100"]
    model = tmp_path / "matched"
    summary = run("fit", workshop / "table.csv", "-o", model, *flow, "--objective", "matching", "--no-queries")
    assert summary["objective"] == "matching"
    assert summary["held_out"]["gain"] > 0.05  # the two columns are not jointly Gaussian
    page = tmp_path / "report.html"
    run("report", model, "-o", page)
    html = page.read_text()
    assert "squared error of the field (flow matching)" in html
    assert "mean negative log-likelihood" not in html


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--objective", "matching"], "--objective matching: is for continuous flows, not for nsf; add --flow ffjord"),
        (
            ["--objective", "matching", "--flow", "ffjord", "--categories", "count"],
            "--objective matching: is for columns of numbers, not for the categories of count",
        ),
        (["--objective", "luck"], "--objective luck: choose one of likelihood, matching"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused(
    flags: list[str], message: str, tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["fit", str(workshop / "table.csv"), "-o", str(tmp_path / "m"), "--columns", "size,count", *flags])
        == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_wide_tables_get_wide_layers(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "t.npy", rng.normal(size=(60, 150)))
    short = ["--flow", "maf", "--layers", 1, "--steps", 1, "--no-queries", "--relations", "none"]
    run("fit", tmp_path / "t.npy", "-o", tmp_path / "m", *short)
    assert TableDensity.load(tmp_path / "m").density.event_shape == (150,)


def test_help_waits_for_no_library() -> None:
    slow = "{'torch', 'polars', 'numpy', 'matplotlib'}"
    code = f"import sys; from pushforward.cli.app import main; print(main(['--help']), {slow} & set(sys.modules))"
    helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert helped.stdout.splitlines()[-1] == "0 set()"
    assert "Fit" in helped.stdout or "fit" in helped.stdout


SHORT = ["--flow", "maf", "--layers", "2", "--hidden", "16", "--lr", "0.01", "--steps"]


@pytest.mark.slow
def test_fit_says_how_the_training_ended(
    tmp_path: Path, workshop: Path, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    short = ["--columns", "size,price", *SHORT, "20"]
    assert cli.main(["fit", str(workshop / "table.csv"), "-o", str(tmp_path / "m"), *short]) == 0
    assert "not done: it was still improving by" in capsys.readouterr().out
    summary = run("fit", workshop / "table.csv", "-o", tmp_path / "m", *short, "--threads", "1")
    assert "go on with --resume --budget 2m" in summary["verdict"]
    assert summary["training"]["verdict"]["kind"] == "improving"
    assert cli.main(["info", str(tmp_path / "m")]) == 0
    assert summary["verdict"] in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("states", [[], ["--checkpoint-every", "10"]])
def test_resume_trains_a_finished_model_further(tmp_path: Path, workshop: Path, run: Run, states: list[str]) -> None:
    command = ("fit", workshop / "table.csv", "-o", tmp_path / "m", "--columns", "size,price", *SHORT[:-1])
    first = run(*command, "--steps", "20", *states)
    second = run(*command, "--resume", "--budget", "0.3s")
    assert any("it is trained further" in note for note in second["notes"])
    assert second["training"]["best_validation_loss"] < first["training"]["best_validation_loss"]
    history = TableDensity.load(tmp_path / "m").facts["history"]
    assert history[-1]["step"] == 20 + second["training"]["steps"]


def test_an_average_is_not_said_to_be_trained_further(tmp_path: Path, workshop: Path, capsys) -> None:
    command = [
        "fit",
        str(workshop / "table.csv"),
        "-o",
        str(tmp_path / "m"),
        "--columns",
        "size,price",
        "--flow",
        "gmm",
    ]
    assert cli.main([*command, "--no-queries"]) == 0
    capsys.readouterr()
    assert cli.main([*command, "--no-queries", "--resume"]) == 2
    assert "is trained further" not in capsys.readouterr().err


@pytest.mark.slow
def test_resume_goes_on_with_a_training_that_was_broken_off_after_the_model(
    tmp_path: Path, workshop: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("fit", workshop / "table.csv", "-o", tmp_path / "m", "--columns", "size,price", *SHORT, "40")
    run(*command)
    with monkeypatch.context() as patch:
        patch.setattr(TableDensity, "save", lambda *_: (_ for _ in ()).throw(OSError("the power failed")))
        run(*command, "--checkpoint-every", "10", code=1)
    resumed = run(*command, "--resume")
    assert resumed["training"]["steps"] == 40
    assert not any("trained further" in note for note in resumed["notes"])


def test_a_limit_and_threads_are_checked(tmp_path: Path, workshop: Path, run: Run) -> None:
    fit = ("fit", workshop / "table.csv", "-o", tmp_path / "m", *QUICK)
    assert "--threads many: expected auto" in run(*fit, "--threads", "many", code=2)["error"]
    assert "--limit: expected" in run(*fit, "--limit", "soon", code=2)["error"]
    for option in ("--seed", "--keep"):
        assert f"{option}: expected a whole number" in run(*fit, option, "1.5", code=2)["error"]
    assert "leave out limit=5.0 or steps" in run(*fit, "--limit", "5s", code=2)["error"]
