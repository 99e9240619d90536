"""Any question after the fit: missing cells, missing columns, conditionals of any columns, imputation."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.datasets import load_wine

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.errors import InputError
from pushforward.tables.guide import FAR

QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 120, "lr": 0.02}


def table(rows: int = 1500, seed: int = 0) -> pl.DataFrame:
    """A group, a number whose mean it sets, that number with noise, and a count."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    x = rng.normal(size=rows) + 3.0 * (group == "b")
    return pl.DataFrame({"x": x, "y": x + 0.5 * rng.normal(size=rows), "group": group, "n": rng.poisson(4, rows)})


TABLE = table()


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(TABLE)


def normal(x: np.ndarray, mean: Any, sd: float) -> np.ndarray:
    return -0.5 * ((x - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))


def test_a_table_with_fewer_columns_gets_their_marginal_density(model: pf.TableDensity) -> None:
    test = table(300, seed=1)
    value, error = model.score_samples(test.select("y"), errors=True)
    y = test["y"].to_numpy()
    truth = np.logaddexp(np.log(0.7) + normal(y, 0, 1.25**0.5), np.log(0.3) + normal(y, 3, 1.25**0.5))
    assert abs(np.mean(value - truth)) < 0.1
    assert np.abs(value - truth).mean() < 0.25
    assert 0 < error.mean() < 0.15
    group, exact = model.score_samples(test.select("group"), errors=True)
    assert not exact.any()  # the first category's probability needs no draws
    assert np.exp(group[[test["group"].to_list().index(name) for name in "ab"]]).sum() == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(
        model.score_samples(test.select("y").reverse()), value[::-1]
    )  # rows stand for themselves


def test_missing_cells_are_integrated_out(model: pf.TableDensity) -> None:
    test = table(60, seed=2)
    holed = test.with_columns(y=pl.lit(None, pl.Float64), group=pl.lit(None, pl.String), n=pl.lit(None, pl.Int64))
    np.testing.assert_allclose(model.score_samples(holed), model.score_samples(test.select("x")), atol=1e-9)
    some = test.with_columns(pl.when(pl.int_range(60) < 30).then("y").alias("y"))
    scores = model.score_samples(some)
    np.testing.assert_allclose(scores[:30], model.score_samples(test)[:30])
    assert np.isfinite(scores).all()
    empty = test.with_columns(pl.lit(None).cast(t).alias(c) for c, t in test.schema.items())
    assert np.isnan(model.score_samples(empty)).all()


def test_conditionals_of_any_columns(model: pf.TableDensity) -> None:
    test = table(200, seed=3)
    value, error = model.score_samples(test.select("x", "y"), given=["x"], errors=True)
    truth = normal(test["y"].to_numpy(), test["x"].to_numpy(), 0.5)
    assert abs(np.mean(value - truth)) < 0.15
    assert error.mean() < 0.2
    both = model.score_samples(test.select("x", "y"))
    alone = model.score_samples(test.select("x"))
    np.testing.assert_allclose(value, both - alone, atol=1e-9)


def test_rows_given_any_column(model: pf.TableDensity) -> None:
    drawn = model.sample(500, given={"y": 3.0})
    assert drawn["y"].to_numpy() == pytest.approx(3.0)
    assert (drawn["group"] == "b").mean() == pytest.approx(0.91, abs=0.12)  # 0.3 N(0; 1.25) against 0.7 N(3; 1.25)
    both = model.sample(200, given=pl.DataFrame({"group": ["a", "b"], "x": [None, 3.0]}))
    assert both.height == 400
    assert (both["group"][:200] == "a").all()
    assert both["x"][:200].mean() == pytest.approx(0.0, abs=0.3)
    assert both["x"][200:].to_numpy() == pytest.approx(3.0)
    assert both["y"][200:].mean() == pytest.approx(3.0, abs=0.3)
    assert model.sample(3, given={"n": "4"})["n"].to_list() == [4, 4, 4]


def test_rows_given_moments(tmp_path: Path) -> None:
    """As what they are, or as text, which says the same where training had no text."""
    rng = np.random.default_rng(0)
    when, other = (
        [dt.datetime(2024, 1, 1) + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 500_000, 300)] for _ in "ab"
    )
    rows = pl.DataFrame({"when": when, "day": [m.date() for m in other], "clock": [m.time() for m in other]})
    model = pf.TableDensity(**{**QUICK, "steps": 2}).fit(rows)
    moments = {"when": dt.datetime(2024, 5, 1, 8), "day": dt.date(2024, 6, 2), "clock": dt.time(9, 30)}
    for given in (moments, {name: str(value) for name, value in moments.items()}, {"day": np.datetime64("2024-06-02")}):
        drawn = model.sample(2, given=given)
        assert all(drawn[name].to_list() == [moments[name]] * 2 for name in given)
    rows.write_csv(tmp_path / "text.csv")
    np.testing.assert_allclose(model.score_samples(tmp_path / "text.csv"), model.score_samples(rows))
    with pytest.raises(InputError, match="column 'day', row 1: 'soon' is not a date"):
        model.sample(1, given={"day": "soon"})


def test_imputation(model: pf.TableDensity) -> None:
    test = table(400, seed=4).with_columns(other=pl.int_range(400))
    hole = pl.int_range(400) < 300
    holed = test.with_columns(
        pl.when(~hole).then("y").alias("y"), pl.when(hole | (pl.col("n") > 3)).then("n").alias("n")
    )
    before = holed.clone()
    filled = model.impute(holed)
    assert holed.equals(before)
    assert filled.columns == test.columns
    assert filled.null_count().sum_horizontal().sum() == 0
    assert filled[300:].drop("n").equals(test[300:].drop("n"))
    assert filled["n"].dtype == test["n"].dtype
    assert (filled["y"] - test["x"])[:300].std() == pytest.approx(0.5, abs=0.12)
    many = model.impute(holed.to_pandas(), draws=20)
    indexed = holed.to_pandas().set_index(np.arange(holed.height)[::-1] + 100)
    assert model.impute(indexed).index.equals(indexed.index)
    assert len(many) == 20 * 400
    drawn = many["y"].to_numpy().reshape(20, 400)[:, :300]
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    assert ((low <= test["y"][:300].to_numpy()) & (test["y"][:300].to_numpy() <= high)).mean() > 0.75
    assert set(model.impute(test.select("x")).columns) == {"x", "y", "group", "n"}
    for nothing in (None, np.nan):  # a column of neither says what type it is of
        assert set(model.impute(test.with_columns(group=pl.lit(nothing)))["group"]) <= set(test["group"])


def test_explain_says_what_each_cell_has_given_the_others(model: pf.TableDensity) -> None:
    rows = pl.DataFrame({"x": [0.0, 0.0], "y": [0.0, 4.0], "group": ["a", "a"], "n": [4, 4]})
    found = model.explain(rows)
    assert found["log_p_y"][0] == pytest.approx(np.log(1 / (0.5 * np.sqrt(2 * np.pi))), abs=0.35)
    assert found["log_p_y"][1] < -8
    assert found["log_p_group"][0] == pytest.approx(0.0, abs=0.1)


def test_explain_of_a_cell_that_cannot_be_warns_of_nothing(model: pf.TableDensity) -> None:
    rows = pl.DataFrame({"x": [0.0], "y": [0.0], "group": ["never seen"], "n": [4]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.explain(rows)
    assert found["unlikely_because"][0] == "group"
    assert found["log_p_group"][0] == -math.inf
    assert math.isnan(found["log_p_x"][0])  # log p(x | others) where the others cannot be


def test_rows_of_pandas_without_columns_say_nothing(model: pf.TableDensity) -> None:
    unknown = table(3).to_pandas().set_index(np.array([7, 5, 9]))[[]]
    drawn = model.sample(2, given=unknown, random_state=1)
    assert drawn.equals(model.sample(2, given=unknown.assign(**{model.schema.names[0]: None}), random_state=1))
    assert len(drawn) == 6
    with pytest.raises(InputError, match="given"):  # a series is no frame
        model.sample(2, given=unknown.index.to_series())


def test_a_pandas_index_is_kept(model: pf.TableDensity) -> None:
    rows = table(6, seed=7).to_pandas().set_index(np.arange(6) * 10 + 3)
    holed = rows.assign(y=[np.nan] * 3 + [0.0] * 3)
    assert model.impute(holed).index.equals(rows.index)
    assert model.impute(holed, draws=2).index.tolist() == [*rows.index, *rows.index]
    fitted = pf.TableDensity(**{**QUICK, "steps": 1}).fit(TABLE.to_pandas())
    assert fitted.explain(rows).index.equals(rows.index)
    assert rows.assign(z=fitted.score_samples(rows))["z"].notna().all()


def test_probabilities_of_values_given_the_others_sum_to_one(holed_model: pf.TableDensity) -> None:
    rows = table(20, seed=11)
    for given in (["x", "y", "n"], ["x"]):
        total = sum(
            np.exp(holed_model.score_samples(rows.select(*given, group=pl.lit(name)), given=given)) for name in "ab"
        )
        np.testing.assert_allclose(total, 1.0, atol=1e-9)


def test_a_value_given_the_others_does_not_depend_on_the_holes_of_other_rows(model: pf.TableDensity) -> None:
    rows, given = table(20, seed=4), ["x", "y", "n"]
    beside = rows.with_columns(x=pl.when(pl.int_range(20) > 0).then("x"))
    np.testing.assert_allclose(*(model.score_samples(each, given=given)[1:] for each in (rows, beside)), rtol=1e-6)


@pytest.mark.slow
def test_a_class_given_missing_numbers_does_not_depend_on_the_points_that_stand_for_these() -> None:
    data = load_wine(as_frame=True)
    rows = pl.from_pandas(data.data[["alcohol", "flavanoids", "color_intensity", "hue", "proline"]])
    told = [pl.when(pl.col("alcohol") < 13).then(name).alias(name) for name in ("flavanoids", "hue")]
    rows = rows.with_columns(*told, kind=pl.Series(map(str, data.target))).sample(fraction=1.0, shuffle=True, seed=0)
    model = pf.TableDensity("gmm", steps=5).fit(rows[:100])
    fresh, answers = rows[100:].filter(pl.col("hue").is_null()), []
    for model.samples in (16, 1024):
        answers.append(model.score_samples(fresh, given=rows.columns[:-1]))
    assert np.abs(answers[0] - answers[1]).mean() < 0.015  # 0.035 by other points for every value
    assert answers[0].mean() > -0.5


def test_a_damaged_model_is_refused(model: pf.TableDensity, tmp_path: Path) -> None:
    learnt = dict(model.density.named_parameters())
    state = {name: weight for name, weight in model.density.state_dict().items() if weight.is_floating_point()}
    weights = [next(iter(learnt)), next(name for name in state if name not in learnt)]
    for name, damage in itertools.product(weights, (math.nan, math.inf)):
        kept = state[name].clone()
        state[name].fill_(damage)
        model.save(tmp_path / "damaged")
        state[name].copy_(kept)
        with pytest.raises(InputError, match="damaged"):
            pf.TableDensity.load(tmp_path / "damaged")


@pytest.mark.slow
def test_it_is_saved_and_can_be_left_out(model: pf.TableDensity, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model")
    test = table(20, seed=5)
    np.testing.assert_array_equal(again.score_samples(test.select("x")), model.score_samples(test.select("x")))
    np.testing.assert_array_equal(again.score_samples(test), model.score_samples(test))
    guide = model.summary_["guide"]
    assert guide["steps"] == QUICK["steps"]
    assert guide["effective_draws"] > 10
    assert {"few_effective", "standard_error", "orders_disagree", "seconds", "parameters"} <= set(guide)
    plain = pf.TableDensity(**QUICK, queries=False).fit(TABLE)
    np.testing.assert_array_equal(plain.score_samples(test), model.score_samples(test))  # complete rows lose nothing
    for call in (
        lambda: plain.score_samples(test.select("x")),
        lambda: plain.score_samples(test, given=["x"]),
        lambda: plain.impute(test.with_columns(x=pl.lit(None, pl.Float64))),
        lambda: plain.sample(2, given={"x": 1.0}),
    ):
        with pytest.raises(InputError):
            call()
    alone = plain.score_samples(test.with_columns(x=pl.lit(None, pl.Float64)))  # draws from x alone, whatever the rest
    assert np.isfinite(alone).all()


def test_the_shell(model: pf.TableDensity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save(tmp_path / "model")
    test = table(50, seed=6)
    holed = test.with_columns(pl.when(pl.int_range(50) < 25).then("y").alias("y"))
    holed.write_csv(tmp_path / "holed.csv")
    test.select("x", "y").write_csv(tmp_path / "two.csv")

    def run(*arguments: str) -> dict[str, Any]:
        assert cli.main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    at = str(tmp_path / "model")
    said = run("impute", at, str(tmp_path / "holed.csv"), "-o", str(tmp_path / "full.csv"), "--draws", "2")
    assert (said["missing"], said["draws"]) == (25, 2)
    full = pl.read_csv(tmp_path / "full.csv")
    assert full.height == 100
    assert full["y"].null_count() == 0
    some = ["score", at, str(tmp_path / "two.csv"), "-o", str(tmp_path / "s.csv"), "--given", "x"]
    assert run(*some)["below_1_percent"] is None
    cli.main(some)
    assert "percentile of" not in capsys.readouterr().out  # as none has one
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores["percentile"].null_count() == 50
    np.testing.assert_allclose(scores["log_density"], model.score_samples(test.select("x", "y"), given=["x"]))
    run("score", at, str(tmp_path / "holed.csv"), "-o", str(tmp_path / "h.csv"))
    assert pl.read_csv(tmp_path / "h.csv")["percentile"].null_count() == 25
    run("sample", at, "-n", "20", "--given", "y=1.5", "--given", "group=a", "-o", str(tmp_path / "r.csv"))
    assert pl.read_csv(tmp_path / "r.csv")["y"].to_numpy() == pytest.approx(1.5)
    assert cli.main(["impute", at, str(tmp_path / "holed.csv"), "-o", str(tmp_path / "f.csv"), "--draws", "0"]) == 2
    assert "--draws" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ask", "argument"),
    [
        (lambda m: m.score_samples(TABLE, given=["z"]), "given"),
        (lambda m: m.score_samples(TABLE, given=["x", "x"]), "given"),
        (lambda m: m.score_samples(TABLE.select("x"), given=["y"]), "given"),
        (lambda m: m.score_samples(TABLE.select("x"), given=["x"]), None),
        (lambda m: m.score_samples(pl.DataFrame({"z": [1]})), None),
        (lambda m: m.sample(2, given={"z": 1}), "given"),
        (lambda m: m.sample(2, given={"x": "much"}), "given"),
        (lambda m: m.sample(2, given={"group": "c"}), "given"),
        (lambda m: m.impute(TABLE, draws=0), "draws"),
        (lambda m: m.impute(pl.DataFrame({"z": [1]})), None),
        (lambda m: m.impute(TABLE.with_columns(x=pl.lit("a"))), None),
    ],
)
def test_errors(model: pf.TableDensity, ask, argument: str | None) -> None:
    with pytest.raises(InputError) as raised:
        ask(model)
    assert raised.value.argument == argument


@pytest.fixture(scope="module")
def holed_model() -> pf.TableDensity:
    """Fitted to rows of which a fifth lack y, and a fifth their group."""
    rng = np.random.default_rng(8)
    rows = TABLE.with_columns(
        pl.when(pl.Series(rng.random(TABLE.height) > 0.2)).then("y").alias("y"),
        pl.when(pl.Series(rng.random(TABLE.height) > 0.2)).then("group").alias("group"),
        twice=2 * pl.col("x"),
    )
    return pf.TableDensity(**{**QUICK, "steps": 50}).fit(rows)


def test_holes_of_the_training_are_drawn_as_if_they_were_seen(holed_model: pf.TableDensity) -> None:
    test = table(300, seed=9)
    lacking = test.select("x", "n", y=pl.lit(None, pl.Float64), group=pl.lit(None, pl.String))
    filled = holed_model.impute(lacking)
    assert filled.null_count().sum_horizontal().sum() == 0
    assert (filled["y"] - test["x"]).abs().mean() < 0.9  # 0.4 for the true density, 1.6 for draws from y alone
    assert ((filled["group"] == "b") == (test["x"] > 1.5)).mean() > 0.8
    assert filled["x"].equals(test["x"])


def test_holes_at_random_are_integrated_out(holed_model: pf.TableDensity) -> None:
    test = table(200, seed=9).with_columns(twice=2 * pl.col("x"))
    lacking = test.with_columns(y=pl.lit(None, pl.Float64))
    gone, there = holed_model.score_samples(lacking), holed_model.score_samples(test.drop("y"))
    np.testing.assert_allclose(gone, there, atol=1e-6)
    drawn = holed_model.sample(400, given={"group": "a"})
    assert drawn["y"].null_count() / 400 == pytest.approx(0.2, abs=0.1)
    assert (drawn["group"] == "a").all()
    np.testing.assert_allclose(drawn["twice"], 2 * drawn["x"])
    completed = holed_model.sample(20, given=test.select("x", "n").head(20))
    assert completed.null_count().sum_horizontal().sum() == 0
    broken = test.with_columns(twice=pl.col("x"))
    assert np.isneginf(holed_model.score_samples(broken.drop("y"))).all()
    assert np.isfinite(holed_model.score_samples(test.select("group"))).all()
    imputed = holed_model.impute(test.with_columns(twice=pl.lit(None, pl.Float64)))
    np.testing.assert_allclose(imputed["twice"], test["twice"])


@pytest.mark.slow
def test_what_no_row_had_in_a_given_column_touches_its_own_rows_alone() -> None:
    model = pf.TableDensity(**{**QUICK, "steps": 60}, columns=["y"], given=["group", "x"], queries=False).fit(TABLE)
    rows = TABLE[:3].with_columns(group=pl.Series(["a", "z", "b"]), x=pl.Series([0.0, 0.0, None]))
    given = rows[["group", "x"]]
    answers: list[Any] = [
        model.score_samples(rows),
        model.probability({"y": (0, None)}, given),
        model.quantile("y", 0.5, given),
        model.predict(rows, "y"),
        model.predict(rows, "y", "mode"),
        model.predict(rows, "y", "interval")["low"],
        model.sample(1, given=given, random_state=0)["y"].fill_null(np.nan),
        model.explain(rows)["gain"].fill_null(np.nan),
    ]
    for answer in answers:
        assert np.isfinite(np.asarray(answer)).tolist() == [True, False, False]
    np.testing.assert_allclose(answers[0][:1], model.score_samples(rows[:1]), rtol=1e-6)
    assert sum("'z' was not among the training rows" in note for note in model.notes_) == 2  # of the table, and given
    with pytest.raises(InputError, match="'z'"):
        model.sample(5, given={"group": "z", "x": 0.0})
    unlike = TABLE[-20:].with_columns(pl.col("y") + 0.01)  # rows that trained the model are left out
    assert model.drift(pl.concat([rows, unlike])).new_rows == 21


def test_a_guide_that_has_learnt_nothing_fills_within_reach() -> None:
    rng = np.random.default_rng(0)
    wages = np.exp(rng.normal(size=(1500, 3)) * 4)
    wages[rng.random(wages.shape) < 0.2] = np.nan
    frame = pl.DataFrame({f"w{j}": column for j, column in enumerate(wages.T)}).fill_nan(None)
    model = pf.TableDensity(**{**QUICK, "steps": 3}).fit(frame)
    x = model.schema.encode(frame, "table").x
    fill: Any = model.cells.fill
    for u in (1e-9, 1 - 1e-9):
        filled, _ = fill(x, torch.full_like(x, u))
        assert filled.isfinite().all()
        assert (filled[:, :3] > 0).all()
    net = fill.guide.net
    with torch.no_grad():
        for j in range(3):  # the shift as it is, the scale as far out as it goes
            net.biases[-1][net.rows[j].start + 1] = 1e4
    filled, weight = fill(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype))
    assert weight.isfinite().all()
    most = torch.from_numpy(np.nanmax(x[:, :3], 0))
    assert (filled[:, :3].amax(0) <= (1 + FAR) * most).all()  # draws beyond are replaced by values of the columns' own
