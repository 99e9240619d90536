"""Flows as scikit-learn estimators, for pipelines, grid searches and joblib. An extra: ``pushforward[sklearn]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..distributions.flow import Flow
from ..recipes.by_name import flow_by_name, learning_rate
from ..training.fit import fit as train
from ..transforms.base import Compose
from ..transforms.normalization import Standardize

try:
    from sklearn.base import BaseEstimator, DensityMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise ImportError(
        "FlowDensity and ConditionalFlowDensity need scikit-learn 1.6 or newer: pip install 'pushforward[sklearn]'"
    ) from None


class _FlowEstimator(DensityMixin, BaseEstimator):
    """The parameters that both estimators share; see :class:`FlowDensity`."""

    flow_: Flow
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

    def _train(self, x: Tensor, context: Tensor | None) -> None:
        """Trains on standardised rows; the flow that is kept takes rows in their own units, in float64."""
        seed = _seed(self.random_state)
        standardize = Standardize(x.mean(0), _scale(x))
        features = 0 if context is None else context.shape[1]
        flow = flow_by_name(self.flow, x.shape[1], context=features, layers=self.layers, hidden=self.hidden, seed=seed)
        result = train(
            flow,
            standardize(x)[0].float(),
            None if context is None else context.float(),
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

    @torch.no_grad()
    def _log_prob(self, x: Tensor, context: Tensor | None) -> NDArray[np.float64]:
        contexts = [None] * len(x) if context is None else context.split(8192)
        parts = [self.flow_(rows, given) for rows, given in zip(x.split(8192), contexts, strict=False)]
        return torch.cat(parts).numpy() if parts else np.zeros(0)


class FlowDensity(_FlowEstimator):
    """A normalizing flow as a scikit-learn density estimator, like ``KernelDensity`` and ``GaussianMixture``.

    Columns are standardised inside; log-densities are in nats, in the units of X. All columns are taken for continuous.

    Args:
        flow: ``nsf``, ``nsf-coupling``, ``nsf-linear``, ``maf``, ``maf-linear``, ``iaf``, ``realnvp`` or ``ffjord``.
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

    Attributes:
        flow_: The fitted :class:`~pushforward.Flow`, in the units of X, in float64.
        history_: The records of the training.
        n_features_in_: Columns of X.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> pf.FlowDensity("maf", steps=10).fit(X).score_samples(X).shape
        (200,)
    """

    def fit(self, X: ArrayLike, y: Any = None) -> FlowDensity:
        """Fits the density of the rows of X; y is ignored.

        Raises:
            ValueError: X is no finite table with at least 4 rows, a column is constant, or a parameter does not fit.
        """
        self._train(_tensor(validate_data(self, X, dtype=np.float64, ensure_min_samples=4)), None)
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """log p(x) of every row, in nats, of shape ``(n,)``."""
        check_is_fitted(self)
        return self._log_prob(_tensor(validate_data(self, X, dtype=np.float64, reset=False)), None)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """The mean log-likelihood of the rows of X, in nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n: int = 1, random_state: Any = 0) -> NDArray[np.float64]:
        """n rows drawn from the density, of shape ``(n, features)``."""
        check_is_fitted(self)
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

    def fit(self, X: ArrayLike, y: ArrayLike) -> ConditionalFlowDensity:
        """Fits the density of y, of shape ``(n,)`` or ``(n, targets)``, given the rows of X.

        Raises:
            ValueError: X or y is not finite, they have different lengths, y is constant, or a parameter does not fit.
        """
        x, targets, self.single_target_ = self._pair(X, y, ensure_min_samples=4)
        self.context_mean_ = x.mean(0)
        spread = x.std(0)
        self.context_scale_ = torch.where(spread > 0, spread, 1.0)  # a constant column tells nothing, and harms nothing
        self._train(targets, self._context(x))
        return self

    def score_samples(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """log p(y | x) of every row, in nats, of shape ``(n,)``."""
        check_is_fitted(self)
        x, targets, _ = self._pair(X, y, reset=False)
        if targets.shape[1] != self.flow_.event_shape[0]:
            raise ValueError(f"y has {targets.shape[1]} targets, but it had {self.flow_.event_shape[0]} when fitted")
        return self._log_prob(targets, self._context(x))

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The mean of log p(y | x) over the rows, in nats."""
        return float(self.score_samples(X, y).mean())

    def sample(self, X: ArrayLike, n: int = 1, random_state: Any = 0) -> NDArray[np.float64]:
        """n draws of y for every row of X: ``(n, rows)``, or ``(n, rows, targets)`` if y had two dimensions."""
        check_is_fitted(self)
        x = _tensor(validate_data(self, X, dtype=np.float64, reset=False))
        generator = torch.Generator().manual_seed(_seed(random_state))
        draws = self.flow_.sample((n,), self._context(x), generator=generator).numpy()
        return draws[..., 0] if self.single_target_ else draws

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
