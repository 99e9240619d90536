"""Stan and PyMC models as targets, in their free parameters. Needs bridgestan, or pymc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..objectives.target import with_gradients
from ..objectives.user_target import LogDensity

Rows = np.ndarray


@dataclass(frozen=True)
class StanTarget:
    """The log-density of a model in its free (unconstrained) parameters, with the Jacobian of its constraints.

    Called like a function, it maps ``(n, features)`` to ``(n,)``, in nats; rows that the model rejects are NaN.

    Attributes:
        features: Number of free parameters.
        names: Names of the constrained parameters that :meth:`constrain` returns, ``mu``, ``theta.1``, ...
        log_density: The function.
        constrained: Maps one row of free parameters to one of constrained ones.
    """

    features: int
    names: tuple[str, ...]
    log_density: Callable[[Tensor], Tensor]
    constrained: Callable[[Rows], Rows]

    def __call__(self, x: Tensor) -> Tensor:
        return self.log_density(x)

    def constrain(self, draws: Tensor) -> Tensor:
        """Converts draws of the free parameters ``(n, features)`` to draws of the model's own, ``(n, len(names))``."""
        rows = [self.constrained(row) for row in draws.detach().double().cpu().numpy()]
        return draws.new_tensor(np.array(rows).reshape(len(draws), len(self.names)))


def from_stan(model: Any) -> StanTarget:
    """A Stan model as a target, with Stan's own gradients.

    Args:
        model: A ``bridgestan.StanModel``, or the first argument of its constructor: the path of a ``.stan`` file.

    Reference:
        Roualdes et al. (2023), BridgeStan, JOSS 8(87).

    Example:
        >>> target = from_stan(bridgestan.StanModel("eight.stan", data="eight.json"))  # doctest: +SKIP
        >>> fitted = pf.fit_target(target, target.features)  # doctest: +SKIP
        >>> target.constrain(fitted.draws(1000, exact=True))  # doctest: +SKIP
    """
    if isinstance(model, str):
        import bridgestan

        model = bridgestan.StanModel(model)
    features = int(model.param_unc_num())
    log_density = _by_rows(model.log_density_gradient, features)
    return StanTarget(features, tuple(model.param_names()), log_density, model.param_constrain)


def from_pymc(model: Any) -> StanTarget:
    """A PyMC model as a target, with PyTensor's gradients.

    Args:
        model: A ``pymc.Model`` of continuous variables.

    Raises:
        ValueError: it has discrete variables.
    """
    if model.discrete_value_vars:
        listed = ", ".join(str(v.name) for v in model.discrete_value_vars)
        raise ValueError(f"model must have only continuous variables, but {listed} are discrete: sum them out")
    start = model.initial_point()
    order = [(v.name, np.shape(start[v.name])) for v in model.continuous_value_vars]
    sizes = [int(np.prod(shape, dtype=int)) for _, shape in order]
    both = model.compile_fn([model.logp(), model.dlogp()], inputs=model.continuous_value_vars)
    outputs = model.compile_fn(model.unobserved_value_vars, inputs=model.continuous_value_vars)
    own = outputs(start)
    names = [
        f"{v.name}.{i + 1}" if np.ndim(o) else str(v.name)
        for v, o in zip(model.unobserved_value_vars, own, strict=True)
        for i in range(np.size(o))
    ]

    def point(row: Rows) -> dict[str, Rows]:
        parts = np.split(row, np.cumsum(sizes)[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(order, parts, strict=True)}

    def constrained(row: Rows) -> Rows:
        return np.concatenate([np.ravel(o) for o in outputs(point(row))])

    return StanTarget(sum(sizes), tuple(names), _by_rows(lambda row: both(point(row)), sum(sizes)), constrained)


def _by_rows(model: Callable[[Rows], tuple[float, Any]], features: int) -> LogDensity:
    """The log-density of batches, with the gradients ``(n, features)``; NaN for rows on which the model raises."""

    def at(row: Rows) -> tuple[float, Any]:
        try:
            return model(row)
        except Exception:  # the model rejects the row; NaN counts as density 0, as in Stan
            return np.nan, np.full(features, np.nan)

    def log_density(x: Tensor) -> Tensor:
        found = [at(row) for row in x.detach().double().cpu().numpy()]
        value, slope = (x.new_tensor(np.array([each[i] for each in found], dtype=np.float64)) for i in (0, 1))
        return with_gradients(value, [slope.reshape(x.shape)], x)

    return log_density
