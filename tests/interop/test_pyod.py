"""PyOD's own contract of a detector (its ``test_iforest.py`` and the like), and its combinations of detectors."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyod")
from pyod.models.feature_bagging import FeatureBagging
from pyod.models.lscp import LSCP
from pyod.utils.data import generate_data
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

import pushforward as pf
from pushforward.interop.pyod import FlowOD

ROWS, SHARE = 200, 0.1


@pytest.fixture(scope="module")
def data() -> Any:
    return generate_data(n_train=ROWS, n_test=100, contamination=SHARE, random_state=42)


@pytest.fixture(scope="module")
def detector(data) -> FlowOD:
    return FlowOD(contamination=SHARE, flow="gmm").fit(data[0])


def test_it_takes_what_the_estimator_takes() -> None:
    assert inspect.signature(FlowOD).parameters.keys() == inspect.signature(pf.FlowOutlier).parameters.keys()
    assert FlowOD().get_params() == pf.FlowOutlier().get_params()
    assert clone(FlowOD(trim=0.1)).trim == 0.1


def test_what_a_fit_leaves(detector: FlowOD, data) -> None:
    assert len(detector.decision_scores_) == len(detector.labels_) == ROWS
    assert detector.labels_.sum() == pytest.approx(SHARE * ROWS, abs=1)
    assert (detector.decision_scores_ > detector.threshold_).sum() == detector.labels_.sum()
    assert detector._mu == pytest.approx(detector.decision_scores_.mean())
    np.testing.assert_allclose(detector.decision_function(data[0]), detector.decision_scores_)


def test_scores_labels_and_ranks_of_new_rows(detector: FlowOD, data) -> None:
    X, y = data[1], data[3]
    scores = detector.decision_function(X)
    assert scores.shape == (100,)
    assert roc_auc_score(y, scores) > 0.9
    labels = detector.predict(X)
    assert set(labels) == {0, 1}
    assert np.array_equal(labels, scores > detector.threshold_)
    assert bool((np.diff(detector._predict_rank(X)[np.argsort(scores)]) >= 0).all())
    assert detector._predict_rank(X, normalized=True).max() <= 1


@pytest.mark.parametrize("method", ["linear", "unify"])
def test_probabilities_and_confidence(detector: FlowOD, data, method: str) -> None:
    chances, sure = detector.predict_proba(data[1], method=method, return_confidence=True)
    assert chances.shape == (100, 2)
    assert 0 <= chances.min() <= chances.max() <= 1
    np.testing.assert_allclose(chances.sum(1), 1)
    assert sure.shape == (100,)
    assert 0 <= sure.min() <= sure.max() <= 1
    with pytest.raises(ValueError, match="something"):
        detector.predict_proba(data[1], method="something")


def test_confidence_and_rejection(detector: FlowOD, data) -> None:
    labels, sure = detector.predict(data[1], return_confidence=True)
    np.testing.assert_allclose(detector.predict_confidence(data[1]), sure)
    assert set(detector.predict_with_rejection(data[1], return_stats=False, c_r=0.1)) <= {-2, 0, 1}
    judged, (rate, upper, cost) = detector.predict_with_rejection(data[1], return_stats=True, c_r=0.1)
    assert len(judged) == len(labels)
    assert 0 <= rate <= 1
    assert 0 <= upper <= 1
    assert cost >= 0


@pytest.mark.filterwarnings("ignore:Function fit_predict:FutureWarning")
def test_older_ways_to_fit_and_judge(data) -> None:
    fresh = FlowOD(contamination=SHARE, flow="gmm")
    assert set(fresh.fit_predict(data[0])) == {0, 1}
    for scoring in ("roc_auc_score", "prc_n_score"):
        assert fresh.fit_predict_score(data[1], data[3], scoring=scoring) > 0.8


def test_what_is_no_table_is_refused(detector: FlowOD) -> None:
    with pytest.raises(ValueError, match="contamination"):
        FlowOD(contamination=0.7)
    with pytest.raises(ValueError, match="features"):
        detector.decision_function(np.zeros((2, 5)))


def test_combinations_of_detectors(data) -> None:
    combined = [
        LSCP([FlowOD(flow="gmm"), FlowOD(flow="gmm", random_state=1)], n_bins=2, random_state=0),
        FeatureBagging(FlowOD(flow="gmm"), n_estimators=2, random_state=0, contamination=SHARE),
    ]
    for ensemble in combined:
        scores = ensemble.fit(data[0]).decision_function(data[1])
        assert roc_auc_score(data[3], scores) > 0.9


def test_it_is_accelerated_by_suod(data) -> None:
    suod = pytest.importorskip("suod")
    del suod
    from pyod.models.suod import SUOD

    plain = {"rp_flag_global": False, "bps_flag": False, "approx_flag_global": False}
    ensemble = SUOD([FlowOD(flow="gmm"), FlowOD(flow="gmm", trim=0.1)], combination="average", verbose=False, **plain)
    assert roc_auc_score(data[3], ensemble.fit(data[0]).decision_function(data[1])) > 0.9
