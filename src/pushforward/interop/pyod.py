"""Outliers by density as a detector of PyOD, for its combinations and benchmarks. Needs pyod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyod.models.base import BaseDetector
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .outliers import FlowOutlier, OutlierOptions


@dataclass(eq=False, repr=False)
class FlowOD(OutlierOptions, BaseDetector):  # type: ignore[misc]  # pyod is untyped
    """:class:`~pushforward.FlowOutlier` with PyOD's interface: higher scores are more unusual, labels are 0 and 1.

    Its parameters are those of :class:`~pushforward.FlowOutlier`.

    Attributes:
        detector_: The fitted :class:`~pushforward.FlowOutlier`.
        decision_scores_: The score of every training row, from fits that did not see it.
        threshold_: The score above which a row is labelled 1.
        labels_: The labels of the training rows.

    Reference:
        Zhao, Nasrullah, Li (2019), PyOD: A Python toolbox for scalable outlier detection, arXiv:1901.01588.

    Example:
        >>> FlowOD(contamination=0.05).fit(X).predict_proba(X)  # doctest: +SKIP
    """

    def __post_init__(self) -> None:
        BaseDetector.__init__(self, contamination=self.contamination)

    def fit(self, X: ArrayLike, y: Any = None) -> FlowOD:
        """Learns from the rows of X what is ordinary; y is ignored.

        Raises:
            ValueError: X is no finite table with at least 4 different rows, or a parameter does not fit.
        """
        X = check_array(X)
        self._set_n_classes(y)
        self.detector_ = FlowOutlier(**self.get_params()).fit(X)
        self.decision_scores_ = -self.detector_.decision_scores_
        self._process_decision_scores()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The score of every row, -log of a probability; higher is more unusual. ``(n,)``."""
        check_is_fitted(self, "detector_")
        return -self.detector_.score_samples(check_array(X))
