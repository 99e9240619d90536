"""What a column is taken for: its grid, its atom, its bounds, its first transform."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of

import pushforward as pf
from pushforward.errors import InputError
from pushforward.tables.schema.cells import Cells
from pushforward.tables.schema.columns import Column
from pushforward.tables.schema.kinds.base import Hints, Kind
from pushforward.tables.schema.kinds.numeric import Numeric
from pushforward.tables.schema.kinds.quantity import numbers_kind
from pushforward.tables.schema.preprocessing import preprocessing
from pushforward.tables.schema.schema import Schema
from pushforward.testing import check_transform
from pushforward.transforms import Compose

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=2000)
COUNTS = RNG.poisson(3.0, 2000).astype(float)
RAIN = np.where(RNG.random(2000) < 0.3, 0.0, RNG.gamma(2.0, 1.0, 2000))


def kind_of(values: np.ndarray, **hints: Any) -> Numeric:
    return numbers_kind(pl.Series(values), Hints(name="a", **hints))


def first(kind: Kind) -> str:
    found = kind.describe().first
    return next((name for name in ("arsinh", "logit", "log", "softplus", "shares") if name in found), found)


@pytest.mark.parametrize(
    ("values", "kind", "step", "mapped"),
    [
        (NORMAL, "continuous", 0.0, "-"),
        (NORMAL + 1e6, "continuous", 0.0, "-"),
        (np.round(10 * NORMAL), "integer", 1.0, "-"),
        (5 * np.round(10 * NORMAL), "integer", 5.0, "-"),
        (np.round(NORMAL, 1), "rounded", 0.1, "-"),
        (0.25 * np.round(10 * NORMAL) + 0.1, "rounded", 0.25, "-"),
        (np.exp(3 * NORMAL), "continuous", 0.0, "log"),
        (np.round(np.exp(7 + 2 * NORMAL)), "integer", 1.0, "log"),
        (RNG.standard_t(1.5, 2000), "continuous", 0.0, "arsinh"),
        (RNG.beta(0.5, 0.5, 2000), "continuous", 0.0, "logit"),
        (RNG.gamma(2.0, 1.0, 2000), "continuous", 0.0, "softplus"),
        (RAIN, "inflated", 0.0, "softplus"),
        (RNG.poisson(40.0, 2000).astype(float), "integer", 1.0, "softplus"),
    ],
)
def test_columns_are_recognised(values: np.ndarray, kind: str, step: float, mapped: str) -> None:
    found = kind_of(values)
    assert found.describe().kind.split()[0] == kind
    assert (found.step, first(found)) == (pytest.approx(step), mapped)


def test_grids_survive_float32() -> None:
    values = np.round(NORMAL, 2).astype(np.float32).astype(float)
    assert kind_of(values, float32=True).step == pytest.approx(0.01)
    assert kind_of(NORMAL.astype(np.float32).astype(float), float32=True).step == 0


def test_samples_go_back_to_where_data_can_be() -> None:
    tenths = kind_of(np.round(NORMAL, 1))
    assert tenths.snap(np.array([0.1234, -0.07])).tolist() == [0.1, -0.1]
    rain = kind_of(RAIN)
    below = rain.atoms[0][1] / 2  # the middle of the atom's cell
    assert rain.snap(np.array([below, 1.25])).tolist() == [0.0, 1.25]


@pytest.mark.parametrize(
    ("values", "interval"),
    [(RNG.random(500), (0, 1)), (COUNTS, (0, 30)), (COUNTS, (0, None)), (RNG.gamma(2.0, 1.0, 500), (0, None))],
    ids=["share", "counts", "open counts", "weights"],
)
def test_stated_bounds_hold_for_every_sample(values: np.ndarray, interval: tuple[float, float | None]) -> None:
    kind = kind_of(values, bounds=interval)
    assert first(kind) in (["logit"] if interval[1] else ["softplus", "log"])
    maps = preprocessing(Schema((Column("a", kind),)), torch.from_numpy(values)[:, None])
    x = maps[0].inverse(torch.tensor([[-30.0], [0.0], [30.0]], dtype=torch.float64))[0].numpy()
    snapped = kind.snap(x)
    assert interval[0] <= snapped.min()
    assert interval[1] is None or snapped.max() <= interval[1]


def test_first_transforms_are_exact_maps_in_data_units() -> None:
    table = {"a": NORMAL, "b": np.exp(3 * NORMAL[::-1]), "c": RNG.beta(0.5, 0.5, 2000), "d": RNG.standard_t(1.5, 2000)}
    schema = schema_of(pl.DataFrame(table))
    assert [first(column.kind) for column in schema.columns] == ["-", "log", "logit", "arsinh"]
    x = torch.from_numpy(np.column_stack(list(table.values())))
    maps = Compose(preprocessing(schema, x)).double()  # float64 throughout, for the comparison with autodiff
    check_transform(maps, x[:50])
    z = maps(x)[0]
    torch.testing.assert_close(z.mean(0), torch.zeros(4, dtype=z.dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(4, dtype=z.dtype), atol=1e-5, rtol=0)


def test_large_offsets_keep_their_digits() -> None:
    seconds = 1.7e9 + 100 * NORMAL
    schema = schema_of(pl.DataFrame({"a": seconds}))
    x = torch.from_numpy(seconds)[:, None]
    maps = Compose(preprocessing(schema, x))
    z, _ = maps(x)
    assert z.dtype == torch.float32
    torch.testing.assert_close(maps.inverse(z)[0], x, atol=1e-3, rtol=0)


def test_a_schema_is_json() -> None:
    frame = pl.DataFrame({"a": NORMAL, "n": COUNTS, "rain": RAIN, "k": ["u", "v"] * 1000, "g": NORMAL**2})
    schema = schema_of(frame, columns=["a", "n", "rain"], given=["k", "g"], bounds={"a": (-9.0, 9.0)})
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_columns_are_found_by_name_and_samples_come_back_as_a_table() -> None:
    frame = pl.DataFrame({"a": NORMAL, "n": COUNTS.astype(int), "k": ["u", "v"] * 1000})
    schema = schema_of(frame, columns=["a", "n"], given=["k"])
    rows = schema.encode(frame, "t.csv")
    again = schema.encode(frame.select("k", "n", pl.lit(7).alias("more"), "a"), "t.csv")
    x, context = rows.x, rows.context
    assert torch.equal(x, again.x)
    assert context is not None
    assert torch.equal(context, again.context)
    assert context[:2].tolist() == [[1, 0], [0, 1]]
    rows = schema.decode(x + 0.2)
    assert rows.schema == {"a": pl.Float64, "n": pl.Int64}
    assert rows["n"].to_list() == COUNTS.astype(int).tolist()


def test_columns_that_follow_from_others_are_computed() -> None:
    frame = pl.DataFrame({"a": NORMAL, "b": NORMAL[::-1], "c": 2 * NORMAL + 1, "d": NORMAL - 3 * NORMAL[::-1]})
    schema = schema_of(frame)
    assert schema.names == ["a", "b"]
    assert [str(relation) for relation in schema.dependencies] == ["'c' is 2 * 'a' + 1", "'d' is 'a' - 3 * 'b'"]
    x = schema.encode(frame, "t.csv").x
    assert np.allclose(schema.decode(x).to_numpy(), frame.to_numpy(), rtol=1e-9)
    wrong = frame.with_columns(c=pl.col("c") + (pl.int_range(pl.len()) == 7) * 0.1)
    assert [np.flatnonzero(rows).tolist() for rows in schema.broken(schema.encode(wrong, "t.csv"))] == [[7], []]
    with pytest.raises(InputError, match="column 'c' follows from others"):
        schema_of(frame, columns=["a", "b", "c"], strict=True)


@pytest.mark.parametrize("level", [0.0, 1e9, 1e12, 1e15])
def test_columns_far_from_zero_are_standardised(level: float) -> None:
    x = torch.from_numpy(level + 1e4 * NORMAL)[:, None]
    z, logdet = Compose(preprocessing(schema_of(pl.DataFrame({"a": x[:, 0].numpy()})), x))(x)
    assert z.dtype == torch.float32
    assert abs(float(z.mean())) < 0.02
    assert float(z.std()) == pytest.approx(1.0, abs=0.01)
    assert float(logdet[0]) == pytest.approx(-np.log(1e4 * NORMAL.std()), abs=1e-3)


def test_every_value_that_stands_out_is_an_atom() -> None:
    values = np.clip(0.7 + 0.4 * NORMAL, 0.0, 1.0)
    kind = kind_of(values)
    assert [value for value, _, _ in kind.atoms] == [0.0, 1.0]
    schema = Schema((Column("a", kind),))
    x = torch.from_numpy(values)[:, None]
    spread = Cells(schema)(x, torch.rand(x.shape, dtype=torch.float64))
    inside = (values > 0) & (values < 1)
    assert (spread[values == 0] < 0).all()
    assert (spread[values == 1] >= 1).all()
    assert torch.equal(spread[inside], x[inside])
    assert np.array_equal(schema.decode(spread)["a"].to_numpy(), values)


@pytest.mark.parametrize("scale", [1e300, 1e-310])
def test_numbers_beyond_single_precision_are_left_out_or_refused(scale: float) -> None:
    frame = pl.DataFrame({"a": scale * NORMAL, "b": NORMAL})
    schema = schema_of(frame, asked=False)
    assert schema.names == ["b"]
    assert "single precision" in schema.notes[0]
    with pytest.raises(InputError, match="single precision holds; change its units"):
        schema_of(frame)


def test_two_differences_of_dates_that_an_unknown_date_tells_apart_do_not_both_follow() -> None:
    start = RNG.integers(0, 9000, 300)
    shortest = RNG.integers(1, 900, 300)
    unknown = RNG.random(300) < 0.1
    day = np.datetime64("1990-01-01")
    frame = pl.DataFrame(
        {
            "start": day + start,
            "end": pl.Series(day + start + shortest).set(pl.Series(unknown), None),
            "shortest": shortest,
            "longest": shortest + 30 * unknown,
        }
    )
    model = pf.TableDensity(flow="maf", steps=5, random_state=0, queries=False).fit(frame)
    assert sum("is - 'start' + 'end'" in str(relation) for relation in model.schema.relations) == 1
    assert np.isfinite(model.score_samples(frame)).all()


def test_one_value_and_a_few_holes_are_modelled_beside_other_holes() -> None:
    frame = pl.DataFrame({"x": RNG.normal(size=300), "y": RNG.normal(size=300), "seen": ["yes"] * 300})
    frame = frame.with_columns(y=pl.when(pl.int_range(300) % 3 == 0).then(None).otherwise("y"))
    frame = frame.with_columns(seen=pl.when(pl.int_range(300) == 7).then(None).otherwise("seen"))
    model = pf.TableDensity(flow="maf", steps=5, random_state=0).fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()


def test_a_column_may_have_the_name_of_an_argument() -> None:
    frame = pl.DataFrame({"self": ["a", "b", "b"] * 100, "name": RNG.normal(size=300)})
    model = pf.TableDensity(flow="maf", steps=5, random_state=0, queries=False).fit(frame)
    assert model.sample(5).columns == ["self", "name"]
