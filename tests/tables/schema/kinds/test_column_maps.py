"""Tails of columns: heavy, light and bounded ones, tiny tables, and what draws and far rows make of them."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from schemas import schema_of

import pushforward as pf
from pushforward.tables.schema.kinds.base import Kind

RNG = np.random.default_rng(0)
COLUMNS = {
    "normal": RNG.normal(size=300),
    "lognormal": np.exp(1.5 * RNG.normal(size=300)),
    "two-sided": np.sinh(2 * RNG.normal(size=300)),
    "whole": np.round(np.exp(1 + RNG.normal(size=300))),
    "income": np.where(RNG.random(300) < 0.3, 0.0, np.exp(9 + RNG.normal(size=300))),
    "skewed": RNG.gamma(2.0, size=300),
    "tiny": np.exp(RNG.normal(size=24)),
    "ages": RNG.integers(18, 95, 3000).astype(float),
    "three units": np.concatenate([RNG.normal(3, 4, 200), 10 ** RNG.normal(4, 0.5, 200), 10 ** RNG.normal(10, 1, 200)]),
}


def kind_of(x: np.ndarray, **options) -> Kind:
    schema = schema_of(pl.DataFrame({"x": x}), **options)
    return schema.shaped(torch.tensor(x)[:, None]).columns[0].kind


@pytest.mark.parametrize("name", COLUMNS)
def test_draws_at_five_deviations_are_as_far_as_the_mean_excess_of_the_outer_rows_says(name: str) -> None:
    x = COLUMNS[name]
    kind, some = kind_of(x), max(round(math.sqrt(len(x))), 3)
    outer = np.stack([np.sort(sign * x)[-some - 1 :] for sign in (-1, 1)])
    excess = (outer[:, 1:] - outer[:, :1]).mean(1).clip(max(kind.step, 0.02 * x.std()))
    f = kind.first_map()
    z = f(torch.tensor(x + 1e-9))[0]
    far = f.inverse(z.mean() + z.std() * torch.tensor([-5.0, 5.0], dtype=torch.float64))[0].numpy()
    beyond = far * [-1, 1] - outer[:, -1]
    assert (beyond <= -math.log(0.5 * math.erfc(5 / math.sqrt(2))) * excess).all()
    z, log_slope = f(torch.tensor(x.max() + np.ptp(x) * np.array([30.0, 1e6])))
    assert bool(z.isfinite().all())
    assert bool(log_slope.isfinite().all())


def test_numbers_of_either_sign_are_told_apart_whatever_their_magnitude() -> None:
    z = kind_of(COLUMNS["three units"]).first_map()(torch.tensor(COLUMNS["three units"]))[0].view(3, 200)
    assert float((z.quantile(0.5, 1).diff() / z.std(1)[:-1]).min()) > 3
    assert float(z.std(1).min()) > 0.1 * float(z.std())


@pytest.mark.parametrize("name", COLUMNS)
def test_the_density_of_the_column_integrates_to_one(name: str) -> None:
    x = COLUMNS[name]
    f = kind_of(x).first_map()
    z = f(torch.tensor(x + 1e-9))[0]
    inside = torch.linspace(-7, 7, 400_001, dtype=torch.float64) * z.std() + z.mean()
    points = f.inverse(inside)[0]
    again, log_slope = f(points)
    density = torch.exp(-0.5 * ((again - z.mean()) / z.std()).square() + log_slope) / (z.std() * (2 * torch.pi) ** 0.5)
    assert float(torch.trapezoid(density, points)) == pytest.approx(1.0, abs=2e-3)


def test_tails_follow_the_outer_rows_and_bounds_are_hard_ends() -> None:
    z = torch.tensor([5.0], dtype=torch.float64)
    light, heavy = (kind_of(np.exp(s * np.sort(COLUMNS["normal"]))) for s in (0.5, 2.0))
    assert light.tails is not None
    assert light.tails.low is None
    assert float(light.first_map().inverse(0.5 * z)[0]) < float(heavy.first_map().inverse(2 * z)[0])
    assert kind_of(RNG.uniform(0.2, 0.8, 200), bounds={"x": (0.0, 1.0)}).tails is None


@pytest.mark.parametrize(("low", "high"), [(18, 94), (1990, 2020), (0, 359), (-30, 50)])
def test_hardly_any_of_a_column_lies_beyond_sharp_ends(low: int, high: int) -> None:
    some, fresh = np.random.default_rng(0).integers(low, high + 1, (2, 4000)).astype(float)
    kind = kind_of(some)
    f, normal = kind.first_map(), torch.distributions.Normal(0.0, 1.0)
    z = f(torch.tensor(some))[0]
    ends = f(torch.tensor([some.min() - 0.5, some.max() + 0.5], dtype=torch.float64))[0]
    inside = normal.cdf((ends - z.mean()) / z.std()).diff()
    assert float(inside) > 1 - 0.02
    again, log_slope = f(torch.tensor(fresh))
    nats = normal.log_prob((again - z.mean()) / z.std()) + log_slope - z.std().log()
    assert float(nats.mean()) > -math.log(high - low + 1) - 0.05
    assert bool(f(torch.tensor(high + 500.0))[0].isfinite())


def test_a_short_fit_draws_within_sharp_ends() -> None:
    rng = np.random.default_rng(3)
    age = rng.integers(18, 95, 4000)
    model = pf.TableDensity("nsf", steps=20, random_state=0, queries=False).fit(
        pl.DataFrame({"age": age, "pay": np.exp(0.01 * age + rng.normal(size=4000))})
    )
    drawn = model.sample(4000, random_state=0)["age"]
    assert drawn.is_between(18, 94).mean() > 0.98
    assert drawn.is_between(12, 100).all()


def test_a_normal_column_keeps_its_slope() -> None:
    f = kind_of(RNG.normal(size=2000)).first_map()
    x = torch.linspace(3.0, 5.0, 20, dtype=torch.float64)
    assert float(f(x)[1].abs().max()) < 0.5


def test_kinds_saved_without_tails_have_none() -> None:
    kind = kind_of(COLUMNS["lognormal"])
    saved = json.loads(json.dumps(kind.to_json()))
    assert Kind.from_json(saved) == kind
    del saved["tails"]
    old = Kind.from_json(saved).first_map()
    x = torch.tensor(COLUMNS["lognormal"])
    assert torch.equal(old(x)[0], kind.first_map()(x)[0])
    assert float(old.inverse(torch.tensor(12.0))[0]) > 10 * float(kind.first_map().inverse(torch.tensor(12.0))[0])


@pytest.mark.slow
def test_draws_of_a_table_with_heavy_columns_stay_near_its_rows() -> None:
    rng = np.random.default_rng(1)
    size = rng.normal(size=60)
    table = pl.DataFrame(
        {"firms": np.exp(2 * size), "profit": np.sinh(2 * size + rng.normal(size=60)), "age": rng.gamma(3, 5, size=60)}
    )
    model = pf.TableDensity(random_state=0, queries=False).fit(table)
    draws = model.sample(5000)
    for name in table.columns:
        x, drawn = table[name].to_numpy(), draws[name].to_numpy()
        assert drawn.max() <= x.max() + np.ptp(x)
        assert drawn.min() >= x.min() - np.ptp(x)
    far = table.head(3).with_columns(firms=pl.lit(1e6), profit=pl.Series([-1e5, 0.0, 1e5]))
    assert np.isfinite(model.score_samples(far)).all()
