"""p(y | X) as scikit-learn's regressors and classifiers: a prediction, and all of its distribution."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from ..errors import refuse
from ..tables.density import TableDensity
from ..tables.io.frames import from_frame
from ..tables.queries.column_distribution import ColumnDistribution, only_column
from ..tables.queries.predict import central_level, probabilities
from ..tables.schema.reading import OTHER
from .estimator import is_frame, seed_of

LEAST_ROWS = 10
SHAPES = ("layers", "hidden")  # of flows of numbers


@dataclass(eq=False, repr=False)
class Predictor(BaseEstimator):
    """What both share: parameters, X as frames or arrays, and the fit of one column given the others."""

    flow: str = "auto"
    _: KW_ONLY
    members: int | str = "auto"
    layers: int | None = None
    hidden: Sequence[int] | None = None
    epochs: int | None = None
    steps: int | None = None
    budget: float | str | None = None
    validation: float = 0.1
    device: str = "auto"
    random_state: Any = 0

    def _learn(self, X: Any, y: pl.Series, option: str) -> None:
        """Fits p(y | X), with y as numbers or as categories by the name of that option."""
        frame = self._framed(X).with_columns(y)
        options = self.get_params() | {"random_state": seed_of(self.random_state), option: [y.name]}
        validation = options.pop("validation")
        table = TableDensity(**options, columns=[y.name], given=self._names, queries=False)
        self.table_ = table.fit(frame, validation=validation)
        self.table_.density.double()  # so that a row's prediction is the same alone and among others

    def _target(self, X: Any, y: Any) -> NDArray[Any]:
        """y as one column of as many values as X has rows; X is looked at for the first time."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if is_frame(X):
            validate_data(self, X, skip_check_array=True)
            self._names = [str(name) for name in from_frame(X, "X")[0].columns]
        else:
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=LEAST_ROWS)
            self._names = [f"x{j}" for j in range(X.shape[1])]
        assert_all_finite(y := _aligned(X, y), input_name="y")
        return y

    def _series(self, y: Any, kind: type) -> pl.Series:
        """Values of y, under a name that no column of X has."""
        name = "y" if "y" not in self._names else "target of " + "".join(self._names)
        return pl.Series(name, np.asarray(y, dtype=kind))

    def _framed(self, X: Any) -> pl.DataFrame:
        """X as a frame with the names of the fit; columns of an array by their places."""
        if is_frame(X):
            validate_data(self, X, reset=False, skip_check_array=True)
            return from_frame(X, "X")[0].select(self._names)
        return pl.DataFrame(validate_data(self, X, dtype=np.float64, reset=False), schema=self._names)

    def _distribution(self, X: Any) -> ColumnDistribution:
        """p(y | x) of every row; NaN given what no training row had, of which it warns."""
        check_is_fitted(self)
        context, strange, notes = self.table_.schema.context(self._framed(X), "X")
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=3)
        return only_column(self.table_, context, strange)


def _aligned(X: Any, y: Any) -> NDArray[Any]:
    """y as one column of as many values as X has rows."""
    y = column_or_1d(y, warn=True)
    check_consistent_length(X, y)
    return y


class FlowRegressor(RegressorMixin, Predictor):
    """p(y | X) for a number y: its mean, any quantile, an interval that holds its level, and its density.

    X is a frame as it comes (text, dates, truth values, missing cells) or an array of numbers. The density is that of
    ``TableDensity(columns=["y"], given=X)``: an average of flows, mixtures and densities given what boosted trees
    predict, weighted by how well they do on rows that they did not see. Rows with a category that no training row had,
    or a missing cell where none was, have no answer, NaN, with a warning.

    Args:
        flow, members: As for :class:`~pushforward.TableDensity`.
        layers, hidden: The flow's layers, and widths of its hidden layers.
        epochs, steps, budget: How long to train, at most one of them.
        validation: The fraction of the rows used for early stopping; as many again are held out.
        device: ``cpu``, ``cuda`` or ``auto``.
        random_state: Fixes the result: an int, a ``RandomState``, or None for a different result each time.

    Attributes:
        table_: The fitted :class:`~pushforward.TableDensity`.
        n_features_in_: Number of columns of X.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 1))
        >>> y = 2 * X[:, 0] + rng.normal(size=200)
        >>> model = pf.FlowRegressor("gmm").fit(X, y)
        >>> model.predict([[1.0], [2.0]]).round()
        array([2., 4.])
        >>> model.predict_interval([[0.0]], level=0.9).shape
        (1, 2)
    """

    def fit(self, X: Any, y: ArrayLike) -> FlowRegressor:
        """Fits the distribution of y, of shape ``(n,)``, given the rows of X.

        Raises:
            ValueError: there are fewer than 10 rows, y is constant or not finite, or a parameter does not fit.
        """
        self._learn(X, self._series(self._target(X, y), float), "numbers")
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The mean of y in every row, ``(n,)``."""
        return self._distribution(X).mean().numpy()

    def predict_quantile(self, X: Any, q: float | Sequence[float] = 0.5) -> NDArray[np.float64]:
        """Quantiles of y: ``(n,)`` for a probability q, ``(n, len(q))`` for several."""
        found = self._distribution(X).quantile(probabilities(q)).numpy()
        return found if np.ndim(q) else found[:, 0]

    def predict_interval(self, X: Any, level: float = 0.9) -> NDArray[np.float64]:
        """The ends of an interval that holds y with a probability of ``level``, ``(n, 2)``, calibrated by rows that
        the model did not see; it warns if these are too few for this level.

        Raises:
            ValueError: ``level`` is no probability.
        """
        found = self._distribution(X)
        central, notes = central_level(self.table_, found.column.name, (), level, self.table_.seed)
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        return found.quantile([0.5 - 0.5 * central, 0.5 + 0.5 * central]).numpy()

    def score_samples(self, X: Any, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """log p(y | x) of every row in nats, ``(n,)``, whatever the other rows; without y, of its predicted median."""
        check_is_fitted(self)
        values = self._series(self.predict_quantile(X) if y is None else _aligned(X, y), float)
        return self.table_.score_samples(self._framed(X).with_columns(values))


class FlowClassifier(ClassifierMixin, Predictor):
    """p(y | X) for a class y: the probability of each.

    X is a frame as it comes or an array of numbers; parameters and attributes are those of :class:`FlowRegressor`, but
    ``layers`` and ``hidden``, which shape flows of numbers, are refused.

    Attributes:
        classes_: The classes, in the order of the columns of :meth:`predict_proba`.
        class_prior_: The share of each among the rows.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> X = np.random.default_rng(0).normal(size=(200, 1))
        >>> model = pf.FlowClassifier("nsf", steps=50).fit(X, np.where(X[:, 0] > 0, "yes", "no"))
        >>> model.predict([[-2.0], [2.0]]).tolist()
        ['no', 'yes']
    """

    def fit(self, X: Any, y: ArrayLike) -> FlowClassifier:
        """Fits the probabilities of the classes y, of shape ``(n,)``, given the rows of X.

        Raises:
            ValueError: there are fewer than 10 rows or two classes, or a parameter does not fit.
        """
        refuse("shapes flows of numbers, but classes are learnt by networks", {k: getattr(self, k) for k in SHAPES})
        target = self._target(X, y)
        check_classification_targets(target)
        self.classes_, codes, counts = np.unique(target, return_inverse=True, return_counts=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}; a classifier needs at least two classes")
        self.class_prior_ = counts / len(target)
        self._learn(X, self._series(codes, str), "categories")
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class in every row, ``(n, classes)``."""
        found, other = self._distribution(X), torch.tensor(self.class_prior_)
        order, shares = [int(name) for name in found.column.kind.labels if name != OTHER], found.probabilities.double()
        other[order] = 0  # the rarest of many classes share a probability, in proportion to their rows
        rest = shares[:, len(order) :].sum(1, keepdim=True) * other / other.sum().clamp_min(1e-300)
        return rest.index_copy(1, torch.tensor(order), shares[:, : len(order)]).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of every row, ``(n,)``; the commonest one given what no training row had."""
        check_is_fitted(self)
        found = self.predict_proba(X)
        return self.classes_[np.where(np.isnan(found), self.class_prior_, found).argmax(1)]  # type: ignore[no-any-return]

    def score_samples(self, X: Any, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """log p(y | x) of every row in nats, ``(n,)``, whatever the other rows; without y, of the likeliest class.

        -inf for a class that was not in the fit.
        """
        log_p = np.log(self.predict_proba(X))
        if y is None:
            return log_p.max(1)
        own = _aligned(X, y)[:, None] == self.classes_
        return np.where(own, log_p, -np.inf).max(1)  # type: ignore[no-any-return]
