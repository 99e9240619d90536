"""Drift: unchanged rows are left alone, moved ones are seen and named, by every door."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from html import escape

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli.app import main
from pushforward.errors import InputError


def rows(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.gamma(3.0, size=n)
    kind = np.where(rng.random(n) < 0.2, "c", rng.choice(["a", "b"], n))
    weight = np.where(rng.random(n) < 0.1, np.nan, 2 * size + rng.normal(size=n))
    return pl.DataFrame({"size": size, "kind": kind, "weight": weight, "noise": rng.normal(size=n)}, nan_to_null=True)


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", steps=60, random_state=0, relations="none").fit(rows(1000, 0))


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised_on_rows_never_seen(model, monkeypatch):
    monkeypatch.setattr("pushforward.diagnostics.two_samples.DIVISIONS", 199)  # as exact a level as with 999
    monkeypatch.setattr("pushforward.tables.queries.drift._least_likely", lambda *_: pl.DataFrame())
    kept, alarms = model.facts["held_out"], []
    for seed in range(20):  # also what stands for the old rows is drawn anew
        fresh = model.schema.encode(rows(120, 1000 + seed), "table").x
        model.facts["held_out"] = {"x": fresh.tolist(), "context": None, "numbers": list(range(120))}
        alarms.append(model.drift(rows(150, 5000 + seed)).p_value <= 0.1)
    model.facts["held_out"] = kept
    assert np.mean(alarms) <= 0.1 + 3 * np.sqrt(0.09 / 20)


SHIFTS = {
    "a mean": ("noise", pl.col("noise") + 0.6),
    "a scale": ("noise", pl.col("noise") * 2),
    "a unit": ("size", pl.col("size") * 2.54),
    "a category": ("kind", pl.when(pl.col("kind") == "a").then(pl.lit("c")).otherwise(pl.col("kind"))),
    "a new category": ("kind", pl.when(pl.col("noise") > 1).then(pl.lit("d")).otherwise(pl.col("kind"))),
    "missing values": ("noise", pl.when(pl.col("size") > 3).then(pl.col("noise"))),
    "a mode": ("size", pl.when(pl.col("size") > 2).then(pl.col("size")).otherwise(2.5)),
}


@pytest.mark.parametrize("what", SHIFTS)
def test_a_shift_is_seen_and_its_column_named(model, what):
    column, moved = SHIFTS[what]
    found = model.drift(rows(400, 77).with_columns(moved.alias(column)))
    assert found.p_value <= 0.01
    assert repr(column) in found.verdict
    assert ("(new)" in found.verdict) == (what == "a new category")
    shown = replace(found, verdict="a < b")._repr_html_()  # in a notebook: escaped, and in full
    assert all(escape(change) in shown for change in ["a < b", *found.measures["change"]])
    if what == "missing values":
        assert found.missing["column"][0] == column
        assert found.missing["p_value"][0] <= 0.01
    else:
        assert found.columns[0] == found.measures["column"][0] == column
        assert found.measures["nats"][0] > 0.01
    assert found.measures.height == 4


@pytest.mark.slow
def test_what_moves_by_itself_comes_before_what_follows_it(monkeypatch):
    diamonds = pl.from_pandas(pytest.importorskip("plotnine.data").diamonds)
    frame = diamonds["carat", "depth", "table", "price"].sample(9000, seed=0, shuffle=True)
    model = pf.TableDensity("maf", steps=30, queries=False, random_state=0).fit(frame[:3000])
    monkeypatch.setattr("pushforward.diagnostics.two_samples.DIVISIONS", 199)
    monkeypatch.setattr("pushforward.tables.queries.drift._least_likely", lambda *_: pl.DataFrame())
    right = []
    for name in frame.columns:  # rows that the model did not see, without a mode, a tail, or with a heap
        low, high, tail = (frame[name].quantile(q) for q in (0.35, 0.65, 0.85))
        heaped = pl.when(pl.int_range(pl.len()) % 4 == 0).then(low).otherwise(name).cast(frame[name].dtype)
        for moved in (
            frame[3000:].filter(~pl.col(name).is_between(low, high)),
            frame[3000:].filter(pl.col(name) <= tail),
            frame[3000:].with_columns(heaped.alias(name)),
        ):
            right.append(model.drift(moved[:600]).columns[0] == name)
    assert np.mean(right) >= 0.9


@pytest.mark.slow
def test_the_column_without_which_nothing_has_changed_comes_first(monkeypatch):
    diamonds = pl.from_pandas(pytest.importorskip("plotnine.data").diamonds)
    frame = diamonds["carat", "depth", "table", "x", "y", "z"].sample(5100, seed=0, shuffle=True)
    model = pf.TableDensity("maf", steps=30, random_state=0).fit(frame[:3000])  # depth is nearly 2 z / (x + y)
    monkeypatch.setattr("pushforward.tables.queries.drift._least_likely", lambda *_: pl.DataFrame())
    inches = pl.when(pl.int_range(700) % 20 == 0).then(pl.col("x") * 2.54).otherwise("x")
    found = [model.drift(fresh.with_columns(inches.alias("x"))) for fresh in frame[3000:].iter_slices(700)]
    assert all(each.p_value <= 0.05 for each in found)
    assert sum(each.columns[0] == "x" for each in found) >= 2  # by their divergences y, z and y


def test_a_correlation_alone_is_a_pair(model):
    fresh = rows(400, 78)
    order = np.random.default_rng(0).permutation(400)
    found = model.drift(fresh.with_columns(weight=fresh["weight"][order]))
    assert found.p_value <= 0.01
    assert set(found.pairs.row(0)[:2]) == {"size", "weight"}
    assert found.pairs["old_correlation"][0] > found.pairs["new_correlation"][0] + 0.5
    assert found.effect > 0


def test_the_rows_that_were_fitted_have_not_moved(model):
    found = model.drift(rows(1000, 0))
    assert found.p_value > 0.05
    assert abs(found.effect) < 5 * found.effect_error + 1e-9


def test_rows_that_trained_the_model_are_left_out(model):
    fitted, fresh = rows(1000, 0), rows(300, 82)
    for part, new in ((fitted[200:800], 0), (pl.concat([fitted[:500], fresh]), 300)):
        found = model.drift(part)
        assert new + 30 <= found.new_rows <= new + 90  # a tenth of the fitted ones was held out
        assert found.p_value > 0.05
        assert any("left out" in note for note in model.notes_)
    with pytest.raises(InputError, match="new rows, which the model has not learnt"):
        model.drift(fitted[:12])
    kept = model.facts.pop("held_out")
    model.facts["held_out"] = kept | {"x": model.schema.encode(fitted, "table").x.tolist(), "numbers": [*range(1000)]}
    assert model.drift(fresh).old_rows == 1000  # rows repeat, so equal ones tell nothing
    model.facts["held_out"] = kept


def test_rows_to_look_at_are_the_least_likely(model):
    fresh = rows(300, 79).with_columns(pl.when(pl.int_range(300) == 41).then(500.0).otherwise("size").alias("size"))
    found = model.drift(fresh)
    assert found.rows["row"][0] == 42
    assert found.rows["unlikely_because"][0] in ("size", "weight")
    assert found.rows.columns[-2:] == ["also_unlikely", "gain"]  # which is by all of these together


@pytest.mark.parametrize(("often", "n"), [(0.85, 800), (0.55, 1200)])  # 135 names, and more than have a place
def test_names_that_one_row_has_are_as_new_there_as_in_new_rows(often: float, n: int):
    def named(n: int, seed: int) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        code = np.where(rng.random(n) < often, rng.integers(0, 8, n), rng.integers(100, 9000, n))
        return pl.DataFrame({"name": [f"n{k}" for k in code], "y": rng.normal(size=n) + (code < 4)})

    model = pf.TableDensity("maf", steps=40, random_state=0, queries=False).fit(named(n, 0))
    fresh = named(600, 1)
    assert model.drift(fresh).p_value > 0.05
    assert 0.1 < np.mean(model.percentile(model.score_samples(fresh)) <= 20) < 0.3


@pytest.mark.slow
def test_windows_by_date(model):
    fresh = rows(600, 80)
    days = pl.Series([datetime.date(2024, 1 + row // 200, 1 + row % 28) for row in range(600)])
    moved = fresh.with_columns(noise=pl.col("noise") + 1.5 * (pl.int_range(600) >= 400), day=days)
    for dates in (moved, moved.with_columns(pl.col("day").cast(pl.String))):
        found = model.drift(dates, by="day").windows
        assert found["rows"].sum() >= 590
        late = found.filter(pl.col("window") >= "2024-03")
        assert (late["p_value"] < found.filter(pl.col("window") < "2024-02-26")["p_value"].min()).all()
        assert set(late["first"]) == {"noise"}
    with pytest.raises(InputError) as refused:
        model.drift(moved, by="month")
    assert refused.value.argument == "by"
    with pytest.raises(InputError):
        model.drift(moved, by="size")


def test_what_cannot_be_compared_is_refused(model):
    for few in (0, 1, 5):
        with pytest.raises(InputError):
            model.drift(rows(5, 0).head(few))
    with pytest.raises(InputError):
        model.drift(rows(50, 0).drop("kind"))


def test_given_columns_and_relations_are_compared(tmp_path):
    fresh = rows(900, 3).with_columns(pl.col("noise").round(1), double=2 * pl.col("size")).drop("weight")
    model = pf.TableDensity("maf", given=["kind", "noise"], steps=30, queries=False).fit(fresh)
    assert "double" in model.schema.follow_names
    later = rows(300, 4).with_columns(pl.col("noise").round(1), double=2 * pl.col("size"))
    assert model.drift(later).p_value > 0.02
    moved = model.drift(later.with_columns(pl.lit("c").alias("kind")))
    assert moved.columns[0] == "kind"
    broken = model.drift(later.with_columns(double=pl.col("size") * (2 + (pl.col("size") < 1.5))))
    assert broken.p_value <= 0.01
    assert "relation" in broken.verdict


@pytest.mark.slow
def test_the_shell_prints_the_verdict_and_json(model, tmp_path, capsys):
    model.save(tmp_path / "model")
    rows(300, 81).with_columns(pl.col("noise") + 1).write_csv(tmp_path / "new.csv")
    arguments = ["drift", str(tmp_path / "model"), str(tmp_path / "new.csv"), "--by", "kind"]
    assert main(arguments) == 0
    assert "'noise'" in capsys.readouterr().out.splitlines()[0]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drifted"] is True
    assert found["columns"][0] == "noise"
    assert [window["window"] for window in found["windows"]] == ["a", "b", "c"]
    assert main(["drift", str(tmp_path / "model"), str(tmp_path / "none.csv")]) == 2
