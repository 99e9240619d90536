"""The scikit-learn doors: the estimator contract, pipelines, grid searches, cloning and pickling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import pushforward as pf
from pushforward.recipes.by_name import FLOWS, learning_rate

RNG = np.random.default_rng(0)
X = np.column_stack([RNG.normal(size=300), 100 + 20 * RNG.normal(size=300)])
QUICK = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 20, "lr": 0.02}


BRIEFLY = {"layers": 1, "hidden": (32,), "steps": 2}
OTHER_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": "repeated rows fall into other batches than weighted ones"
}


@parametrize_with_checks(
    [pf.FlowDensity("maf", **BRIEFLY), pf.ConditionalFlowDensity("maf", **BRIEFLY)],
    expected_failed_checks=lambda estimator: OTHER_BATCHES if isinstance(estimator, pf.ConditionalFlowDensity) else {},
)
def test_the_estimator_contract(estimator: pf.FlowDensity | pf.ConditionalFlowDensity, check) -> None:
    check(estimator)


def test_densities_are_in_the_units_of_the_data() -> None:
    model = pf.FlowDensity(**QUICK).fit(X[:, 1:])
    grid = np.linspace(-100, 300, 4001)[:, None]
    assert np.trapezoid(np.exp(model.score_samples(grid)), grid[:, 0]) == pytest.approx(1, abs=1e-3)
    assert model.score(X[:, 1:]) == pytest.approx(model.score_samples(X[:, 1:]).mean())
    assert model.score(X[:, 1:]) == pytest.approx(-np.log(20 * np.sqrt(2 * np.pi * np.e)), abs=0.15)
    assert model.sample(4000).mean() == pytest.approx(100, abs=4)


@pytest.mark.parametrize(
    "wish", [pytest.param({"flow": "auto"}, marks=pytest.mark.slow), {"flow": "gmm"}, {"members": 2}]
)
def test_averages_are_estimators_like_any_other(wish: dict[str, object]) -> None:
    model = pf.FlowDensity(**{**QUICK, **wish}).fit(X[:150])
    assert model.score_samples(X).shape == (len(X),)
    assert model.sample(7).shape == (7, X.shape[1])
    given = pf.ConditionalFlowDensity(**{**QUICK, **wish}).fit(X[:150, 1:], X[:150, 0])
    assert given.sample(X[:4, 1:], 3).shape == (3, 4)


def test_densities_of_targets_depend_on_their_own_row_alone() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = X[:, 0] + rng.normal(size=60)
    model = pf.ConditionalFlowDensity("maf", steps=10).fit(X, y)
    whole, order = model.score_samples(X, y), rng.permutation(60)
    np.testing.assert_allclose(model.score_samples(X[order], y[order]), whole[order], rtol=1e-10)
    singly = [model.score_samples(X[[i]], y[[i]])[0] for i in range(10)]
    np.testing.assert_allclose(singly, whole[:10], rtol=1e-10)


def test_the_seed_fixes_everything() -> None:
    first, second = (pf.FlowDensity(**QUICK).fit(X) for _ in range(2))
    assert np.array_equal(first.score_samples(X), second.score_samples(X))
    assert np.array_equal(first.sample(3, random_state=0), second.sample(n_samples=3, random_state=0))
    assert not np.array_equal(first.sample(3), first.sample(3))
    assert not np.array_equal(first.sample(3, random_state=0), first.sample(3, random_state=1))
    state = torch.random.get_rng_state()
    pf.FlowDensity(**QUICK, random_state=np.random.RandomState(1)).fit(X).sample(2)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_pipelines_grid_searches_and_cloning() -> None:
    pipeline = make_pipeline(StandardScaler(), PCA(2), pf.FlowDensity(**QUICK)).fit(X)
    assert pipeline.score_samples(X).shape == (300,)
    assert np.isfinite(cross_val_score(pf.FlowDensity(**QUICK), X, cv=2)).all()
    search = GridSearchCV(pf.FlowDensity(**QUICK), {"lr": [1e-9, 0.01]}, cv=2).fit(np.exp(X / X.std(0)))
    assert search.best_params_ == {"lr": 0.01}
    copy = clone(search.best_estimator_)
    assert copy.get_params() == search.best_estimator_.get_params()
    assert not hasattr(copy, "flow_")
    table = GridSearchCV(pf.TableDensity("gmm", queries=False), {"keep": [0, 1]}, cv=2).fit(
        pd.DataFrame(X[:60]).add_prefix("x")
    )
    assert table.best_estimator_.score_samples(pd.DataFrame(X[:5]).add_prefix("x")).shape == (5,)


def test_joblib_keeps_the_fitted_estimator(tmp_path: Path) -> None:
    model = pf.FlowDensity(**QUICK).fit(X)
    joblib.dump(model, tmp_path / "m.joblib")
    assert np.array_equal(joblib.load(tmp_path / "m.joblib").score_samples(X), model.score_samples(X))
    pf.save(model.flow_, tmp_path / "m")
    assert np.array_equal(pf.load(tmp_path / "m")(torch.tensor(X)).detach().numpy(), model.score_samples(X))


@pytest.mark.slow
def test_conditional_densities_follow_their_condition() -> None:
    x = RNG.normal(size=(600, 2))
    y = 10 + 3 * x[:, 0] + 0.5 * RNG.normal(size=600)
    model = pf.ConditionalFlowDensity(**(QUICK | {"steps": 200})).fit(x[:500], y[:500])
    assert model.score_samples(x[500:], y[500:]).shape == (100,)
    assert model.score(x[500:], y[500:]) > model.score(x[500:][::-1], y[500:]) + 1
    draws = model.sample(np.array([[-1.0, 0.0], [1.0, 0.0]]), 500)
    assert draws.shape == (500, 2)
    assert draws.mean(0) == pytest.approx([7, 13], abs=0.8)
    both = pf.ConditionalFlowDensity(**QUICK).fit(x, np.column_stack([y, -y + RNG.normal(size=600)]))
    assert both.sample(x[:5], 3).shape == (3, 5, 2)
    search = GridSearchCV(pf.ConditionalFlowDensity(**QUICK), {"lr": [1e-9, 0.01]}, cv=2).fit(x, y)
    assert search.best_params_ == {"lr": 0.01}


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda: pf.FlowDensity("mafia").fit(X), "there is no flow 'mafia'; choose one of nsf"),
        (lambda: pf.FlowDensity("maf", hidden=(1,)).fit(np.hstack([X, X**2])), "too narrow"),
        (lambda: pf.FlowDensity("ffjord", layers=2).fit(X), "ffjord has no layers"),
        (lambda: pf.FlowDensity("maf", steps=0).fit(X), "steps"),
        (lambda: pf.FlowDensity("auto", steps=0).fit(X), "steps must be positive"),
        (
            lambda: pf.FlowDensity("maf", members=-1).fit(X),
            "members=-1: expected a whole number of at least 1, or auto",
        ),
        (lambda: pf.FlowDensity("maf").fit(np.ones((20, 2))), "column 0 is constant"),
        (lambda: pf.FlowDensity("maf").fit(np.full((20, 2), np.nan)), "NaN"),
        (lambda: pf.FlowDensity(**QUICK).fit(X).score_samples(X[:, :1]), "1 features"),
        (lambda: pf.FlowDensity(**QUICK).score_samples(X), "not fitted"),
        (lambda: pf.ConditionalFlowDensity(**QUICK).fit(X, X[:5, 0]), "inconsistent numbers of samples"),
        (lambda: pf.ConditionalFlowDensity(**QUICK).fit(X, X).score_samples(X, X[:, 0]), "1 targets, but it had 2"),
    ],
)
def test_wrong_use_is_refused_with_a_sentence(attempt, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        attempt()


@pytest.mark.slow
def test_without_scikit_learn_the_rest_works() -> None:
    code = """
import sys; sys.modules["sklearn"] = None
import pushforward as pf
pf.maf(2)
for name in ("FlowDensity", "FlowRegressor", "FlowOutlier"):
    try: getattr(pf, name)
    except ImportError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needs = "needs scikit-learn 1.6 or newer: pip install 'pushforward[sklearn]'"
    assert done.stdout.splitlines() == [f"{name} {needs}" for name in ("FlowDensity", "FlowRegressor", "FlowOutlier")]


def test_variants_of_a_flow_learn_at_the_rate_of_their_family():
    rates = {name: learning_rate(name) for name in FLOWS}
    assert rates["maf"] == rates["maf-linear"] == rates["nsf"] == rates["nsf-coupling"] == rates["nsf-linear"] == 3e-3
    assert rates["realnvp"] == learning_rate("glow") == 1e-3


def table_with_text(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    kind = rng.choice(["low", "high"], rows, p=[0.7, 0.3])
    return pd.DataFrame({"kind": kind, "x": rng.normal(size=rows) + 5 * (kind == "high")})


@pytest.mark.slow
def test_frames_with_text_are_tables() -> None:
    frame = table_with_text()
    model = pf.FlowDensity(**{**QUICK, "steps": 100}).fit(frame)
    assert model.feature_names_in_.tolist() == ["kind", "x"]
    assert model.score_samples(frame).shape == (300,)
    drawn = model.sample(400)
    assert isinstance(drawn, pd.DataFrame)
    assert drawn.groupby("kind")["x"].mean().diff().abs().max() > 3
    assert np.isfinite(cross_val_score(pf.FlowDensity(**QUICK), frame, cv=2)).all()
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame.rename(columns={"x": "z"}))


def test_targets_given_frames_with_text() -> None:
    frame = table_with_text()
    model = pf.ConditionalFlowDensity(**QUICK).fit(frame[["kind"]], frame["x"])
    draws = model.sample(frame[["kind"]][:10], n=200)
    assert draws.shape == (200, 10)
    assert np.corrcoef(draws.mean(0), frame["kind"][:10] == "high")[0, 1] > 0.9
    assert model.score(frame[["kind"]], frame["x"]) == pytest.approx(
        model.score_samples(frame[["kind"]], frame["x"]).mean()
    )
    arrow = pa.Table.from_pandas(frame[["kind"]])
    other = pf.ConditionalFlowDensity(**{**QUICK, "steps": 1}, validation=0, random_state=2**40).fit(arrow, frame["x"])
    assert other.sample(arrow[:10], n=3).shape == (3, 10)


@pytest.mark.slow
def test_weights_of_rows() -> None:
    x = np.concatenate([RNG.normal(size=200), 10 + RNG.normal(size=100)])[:, None]
    weights = np.where(x[:, 0] > 5, 4.0, 1.0)
    quick = {**QUICK, "steps": 60}
    plain, weighted = pf.FlowDensity(**quick).fit(x), pf.FlowDensity(**quick).fit(x, sample_weight=weights)
    assert (weighted.sample(2000) > 5).mean() > (plain.sample(2000) > 5).mean() + 0.15
    assert plain.score(x, sample_weight=weights) == pytest.approx(np.average(plain.score_samples(x), weights=weights))
    frame = table_with_text()
    heavy = pf.FlowDensity(**quick).fit(frame, sample_weight=np.where(frame["kind"] == "high", 8.0, 1.0))
    assert (heavy.sample(1000)["kind"] == "high").mean() > 0.4
    with pytest.raises(ValueError, match="'kind' is constant"):  # held-out rows of weight 0 decide nothing either
        pf.FlowDensity(**quick).fit(frame, sample_weight=frame["kind"] == "low")
    with pytest.raises(ValueError, match="Negative values"):
        pf.FlowDensity(**QUICK).fit(x, sample_weight=-weights)
