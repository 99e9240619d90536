"""Regressors and classifiers of p(y | X): the estimator contract, frames, and what is said of fresh rows."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import pushforward as pf

QUICK = {"flow": "nsf", "steps": 60}


@parametrize_with_checks([pf.FlowRegressor("gmm", members=2), pf.FlowClassifier(**{**QUICK, "steps": 25})])
def test_the_estimator_contract(estimator, check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which asks how it behaves, not how well it predicts: mixtures are of one or three."""
    monkeypatch.setattr("pushforward.tables.selection.cross_fitting.SIZES", (1, 3))
    check(estimator)


def rows(n: int, seed: int) -> pd.DataFrame:
    """Text, holes, a date and a constant beside a number."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n), "kind": rng.choice(["a", "b"], n), "same": "always"})
    frame["holed"] = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D")
    return frame


def amounts(frame: pd.DataFrame, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=len(frame))
    return (frame["x"] + np.where(frame["kind"] == "a", 2.0, 0.5) * noise).to_numpy()


X, FRESH = rows(400, 0), rows(400, 1)
Y, NEW = amounts(X, 2), amounts(FRESH, 3)


@pytest.fixture(scope="module")
def regressor() -> pf.FlowRegressor:
    return pf.FlowRegressor("gmm").fit(X, Y)


@pytest.fixture(scope="module")
def classifier() -> pf.FlowClassifier:
    return pf.FlowClassifier(**QUICK).fit(X, np.where(Y > 0, "high", "low"))


def test_a_frame_is_taken_as_it_comes(regressor: pf.FlowRegressor) -> None:
    assert regressor.feature_names_in_.tolist() == X.columns.tolist()
    assert regressor.score(FRESH, NEW) > 0.2
    polars = pl.from_pandas(FRESH)
    np.testing.assert_allclose(regressor.predict(polars), regressor.predict(FRESH))


def test_quantiles_and_intervals_hold_their_level_on_fresh_rows(regressor: pf.FlowRegressor) -> None:
    for q in (0.1, 0.5, 0.8):
        assert np.mean(regressor.predict_quantile(FRESH, q) >= NEW) == pytest.approx(q, abs=0.06)
    assert regressor.predict_quantile(FRESH, [0.2, 0.7]).shape == (400, 2)
    for level in (0.5, 0.9):
        low, high = regressor.predict_interval(FRESH, level).T
        assert np.mean((low <= NEW) & (high >= NEW)) == pytest.approx(level, abs=0.08)
    wide = (FRESH["kind"] == "a").to_numpy()
    assert (high - low)[wide].mean() > 2 * (high - low)[~wide].mean()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_levels_that_cannot_be(regressor: pf.FlowRegressor, level: float) -> None:
    with pytest.raises(ValueError, match=f"{level}"):
        regressor.predict_interval(FRESH[:2], level)


def test_a_level_beyond_the_rows_that_calibrate_it_is_the_models_own(regressor: pf.FlowRegressor) -> None:
    with pytest.warns(UserWarning, match=r"0\.9999"):
        found = regressor.predict_interval(FRESH[:2], 0.9999)
    assert found == pytest.approx(regressor.predict_quantile(FRESH[:2], [0.00005, 0.99995]))


def test_intervals_of_a_coarse_fit_are_wide_enough() -> None:
    """A flow of a few steps knows little: what rows that it did not see say, widens its intervals."""
    model = pf.FlowRegressor("nsf", layers=1, hidden=(16,), steps=3, validation=0.3).fit(X, 5 * Y)
    low, high = model.predict_interval(FRESH).T
    assert np.mean((low <= 5 * NEW) & (high >= 5 * NEW)) > 0.84


def test_probabilities_of_classes(classifier: pf.FlowClassifier) -> None:
    p, truth = classifier.predict_proba(FRESH), np.where(NEW > 0, "high", "low")
    np.testing.assert_allclose(p.sum(1), 1)
    assert classifier.classes_.tolist() == ["high", "low"]
    assert classifier.score(FRESH, truth) > 0.65
    assert p[:, 0].mean() == pytest.approx((truth == "high").mean(), abs=0.08)
    log_p = classifier.score_samples(FRESH, truth)
    np.testing.assert_allclose(np.exp(log_p), np.where(truth == "high", *p.T))
    assert classifier.score_samples(FRESH[:1], ["other"])[0] == -np.inf


def test_what_no_training_row_had_has_no_answer_and_is_told(regressor, classifier) -> None:
    odd = FRESH[:3].assign(kind=["a", "new", None])
    for answer in (regressor.predict, regressor.predict_interval, classifier.predict_proba):
        with pytest.warns(UserWarning, match=r"'kind', row 2 \(and 1 more row like it\): 'new' was not among"):
            found = answer(odd).reshape(3, -1)
        assert np.isnan(found).all(1).tolist() == [False, True, True]
    with pytest.warns(UserWarning, match="'new' was not among"):
        assert classifier.predict(odd)[1:].tolist() == ["high" if (Y > 0).mean() > 0.5 else "low"] * 2


def test_a_score_takes_one_value_of_y_for_each_row(regressor, classifier) -> None:
    for model, y in ((regressor, NEW[:4]), (classifier, np.where(NEW[:4] > 0, "high", "low"))):
        with pytest.warns(UserWarning, match="column-vector"):
            found = model.score_samples(FRESH[:4], y[:, None])
        np.testing.assert_allclose(found, model.score_samples(FRESH[:4], y))
        for wrong in (y[:1], y[:3]):
            with pytest.raises(ValueError, match="inconsistent numbers of samples"):
                model.score_samples(FRESH[:4], wrong)


@pytest.mark.slow
def test_columns_of_x_may_be_called_like_those_of_y() -> None:
    given, y = X[:60][["x", "kind"]].rename(columns={"x": "y1"}), np.column_stack([Y, 3 - Y**2])[:60]
    schema = pf.ConditionalFlowDensity("gmm").fit(given, y).table_.schema
    assert (schema.given_names, len(schema.names)) == (["y1", "kind"], 2)


def test_a_score_does_not_depend_on_the_other_rows(regressor, classifier) -> None:
    for model, y in ((regressor, NEW), (classifier, np.where(NEW > 0, "high", "low"))):
        together = model.score_samples(FRESH, y)
        alone = [model.score_samples(FRESH[k : k + 1], y[k : k + 1])[0] for k in range(5)]
        np.testing.assert_allclose(together[:5], alone, rtol=1e-9)


def test_densities_integrate_to_one(regressor: pf.FlowRegressor) -> None:
    grid = np.linspace(-15, 15, 2001)
    same = FRESH.iloc[[0]].loc[lambda frame: frame.index.repeat(len(grid))]
    assert np.trapezoid(np.exp(regressor.score_samples(same, grid)), grid) == pytest.approx(1, abs=0.01)


def test_clones_and_pickles(regressor: pf.FlowRegressor, classifier: pf.FlowClassifier) -> None:
    for model in (regressor, classifier):
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.predict(FRESH), model.predict(FRESH))
        assert clone(model).get_params() == model.get_params()


@pytest.mark.slow
def test_pipelines_searches_and_transformed_targets() -> None:
    numbers, positive = X[["x"]].to_numpy(), np.exp(0.3 * Y)
    pipeline = make_pipeline(StandardScaler(), pf.FlowRegressor("gmm"))
    assert np.isfinite(cross_val_score(pipeline, numbers, Y, cv=2)).all()
    search = GridSearchCV(pf.FlowClassifier(**QUICK), {"steps": [1, 60]}, scoring="neg_log_loss", cv=2)
    assert search.fit(numbers, Y > 0).best_params_ == {"steps": 60}
    logs = TransformedTargetRegressor(pf.FlowRegressor("gmm"), func=np.log, inverse_func=np.exp).fit(numbers, positive)
    assert (logs.predict(numbers) > 0).all()


def test_the_rarest_of_many_classes_share_a_probability() -> None:
    names = np.repeat(np.arange(220), np.where(np.arange(220) < 180, 4, 1))
    numbers = (names % 2)[:, None] + np.random.default_rng(0).normal(size=(len(names), 1))
    model = pf.FlowClassifier("nsf", steps=1).fit(numbers, names)
    found = model.predict_proba(numbers[:5])
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found > 0).all()
    assert found[:, 180:].sum(1).mean() == pytest.approx(40 / len(names), abs=0.02)
    assert model.class_prior_.sum() == pytest.approx(1)


def test_what_shapes_no_classifier_is_refused() -> None:
    for shape in ({"layers": 2}, {"hidden": (8,)}, {"layers": np.int64(2)}, {"hidden": np.array([8, 8])}):
        with pytest.raises(ValueError, match="shapes flows of numbers"):
            pf.FlowClassifier("nsf", steps=1, **shape).fit(X[["x"]].to_numpy(), Y > 0)


@pytest.mark.slow
def test_a_conditional_density_predicts_its_mean() -> None:
    options = {"flow": "maf", "layers": 1, "hidden": (32,), "steps": 150, "lr": 0.02}
    numbers = X[["x"]].to_numpy()
    one = pf.ConditionalFlowDensity(**options).fit(numbers, Y)
    np.testing.assert_allclose(one.predict(numbers[:5]), one.sample(numbers[:5], 20_000, 0).mean(0), atol=0.06)
    two = pf.ConditionalFlowDensity(**options).fit(numbers, np.column_stack([Y, 3 - Y]))
    assert two.predict(numbers).shape == (400, 2)
    text = pf.ConditionalFlowDensity(**{**options, "steps": 5}).fit(X[["x", "kind"]], Y)
    assert text.predict(X[["x", "kind"]]).shape == (400,)
