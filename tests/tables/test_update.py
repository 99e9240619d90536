"""Updates: a model goes on with new rows, keeps what it knew, takes in what is new, and refuses another table."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_diabetes

import pushforward as pf
from pushforward.cli.app import main
from pushforward.distributions.average import Average
from pushforward.errors import InputError
from pushforward.tables.splits import keys_of


def rows(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b"], n)
    size = rng.normal(size=n) + (kind == "b")
    return pl.DataFrame({"size": size, "weight": 2 * size + 0.5 * rng.normal(size=n), "kind": kind})


@pytest.fixture(scope="module")
def fitted() -> pf.TableDensity:
    return pf.TableDensity("maf", steps=90, lr=1e-2, random_state=0, relations="none", keep=50).fit(rows(400, 0))


@pytest.mark.slow
def test_old_rows_are_kept_and_new_ones_learnt(fitted):
    new, fresh = (rows(2 * n, seed).filter(pl.col("kind") == "b").head(n) for n, seed in ((390, 1), (1000, 3)))
    model, old = copy.deepcopy(fitted), rows(1000, 2)
    before = model.score(old), model.score(fresh)
    assert model.update(new) is model
    assert model.guided is not None
    assert model.schema == fitted.schema
    assert model.score(fresh) > before[1] + 0.1  # with enough steps log 0.75 - log 0.5 = 0.4
    assert model.score(old) > before[0] - 0.35  # half of them were b, and three quarters are now: 0.14 in the limit
    record = model.facts["updates"][-1]
    assert record["p_value"] <= 0.01
    assert record["columns"][0] == "kind"
    assert record["known"] == 400 + new.height
    assert model.summary_["training"]["steps"] <= 30
    assert model.summary_["training_rows"] + model.summary_["validation_rows"] <= 1000


@pytest.mark.slow
def test_an_update_with_more_of_the_same_does_no_harm(fitted):
    model, test = copy.deepcopy(fitted), rows(1000, 5)
    before = model.score(test)
    for seed in (6, 7):
        model.update(rows(200, seed))
    assert len(model.saved_held_out().rows) == pytest.approx(0.1 * 800, abs=2)  # old ones stay, new ones come
    assert model.score(test) > before - 0.05
    assert [update["known"] for update in model.facts["updates"]] == [600, 800]
    assert all(update["p_value"] > 0.01 for update in model.facts["updates"])
    p_values = model.outliers(rows(300, 8), level=0.1)["p_value"]
    assert 0.02 <= (p_values <= 0.1).mean() <= 0.2  # calibrated by rows never seen
    learnt_last = pl.concat([rows(200, seed) for seed in (6, 7)])  # of which the first waited for the others
    assert 35 <= model.drift(learnt_last).new_rows <= 40  # those that were held out


def test_saved_rows_stay_as_many_and_become_new_in_proportion(fitted):
    model = copy.deepcopy(fitted).update(rows(400, 9).with_columns(size=pl.col("size") + 50, weight=pl.col("weight")))
    kept = model.saved_rows("kept").x
    assert len(kept) == 50
    assert int((kept[:, 0] > 25).sum()) == 25


@pytest.mark.slow
def test_what_is_new_is_taken_in_with_a_note(fitted):
    new = rows(200, 10).with_columns(
        kind=pl.when(pl.int_range(200) < 60).then(pl.lit("c")).otherwise("kind"),
        weight=pl.when(pl.int_range(200) >= 20).then("weight"),
        size=pl.col("size") + 40 * (pl.int_range(200) >= 150),
    )
    model = copy.deepcopy(fitted).update(new)
    assert any("'c'" in note for note in model.notes_)
    assert any("'weight'" in note for note in model.notes_)
    assert any("'size'" in note and "50 rows" in note for note in model.notes_)
    assert "c" in model.schema.columns[2].labels
    assert np.isfinite(model.score_samples(new)).all()
    drawn = model.sample(2000, random_state=0)
    assert 0.04 <= (drawn["kind"] == "c").mean() <= 0.2
    assert (drawn["size"] > 20).any()
    assert model.facts["updates"][-1]["notes"]
    assert model.facts["updates"][-1]["schema_version"] == 2
    assert set(keys_of(model.saved_rows("kept"))) < set(model.facts["learnt"])


def test_years_after_the_last_one_are_drawn_once_rows_have_them():
    def years(n: int, first: int, last: int) -> pl.DataFrame:
        year = np.random.default_rng(last).integers(first, last + 1, n)
        return pl.DataFrame({"year": year, "price": 0.1 * (year - 2000) + np.random.default_rng(n).normal(size=n)})

    model = pf.TableDensity("maf", steps=60, lr=1e-2, queries=False, keep=50).fit(years(400, 2000, 2019))
    assert model.sample(2000)["year"].max() == 2019
    drawn = model.update(years(100, 2015, 2024)).sample(2000)["year"]
    assert any("'year'" in note for note in model.notes_)
    assert model.facts["updates"][-1]["anew"]
    assert drawn.is_between(2020, 2024).mean() > 0.05
    assert drawn.min() == 2000
    table = [years(250, 2000, 2019), *(years(40, year, year + 1) for year in (2020, 2022))]
    grown, one = (pf.TableDensity("gmm", queries=False, keep=1000) for _ in range(2))
    grown.fit(table[0]).update(table[1]).update(table[2])
    new = years(1000, 2020, 2023)
    assert grown.score(new) > one.fit(pl.concat(table)).score(new) - 0.3  # trained further, .9 less


@pytest.mark.slow
def test_what_an_average_knew_of_real_rows_is_kept_where_draws_are_learnt_anew():
    diabetes = load_diabetes(as_frame=True)
    table = pl.from_pandas(diabetes.data[["bmi", "bp", "s4", "s5"]]).with_columns(
        kind=pl.when(pl.Series(diabetes.target) > 140).then(pl.lit("high")).otherwise(pl.lit("low"))
    )
    table = table[np.random.default_rng(4).permutation(table.height)]
    model, test = pf.TableDensity("gmm", queries=False, random_state=4).fit(table[:220]), table[250:]
    before = model.score(test)
    model.update(table[220:250].with_columns(kind=pl.when(pl.int_range(30) < 6).then(pl.lit("z")).otherwise("kind")))
    assert model.facts["updates"][-1]["anew"]
    assert model.summary_["validation_rows"] == 22  # with few new rows, too: they tell a guide when to stop
    assert model.score(test) > before - 0.06  # with one draw in the place of a row it lost 0.25


@pytest.mark.slow
def test_an_average_and_a_conditional_model_are_updated():
    few, fresh = rows(120, 11), rows(1000, 17)
    model = pf.TableDensity("maf", members=2, steps=20, queries=False, keep=1000).fit(few)
    model.options = pf.TableDensity(queries=False).options  # as after loading
    before, saved = model.score(fresh), len(model.saved_rows("kept"))
    facts = model.facts
    assert model.update(rows(60, 12)).score(fresh) == before  # these wait
    assert {name for name, fact in model.facts.items() if fact != facts.get(name)} == {"updates", "waiting", "command"}
    assert model.drift(rows(60, 12)).new_rows == 60  # they are not learnt
    with pytest.raises(InputError):  # the same file again
        model.update(rows(60, 12))
    trained = copy.deepcopy(model).update(rows(20, 19), budget="1s")  # one that is told how long does not wait
    assert "waiting" not in trained.facts
    assert saved + 55 <= len(trained.saved_rows("kept")) <= saved + 75  # there is room for all that are trained on
    assert [each["anew"] for each in model.update(rows(60, 18)).facts["updates"]] == [False, True]  # twice as many
    assert "waiting" not in model.facts
    assert (model.summary_["flow"], model.summary_["average"]["members"]) == ("maf", 2)
    given = pf.TableDensity("maf", given=["kind"], steps=20, queries=False).fit(few)
    assert np.isfinite(given.update(rows(60, 13)).score(rows(50, 14)))
    assert given.schema.given_names == ["kind"]
    with pytest.raises(InputError, match="row 3: 'c'"):
        given.update(rows(60, 13).with_columns(kind=pl.Series(["a", "a", "c"] + ["a"] * 57)))


@pytest.mark.slow
def test_what_was_said_at_the_fit_holds_when_all_rows_are_described_again():
    table = rows(250, 20).with_columns(share=1 / (1 + (-pl.col("size")).exp()), twice=2 * pl.col("size"))
    table = table.with_columns(paid=pl.format("${}", pl.col("share").round(2)))
    said = {"bounds": {"share": (0, 1)}, "relations": "none", "layers": 1, "hidden": (8,)}
    model = pf.TableDensity("maf", **said, steps=15, queries=False, keep=1000).fit(table[:120])
    model.options = pf.TableDensity(queries=False).options  # as after loading
    top, names = model.schema.columns[0].kind.maximum, model.schema.names
    assert model.update(table[120:]).schema.columns[0].kind.maximum > top
    assert model.schema.names == names
    assert sum(p.numel() for p in model.density.parameters()) < 20_000
    share = names.index("share")
    assert model.schema.columns[share].kind.bounds == (0, 1)
    for n, value in ((260, 1.5), (520, 0.5)):  # what lies beyond is taken in, and the bound is gone
        share_of = {"share": pl.lit(value) + 0.01 * pl.col("size"), "paid": pl.lit("$0.5")}
        model.update(rows(n, n).with_columns(**share_of, twice=2 * pl.col("size")))
        assert model.schema.columns[share].kind.bounds != (0, 1)


@pytest.mark.parametrize("keep", [1000, 80])  # beside draws, which have weights
def test_a_new_name_does_not_put_off_the_fit_of_twice_the_rows(keep):
    model = pf.TableDensity("maf", steps=5, queries=False, keep=keep).fit(rows(120, 11))
    named = rows(60, 12).with_columns(kind=pl.when(pl.int_range(60) < 20).then(pl.lit("c")).otherwise("kind"))
    updates = model.update(named).update(rows(60, 18)).facts["updates"]
    assert [(each["anew"], each["grown"]) for each in updates] == [(True, False), (True, True)]


def test_a_table_that_has_grown_may_be_given_whole(fitted, monkeypatch):
    model, grown = copy.deepcopy(fitted), pl.concat([rows(400, 0), rows(40, 21)])
    assert (model.update(grown).facts["updates"][-1]["rows"], len(model.saved_rows("waiting"))) == (40, 40)
    assert any("left out 400 rows" in note for note in model.notes_)
    model.update(pl.concat([grown, rows(30, 22)]))  # nor are those that wait new again
    assert model.facts["updates"][-1]["known"] == 470
    with pytest.raises(InputError):
        copy.deepcopy(fitted).update(rows(400, 0))
    monkeypatch.setattr("pushforward.tables.update.RECOGNISED", 300)
    with pytest.raises(InputError, match="alone"):
        model.update(grown)


def test_rows_that_are_equal_by_chance_are_new():
    table = rows(300, 0).select("kind", large=pl.when(pl.col("size") > 1).then(pl.lit("yes")).otherwise(pl.lit("no")))
    model = pf.TableDensity("maf", steps=5, queries=False).fit(table[:200])
    assert model.update(table[200:]).facts["updates"][-1]["rows"] == 100


def test_of_rows_that_repeat_as_many_are_left_out_as_the_model_has_had():
    table = rows(340, 1).select(size=(100 * pl.col("size")).round(), weight=pl.col("weight").round())
    model = pf.TableDensity("maf", steps=5, queries=False, relations="none").fit(table[:300])
    assert model.update(table).facts["updates"][-1]["rows"] == 40
    assert table[300:].join(table[:300], on=["size", "weight"], how="semi").height > 4


def test_new_rows_that_equal_those_held_out_by_chance_are_not_refused():
    table = rows(340, 1).select(size=(12 * pl.col("size")).round(), weight=pl.col("weight").round())
    model = pf.TableDensity("maf", steps=5, queries=False, relations="none").fit(table[:300])
    model.facts = {**model.facts, "learnt": []}  # as of a long table
    assert model.update(table[300:]).facts["updates"][-1]["rows"] == 40


def test_a_table_that_has_become_much_longer_may_be_given_whole_again_and_again():
    parts = [rows(100, 0), *(rows(n, n).with_columns(kind=pl.lit("aa")) for n in (500, 60, 700))]
    model, alone = (pf.TableDensity("maf", steps=5, queries=False).fit(parts[0]) for _ in range(2))
    for n in (2, 3, 4):  # the new name is the first of all, whatever has a code
        model.update(pl.concat(parts[:n]))
    assert [each["rows"] for each in model.facts["updates"]] == [500, 60, 700]
    alone.update(parts[1])
    with pytest.raises(InputError, match="alone"):  # those before it are not recognised under other codes
        alone.update(pl.concat(parts[:3]))


def test_another_table_is_refused(fitted):
    model = copy.deepcopy(fitted)
    for other in (
        rows(100, 0).drop("kind"),
        rows(100, 0).with_columns(size=pl.lit("large")),
        rows(5, 0),
        rows(300, 0).select(size=pl.col("size") * 100, weight=1000 + pl.col("weight"), kind=pl.lit("z")),
    ):
        with pytest.raises(InputError):
            model.update(other)
    assert "updates" not in model.facts


@pytest.mark.slow
def test_the_shell_updates_a_saved_model(fitted, tmp_path, capsys):
    fitted.save(tmp_path / "model")
    rows(100, 15).write_csv(tmp_path / "new.csv")
    arguments = ["update", str(tmp_path / "model"), str(tmp_path / "new.csv"), "-o", str(tmp_path / "model2"), "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["update"]["data"] == "new.csv"
    model = pf.TableDensity.load(tmp_path / "model2")
    assert model.facts["updates"][0]["rows"] == 100
    rows(50, 16).write_csv(tmp_path / "more.csv")
    more = [str(tmp_path / "model2"), str(tmp_path / "more.csv"), "-o", str(tmp_path / "model3"), "--budget", "1s"]
    assert main(["update", *more]) == 0
    assert "stand for earlier ones" in capsys.readouterr().out
    assert pf.TableDensity.load(tmp_path / "model3").facts["updates"][1]["known"] == 550
    assert main(["info", str(tmp_path / "model2")]) == 0
    assert "new.csv" in capsys.readouterr().out


# which does not say how its fit ended, or took no steps
@pytest.mark.parametrize("name", ["table", pytest.param("0.2/t-mixture", marks=pytest.mark.slow)])
def test_models_of_earlier_versions_are_updated(name):
    model = pf.TableDensity.load(Path(__file__).parents[1] / "golden" / name)
    new = model.sample(60)
    assert model.update(new).facts["updates"][-1]["rows"] == new.height


def lab(n: int, seed: int, shift: float = 0.0) -> pl.DataFrame:
    """A concentration that is told as ``<1.0`` below a limit, and a time that is a lower limit where no event came."""
    rng = np.random.default_rng(seed)
    age, seen = rng.normal(size=n).round(2), rng.uniform(size=n) < 0.7
    amount = np.exp(0.6 * age + 0.5 * rng.normal(size=n) + shift)
    told = pl.Series([f"{each:.2f}" if each >= 1 else "<1.0" for each in amount])
    return pl.DataFrame({"age": age, "amount": told, "time": 5 + rng.exponential(size=n).round(3), "event": 1.0 * seen})


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 2_000])
def test_cells_known_in_part_are_learnt_too(keep):
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=40, lr=1e-2, queries=False, keep=keep,
                            relations="none", censored={"time": "event"}).fit(lab(200, 0))  # fmt: skip
    old, fresh = lab(60, 1), lab(60, 2, shift=0.7)
    before = model.score(old), model.score(fresh)
    model.update(lab(200, 3, shift=0.7))
    assert model.facts["updates"][-1]["grown"]
    assert model.facts["updates"][-1]["columns"][0] == "amount"
    assert model.score(fresh) > before[1] + 0.05
    assert model.score(old) > before[0] - 0.3
    assert model.schema.missingness.in_part
    with pytest.raises(InputError, match="known in part"):  # a schema that changes could not read saved cells again
        model.update(lab(20, 4).with_columns(age=pl.lit(None, pl.Float64)).vstack(lab(20, 5)))


def test_labels_are_found_again_among_draws_beside_new_ones():
    """Draws beyond the rows, or between those where two labels meet, would have labels that new rows contradict."""

    def banded(n: int, seed: int, top: float) -> pl.DataFrame:
        x, y = np.random.default_rng(seed).normal(size=(2, n)).round(3)
        band = np.select([x < -0.5, x < 0.5, x < 1.3], ["low", "middle", "high"], "top")
        grade = np.select([y < -0.3, y < 0.4], ["c", "b"], "a")
        return pl.DataFrame({"x": x, "y": y, "band": band, "grade": grade}).filter(pl.col("x") < top)

    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5, lr=1e-2, queries=False).fit(banded(400, 0, 1.3))
    model.update(banded(100, 1, 9.0))
    assert {each.column.name for each in model.schema.dependencies} == {"band", "grade"}
    assert "top" in model.schema.dependencies.known["band"].labels


@pytest.mark.slow
def test_rows_that_are_held_out_stay_so_when_all_rows_are_fitted_again():
    model = pf.TableDensity("gmm", queries=False, keep=1000).fit(rows(100, 11)).update(rows(100, 12))
    assert model.facts["updates"][-1]["grown"]
    held = model.saved_held_out().rows
    assert not {*keys_of(held)} & {*model.facts["learnt"]}
    assert len(held) + len(model.saved_rows("kept")) == 200  # those that told the first fit when to stop are saved, too
    assert len(model.facts["unseen"]["log_density"]) == 200  # each is judged once, by what did not see it


def test_more_of_the_same_waits_also_without_saved_rows_and_is_then_learnt_beside_the_density():
    model, fresh = pf.TableDensity("gmm", queries=False, random_state=0).fit(rows(120, 11)), rows(500, 17)
    before, first = model.score(fresh), model.density
    assert model.update(rows(60, 12)).score(fresh) == before
    assert len(model.saved_rows("waiting")) == 60
    model.update(rows(60, 18))
    assert "waiting" not in model.facts
    assert "kept" not in model.facts
    assert model.summary_["training_rows"] == 240 - len(model.saved_held_out().rows)
    assert model.density.members[0] is first
    assert model.density.log_weight.exp().tolist() == [0.5, 0.5]  # as many rows
    assert model.summary_["average"]["members"] == sum(len(each.numbers.base.members) for each in model.density.members)
    assert model.score(fresh) > before


@pytest.mark.slow
def test_an_average_is_fitted_anew_beside_draws_where_few_rows_are_new_or_rows_have_moved():
    """Its guide would have learnt nothing of the others; of twelve rows, there are not even six folds."""
    model, beyond = pf.TableDensity("gmm", members=6, queries=False, random_state=0), pl.col("size", "weight") + 4
    model.fit(rows(100, 11)).update(rows(90, 12).with_columns(beyond)).update(rows(12, 13))
    assert [each["grown"] for each in model.facts["updates"]] == [False, True]
    model.update(rows(210, 14).with_columns(beyond))
    assert model.facts["updates"][-1]["grown"]
    assert not isinstance(model.density, Average)
