"""Flows as scikit-learn estimators, for pipelines, grid searches and joblib. An extra: ``pushforward[sklearn]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..models.console import Console
from ..recipes.by_name import flow_by_name, learning_rate
from ..tables.density import TableDensity
from ..tables.formats.frames import from_frame
from ..tables.read import WEIGHTS, Read, read_any
from ..tables.sample import draw
from ..training.averages import fit_by_name, wants_average
from ..training.fit import fit as train
from ..transforms.compose import Compose
from ..transforms.normalization import Standardize

try:
    from sklearn.base import BaseEstimator, DensityMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError:
    raise ImportError(
        "FlowDensity and ConditionalFlowDensity need scikit-learn 1.6 or newer: pip install 'pushforward[sklearn]'"
    ) from None


class _FlowEstimator(DensityMixin, BaseEstimator):
    """The parameters that both estimators share; see :class:`FlowDensity`."""

    flow_: Density
    table_: TableDensity | None
    history_: list[dict[str, Any]]

    def __init__(
        self,
        flow: str = "nsf",
        *,
        layers: int | None = None,
        hidden: Sequence[int] | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 512,
        lr: float | None = None,
        validation: float = 0.1,
        patience: int | None = None,
        device: str = "auto",
        random_state: Any = 0,
        members: int | str = "auto",
    ) -> None:
        self.flow = flow
        self.layers = layers
        self.hidden = hidden
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.validation = validation
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.members = members

    def _train(self, x: Tensor, context: Tensor | None, weights: Tensor | None) -> None:
        """Trains on standardised rows; the flow that is kept takes rows in their own units, in float64."""
        self.table_ = None
        seed = _seed(self.random_state)
        standardize = Standardize(x.mean(0), _scale(x))
        features = 0 if context is None else context.shape[1]
        if wants_average(self.flow, self.members) or self.flow == "auto":
            self.flow_ = Flow(standardize, self._average(standardize(x)[0].float(), context, weights), context=features)
            self.flow_, self.history_ = self.flow_.cpu().double().eval(), []
            return
        flow = flow_by_name(self.flow, x.shape[1], context=features, layers=self.layers, hidden=self.hidden, seed=seed)
        result = train(
            flow,
            standardize(x)[0].float(),
            None if context is None else context.float(),
            weights=weights,
            validation=self.validation,
            epochs=self.epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=learning_rate(self.flow) if self.lr is None else self.lr,
            patience=self.patience,
            seed=seed,
            device=self.device,
            progress=False,
        )
        self.history_ = result.history
        self.flow_ = Flow(Compose([standardize, flow.transform]), flow.base, context=features).cpu().double().eval()

    def _average(self, z: Tensor, context: Tensor | None, weights: Tensor | None) -> Density:
        """The average of densities that ``members``, ``auto`` or ``gmm`` ask for, over standardised rows."""
        plan = {"steps": self.steps, "lr": self.lr, "batch_size": min(self.batch_size, 256), "patience": self.patience}
        return fit_by_name(
            z,
            None if context is None else context.float(),
            flow=self.flow,
            members=self.members,
            layers=self.layers,
            hidden=self.hidden,
            weight=weights,
            plan=plan,
            epochs=self.epochs,
            seed=_seed(self.random_state),
        ).density

    def _train_table(self, frame: pl.DataFrame, kind: str, given: Sequence[str], weights: Any) -> None:
        """The same for a table that holds text: by the objects of tables, with categories beside the numbers."""
        seed = _seed(self.random_state)
        if weights is not None:
            frame = frame.with_columns(pl.Series(WEIGHTS, weights))
        order = np.random.default_rng(seed).permutation(frame.height)
        cut = max(round(self.validation * frame.height), 1)
        table = TableDensity(
            self.flow,
            given=given,
            members=self.members,
            steps=self.steps,
            epochs=self.epochs,
            device=self.device,
            strict=True,
            random_state=seed,
            layers=self.layers,
            hidden=self.hidden,
            batch_size=self.batch_size,
            lr=self.lr,
            patience=self.patience,
        )
        table.options = dataclasses.replace(table.options, weights=None if weights is None else WEIGHTS)
        rows = Read(read_any(frame[np.sort(order[cut:])]).table, None, kind).validated_by(frame[np.sort(order[:cut])])
        self.table_ = table.fit_read(rows, Console(quiet=True), f"{type(self).__name__}({self.flow!r})")
        self.flow_, self.history_ = table.density, table.facts["history"]

    @torch.no_grad()
    def _log_prob(self, x: Tensor, context: Tensor | None) -> NDArray[np.float64]:
        contexts = [None] * len(x) if context is None else context.split(8192)
        parts = [self.flow_(rows, given) for rows, given in zip(x.split(8192), contexts, strict=False)]
        return torch.cat(parts).numpy() if parts else np.zeros(0)


class FlowDensity(_FlowEstimator):
    """A normalizing flow as a scikit-learn density estimator, like ``KernelDensity`` and ``GaussianMixture``.

    Columns are standardised inside; log-densities are in nats, in the units of X. All columns of an array are taken for
    continuous. A frame that holds text is taken as a table, as :class:`~pushforward.TableDensity` does: whole and
    rounded numbers are cells, text is categories, and samples are frames.

    Args:
        flow: ``nsf``, ``nsf-coupling``, ``nsf-linear``, ``maf``, ``maf-linear``, ``iaf``, ``realnvp`` or ``ffjord``;
            ``gmm``, a mixture of Gaussians; or ``auto``, an average of flows and mixtures, best for few rows.
        layers: Layers of the flow; the recipe's default where it is None.
        hidden: Widths of the hidden layers.
        epochs: Passes over the rows. Without ``epochs`` and ``steps``, until it has converged; ask for few where
            many fits are compared.
        steps: Batches to train on.
        batch_size: Rows in a batch.
        lr: The learning rate; without it 3e-3 for splines, 1e-3 for the others.
        validation: The fraction of the rows that tells which weights are best.
        patience: Validations without an improvement after which training stops.
        device: ``cpu``, ``cuda`` or ``auto``. The fitted flow is on the CPU.
        random_state: Fixes the result: an int, a ``RandomState``, or None for a different result each time.
        members: How many flows are averaged, each trained without another part of the rows, which tells when to stop;
            ``auto`` is 5 where the flow is ``auto``, and else 1.

    Attributes:
        flow_: The fitted :class:`~pushforward.Flow`, in the units of X, in float64.
        table_: The fitted :class:`~pushforward.TableDensity` where X holds text, else None.
        history_: The records of the training.
        n_features_in_: Columns of X.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> pf.FlowDensity("maf", steps=10).fit(X).score_samples(X).shape
        (200,)
    """

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> FlowDensity:
        """Fits the density of the rows of X, each counting as much as its ``sample_weight``; y is ignored.

        Raises:
            ValueError: X is no finite table with at least 4 rows, a column is constant, or a parameter does not fit.
        """
        found = _table_with_text(X)
        if found is not None:
            validate_data(self, X, skip_check_array=True)
            self._train_table(*found, (), _weights(sample_weight, found[0]))
            return self
        x = _tensor(validate_data(self, X, dtype=np.float64, ensure_min_samples=4))
        self._train(x, None, _weights(sample_weight, x))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """log p(x) of every row, in nats, of shape ``(n,)``."""
        check_is_fitted(self)
        if self.table_ is not None:
            validate_data(self, X, reset=False, skip_check_array=True)
            return self.table_.score_samples(X)
        return self._log_prob(_tensor(validate_data(self, X, dtype=np.float64, reset=False)), None)

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """The mean log-likelihood of the rows of X, in nats."""
        values = self.score_samples(X)
        return float(np.average(values, weights=_weights(sample_weight, values)))

    def sample(self, n: int = 1, random_state: Any = 0) -> Any:
        """n rows drawn from the density, of shape ``(n, features)``; a frame where the fitted table holds text."""
        check_is_fitted(self)
        if self.table_ is not None:
            return self.table_.sample(n, random_state=_seed(random_state))
        generator = torch.Generator().manual_seed(_seed(random_state))
        return self.flow_.sample((n,), generator=generator).numpy()


class ConditionalFlowDensity(_FlowEstimator):
    """p(y | X) by a conditional normalizing flow: a whole predictive distribution where a regressor gives one number.

    The parameters are those of :class:`FlowDensity`. Log-densities are in nats, in the units of y.

    Attributes:
        flow_: The fitted flow over y, in its own units, in float64; its context is X standardised.
        history_: The records of the training.
        n_features_in_: Columns of X.
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> ConditionalFlowDensity:
        """Fits the density of y, of shape ``(n,)`` or ``(n, targets)``, given the rows of X.

        X may be a frame that holds text; y is then taken as :class:`~pushforward.TableDensity` takes columns.

        Raises:
            ValueError: X or y is not finite, they have different lengths, y is constant, or a parameter does not fit.
        """
        found = _table_with_text(X)
        if found is not None:
            validate_data(self, X, skip_check_array=True)
            frame, kind = self._joined(found[0], y), found[1]
            self.single_target_ = np.ndim(y) == 1
            self._train_table(frame, kind, found[0].columns, _weights(sample_weight, frame))
            return self
        x, targets, self.single_target_ = self._pair(X, y, ensure_min_samples=4)
        self.context_mean_ = x.mean(0)
        spread = x.std(0)
        self.context_scale_ = torch.where(spread > 0, spread, 1.0)  # a constant column tells nothing, and harms nothing
        self._train(targets, self._context(x), _weights(sample_weight, x))
        return self

    def score_samples(self, X: Any, y: ArrayLike) -> NDArray[np.float64]:
        """log p(y | x) of every row, in nats, of shape ``(n,)``."""
        check_is_fitted(self)
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
        return float(np.average(values, weights=_weights(sample_weight, values)))

    def sample(self, X: Any, n: int = 1, random_state: Any = 0) -> NDArray[np.float64]:
        """n draws of y for every row of X: ``(n, rows)``, or ``(n, rows, targets)`` if y had two dimensions."""
        check_is_fitted(self)
        if self.table_ is not None:
            given = from_frame(X, "X")[0].select(self.table_.schema.given_names)
            rows = draw(self.table_, n, given, _seed(random_state)).select(self.table_.schema.names)
            draws = rows.to_numpy().reshape(given.height, n, -1).swapaxes(0, 1)
        else:
            x = _tensor(validate_data(self, X, dtype=np.float64, reset=False))
            generator = torch.Generator().manual_seed(_seed(random_state))
            draws = self.flow_.sample((n,), self._context(x), generator=generator).numpy()
        return draws[..., 0] if self.single_target_ else draws

    @staticmethod
    def _joined(frame: pl.DataFrame, y: Any) -> pl.DataFrame:
        """A table of X and y, whose columns are called y1, y2, …"""
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if len(targets) != frame.height:
            raise ValueError(f"y has {len(targets)} rows, but X has {frame.height}")
        return frame.with_columns(pl.Series(f"y{j}", column) for j, column in enumerate(targets.T, 1))

    def _pair(self, X: ArrayLike, y: ArrayLike, **options: Any) -> tuple[Tensor, Tensor, bool]:
        """Checked rows of shape (n, features), targets of shape (n, targets), and whether y had one dimension."""
        rows, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, **options)
        return _tensor(rows), _tensor(targets).reshape(len(rows), -1), targets.ndim == 1

    def _context(self, x: Tensor) -> Tensor:
        return (x - self.context_mean_) / self.context_scale_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


def _tensor(values: Any) -> Tensor:
    """A copy in float64, whatever the strides and flags of the array."""
    return torch.tensor(np.ascontiguousarray(values, dtype=np.float64))


def _table_with_text(X: Any) -> tuple[pl.DataFrame, str] | None:
    """A frame with a column that does not hold numbers, as polars has it, and its kind; None for all else."""
    if not hasattr(X, "__dataframe__") and not hasattr(X, "__arrow_c_stream__"):
        return None
    try:
        frame, kind = from_frame(X, "X")
    except (ValueError, TypeError):
        return None  # scikit-learn's own checks say what is wrong
    return None if all(dtype.is_numeric() or dtype == pl.Boolean for dtype in frame.dtypes) else (frame, kind)


def _weights(sample_weight: Any, rows: Any) -> Tensor | None:
    """A weight for each row, or None where all count alike."""
    if sample_weight is None:
        return None
    return _tensor(_check_sample_weight(sample_weight, np.empty((len(rows), 1)), ensure_non_negative=True))


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _scale(x: Tensor) -> Tensor:
    scale = x.std(0)
    constant = (x == x[0]).all(0).nonzero()[:, 0].tolist()
    if constant:
        raise ValueError(f"column {constant[0]} is constant, so it has no density: leave it out")
    return scale
