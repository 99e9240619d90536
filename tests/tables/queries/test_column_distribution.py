"""The exact distribution of a model's only column, beside its draws, for every kind of column."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.errors import InputError
from pushforward.tables.queries.column_distribution import ColumnDistribution, has_one_column, only_column

DRAWS = 5000
GIVEN = pl.DataFrame({"x": [-1.0, 0.0, 1.5], "g": ["a", "b", "a"]})


def table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n = 300
    x, g = rng.normal(size=n), rng.choice(["a", "b"], n)
    plain = x + rng.normal(size=n)
    return pl.DataFrame(
        {
            "x": x,
            "g": g,
            "plain": plain,
            "spiked": np.where(rng.random(n) < 0.3, 0.0, np.exp(0.5 * plain)),
            "whole": 7 * rng.poisson(np.exp(2 + 0.5 * x)),
            "holed": [None if hole else value for hole, value in zip(rng.random(n) < 0.2, plain, strict=True)],
            "few": rng.binomial(3, 1 / (1 + np.exp(-x))),
            "name": np.where(plain > 0, "yes", "no"),
        }
    )


@functools.cache
def fitted(column: str, **options: Any) -> pf.TableDensity:
    options = {"flow": "nsf", "steps": 20, "queries": False, "layers": 2, "hidden": (32,), **options}
    return pf.TableDensity(columns=[column], given=["x", "g"], **options).fit(table())


def of(model: pf.TableDensity) -> ColumnDistribution:
    return only_column(model, model.schema.context(GIVEN, "given")[0])


def drawn(model: pf.TableDensity) -> torch.Tensor:
    """Encoded draws for every row of GIVEN, ``(3, DRAWS)``; NaN where they are missing."""
    column = model.schema.columns[0]
    values = column.read(model.sample(DRAWS, given=GIVEN, random_state=1)[column.name])
    return torch.from_numpy(np.where(column.missing(values), np.nan, values)).reshape(3, -1)


@pytest.mark.parametrize("column", ["plain", "few", "holed"])
def test_no_rows_have_no_predictions(column: str) -> None:
    model, none = fitted(column), table()[:0]
    assert [len(model.predict(none, column, kind)) for kind in ("mean", "mode", "interval")] == [0, 0, 0]
    assert model.quantile(column, 0.5, given=none.select("x", "g")).shape == (0,)


def test_a_column_alone_has_one_prediction_for_all_rows() -> None:
    model = pf.TableDensity("nsf", steps=20, layers=2, hidden=(32,)).fit(table().select("plain"))
    for kind in ("mean", "median", "mode"):
        found = model.predict(table()[:3], "plain", kind)
        assert found.shape == (3,)
        assert np.ptp(found) == 0
        assert abs(found[0] - np.median(table()["plain"])) < table()["plain"].std()


@pytest.mark.parametrize("column", ["plain", "spiked", "whole", "holed"])
def test_numbers_agree_with_draws(column: str) -> None:
    model = fitted(column)
    found, draws = of(model), drawn(model)
    there = ~draws.isnan()
    for value in (-0.5, 0.0, 3.0, 14.0):
        for closed in (True, False):
            below = ((draws <= value) if closed else (draws < value)) & there
            share = below.sum(1) / there.sum(1)
            torch.testing.assert_close(found.cdf(torch.tensor(value), closed=closed), share.double(), atol=0.03, rtol=0)
    q = (0.1, 0.5, 0.9)
    for j, values in enumerate(found.quantile(q).T):  # draws are at most each quantile for at least its share
        at_most = ((draws <= values[:, None]) & there).sum(1) / there.sum(1)
        below = ((draws < values[:, None]) & there).sum(1) / there.sum(1)
        assert bool((at_most >= q[j] - 0.03).all() and (below <= q[j] + 0.03).all())
    scale = draws.nan_to_num(0.0).std()
    torch.testing.assert_close(found.mean(), draws.nanmean(1), atol=0.05 * float(scale), rtol=0.02)


@pytest.mark.parametrize("column", ["few", "name"])
def test_classes_agree_with_draws(column: str) -> None:
    model = fitted(column)
    found, draws = of(model), drawn(model)
    each = torch.stack([(draws == k).double().mean(1) for k in range(found.probabilities.shape[1])], 1)
    torch.testing.assert_close(found.probabilities.double(), each, atol=0.03, rtol=0)
    assert found.mode().tolist() == found.probabilities.argmax(1).tolist()


def test_few_numbers_have_quantiles_and_names_have_none() -> None:
    few = of(fitted("few"))
    expected = few.probabilities.double() @ torch.arange(4.0, dtype=torch.float64)
    torch.testing.assert_close(few.mean(), expected)
    at_most = few.probabilities.double().cumsum(1).gather(1, few.quantile([0.5]).long())[:, 0]
    assert bool((at_most >= 0.5).all())
    with pytest.raises(InputError):
        of(fitted("name")).mean()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"members": 2}, marks=pytest.mark.slow),
        {"flow": "gmm", "steps": None, "layers": None, "hidden": None},
    ],
    ids=["flows", "mixtures"],
)
def test_averages_agree_with_draws_and_with_their_own_density(options: dict[str, Any]) -> None:
    model = fitted("plain", **options)
    found, draws = of(model), drawn(model)
    asked = torch.tensor([-1.0, 0.3, 1.0])
    torch.testing.assert_close(found.cdf(asked), (draws <= asked[:, None]).double().mean(1), atol=0.03, rtol=0)
    torch.testing.assert_close(
        found.cdf(found.quantile([0.2, 0.7])), torch.tensor([[0.2, 0.7]] * 3).double(), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found.mean(), draws.mean(1), atol=0.06, rtol=0)
    best = model.score_samples(GIVEN.with_columns(plain=found.mode().numpy()))
    for other in (asked, found.mean(), found.quantile([0.3])[:, 0]):
        assert (best >= model.score_samples(GIVEN.with_columns(plain=other.numpy())) - 0.02).all()


def test_what_has_one_column() -> None:
    assert has_one_column(fitted("few"))
    assert has_one_column(fitted("holed"))
    both = pf.TableDensity("nsf", columns=["plain", "whole"], given=["x"], queries=False, steps=1, layers=1).fit(
        table()
    )
    assert not has_one_column(both)
