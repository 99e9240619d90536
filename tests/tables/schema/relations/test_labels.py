"""Labels that tell the largest of some columns, or the interval of a number."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from schemas import prepared_schema, schema_of

import pushforward as pf
from pushforward.errors import InputError
from pushforward.report.tables.evidence import sampled

QUICK = {"flow": "maf", "layers": 1, "hidden": (16,), "steps": 40, "queries": False}


def votes(n: int, seed: int = 0) -> pl.DataFrame:
    """Shares of three parties, the strongest and the weakest of them, and turnouts above a quorum."""
    rng = np.random.default_rng(seed)
    shares, turnout = rng.dirichlet([3, 2, 2], n), rng.normal(55, 12, n)
    names = np.array(["red", "blue", "green"])
    return pl.DataFrame(
        {
            "first": names[shares.argmax(1)],
            **{name: shares[:, j] for j, name in enumerate(names)},
            "last": names[shares.argmin(1)],
            "turnout": turnout,
            "valid": turnout > 50,
            "grade": np.array(["a low", "b middle", "c high"])[np.digitize(turnout, [45, 62])],
        }
    )


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity(**QUICK).fit(votes(600))


def test_labels_follow(model):
    found = {relation.column.name: set(relation.inputs) for relation in model.schema.dependencies}
    assert found["first"] == found["last"] == {"red", "blue", "green"}
    assert found["valid"] == found["grade"] == {"turnout"}
    tried = schema_of(votes(600)).names
    assert {"valid", "grade"} & {*tried} == {"grade"}  # whose intervals tell others more
    assert not {"valid", "grade"} & {*model.schema.names}  # of which nothing depends on them


def test_draws_have_the_labels_of_their_numbers(model):
    drawn = model.sample(500, random_state=0)
    shares, names = drawn.select("red", "blue", "green").to_numpy(), np.array(["red", "blue", "green"])
    assert (drawn["first"].to_numpy() == names[shares.argmax(1)]).all()
    assert (drawn["last"].to_numpy() == names[shares.argmin(1)]).all()
    drawn = drawn.filter((pl.col("turnout") - 50).abs() > 0.2)  # beside the cut both are possible
    assert ((drawn["turnout"] > 50) == drawn["valid"]).all()


def test_rows_with_other_labels_are_impossible(model):
    fresh = votes(50, seed=2)
    assert np.isfinite(model.score_samples(votes(2000, seed=3))).all()  # also near the cuts
    sure = fresh.filter((pl.col("turnout") - 50).abs() > 1)
    for wrong in (sure.with_columns(valid=~pl.col("valid")), sure.with_columns(first=pl.col("last"))):
        assert np.isneginf(model.score_samples(wrong)).all()


@pytest.mark.slow
def test_labels_that_some_rows_lack_follow_and_stay_when_rows_are_added():
    holed = [votes(300, seed).with_columns(pl.when(pl.int_range(300) % 9 > 0).then("grade")) for seed in (4, 5, 6)]
    for model in (pf.TableDensity(**QUICK).fit(holed[0]), pf.TableDensity(**QUICK).fit(votes(300)).update(holed[1])):
        assert "grade" in {relation.column.name for relation in model.schema.dependencies}
        assert np.isfinite(model.score_samples(holed[2])).mean() > 0.98
        drawn = model.sample(900, random_state=0).filter((pl.col("turnout") - 62).abs() > 2, pl.col("grade") != "")
        assert ((drawn["turnout"] > 62) == (drawn["grade"] == "c high")).all()
        scores = (model.score_samples(votes(300, 6).with_columns(grade=grade)) for grade in (pl.lit(None), "grade"))
        np.testing.assert_allclose(*scores)  # what a label says is known without it
    none = votes(300, 7).with_columns(grade=pl.lit(None, pl.String))
    assert "grade" in {relation.column.name for relation in model.update(none).schema.dependencies}  # without a warning


def test_a_label_does_not_follow_where_it_is_missing_since_none_applies():
    x = np.random.default_rng(0).normal(size=(2, 600))
    label = pl.Series(np.where(x[0] > 0, "high", "low")).set(pl.Series(np.abs(x[0]) > 1), None)
    model = pf.TableDensity(**QUICK).fit(pl.DataFrame({"x": x[0], "y": x[1], "label": label}))
    assert not model.schema.dependencies
    assert "label" in model.schema.names


@pytest.mark.slow
def test_labels_of_modelled_numbers_are_modelled_as_other_columns_may_differ_by_them():
    rng = np.random.default_rng(0)
    region, level = rng.uniform(0, 9, 900), rng.permutation(9)
    names = {"nation": [f"n{k:.0f}" for k in np.floor(region)], "zone": [f"z{k:.0f}" for k in region // 3]}
    rows = pl.DataFrame({"region": region, "level": level[region.astype(int)] + 0.1 * rng.normal(size=900)} | names)
    longer = {**QUICK, "steps": 150, "lr": 1e-2, "queries": True}
    known = pf.TableDensity(**longer).fit(rows[:600])
    free = pf.TableDensity(**{**longer, "queries": False}, relations="none").fit(rows[:600].drop("zone"))
    assert {"nation", "zone"} & {*known.schema.names} == {"nation"}
    assert [known.probability({"zone": zone}, given={"nation": "n0"}) for zone in ("z0", "z1")] == [1.0, 0.0]
    fresh = rows[600:].filter(np.abs(region[600:] - region[600:].round()) > 0.05)
    gain = known.score_samples(fresh) - free.score_samples(fresh)
    assert gain.min() > 0  # what others lose, which have a region of another nation
    drawn = known.sample(500, random_state=0)
    assert known.schema.broken(known.schema.encode(drawn, "drawn")).sum() == 0


def test_labels_that_draws_hardly_ever_have_follow():
    x = np.random.default_rng(0).normal(size=(300, 4))
    groups = {f"g{j}": [f"{k:02d}" for k in np.digitize(x[:, j], np.linspace(-2, 2, 19))] for j in range(4)}
    rows = pl.DataFrame({f"x{j}": x[:, j] for j in range(4)} | groups)
    model, numbers = pf.TableDensity(**QUICK).fit(rows), rows.select(f"x{j}" for j in range(4))
    without = pf.TableDensity(**QUICK).fit(numbers).score_samples(numbers)
    np.testing.assert_allclose(model.score_samples(rows), without)  # the labels have probability 1
    drawn = model.sample(500, random_state=0)
    shown = sampled(model.density, model.schema, 500, None, torch.Generator().manual_seed(0))  # by a report
    assert len(model.schema.dependencies) == 4
    for rows in (drawn, model.schema.decode(shown)):
        assert not model.schema.broken(model.schema.encode(rows, "drawn")).any()


def checks(n: int, seed: int = 0) -> pl.DataFrame:
    """What a vehicle fails first of four checks, two of which are measured."""
    rng = np.random.default_rng(seed)
    noise, smoke = rng.normal(70, 8, n).round(1), rng.gamma(2, 1.5, n)
    brakes, light = rng.random(n) < 0.2, rng.choice(["no", "yes"], n)
    fails = [brakes, noise > 80, light == "yes", smoke > 4]
    first = np.array(["brakes", "noise", "light", "smoke", "nothing"])[np.argmax([*fails, np.ones(n)], 0)]
    return pl.DataFrame({"noise": noise, "brakes": brakes, "light": light, "smoke": smoke, "failed": first})


def test_the_first_of_some_that_is_true_or_above_a_threshold_is_told():
    model = pf.TableDensity(**QUICK).fit(checks(500))
    (relation,) = model.schema.dependencies
    assert relation.column.name == "failed"
    assert set(relation.inputs) == {"noise", "brakes", "light", "smoke"}
    assert all(said in f"{relation}" for said in ("'brakes' = true", "'light' = yes", "'noise' > 80"))
    assert np.isfinite(model.score_samples(checks(2000, 1))).mean() > 0.99  # some lie beside a cut
    drawn = model.sample(500, random_state=0)
    assert (drawn["brakes"] == (drawn["failed"] == "brakes")).all()
    assert (drawn.filter(~pl.col("brakes") & (pl.col("noise") > 81))["failed"] == "noise").all()
    assert np.isneginf(model.score_samples(checks(50).filter("brakes").with_columns(failed=pl.lit("light")))).all()


def games(n: int, seed: int = 0) -> pl.DataFrame:
    """Goals, the winner, a deadline and whether it was met, a time until death or the end."""
    rng = np.random.default_rng(seed)
    home, away, day = rng.poisson(1.6, n), rng.poisson(1.3, n), rng.integers(19_000, 19_400, n)
    end = rng.integers(20, 90, n)
    time, arrival = np.minimum(end, rng.integers(5, 120, n)), day + rng.integers(-6, 5, n)
    return pl.DataFrame(
        {
            "home": home,
            "away": away,
            "winner": np.array(["away", "draw", "home"])[np.sign(home - away) + 1],
            "due": pl.Series(day, dtype=pl.Int32).cast(pl.Date),
            "arrival": pl.Series(arrival, dtype=pl.Int32).cast(pl.Date),
            "late": arrival > day,
            "end": end,
            "time": time,
            "status": np.where(time < end, "dead", "alive"),
        }
    )


@pytest.mark.parametrize("columns", [["home", "away", "winner"], ["due", "arrival", "late"], ["end", "time", "status"]])
@pytest.mark.parametrize("modelled", [True, False])
def test_the_larger_of_two_columns_is_told(columns, modelled, monkeypatch, tmp_path):
    monkeypatch.setattr("pushforward.tables.fit.are_likelier", lambda *_: modelled)
    low, high, label = columns
    model = pf.TableDensity(**{**QUICK, "queries": True}).fit(games(500).select(columns))
    (relation,) = model.schema.dependencies
    assert (relation.column.name, *relation.inputs) == (label, low, high)
    assert all(repr(name) in f"{relation}" for name in columns)
    assert (label in model.schema.names) == modelled
    fresh, drawn = games(900, 1).select(columns), model.sample(400, random_state=0)
    assert np.isfinite(model.score_samples(fresh)).all()
    wrong = fresh.with_columns(pl.col(label).shift(1)).filter(fresh[label] != fresh[label].shift(1))
    assert np.isneginf(model.score_samples(wrong)).all()
    filled = [model.impute(fresh[:50].with_columns(pl.lit(None, fresh[name].dtype).alias(name))) for name in columns]
    told = {(np.sign(a - b), c) for a, b, c in games(900, 2).select(pl.col(low, high).cast(float), label).rows()}
    for rows in (drawn, *filled):
        assert {(np.sign(a - b), c) for a, b, c in rows.select(pl.col(low, high).cast(float), label).rows()} <= told
    assert set(model.sample(50, given={label: fresh[label][0]}, random_state=0)[label]) == {fresh[label][0]}
    model.save(tmp_path / "model.pt")
    again = pf.TableDensity.load(tmp_path / "model.pt")
    np.testing.assert_allclose(again.score_samples(fresh), model.score_samples(fresh), rtol=1e-5)


def test_what_one_column_tells_alone_is_no_comparison():
    rng = np.random.default_rng(0)
    dose = np.where(treated := rng.random(400) < 0.5, rng.integers(1, 5, 400), 0)
    frame = pl.DataFrame({"dose": dose, "base": -rng.integers(0, 4, 400), "z": rng.normal(size=400), "t": treated})
    assert [relation.inputs for relation in schema_of(frame).dependencies] == [("dose",)]


def test_intervals_of_few_rows_are_told_in_any_order_of_their_names():
    age = np.random.default_rng(0).normal(45, 12, 400).round(1)
    frame = pl.DataFrame({"age": age, "group": np.array(["young", "middle", "old"])[np.digitize(age, [40, 50])]})
    for rows in (60, 125):
        schema = schema_of(frame[:rows])
        assert [relation.column.name for relation in schema.dependencies] == ["group"]
        assert schema.broken(schema.encode(frame, "t")).mean() < 0.02  # beside a cut
    assert schema_of(frame[:60].with_columns(group=pl.Series(age[:60] < np.sort(age[:60])[3]))).relations == ()


def test_labels_of_nothing_are_kept():
    rng = np.random.default_rng(1)
    table = votes(300).with_columns(first=pl.Series(rng.permutation(votes(300)["first"].to_numpy())))
    assert "first" in prepared_schema(table).names


def test_single_relations_are_forbidden():
    free = prepared_schema(votes(300), relations="-valid,-first")
    assert {"valid", "first"} <= set(free.names)
    assert {relation.column.name for relation in free.dependencies} >= {"last", "grade"}
    with pytest.raises(InputError) as caught:
        pf.TableDensity(**QUICK, relations="some").fit(votes(60))
    assert caught.value.argument == "relations"


def columns_of(rng: np.random.Generator, n: int) -> pl.DataFrame:
    kinds = [
        rng.normal(size=n),
        rng.lognormal(2, 1, n).round(2),
        rng.integers(0, 100, n),
        rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
        rng.random(n) < 0.3,
        pl.Series(rng.integers(9000, 12000, n)).cast(pl.Int32).cast(pl.Date),
    ]
    return pl.DataFrame({f"c{j}": kinds[k] for j, k in enumerate(rng.permutation(len(kinds))[:5])})


@pytest.mark.slow
def test_nothing_is_found_among_independent_columns():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        frame = columns_of(rng, int(rng.choice([80, 200, 500])))
        schema = schema_of(frame)
        schema = schema.with_near(schema.encode(frame, "table").x, (), {})
        assert schema.relations == ()


def test_what_is_drawn_at_the_edge_of_a_gap_is_possible():
    rng = np.random.default_rng(0)
    late = rng.random(400) < 0.5
    frame = pl.DataFrame({"dist": late * rng.uniform(7, 11, 400), "late": late, "year": np.where(late, 1981, 1978)})
    frame = frame.with_columns(x=pl.Series(rng.normal(size=400)))
    model = pf.TableDensity(**QUICK, random_state=0).fit(frame)
    told = [relation for relation in model.schema.dependencies if "'dist'" in str(relation)]
    assert told
    columns = {column.name: column for column in model.schema.columns}
    for relation in told:
        values = {name: np.array([0.05]) for name in relation.inputs}
        assert not relation.broken(relation.computed(values, columns), values, columns).any()
