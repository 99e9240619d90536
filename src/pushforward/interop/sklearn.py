"""Flows as scikit-learn estimators, for pipelines, grid searches and joblib. An extra: ``pushforward[sklearn]``."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..tables.io.frames import from_frame
from ..tables.queries.column_distribution import has_one_column, only_column
from .estimator import FlowEstimator, as_tensor, checked_weights, seed_of, table_with_text

DRAWS = 1000


class FlowDensity(FlowEstimator):
    """A normalizing flow as a scikit-learn density estimator, like ``KernelDensity`` and ``GaussianMixture``.

    Columns are standardised internally; log-densities are in nats, in the units of X. All columns of an array are
    treated as continuous. A frame that holds text is treated as a table, as in :class:`~pushforward.TableDensity`:
    whole and rounded numbers are cells, text is categories, and samples are frames.

    Args:
        flow: ``nsf``, ``nsf-coupling``, ``nsf-linear``, ``maf``, ``maf-linear``, ``iaf``, ``realnvp``, ``ffjord``,
            ``bnaf`` or ``residual``;
            ``gmm``, a mixture of Gaussians; or ``auto``, an average of flows and mixtures, best for few rows.
        layers: Number of layers of the flow; None for the recipe's default.
        hidden: Widths of the hidden layers.
        epochs: Passes over the rows. Without ``epochs`` and ``steps``, until it has converged; choose few if many fits
            are compared.
        steps: Number of batches to train on.
        batch_size: Number of rows in a batch.
        lr: The learning rate; by default 3e-3 for splines, 1e-3 for the others.
        validation: The fraction of the rows held out to choose the best weights.
        patience: Validations without an improvement after which training stops.
        device: ``cpu``, ``cuda`` or ``auto``. The fitted flow is on the CPU.
        random_state: Fixes the result: an int, a ``RandomState``, or None for a different result each time.
        members: How many flows are averaged, each with a different part of the rows left out of its training, which is
            used for early stopping; ``auto`` is 5 if the flow is ``auto``, and 1 otherwise.
        encoder: For ConditionalFlowDensity: a module that maps each X, of any shape and not standardised, to context
            features for the flow, such as :class:`~pushforward.nets.DeepSet`. A copy of it is trained.

    Attributes:
        flow_: The fitted :class:`~pushforward.Flow`, in the units of X, in float64.
        table_: The fitted :class:`~pushforward.TableDensity` if X holds text, else None.
        history_: The records of the training.
        n_features_in_: Number of columns of X.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> pf.FlowDensity("maf", steps=10).fit(X).score_samples(X).shape
        (200,)
    """

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> FlowDensity:
        """Fits the density of the rows of X, weighted by ``sample_weight``; y is ignored.

        Raises:
            ValueError: X is no finite table with at least 4 rows, a column is constant, or a parameter does not fit.
        """
        found = table_with_text(X)
        if found is not None:
            validate_data(self, X, skip_check_array=True)
            self._train_table(*found, (), checked_weights(sample_weight, found[0]))
            return self
        x = as_tensor(validate_data(self, X, dtype=np.float64, ensure_min_samples=4))
        self._train(x, None, checked_weights(sample_weight, x))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """log p(x) of every row, in nats, of shape ``(n,)``."""
        check_is_fitted(self)
        if self.table_ is not None:
            validate_data(self, X, reset=False, skip_check_array=True)
            return self.table_.score_samples(X)
        return self._log_prob(as_tensor(validate_data(self, X, dtype=np.float64, reset=False)), None)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """The mean log-likelihood of the rows of X, in nats."""
        values = self.score_samples(X)
        return float(np.average(values, weights=checked_weights(sample_weight, values)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Rows drawn from the density, of shape ``(n_samples, features)``; a frame if the fitted table holds text.

        Without a ``random_state``, each call draws others.
        """
        check_is_fitted(self)
        if self.table_ is not None:
            return self.table_.sample(n_samples, random_state=seed_of(random_state))
        generator = torch.Generator().manual_seed(seed_of(random_state))
        return self.flow_.sample((n_samples,), generator=generator).numpy()


class ConditionalFlowDensity(FlowEstimator):
    """p(y | X) by a conditional normalizing flow: a full predictive distribution, not a regressor's single number.

    The parameters are those of :class:`FlowDensity`. Log-densities are in nats, in the units of y.

    Attributes:
        flow_: The fitted flow over y, in y's own units, in float64; its context is X standardised.
        history_: The records of the training.
        n_features_in_: Number of columns of X.
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> ConditionalFlowDensity:
        """Fits the density of y, of shape ``(n,)`` or ``(n, targets)``, given the rows of X.

        X may be a frame that holds text; y is then treated like the columns of a :class:`~pushforward.TableDensity`.

        Raises:
            ValueError: X or y is not finite, they have different lengths, y is constant, or a parameter does not fit.
        """
        found = table_with_text(X)
        if found is not None:
            validate_data(self, X, skip_check_array=True)
            frame, kind = self._joined(found[0], y), found[1]
            self.single_target_ = np.ndim(y) == 1
            self._train_table(frame, kind, found[0].columns, checked_weights(sample_weight, frame))
            return self
        x, targets, self.single_target_ = self._pair(X, y, ensure_min_samples=4)
        self.context_mean_ = x.mean(0)
        spread = x.std(0)
        self.context_scale_ = torch.where(spread > 0, spread, 1.0)  # a constant column is uninformative but harmless
        self._train(targets, self._context(x), checked_weights(sample_weight, x))
        return self

    def score_samples(self, X: Any, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """log p(y | x) of every row, in nats, of shape ``(n,)``; without y, of its predicted mean."""
        check_is_fitted(self)
        y = self.predict(X) if y is None else y
        if self.table_ is not None:
            validate_data(self, X, reset=False, skip_check_array=True)
            return self.table_.score_samples(self._joined(from_frame(X, "X")[0], y))
        x, targets, _ = self._pair(X, y, reset=False)
        if targets.shape[1] != self.flow_.event_shape[0]:
            raise ValueError(f"y has {targets.shape[1]} targets, but it had {self.flow_.event_shape[0]} when fitted")
        return self._log_prob(targets, self._context(x))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The mean of log p(y | x) over the rows, in nats."""
        values = self.score_samples(X, y)
        return float(np.average(values, weights=checked_weights(sample_weight, values)))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The mean of y in every row, NaN given what no training row had: ``(n,)``, or ``(n, targets)`` if y had two
        dimensions; of several targets, from DRAWS draws."""
        check_is_fitted(self)
        if self.table_ is not None and has_one_column(self.table_):
            context, strange, _ = self.table_.schema.context(from_frame(X, "X")[0], "X")
            mean = only_column(self.table_, context, strange).mean().numpy()[:, None]
        elif self.table_ is None and self.flow_.event_shape == (1,):
            rows = as_tensor(validate_data(self, X, dtype=np.float64, reset=False, **self._shapes()))
            parts = [self.flow_.quadrature(part) for part in self._context(rows).split(1024)]
            mean = torch.cat([(y[..., 0] * weight).sum(0) for y, weight in parts]).numpy()[:, None]
        else:
            draws = self.sample(X, DRAWS, random_state=0)
            mean = draws.mean(0).reshape(draws.shape[1], -1)
        return mean[:, 0] if self.single_target_ else mean

    def sample(self, X: Any, n: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """n draws of y for every row of X: ``(n, rows)``, or ``(n, rows, targets)`` if y had two dimensions.

        Without a ``random_state``, each call draws others.
        """
        check_is_fitted(self)
        if self.table_ is not None:
            given = from_frame(X, "X")[0].select(self.table_.schema.given_names)
            drawn = self.table_.sample(n, given, seed_of(random_state))  # a frame of the kind of X
            rows = from_frame(drawn)[0].select(self.table_.schema.names)
            draws = rows.to_numpy().reshape(given.height, n, -1).swapaxes(0, 1)
        else:
            x = as_tensor(validate_data(self, X, dtype=np.float64, reset=False, **self._shapes()))
            generator = torch.Generator().manual_seed(seed_of(random_state))
            draws = self.flow_.sample((n,), self._context(x), generator=generator).numpy()
        return draws[..., 0] if self.single_target_ else draws

    @staticmethod
    def _joined(frame: pl.DataFrame, y: Any) -> pl.DataFrame:
        """A table of X and y, with y's columns named y1, y2, …, or as none of X is."""
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if len(targets) != frame.height:
            raise ValueError(f"y has {len(targets)} rows, but X has {frame.height}")
        names = [f"y{j}" for j in range(1, targets.shape[1] + 1)]
        stem = f"target of {' '.join(frame.columns)}: " if {*names} & {*frame.columns} else ""
        return frame.with_columns(pl.Series(stem + name, y) for name, y in zip(names, targets.T, strict=True))

    def _pair(self, X: ArrayLike, y: ArrayLike, **options: Any) -> tuple[Tensor, Tensor, bool]:
        """Checked rows of shape (n, features), targets of shape (n, targets), and whether y had one dimension."""
        options |= self._shapes()
        rows, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, **options)
        return as_tensor(rows), as_tensor(targets).reshape(len(rows), -1), targets.ndim == 1

    def _shapes(self) -> dict[str, Any]:
        """What X may be if there is an encoder: with more dimensions, and with NaN if the encoder can handle it."""
        if self.encoder is None:
            return {}
        holes = getattr(self.encoder, "takes_missing", False)
        return {"allow_nd": True, "ensure_all_finite": "allow-nan" if holes else True}

    def _context(self, x: Tensor) -> Tensor:
        return x if self.encoder is not None else (x - self.context_mean_) / self.context_scale_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
