"""A column's first map: the one under which the column is likeliest as a Gaussian.

A candidate f is scored by the Gaussian log-likelihood of f(x), converted to the units of x by the mean log-slope of
f; constants common to all are omitted. Without bounds, a column is left alone unless log x or arsinh x gains at least
``GAIN`` nats a row. Bounds require a map that ends there: logit between two, log or inverse softplus above one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ....transforms.base import Transform
from ....transforms.compose import Compose
from ....transforms.elementwise import Asinh, InverseSoftplus, Log, Logit
from ....transforms.histogram import Histogram
from ....transforms.normalization import Standardize
from ..saved import Saved
from .base import Numbers

GAIN = 0.1  # nats a row that a first map must gain if none is required

_TRANSFORMS: dict[str, type[Transform]] = {"log": Log, "asinh": Asinh, "softplus": InverseSoftplus, "logit": Logit}


@dataclass(frozen=True)
class FirstMap(Saved):
    """A column's own map, from its units to a suitable scale.

    Args:
        name: ``log``, ``asinh``, ``softplus``, ``logit`` or ``histogram``.
        loc, scale: The map is applied to (x - loc) / scale; for a histogram, scale is that of its tails.
        knots: For a histogram, its edges, each with the share of the rows below it.
    """

    name: str
    loc: float = 0.0
    scale: float = 1.0
    knots: tuple[tuple[float, float], ...] = ()

    def transform(self) -> Transform:
        """The map, with ``event_dim`` 0."""
        if self.knots:
            return Histogram([edge for edge, _ in self.knots], [share for _, share in self.knots], self.scale)
        f = _TRANSFORMS[self.name](event_dim=0)
        if self.loc == 0.0 and self.scale == 1.0:
            return f
        return Compose([Standardize(torch.tensor(self.loc), torch.tensor(self.scale)), f])

    def __str__(self) -> str:
        shift = f"{-self.loc:+.4g}"
        return {
            "logit": f"logit from {self.loc:.4g} to {self.loc + self.scale:.4g}",
            "log": "log" if self.loc == 0 else f"log(x {shift})",
            "histogram": "normal by the shares of its values",
            "softplus": f"inverse softplus above {self.loc:.4g}",
            "asinh": f"arsinh((x {shift}) / {self.scale:.4g})",
        }[self.name]


Scored = tuple[float, FirstMap]  # nats a row


def free_map(x: Numbers, starts: list[float]) -> FirstMap | None:
    """The map of a column without bounds, if one is worth it, from the middles of its cells and where a logarithm may
    start."""
    gain, best = max([*(_log(x, start) for start in starts), _arsinh(x)], key=lambda scored: scored[0])
    return best if gain + np.log(x.std()) >= GAIN else None


def bounded_map(x: Numbers, low: float, high: float | None) -> FirstMap:
    """The map of a column whose cells end at ``low``, and at ``high`` if there is an upper bound."""
    loc = _outward(low, -np.inf)
    if high is not None:
        return FirstMap("logit", loc, _outward(high - loc, np.inf))
    return max(_log(x, loc), _inverse_softplus(x, loc), key=lambda scored: scored[0])[1]


def _log(x: Numbers, loc: float) -> Scored:
    y = np.log(x - loc)
    return float(-np.log(y.std()) - y.mean()), FirstMap("log", float(loc))


def _arsinh(x: Numbers) -> Scored:
    quarter, middle, three_quarters = np.quantile(x, [0.25, 0.5, 0.75])
    scale = max(three_quarters - quarter, 1e-3 * x.std())
    u = (x - middle) / scale
    slope = -0.5 * np.log1p(u * u).mean() - np.log(scale)
    return float(-np.log(np.arcsinh(u).std()) + slope), FirstMap("asinh", float(middle), float(scale))


def _inverse_softplus(x: Numbers, loc: float) -> Scored:
    scale = float(np.float32(x.std()))
    u = (x - loc) / scale
    y = u + np.log(-np.expm1(-u))
    slope = np.logaddexp(0.0, -y).mean() - np.log(scale)
    return float(-np.log(y.std()) + slope), FirstMap("softplus", float(loc), scale)


def _outward(value: float, towards: float) -> float:
    """The nearest float32 beyond a value: flows keep their constants in float32."""
    near = np.float32(value)
    beyond = near >= value if towards > 0 else near <= value
    return float(near if beyond else np.nextafter(near, np.float32(towards)))
