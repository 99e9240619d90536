"""The table as an object: frames of any library in, frames of that library out, files that the shell reads too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.diagnostics.averages import mean_and_error, quantiles
from pushforward.diagnostics.linear_gaussian import LinearGaussian
from pushforward.errors import InputError
from pushforward.models.console import Console
from pushforward.tables.schema.preprocessing import first_transforms

QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 30, "lr": 0.02}
BRIEF: dict[str, Any] = {**QUICK, "steps": 5, "queries": False}


def mixed_table(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Sizes, prices, counts and a colour, all of which hang together."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(3.0, 1.0, rows)
    price = np.round(np.exp(4 + np.log(size) + 0.3 * rng.normal(size=rows)))
    colour = rng.choice(["red", "green", "blue"], rows)
    return pl.DataFrame({"size": size, "price": price, "count": rng.poisson(size), "colour": colour})


TABLE = mixed_table()
KINDS: dict[str, Any] = {
    "polars": (TABLE, pl.DataFrame),
    "pandas": (TABLE.to_pandas(), pd.DataFrame),
    "pyarrow": (TABLE.to_arrow(), pa.Table),
    "dict": ({column.name: column.to_numpy() for column in TABLE}, dict),
}


@pytest.fixture(scope="module")
def fitted() -> pf.TableDensity:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.tables.measure.DRAWN", 1_000)  # enough for a classifier of draws
        return pf.TableDensity(**QUICK).fit(TABLE)


@pytest.fixture(scope="module")
def conditioned() -> pf.TableDensity:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.tables.measure.DRAWN", 1_000)
        return pf.TableDensity(given=["colour"], numbers=["count"], **QUICK).fit(TABLE, validation=TABLE[:60])


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return pf.TableDensity(**BRIEF).fit(TABLE).score_samples(TABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_of_any_library_gives_the_same_model_and_frames_of_its_own_kind(kind: str, expected: np.ndarray):
    table, frame = KINDS[kind]
    model = pf.TableDensity(**BRIEF).fit(table)
    np.testing.assert_array_equal(model.score_samples(table), expected)
    drawn = model.sample(5, random_state=1)
    assert isinstance(drawn, frame)
    names = drawn.column_names if kind == "pyarrow" else getattr(drawn, "columns", drawn)
    assert list(names) == TABLE.columns
    assert isinstance(model.explain(table), frame)


def test_columns_are_found_by_name_and_the_frame_is_not_modified(fitted: pf.TableDensity):
    frame = TABLE.to_pandas()
    before = frame.copy()
    turned = frame[["count", "colour", "price", "size"]]
    np.testing.assert_array_equal(fitted.score_samples(turned), fitted.score_samples(TABLE))
    pd.testing.assert_frame_equal(frame, before)


def test_a_saved_model_is_one_of_the_shell_and_the_other_way_round(tmp_path: Path, fitted: pf.TableDensity):
    fitted.save(tmp_path / "m")
    TABLE.write_csv(tmp_path / "t.csv")
    assert cli.main(["score", f"{tmp_path}/m", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/s.csv", "--quiet"]) == 0
    shell = pl.read_csv(tmp_path / "s.csv")["log_density"].to_numpy()
    np.testing.assert_allclose(fitted.score_samples(TABLE), shell, rtol=1e-12)
    again = pf.TableDensity.load(tmp_path / "m")
    np.testing.assert_array_equal(again.score_samples(str(tmp_path / "t.csv")), fitted.score_samples(TABLE))
    words = ["--flow", "maf", "--layers", "2", "--hidden", "16", "--steps", "30", "--lr", "0.02", "--quiet"]
    assert cli.main(["fit", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/shell", *words]) == 0
    np.testing.assert_allclose(
        pf.TableDensity.load(tmp_path / "shell").score_samples(TABLE), fitted.score_samples(TABLE), rtol=1e-12
    )


def test_a_column_of_true_and_false_may_come_as_0_and_1() -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"x": rng.normal(size=200), "member": rng.random(200) < 0.4})
    model = pf.TableDensity(**BRIEF).fit(table)
    expected = model.score_samples(table)
    assert np.isfinite(expected).all()
    for kind in (pl.Int64, pl.Float64):
        coded = table.with_columns(pl.col("member").cast(kind))
        np.testing.assert_array_equal(model.score_samples(coded), expected)
    texts = table.with_columns(pl.col("member").cast(pl.Int8).cast(pl.String))
    np.testing.assert_array_equal(model.score_samples(texts), expected)


def test_samples_keep_their_kind_after_loading(tmp_path: Path):
    table = TABLE.to_pandas().astype({"colour": "category"})
    pf.TableDensity(given=["count"], **BRIEF).fit(table).save(tmp_path / "m")
    rows = table[["count"]].head(2).set_axis(["a", "b"])
    drawn = pf.TableDensity.load(tmp_path / "m").sample(2, given=rows)
    assert drawn.index.tolist() == ["a", "a", "b", "b"]
    assert drawn["count"].tolist() == rows["count"].repeat(2).tolist()
    one = pf.TableDensity.load(tmp_path / "m").sample(1, given={"count": 2})
    assert one["colour"].dtype == table["colour"].dtype  # with all of its categories


def test_answers_come_in_the_kind_of_frame_that_was_asked_with(fitted: pf.TableDensity, tmp_path: Path):
    TABLE.write_csv(tmp_path / "rows.csv")
    assert fitted.facts["frame"] == "polars"
    rows = TABLE.head(4).to_pandas().set_axis(list("abcd"))
    for answer in (
        fitted.predict(rows, "size", "interval"),
        fitted.predict(rows, "colour", "proba"),
        fitted.explain(rows),
    ):
        assert isinstance(answer, pd.DataFrame)
        assert answer.index.tolist() == list("abcd")
    odd = fitted.outliers(rows, level=0.5)
    assert odd.index.tolist() == rows.index[odd["row"] - 1].tolist()
    for same in (TABLE.head(4), TABLE.head(4).to_dict(), tmp_path / "rows.csv"):
        assert isinstance(fitted.predict(same, "size", "interval"), pl.DataFrame)
    assert isinstance(fitted.predict(TABLE.head(4).lazy(), "size", "interval"), pl.LazyFrame)


def test_the_density_of_a_conditional_table(conditioned: pf.TableDensity):
    drawn = conditioned.sample(4, given={"colour": "red"})
    assert drawn["colour"].to_list() == ["red"] * 4
    each = conditioned.sample(2, given=TABLE.select("colour")[:3])
    assert each["colour"].to_list() == TABLE["colour"][:3].to_numpy().repeat(2).tolist()
    values = conditioned.score_samples(TABLE, given=["colour"])
    np.testing.assert_array_equal(values, conditioned.score_samples(TABLE))
    assert conditioned.summary_["held_out"]["rows"] == 60  # the figures are of the validation table


def test_encoded_rows_have_the_density_that_the_model_says(conditioned: pf.TableDensity):
    points, slopes = conditioned.encode(TABLE)
    assert points.dtype == slopes.dtype == np.float64
    assert points.shape == (16, 300, 3)
    model = pf.TableDensity(columns=["size", "price"], **QUICK).fit(TABLE)
    points, slopes = model.encode(TABLE)
    known = len(first_transforms(model.density).transforms)
    rest = pf.Flow(pf.transforms.Compose(list(model.density.transform.transforms)[known:]), model.density.base)
    with torch.no_grad():
        log_p = rest(torch.from_numpy(points).float()).double().numpy() + slopes
    average = np.logaddexp.reduce(log_p, 0) - np.log(len(log_p))
    np.testing.assert_allclose(average, model.score_samples(TABLE), atol=1e-4)


def test_scores_come_with_their_errors_and_integrate_missing_cells_out(fitted: pf.TableDensity):
    holes = TABLE.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("size").alias("size"))
    values, errors = fitted.score_samples(holes, errors=True)
    assert np.isfinite(values).all()
    assert (errors > 0).all()
    np.testing.assert_allclose(np.delete(values, 3), np.delete(fitted.score_samples(TABLE), 3))
    assert values[3] > fitted.score_samples(TABLE)[3] + np.log(0.1)  # a sum over all sizes, and not one of them
    assert fitted.score(holes) == pytest.approx(values.mean())
    weights = np.arange(300.0)
    assert fitted.score(TABLE, sample_weight=weights) == pytest.approx(
        np.average(fitted.score_samples(TABLE), weights=weights)
    )


def test_explanations_name_the_column_to_blame(fitted: pf.TableDensity):
    odd = TABLE[:1].with_columns(pl.lit(10**6).alias("price"))
    said = fitted.explain(odd)
    assert said["unlikely_because"].to_list() == ["price"]
    assert said["gain"][0] == said["gain_price"][0] > 1


@pytest.mark.slow
def test_comparisons_and_reports(tmp_path: Path, fitted: pf.TableDensity):
    other = pf.TableDensity(**{**QUICK, "steps": 1}).fit(TABLE)
    found = fitted.compare(other, TABLE)
    assert found["rows"] == 30  # the rows that neither was trained on
    assert found["difference"] > 0
    fitted.report(tmp_path / "a.html")
    fitted.report(tmp_path / "b.html", TABLE, against=[other])
    assert "TableDensity" in (tmp_path / "b.html").read_text()


def test_notes_say_what_was_left_out():
    holes = TABLE.with_columns(pl.Series("name", [f"n{i}" for i in range(300)]))
    holes = holes.with_columns(pl.when(pl.int_range(pl.len()) % 5 == 0).then("name").alias("remark"))
    holes = holes.with_columns(pl.when(pl.int_range(pl.len()) < 2).then(None).otherwise("size").alias("size"))
    model = pf.TableDensity(**{**QUICK, "steps": 1}).fit(holes)
    said = " ".join(model.notes_)
    assert "name, remark: left out: a name or free text" in said
    assert model.schema.names == ["size", "price", "count", "colour"]
    assert model.schema.missingness.ignored == {0: pytest.approx(2 / 300)}  # of size, which misses at random
    dropped = pf.TableDensity(drop_missing=True, **{**QUICK, "steps": 1}).fit(holes.drop("remark"))
    assert "left out: 2 rows with missing or infinite values" in " ".join(dropped.notes_)
    with pytest.raises(InputError, match=r"column 'size', row 1: a missing value .* with `drop_missing=True`"):
        pf.TableDensity(strict=True).fit(holes)


def test_a_notebook_shows_what_was_fitted_how_well_and_a_picture(fitted: pf.TableDensity, tmp_path: Path):
    assert pf.TableDensity("maf", given=["a"], steps=3)._repr_html_() is None
    assert repr(pf.TableDensity("maf", given=["a"], steps=3)) == "TableDensity(flow='maf', given=['a'], steps=3)"
    assert "fitted to 240 rows of table: held-out log-likelihood" in repr(fitted)
    assert "float64" not in repr(fitted.density)
    shown = fitted._repr_html_()
    for word in ("<svg", "Held-out log-likelihood", "Gain over a Gaussian", "category, 3", "currentColor"):
        assert word in shown
    assert "more=" in shown  # how to go on, in the words of Python
    assert "--resume" not in shown
    hostile = pf.TableDensity(**{**QUICK, "steps": 1}).fit(TABLE.rename({"size": "<script>"}))._repr_html_()
    assert "<script>" not in hostile


def test_what_is_saved_is_plain_json(tmp_path: Path, fitted: pf.TableDensity):
    fitted.save(tmp_path / "m")
    extra = json.loads((tmp_path / "m" / "config.json").read_text())["extra"]
    assert extra["frame"] == "polars"
    assert "TableDensity" in extra["command"]


@pytest.mark.slow
def test_a_weight_counts_in_the_density_and_is_the_same_by_the_shell(tmp_path: Path):
    weights = np.where(TABLE["colour"] == "red", 3.0, 1.0)
    model = pf.TableDensity(**QUICK, queries=False).fit(TABLE, sample_weight=weights)
    plain = pf.TableDensity(**QUICK, queries=False).fit(TABLE)
    weighted, alike = ((m.sample(2000, random_state=0)["colour"] == "red").mean() for m in (model, plain))
    assert weighted > alike + 0.1
    assert "sample_weight" not in model.schema.names
    model.fit(TABLE)  # once more without weights: the choices are those that the object was made with
    assert "sample_weight" not in repr(model)
    model.fit(TABLE, sample_weight=weights)
    TABLE.with_columns(w=pl.Series(weights)).write_csv(tmp_path / "t.csv")
    words = ["--flow", "maf", "--layers", "2", "--hidden", "16", "--steps", "30", "--lr", "0.02", "--quiet"]
    words += ["--no-queries"]
    assert cli.main(["fit", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/m", "--weights", "w", *words]) == 0
    shell = pf.TableDensity.load(tmp_path / "m")
    np.testing.assert_allclose(shell.score_samples(TABLE), model.score_samples(TABLE), rtol=1e-5)
    assert shell.summary_["weights"] == "w"


def test_a_row_twice_is_a_weight_of_two_in_all_figures():
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(50, dtype=torch.float64)
    weights[:10] = 2
    twice = torch.cat([x, x[:10]])
    torch.testing.assert_close(LinearGaussian(x, weights=weights)(x), LinearGaussian(twice)(x))
    values, counts = x[:, 0].numpy(), weights.numpy()
    assert mean_and_error(values, counts)[0] == pytest.approx(twice[:, 0].mean().item())
    assert mean_and_error(values, np.ones(50)) == pytest.approx(mean_and_error(values))
    assert quantiles(values, np.array([0.5]), counts) == pytest.approx(np.quantile(twice[:, 0], 0.5), abs=0.1)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (-np.ones(300), "column 'w', row 1: -1 is negative, but weights cannot be"),
        (np.zeros(300), "column 'w': all weights are 0"),
        (["x"] * 300, "column 'w', row 1: 'x' is not a number"),
    ],
)
def test_a_column_of_weights_that_cannot_be(column: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    TABLE.with_columns(w=pl.Series(column)).write_csv(tmp_path / "t.csv")
    assert cli.main(["fit", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/m", "--weights", "w"]) == 2
    assert said in capsys.readouterr().err


REFUSED: dict[str, Any] = {
    "no table": (lambda m: m.fit([1, 2]), "table: expected a frame .* got list"),
    "no rows": (lambda m: m.fit(TABLE[:0]), "table: has 0 usable rows"),
    "no columns": (lambda m: m.fit(pl.DataFrame()), "table: has no columns"),
    "objects": (lambda m: pf.TableDensity(strict=True).fit(TABLE.with_columns(x=pl.lit([1]))), "column 'x'"),
    "types": (lambda m: m.fit(pd.DataFrame({"a": [1, "x", {}] * 30})), "column 'a'"),
    "twice": (lambda m: m.fit(pd.DataFrame([[1.0, 2.0]] * 60, columns=["a", "a"])), "two columns are called 'a'"),
    "unknown": (lambda m: pf.TableDensity(columns=["nope"]).fit(TABLE), "^columns: .* no column 'nope'"),
    "doubled": (lambda m: pf.TableDensity(given=["size", "size"]).fit(TABLE), "^given: 'size' is named twice"),
    "bounds": (
        lambda m: pf.TableDensity(bounds={"size": (0, 1)}).fit(TABLE),
        "outside its bounds 0 and 1; give it wider `bounds=`$",
    ),
    "share": (lambda m: m.fit(TABLE, validation=0.6), "validation=0.6: expected a share"),
    "validation": (lambda m: m.fit(TABLE, validation=TABLE[["size"]]), "validation: has no column 'price'"),
    "negative weights": (lambda m: m.fit(TABLE, sample_weight=-np.ones(300)), "sample_weight: must be finite, not neg"),
    "no weights": (lambda m: m.fit(TABLE, sample_weight=np.zeros(300)), "not 0 for all rows"),
    "few weights": (lambda m: m.fit(TABLE, sample_weight=[1.0]), "sample_weight: has shape .1,., expected .300,."),
    "flow": (lambda m: pf.TableDensity("nope").fit(TABLE), "there is no flow 'nope'"),
    "memory": (
        lambda m: pf.TableDensity("nsf", layers=900, hidden=(300_000,), steps=1).fit(TABLE),
        "^hidden=.300000,.: takes .* GiB of memory",
    ),
    "steps": (lambda m: pf.TableDensity(steps=-1).fit(TABLE), "steps=-1: expected a positive integer"),
    "half a row": (lambda m: pf.TableDensity(batch_size=2.5).fit(TABLE), "batch_size=2.5: expected a positive integer"),
    "time": (lambda m: pf.TableDensity(budget="soon"), "^budget='soon': expected"),
    "unfitted": (lambda m: pf.TableDensity().sample(1), "not fitted yet"),
    "other schema": (lambda m: m.score_samples(pl.DataFrame({"z": [1.0]})), "table: has no column"),
    "n": (lambda m: m.sample(0), "n=0: expected a whole number, at least 1"),
    "a seed": (lambda m: m.sample(random_state="x"), "random_state='x': expected a whole number"),
    "a seed of holes": (lambda m: m.impute(TABLE, random_state=0.5), "random_state=0.5: expected a whole number"),
    "a seed of the fit": (lambda m: pf.TableDensity(random_state="x"), "random_state='x': expected a whole number"),
    "a truth value": (lambda m: m.sample(True), "n=True: expected a whole number, at least 1"),
    "draws": (lambda m: m.impute(TABLE, draws=2.0), "draws=2.0: expected a whole number, at least 1"),
    "weights below 0": (lambda m: m.score(TABLE, sample_weight=-np.ones(300)), "sample_weight: must be finite, not n"),
    "weights": (lambda m: m.score(TABLE, sample_weight=[1, 2]), "sample_weight: has shape .2,., expected .300,."),
    "no numbers": (lambda m: m.fit(TABLE, sample_weight="price"), "sample_weight: expected numbers"),
    "given": (lambda m: m.sample(1, given={"sizes": 1.0}), "has no such column"),
    "given scores": (lambda m: m.score_samples(TABLE, given=["sizes"]), "given=.*sizes.*has the columns"),
    "another kind": (lambda m: m.compare(pf.ImageDensity(), TABLE), "ImageDensity cannot be compared with a TableD"),
    "unfitted rival": (lambda m: m.compare(pf.TableDensity(), TABLE), "not fitted yet"),
    "other columns": (lambda m: m.compare(pf.TableDensity(**QUICK, columns=["size"]).fit(TABLE), TABLE), "different"),
    "rows for rivals": (lambda m: m.report("r.html", against=[m]), "^against: give the rows too"),
    "a page": (lambda m: m.report("r.pdf"), "expected .html"),
    "categories": (lambda m: m.encode(TABLE), "without categories as in colour"),
}


def test_one_column_may_be_named_by_a_text_and_a_budget_too(fitted: pf.TableDensity):
    some = TABLE[:4]
    assert np.array_equal(fitted.score_samples(some, given="size"), fitted.score_samples(some, given=["size"]))
    size, alone = (fitted.sample(3, given={"size": value}, random_state=0) for value in (7.25, [7.25]))
    assert size.equals(alone)
    options = pf.TableDensity(columns="size", given="price", budget="2m").options
    assert (options.columns, options.given, options.training.budget) == (("size",), ("price",), 120)
    assert type(pf.TableDensity(random_state=np.int64(3)).options.training.seed) is int  # as torch needs


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(case: str, fitted: pf.TableDensity):
    call, said = REFUSED[case]
    with pytest.raises((InputError, TypeError), match=said) as caught:
        call(fitted)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_the_summary_begins_with_how_the_training_ended(tmp_path: Path, fitted: pf.TableDensity):
    summary = fitted.summary_
    assert next(iter(summary)) == "verdict"
    assert summary["training"]["verdict"]["text"] in summary["verdict"]
    assert summary["training"]["threads"] == 1
    fitted.report(tmp_path / "r.html", TABLE)
    assert summary["training"]["verdict"]["text"] in (tmp_path / "r.html").read_text()[:60_000]


@pytest.mark.slow
def test_a_model_is_trained_further_with_the_same_rows_and_never_gets_worse(tmp_path: Path):
    model = pf.TableDensity(**QUICK | {"steps": 20}, given=["colour"]).fit(TABLE)
    before = model.summary_["training"]
    model.save(tmp_path / "m")
    for again in (model, pf.TableDensity.load(tmp_path / "m")):
        schema = again.schema
        again.fit(TABLE, more="0.3s")
        after = again.summary_["training"]
        assert again.schema == schema
        assert after["best_validation_loss"] < before["best_validation_loss"]
        steps = [line["step"] for line in again.facts["history"]]
        assert steps == sorted(steps)
        assert steps[-1] == 20 + after["steps"]
        assert again.summary_["flow"] == "maf"


def test_rows_given_what_no_training_row_had_are_neither_filled_nor_explained(
    conditioned: pf.TableDensity, tmp_path: Path
):
    strange, hole = pl.Series([False, True, False]), pl.Series([True, True, False])
    rows = TABLE[:3].with_columns(
        colour=pl.when(strange).then(pl.lit("mauve")).otherwise("colour"), price=pl.when(~hole).then("price")
    )
    assert conditioned.impute(rows, draws=2)["price"].is_null().to_list() == 2 * strange.to_list()
    rows.write_csv(tmp_path / "rows.csv")
    said = conditioned.run("impute", tmp_path / "rows.csv", tmp_path / "filled.csv", Console(quiet=True))
    assert said["missing"] == 1
    explained = conditioned.explain(rows)
    assert explained["unlikely_because"].is_null().to_list() == strange.to_list()
    assert explained["log_p_size"].is_nan().to_list() == strange.to_list()
    assert sum("'mauve'" in note for note in conditioned.notes_) == 1
    mauve = pl.concat([TABLE] * 2).with_columns(colour=pl.lit("mauve"))
    for ask in (conditioned.encode, conditioned.drift):
        with pytest.raises(InputError, match="'mauve' was not among the training rows"):
            ask(mauve)


def test_more_is_for_a_fitted_model_and_a_time(fitted: pf.TableDensity):
    with pytest.raises(InputError, match="not fitted yet"):
        pf.TableDensity().fit(TABLE, more="1m")
    with pytest.raises(InputError, match="expected a positive number of seconds") as caught:
        fitted.fit(TABLE, more="soon")
    assert (caught.value.argument, caught.value.value) == ("more", "soon")
    with pytest.raises(InputError, match="has no column 'size'"):
        fitted.fit(TABLE.drop("size"), more=1)


@pytest.mark.parametrize("model", ["fitted", "conditioned"])
def test_the_summary_says_how_good_drawn_rows_are(model: str, request: pytest.FixtureRequest, tmp_path: Path):
    fitted = request.getfixturevalue(model)
    found = fitted.summary_["sampling"]
    assert 0.2 < found["told_apart"] < 0.95
    assert 0 <= found["near_copies"] <= 1
    assert "of the draws are as near to a training row as" in found["text"]
    fitted.report(tmp_path / "r.html", TABLE)
    assert "of the draws are as near to a training row as" in (tmp_path / "r.html").read_text()


def test_dates_may_come_as_text_and_other_text_is_refused():
    days = pl.datetime_range(pl.datetime(2021, 1, 1), pl.datetime(2021, 7, 19), "1d", eager=True)
    frame = pl.DataFrame({"at": days, "x": np.random.default_rng(0).normal(size=len(days))})
    model = pf.TableDensity(**QUICK, queries=False).fit(frame)
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%d.%m.%Y"):
        as_text = frame.with_columns(pl.col("at").dt.strftime(form))
        assert np.array_equal(model.score_samples(as_text), model.score_samples(frame))
    apart = pf.TableDensity(**QUICK, queries=False).fit(as_text).summary_["sampling"]
    assert apart == model.summary_["sampling"]  # dates as text are as far apart
    wrong = as_text.with_columns(at=pl.Series([*as_text["at"][:2], "soon", *as_text["at"][3:]]))
    with pytest.raises(InputError, match="column 'at', row 3: 'soon' is not a datetime; correct it"):
        model.score_samples(wrong)
    with pytest.raises(InputError, match="piece: column 'at', row 103: 'soon' is not a datetime; correct it"):
        model.schema.encode(wrong, "piece", first=100)
    holed = frame.with_columns(at=pl.when(pl.col("x") < 1).then("at"))
    given = pf.TableDensity(**QUICK, queries=False, given=["at"]).fit(holed)
    with pytest.raises(InputError, match="column 'at', row 3: 'soon' is not a datetime; correct it"):
        given.score_samples(wrong)


@pytest.mark.parametrize("guide", [True, False])
def test_of_a_usual_row_the_cell_that_gains_most_is_named(fitted: pf.TableDensity, guide: bool, monkeypatch):
    if not guide:
        monkeypatch.setattr(fitted, "guided", None)
    found = fitted.explain(TABLE.head(30))
    gains = found.select(f"gain_{name}" for name in fitted.schema.names).to_numpy()
    alone = found["also_unlikely"].is_null().to_numpy()
    assert alone.sum() > 20
    assert [fitted.schema.names[j] for j in gains.argmax(1)[alone]] == found["unlikely_because"].filter(alone).to_list()
