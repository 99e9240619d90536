"""A density from few rows: it integrates to one, is fixed by its seed, and is behind none of its parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import pushforward as pf
from pushforward.distributions.average import Recalibrated
from pushforward.distributions.flow import Flow
from pushforward.recipes.by_name import flow_by_name
from pushforward.tables.selection.cross_fitting import (
    LEAST,
    AverageOptions,
    CrossFitted,
    cross_fit,
    member_options,
    sound,
    stacked,
)
from pushforward.tables.selection.kinds import Flows
from pushforward.tables.selection.members import MemberOptions, Points, folds, others
from pushforward.transforms.normalization import Standardize

SHORT = {"steps": 60, "every": 10}
NSF: dict[str, Any] = {"layers": 2, "hidden": (16, 16), "training": SHORT}


def rows(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator)
    return torch.stack([x[:, 0], 0.6 * x[:, 0].square() + 0.5 * x[:, 1] - 0.6], -1)


def fit(x: Tensor, context: Tensor | None = None, weight: Tensor | None = None, **options: Any) -> CrossFitted:
    return cross_fit(Points.of(x, context, weight), AverageOptions(**options))


@pytest.fixture(scope="module")
def fitted() -> CrossFitted:
    return fit(rows(150), members=3, **NSF)


@pytest.mark.slow
def test_integrates_to_one(fitted: CrossFitted) -> None:
    grid = torch.linspace(-9, 12, 500)
    with torch.no_grad():
        total = fitted.density.log_prob(torch.cartesian_prod(grid, grid)).exp().sum() * (grid[1] - grid[0]) ** 2
    assert abs(float(total) - 1) < 0.01


def test_new_rows_are_nearly_as_likely_as_under_the_best_kind(fitted: CrossFitted) -> None:
    with torch.no_grad():
        values = torch.stack([member.log_prob(rows(2000, seed=1)) for member in fitted.density.members]).mean(1)
        ours = fitted.density.log_prob(rows(2000, seed=1)).mean()
    assert ours > values.max() - 0.05


def test_the_average_is_the_likeliest_on_rows_that_fits_did_not_see(fitted: CrossFitted) -> None:
    scores = fitted.log_likelihood
    assert scores["average"] > max(scores[name] for name in fitted.weights) - 0.02
    assert sum(fitted.weights.values()) == pytest.approx(1)


@pytest.mark.slow
def test_the_seed_fixes_the_result(fitted: CrossFitted) -> None:
    again, other = fit(rows(150), members=3, **NSF), fit(rows(150), members=3, seed=1, **NSF)
    x = rows(20, seed=2)
    assert torch.equal(again.density.log_prob(x), fitted.density.log_prob(x))
    assert not torch.equal(other.density.log_prob(x), fitted.density.log_prob(x))


@pytest.mark.slow
def test_flows_alone_and_mixtures_alone() -> None:
    flows, mixtures = fit(rows(90), flow="nsf", members=3, **NSF), fit(rows(90), flow="gmm", members=3)
    assert len(flows.density.members) == 3
    assert set(flows.weights) == {"flow"}
    assert len(flows.steps) == 3
    assert all(name.startswith("mixture") for name in mixtures.weights)
    assert mixtures.steps == []


def test_a_context_is_used() -> None:
    x = rows(200)
    given, alone = fit(x[:, 1:], x[:, :1], flow="gmm", members=3), fit(x[:, 1:], flow="gmm", members=3)
    assert given.log_likelihood["average"] > alone.log_likelihood["average"] + 0.2


def test_a_flow_starts_as_a_gaussian_copula() -> None:
    x = rows(400)
    z, _ = Points.of(x).copula(x)
    assert (torch.cov(z.T) - torch.eye(2)).abs().max() < 0.1


def test_no_weight_for_a_kind_that_is_always_behind() -> None:
    good, bad = torch.randn(200), torch.randn(200)
    weights = stacked(torch.stack([good, good + 0.1 * bad, good - 20]).double())
    assert weights[2] == 0
    assert float(weights.sum()) == pytest.approx(1)


def test_each_fold_has_an_average_that_did_not_see_it(fitted: CrossFitted) -> None:
    x = rows(150)
    assert [len(part) for part in fitted.folds] == [50, 50, 50]
    with torch.no_grad():
        unseen = torch.cat([part.log_prob(x[at]) for part, at in zip(fitted.without, fitted.folds, strict=True)]).mean()
        seen, fresh = (fitted.density.log_prob(some).mean() for some in (x, rows(2000, seed=3)))
    assert unseen < seen
    assert abs(unseen - fresh) < 0.3


def test_a_density_that_explodes_on_some_contexts_is_left_out() -> None:
    x = torch.linspace(-1, 1, 300)[:, None]
    shift = pf.Flow(Standardize(torch.zeros(1), torch.ones(1)), 1, context=1)
    wide = pf.Flow(Standardize(torch.zeros(1), 1e9 * torch.ones(1)), 1, context=1)
    points = Points.of(3 * x, x)
    assert sound({0: [wide], 1: [shift, wide]}, points, seed=0) == {1: [shift]}
    assert sound({0: [wide]}, points, seed=0) == {0: [wide]}


def test_every_row_is_in_one_fold() -> None:
    parts = folds(17, 5, seed=0)
    assert sorted(torch.cat(parts).tolist()) == list(range(17))
    assert {len(part) for part in parts} == {3, 4}


def test_weights_of_rows_count() -> None:
    x, weight = rows(200), torch.ones(200)
    weight[100:] = 0
    kept = fit(torch.cat([x[:100], x[:100] + 5]), weight=weight, flow="gmm", members=2)
    assert kept.density.log_prob(x[:100]).mean() > kept.density.log_prob(x[:100] + 5).mean() + 5


@pytest.mark.slow
def test_names_stand_for_averages() -> None:
    maf = fit(rows(80), flow="maf", members=2, layers=1, hidden=(8,), training={"steps": 20, "every": 10})
    assert [len(maf.density.members), list(maf.weights)] == [2, ["flow"]]
    auto = fit(rows(80), epochs=10, training={"batch_size": 40})
    assert {"flow", "copula of 1", "mixture of 1"} <= set(auto.weights)
    with pytest.raises(ValueError, match="nope"):
        fit(rows(80), flow="nope")


def test_more_rows_are_learnt_from_in_fewer_and_larger_steps() -> None:
    few, many, wide = (member_options(*sizes, 3e-3, {}) for sizes in ((500, 4), (2000, 4), (2000, 16)))
    assert (few.steps, few.lr, few.batch_size) == (600, 3e-3, 128)
    assert (many.steps, many.lr) == (round(1000 * 0.3**0.5), 1e-2)
    assert wide.steps == many.steps // 2
    assert member_options(1000, 4, 3e-3, {}).lr == pytest.approx(6e-3)
    assert member_options(2000, None, 3e-3, {}) == MemberOptions(steps=1000, lr=3e-3)
    assert member_options(2000, 4, 3e-3, {"lr": 1e-3}) == MemberOptions(steps=1000, lr=1e-3)


@pytest.mark.parametrize(("count", "members"), [(3, 2), (5, 3)])
def test_too_few_rows_for_the_members_are_refused(count: int, members: int) -> None:
    with pytest.raises(ValueError, match=f"members={members}"):
        fit(rows(count), members=members, flow="gmm")


def test_a_column_that_is_constant_but_for_noise_has_a_finite_map() -> None:
    noise = 0.05 * torch.randn(3, 60, 2, generator=torch.Generator().manual_seed(0))
    x = torch.stack([torch.zeros(60), torch.linspace(-2, 2, 60)], -1)
    z, logdet = Points.of(torch.cat([x[None], x + noise])).copula(x)
    assert z.isfinite().all()
    assert logdet.isfinite().all()


@pytest.mark.slow
def test_rows_of_many_columns_take_what_few_rows_can_tell() -> None:
    x = torch.randn(60, 200, generator=torch.Generator().manual_seed(0))
    judged = fit(x, members=2)
    assert list(judged.weights) == ["mixture of 1", "copula of 1"]
    independent = -200 * 0.5 * (1 + math.log(2 * math.pi))
    assert judged.log_likelihood["average"] > 1.1 * independent
    assert judged.density.log_prob(x).isfinite().all()


def test_a_gaussian_of_many_given_columns_is_not_shrunk_where_one_of_them_tells_the_number() -> None:
    generator = torch.Generator().manual_seed(0)
    context = torch.cat([torch.randn(100, 1, generator=generator), torch.eye(30).repeat(4, 1)[:100]], 1)
    x = context[:, :1] + 0.05 * torch.randn(100, 1, generator=generator)
    judged = fit(x, context, flow="gmm")
    assert judged.log_likelihood["mixture of 1"] > 1.0  # 1.57 at best; -0.74 if it were shrunk


@pytest.mark.slow
def test_flows_of_a_number_that_nearly_follows_are_trained_again_and_others_are_not() -> None:
    x = torch.from_numpy(StandardScaler().fit_transform(load_breast_cancer().data)).float()
    y, given, parts = x[:, [2]], x[:, [0, 1, 5]], folds(400, 2, 0)  # the perimeter; radius, texture and compactness
    options, fits = MemberOptions(lr=3e-3, steps=60, batch_size=128, every=10), []

    def make(seed: int) -> Flow:
        return flow_by_name("nsf", 1, context=3, layers=2, hidden=(16, 16), options={"bins": 5}, seed=seed)

    for flows, known in (
        (Flows(make, options, again=True), given),
        (Flows(make, options), given),
        (Flows(make, options, again=True), given.flip(0)),
    ):
        rows = Points.of(y[:400], known[:400])
        fits.append((flows.cross_fit([(rows[others(parts, k)], rows[part]) for k, part in enumerate(parts)], 0), flows))
    with torch.no_grad():
        (again, longer), (once, _), (_, unrelated) = fits
        gain = again[0].log_prob(y[400:], given[400:]).mean() - once[0].log_prob(y[400:], given[400:]).mean()
    assert gain > 0.1
    assert max(unrelated.steps) <= options.steps < max(longer.steps)


@pytest.mark.slow
def test_an_average_too_wide_for_real_rows_is_drawn_nearer_to_its_median_and_another_is_not() -> None:
    columns = ["mean area", "mean radius", "mean texture", "mean smoothness"]
    rows = load_breast_cancer(as_frame=True).data[columns].sample(frac=1, random_state=0)
    seen, fresh = rows[:380], rows[380:]
    model = pf.TableDensity("gmm", columns=columns[:1], given=columns[1:], queries=False).fit(seen)
    average, figures = model.density.base, []
    for share in (average.share, 0.0):
        average.share = share
        drawn = model.sample(100, given=fresh[columns[1:]], random_state=0)["mean area"]
        low, high = np.quantile(drawn.to_numpy().reshape(len(fresh), -1), (0.05, 0.95), axis=1)
        inside = (fresh["mean area"] >= low) & (fresh["mean area"] <= high)
        figures.append((model.score(fresh), inside.mean()))
    (score, cover), (score_of_pool, cover_of_pool) = figures
    assert score > score_of_pool + 0.05
    assert 0.86 < cover < 0.94 < cover_of_pool
    iris = load_iris(as_frame=True).data
    model = pf.TableDensity("gmm", columns=["petal width (cm)"], given=[*iris][:3], queries=False).fit(iris)
    assert not isinstance(model.density.base, Recalibrated)


def test_a_kind_for_which_few_rows_are_impossible_does_not_stand_alone() -> None:
    known, other = torch.zeros(1000), torch.full((1000,), -9.0)
    known[:9] = -1e6  # as rows of groups that are not known
    shares = stacked(torch.stack([known, other]))
    assert 0 < shares[1] < LEAST
    assert stacked(torch.stack([known[9:], other[9:]])).tolist() == [1, 0]
