"""Odd rows: what is found, how often usual rows are called odd, and scikit-learn's own contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

import pushforward as pf
from pushforward.distributions.average import Average
from pushforward.interop.outliers import log_tail, mean_log_prob


@parametrize_with_checks([pf.FlowOutlier(flow="gmm")])
def test_the_estimator_contract(estimator: pf.FlowOutlier, check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which asks how it behaves, not how well it finds: mixtures are of one or three."""
    monkeypatch.setattr("pushforward.tables.selection.cross_fitting.SIZES", (1, 3))
    check(estimator)


def usual(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return np.column_stack([x, x**2 + 0.3 * rng.normal(size=n), rng.choice([-4, 4], n) + 0.5 * rng.normal(size=n)])


@pytest.fixture(scope="module")
def detector() -> pf.FlowOutlier:
    return pf.FlowOutlier(steps=60).fit(usual(300, seed=0))


def test_rows_off_the_pattern_are_found(detector: pf.FlowOutlier) -> None:
    odd = np.random.default_rng(1).permuted(usual(300, seed=1), axis=0)
    odd[:, 2] = 0.0
    scores = -detector.score_samples(np.vstack([usual(300, seed=2), odd]))
    assert roc_auc_score(np.repeat([0, 1], 300), scores) > 0.98


def test_p_values_of_usual_rows_are_uniform(detector: pf.FlowOutlier) -> None:
    p = detector.p_values(usual(4000, seed=3))
    assert 0.02 < (p <= 0.05).mean() < 0.09
    assert 0.4 < p.mean() < 0.6
    assert p.min() >= 1 / 301


def test_the_share_that_is_called_odd_is_the_contamination(detector: pf.FlowOutlier) -> None:
    assert (detector.predict(usual(300, seed=0)) == -1).mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("flow", ["gmm", pytest.param("auto", marks=pytest.mark.slow)])
def test_of_fresh_rows_a_share_of_the_contamination_is_called_odd(flow: str) -> None:
    rng = np.random.default_rng(0)
    rows, fresh = rng.normal(size=(200, 5)), rng.normal(size=(3000, 5))
    found = pf.FlowOutlier(contamination=0.05, flow=flow, steps=40).fit(rows)
    assert 0.03 < (found.predict(fresh) == -1).mean() < 0.08
    assert found.decision_scores_.shape == (200,)
    np.testing.assert_array_equal(np.sort(found.decision_scores_), found.held_out_)
    assert (found.decision_scores_ < found.offset_).mean() == 0.05


@pytest.mark.parametrize("load", [pytest.param(load_breast_cancer, marks=pytest.mark.slow), load_wine, load_iris])
def test_of_the_other_half_of_a_table_few_rows_are_called_odd(load: Callable[[], Any]) -> None:
    X, shares = load().data[:, :10], []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(X))
        half, other = X[order[::2]], X[order[1::2]]
        shares.append((pf.FlowOutlier(contamination=0.05, flow="gmm").fit(half).predict(other) == -1).mean())
    assert np.mean(shares) == pytest.approx(0.05, abs=0.025 + 2 * np.sqrt(0.05 * 0.95 / (3 * len(other))))


@pytest.mark.slow
def test_classes_that_the_fit_did_not_see_are_told_better_than_by_neighbours_alone() -> None:
    ours, theirs = [], []
    for load, kind in ((load_wine, 0), (load_wine, 1), (load_wine, 2), (load_breast_cancer, 0), (load_digits, 8)):
        X, y = load(return_X_y=True)
        others = np.random.default_rng(0).permutation(np.flatnonzero(y != kind))
        rows, test = X[others[::2]], np.r_[others[1::2], np.flatnonzero(y == kind)]
        rows, tested = ((some - rows.mean(0)) / rows.std(0).clip(1e-9) for some in (rows, X[test]))
        near = NearestNeighbors(n_neighbors=5).fit(rows).kneighbors(tested)[0][:, -1]
        ours.append(roc_auc_score(y[test] == kind, -pf.FlowOutlier(flow="gmm").fit(rows).score_samples(tested)))
        theirs.append(roc_auc_score(y[test] == kind, near))
    assert np.mean(ours) > np.mean(theirs) + 0.01


def test_contamination_moves_the_cut_and_nothing_else() -> None:
    X = usual(100, seed=0)
    few, many = (pf.FlowOutlier(share, flow="gmm").fit(X) for share in (0.01, 0.4))
    np.testing.assert_array_equal(few.p_values(X), many.p_values(X))
    np.testing.assert_array_equal(few.score_samples(X), many.score_samples(X))
    assert (few.predict(X) < 0).sum() < (many.predict(X) < 0).sum()


@pytest.fixture(scope="module")
def cluster() -> np.ndarray:
    """Anomalies that lie close together."""
    return np.random.default_rng(4).normal([2, -2, 0], 0.2, size=(120, 3))


def test_outliers_among_the_rows_are_not_learnt(cluster: np.ndarray) -> None:
    X = np.vstack([usual(300, seed=0), cluster[:15]])
    test, odd = np.vstack([usual(300, seed=1), cluster[15:]]), np.repeat([0, 1], [300, 105])
    learnt, trimmed = (pf.FlowOutlier(flow="gmm", trim=share).fit(X) for share in (0.0, 0.15))
    areas = [roc_auc_score(odd, -detector.score_samples(test)) for detector in (learnt, trimmed)]
    assert areas[0] < 0.85
    assert areas[1] > 0.95
    assert len(trimmed.density_.members) == 1  # the copula
    assert len(trimmed.held_out_) == len(X)  # p-values stand beside all rows, those left out as well
    assert (trimmed.p_values(test[:300]) <= 0.05).mean() < 0.07


def test_rows_are_judged_by_a_copula_that_did_not_see_them(cluster: np.ndarray) -> None:
    z = torch.from_numpy(np.vstack([usual(300, seed=0), cluster[:15]]))
    ranks = pf.FlowOutlier()._likeliness(z, seed=0)
    assert ranks[300:].mean() < 0.1
    alone = torch.cat([z[:300], torch.full((1, 3), 50.0)])
    assert pf.FlowOutlier()._likeliness(alone, seed=0)[-1] == 0


def test_a_trim_of_less_than_a_row_and_of_few_rows() -> None:
    X = usual(60, seed=0)
    plain, none = (pf.FlowOutlier(flow="gmm", trim=share).fit(X) for share in (0.0, 0.01))
    np.testing.assert_array_equal(plain.score_samples(X), none.score_samples(X))
    few = pf.FlowOutlier(trim=0.45).fit(X[:5])
    assert len(few.held_out_) == 5
    assert np.isfinite(few.score_samples(X)).all()


def test_a_row_is_usual_where_all_members_say_so() -> None:
    sharp, broad = (pf.gmm(1, components=1) for _ in range(2))
    with torch.no_grad():
        for density, scale in ((sharp, 0.01), (broad, 1.0)):
            density.loc.zero_()
            density.factors.fill_(-np.log(scale))
    x = torch.tensor([[0.0], [0.5]])
    mean = (sharp.log_prob(x) + broad.log_prob(x)) / 2
    torch.testing.assert_close(mean_log_prob(Average([sharp, broad]), x), mean)


def test_tail_probabilities_are_shares_of_unseen_values_and_exponential_beyond() -> None:
    rng = np.random.default_rng(0)
    usual, low = np.sort(-rng.exponential(3.0, 1000)), np.array([-1.0, -6.0, -15.0, -60.0])
    np.testing.assert_allclose(log_tail(low, usual), low / 3, rtol=0.15)
    assert (np.diff(log_tail(np.linspace(-100, 0, 999), usual)) >= 0).all()
    assert np.isfinite(log_tail(low, np.full(4, -7.0))).all()


def test_views_are_mixtures_a_copula_and_flows() -> None:
    def kinds(**options: Any) -> list[list[str]]:
        views = pf.FlowOutlier(steps=1, **options).fit(usual(60, seed=0)).density_.members
        return [[type(each).__name__ for each in view.members] for view in views]

    assert kinds() == [["GaussianMixture"], ["Flow"], ["Flow"] * 5]
    assert kinds(flow="gmm") == [["GaussianMixture"]]
    assert kinds(flow="maf", members=2) == [["Flow"] * 2]
    assert kinds(trim=0.15) == [["Flow"]]


def test_one_outlier_in_the_fit_does_not_vouch_for_all_like_it() -> None:
    odd = [[8.0, -8.0, 8.0]]
    detector = pf.FlowOutlier(flow="gmm", contamination=0.05).fit(np.vstack([usual(300, seed=0), odd]))
    assert detector.predict(np.add(odd, 0.01)) == -1


def test_the_seed_fixes_the_scores() -> None:
    X = usual(100, seed=0)
    first, again = (pf.FlowOutlier(flow="gmm", random_state=3).fit(X).score_samples(X) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda: pf.FlowOutlier(0.7).fit(usual(50, 0)), "contamination must be above 0 and at most 0.5, got 0.7"),
        (lambda: pf.FlowOutlier(noise=-1).fit(usual(50, 0)), "noise must be at least 0, got noise=-1"),
        (
            lambda: pf.FlowOutlier(trim=0.5).fit(usual(50, 0)),
            "trim must be at least 0 and below 0.5, got trim=0.5",
        ),
        (
            lambda: pf.FlowOutlier(flow="gmm").fit(usual(50, 0)).predict([[0.0, 1.0]]),
            "X has 2 features, but FlowOutlier",
        ),
        (lambda: pf.FlowOutlier().fit(np.ones((50, 2))), "all rows of X are alike"),
        (lambda: pf.FlowOutlier().fit(usual(3, 0)), "minimum of 4 is required"),
        (lambda: pf.FlowOutlier().predict(usual(3, 0)), "not fitted"),
    ],
)
def test_wrong_use_is_refused_with_a_sentence(attempt, sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        attempt()
