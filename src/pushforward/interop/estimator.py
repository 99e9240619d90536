"""The common base of the scikit-learn estimators in ``sklearn.py``: parameters, training, and input checks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor, nn

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..recipes.by_name import flow_by_name, learning_rate
from ..tables.density import TableDensity
from ..tables.io.frames import from_frame
from ..tables.io.read import read_any
from ..tables.io.table import WEIGHTS
from ..tables.selection.cross_fitting import AverageOptions, cross_fit, wants_average
from ..tables.selection.members import Points
from ..training.fit import fit as train
from ..transforms.normalization import Standardize


@dataclasses.dataclass(eq=False, repr=False)
class FlowEstimator(DensityMixin, BaseEstimator):
    """The parameters that both estimators share; see :class:`FlowDensity`."""

    flow: str = "nsf"
    _: dataclasses.KW_ONLY
    layers: int | None = None
    hidden: Sequence[int] | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 512
    lr: float | None = None
    validation: float = 0.1
    patience: int | None = None
    device: str = "auto"
    random_state: Any = 0
    members: int | str = "auto"
    encoder: nn.Module | None = None

    def _train(self, x: Tensor, context: Tensor | None, weights: Tensor | None) -> None:
        """Trains on standardised rows; the resulting flow takes rows in their own units, in float64."""
        self.table_: TableDensity | None = None
        seed = seed_of(self.random_state)
        standardize = Standardize(x.mean(0), column_scales(x))
        features = 0 if context is None else context.shape[1]
        encoder = copy.deepcopy(self.encoder)
        if encoder is not None:
            features = self._encoder_features(encoder.float(), context)
        self.flow_: Density
        self.history_: list[dict[str, Any]]
        if wants_average(self.flow, self.members) or self.flow == "auto":
            self.flow_ = Flow(standardize, self._average(standardize(x)[0].float(), context, weights), context=features)
            self.flow_, self.history_ = self.flow_.cpu().double().eval(), []
            return
        own = self._given("layers", "hidden") | {"options": {"encoder": encoder}}
        flow = flow_by_name(self.flow, x.shape[1], context=features, **own, seed=seed)
        result = train(
            flow,
            standardize(x)[0].float(),
            None if context is None else context.float(),
            weights=weights,
            lr=learning_rate(self.flow) if self.lr is None else self.lr,
            seed=seed,
            progress=False,
            **self._given("validation", "epochs", "steps", "batch_size", "patience", "device"),
        )
        self.history_ = result.history
        self.flow_ = flow.behind(standardize).cpu().double().eval()

    @torch.no_grad()
    def _encoder_features(self, encoder: nn.Module, context: Tensor | None) -> int:
        if context is None:
            raise ValueError("encoder is for a density given X: use ConditionalFlowDensity")
        if wants_average(self.flow, self.members) or self.flow == "auto":
            raise ValueError(f"encoder goes with one flow, got flow={self.flow!r} and members={self.members!r}")
        return int(copy.deepcopy(encoder).eval()(context[:2].float()).shape[-1])  # layers learn nothing from the rows

    def _average(self, z: Tensor, context: Tensor | None, weights: Tensor | None) -> Density:
        """The average of densities requested by ``members``, ``auto`` or ``gmm``, over standardised rows."""
        options = AverageOptions(
            training={**self._given("steps", "lr", "patience"), "batch_size": min(self.batch_size, 256)},
            seed=seed_of(self.random_state),
            **self._given("flow", "members", "layers", "hidden", "epochs"),
        )
        return cross_fit(Points.of(z, None if context is None else context.float(), weights), options).density

    def _train_table(self, frame: pl.DataFrame, kind: str, given: Sequence[str], weights: Any) -> None:
        """The same for a table that holds text: via the table classes, with categories in addition to the numbers."""
        seed = seed_of(self.random_state)
        order = np.random.default_rng(seed).permutation(frame.height)
        held_out, rows = map(np.sort, np.split(order, [max(round(self.validation * frame.height), 1)]))
        own = self._given("members", "steps", "epochs", "device", "layers", "hidden", "batch_size", "lr", "patience")
        table = TableDensity(self.flow, given=given, strict=True, random_state=seed, **own)
        if weights is not None:
            frame = read_any(frame).weighted(weights).frame
            table.options = dataclasses.replace(table.options, weights=WEIGHTS)
        self.table_ = table.fit(frame[rows], validation=frame[held_out])
        table.facts |= {"frame": kind, "command": f"{type(self).__name__}({self.flow!r})"}
        self.flow_, self.history_ = table.density, table.facts["history"]

    def _given(self, *names: str) -> dict[str, Any]:
        """Some of the parameters, by their names."""
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def _log_prob(self, x: Tensor, context: Tensor | None) -> NDArray[np.float64]:
        contexts = [None] * len(x) if context is None else context.split(8192)
        parts = [self.flow_(rows, given) for rows, given in zip(x.split(8192), contexts, strict=False)]
        return torch.cat(parts).numpy() if parts else np.zeros(0)


def as_tensor(values: Any) -> Tensor:
    """A copy in float64, whatever the strides and flags of the array."""
    return torch.tensor(np.ascontiguousarray(values, dtype=np.float64))


def is_frame(X: Any) -> bool:
    return hasattr(X, "__dataframe__") or hasattr(X, "__arrow_c_stream__")


def table_with_text(X: Any) -> tuple[pl.DataFrame, str] | None:
    """A frame with a non-numeric column, converted to polars, and its kind; None for everything else."""
    if not is_frame(X):
        return None
    try:
        frame, kind = from_frame(X, "X")
    except (ValueError, TypeError):
        return None  # scikit-learn's own checks say what is wrong
    return None if all(dtype.is_numeric() or dtype == pl.Boolean for dtype in frame.dtypes) else (frame, kind)


def checked_weights(sample_weight: Any, rows: Any) -> Tensor | None:
    """A weight for each row, or None if all are weighted equally."""
    if sample_weight is None:
        return None
    return as_tensor(_check_sample_weight(sample_weight, np.empty((len(rows), 1)), ensure_non_negative=True))


def seed_of(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def column_scales(x: Tensor) -> Tensor:
    constant = (x == x[0]).all(0).nonzero()[:, 0].tolist()
    if constant:
        raise ValueError(f"column {constant[0]} is constant, so it has no density: leave it out")
    return x.std(0)
