"""What few rows have does not hide what many rows tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.functional import one_hot

import pushforward as pf
from pushforward.tables.selection.cross_fitting import AverageOptions, better, cross_fit, divided, judge
from pushforward.tables.selection.kinds import Features, OnFeatures, sizes_of_mixtures
from pushforward.tables.selection.members import Points, folds

QUICK = AverageOptions(members=5, training={"steps": 40})


def countries(n: int, seed: int, told: float) -> Points:
    """Two numbers that depend on a measure, and by as much as ``told`` on which of sixty countries it is of."""
    rng = torch.Generator().manual_seed(seed)
    country, measure = torch.randint(60, (n,), generator=rng), torch.randint(2, (n,), generator=rng)
    level = torch.randn(60, 2, generator=torch.Generator().manual_seed(9))[country]
    x = 3.0 * measure[:, None] + told * level + 0.3 * torch.randn(n, 2, generator=rng)
    return Points.of(x, torch.cat([one_hot(country, 60), one_hot(measure, 2)], 1).float())


@pytest.mark.slow
def test_rows_that_the_fit_did_not_see_are_likelier(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, fresh = countries(180, 0, told=0.0), countries(900, 1, told=0.0)
    found = cross_fit(rows, QUICK)
    assert sum(weight for name, weight in found.weights.items() if name.endswith("reading less")) > 0.5
    monkeypatch.setattr(Features, "of_many_rows", lambda *_: None)
    likelier = [each.density.log_prob(fresh.x[0], fresh.context) for each in (found, cross_fit(rows, QUICK))]
    assert (likelier[0] - likelier[1]).mean() > 0.2


@pytest.mark.slow
def test_names_of_few_rows_that_tell_are_read() -> None:
    found = cross_fit(countries(240, 0, told=2.0), QUICK)
    assert sum(weight for name, weight in found.weights.items() if name.endswith("reading less")) < 0.1
    assert "flow reading less" not in found.weights


def test_alternatives_with_fewer_features_are_judged_by_rows_that_they_did_not_see() -> None:
    rng = torch.Generator().manual_seed(0)
    x, context = torch.randn(300, 20, generator=rng), one_hot(torch.arange(300) % 40, 60).float()
    context[:, 40:] = torch.rand(300, 20, generator=rng) < 0.4
    rows, fresh = Points.of(x[:60], context[:60]), Points.of(x[60:], context[60:])
    parts, shares = divided(rows, QUICK)
    less = Features.of_many_rows(rows, parts)
    assert less is not None
    _, fits = better(
        [OnFeatures(kind, less) for kind in sizes_of_mixtures(less.rows, (1,), (1.0,), True)[0]], shares, 0
    )
    elsewhere = torch.stack([fit.log_prob(fresh.x[0], fresh.context).mean() for fit in fits])
    assert judge(fits, parts, shares).mean() < elsewhere.mean() + 1.0


@pytest.mark.parametrize(("often", "read"), [((40, 20, 3, 2), [0, 1]), ((4, 3, 3), [0]), ((40, 20), None)])
def test_what_many_rows_have_is_read_or_the_commonest(often: tuple[int, ...], read: Any) -> None:
    context = one_hot(torch.arange(len(often)).repeat_interleave(torch.tensor(often))).float()
    context = torch.cat([context, context.new_zeros(100, len(often))])
    found = Features.of_many_rows(Points.of(context, context), folds(len(context), 5, 0))
    if found is None:
        assert read is None
    else:
        assert torch.equal(found.rows.context, context[:, read])
        assert torch.equal(found.whole(context), found.rows.context)


@pytest.mark.slow
def test_it_is_saved(tmp_path) -> None:
    rng = np.random.default_rng(0)
    names, x = [f"name {k}" for k in rng.integers(50, size=150)], rng.normal(size=(150, 2))
    rows = pl.DataFrame({"name": names, "kind": rng.choice(["a", "b"], 150), "x": x[:, 0], "y": x[:, 1]})
    model = pf.TableDensity(budget=0.3, queries=False, random_state=0).fit(rows)
    assert any(name.endswith("reading less") for name in model.summary_["average"]["weights"])
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(pf.TableDensity.load(tmp_path / "m").score_samples(rows), model.score_samples(rows))
