"""Scalar maps without a closed-form inverse: networks, polynomials and mixtures, all increasing on the whole line.

The root finder of :mod:`pushforward.numerics.roots` inverts them to rounding; elements for which it does not converge
are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import at_least_one, positive
from ..nets.mlp import MLP
from ..numerics import polynomial, quadrature, roots, sigmoidal
from ..numerics.affine import soft_clamp
from ..numerics.piecewise import linear_tails
from .scalar import Scalar


class Solved(Scalar):
    """A map that the root finder inverts; subclasses provide it for given parameters."""

    def map(self, params: Tensor) -> roots.Increasing:
        """x to z and log dz/dx."""
        raise NotImplementedError

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.map(params)(x)

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return roots.invert(self.map(params), z)

    def solve(self, z: Tensor, params: Tensor) -> Tensor:
        return roots.solve(self.map(params), z)


class DeepSigmoid(Scalar):
    r"""The log-odds of mixtures of sigmoids, composed: :math:`z = \mathrm{logit} \sum_k w_k\, \sigma(a_k (x - m_k))`
    plus a small multiple of the identity; initially close to the identity, and linear far out.

    Args:
        units: K, sigmoids of each layer.
        layers: Layers; 3K parameters each.

    Raises:
        ValueError: a size is below 1.

    Reference:
        Huang, Krueger, Lacoste, Courville (2018), Neural Autoregressive Flows, arXiv:1804.00779.
    """

    broadcasts = True

    def __init__(self, units: int = 16, layers: int = 1) -> None:
        super().__init__()
        at_least_one(units=units, layers=layers)
        self.units, self.layers, self.num_params = units, layers, 3 * units * layers

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(x)
        for part in params.split(3 * self.units):
            x, log_slope = sigmoidal.log_odds(x, sigmoidal.logistic(part))
            total = total + log_slope
        return x, total

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(z)
        for part in reversed(params.split(3 * self.units)):
            z, log_slope = sigmoidal.log_odds_inverse(z, sigmoidal.logistic(part))
            total = total + log_slope
        return z, total

    def solve(self, z: Tensor, params: Tensor) -> Tensor:
        for part in reversed(params.split(3 * self.units)):
            z = sigmoidal.log_odds_solve(z, sigmoidal.logistic(part))
        return z


class Gaussianization(Scalar):
    r"""The normal quantile of a mixture of logistics, :math:`z = \Phi^{-1}(\sum_k w_k\, \sigma(a_k (x - m_k)))`, whose
    log-odds include a small multiple of the identity; initially close to the identity.

    It maps a feature that follows the mixture to a standard normal. Far out it grows like the square root of x, and
    beyond z = 12 linearly, so that stacked layers can be inverted in single precision.

    Args:
        components: K, logistics in the mixture; 3K parameters for each feature.

    Raises:
        ValueError: ``components`` is below 1.

    Reference:
        Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
    """

    broadcasts = True

    def __init__(self, components: int = 8) -> None:
        super().__init__()
        at_least_one(components=components)
        self.components, self.num_params = components, 3 * components

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        t, log_slope = sigmoidal.log_odds(x, sigmoidal.normal(params))
        z, more = sigmoidal.quantile(t)
        return z, log_slope + more

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        t, log_slope = sigmoidal.quantile_inverse(z)
        x, more = sigmoidal.log_odds_inverse(t, sigmoidal.normal(params))
        return x, log_slope + more

    def solve(self, z: Tensor, params: Tensor) -> Tensor:
        return sigmoidal.log_odds_solve(sigmoidal.quantile_inverse(z)[0], sigmoidal.normal(params))


class Bernstein(Solved):
    """An increasing Bernstein polynomial on [-bound, bound], linear outside with its slopes at the ends.

    Args:
        degree: M, the degree; M + 1 parameters for each feature.
        bound: Where the linear tails begin.

    Raises:
        ValueError: ``degree`` is below 1 or ``bound`` is not positive.

    Reference:
        Sick, Hothorn, Dürr (2020), arXiv:2004.00464; Arpogaus et al. (2022), arXiv:2204.13939.
    """

    def __init__(self, degree: int = 16, bound: float = 5.0) -> None:
        super().__init__()
        at_least_one(degree=degree)
        positive(bound=bound)
        self.degree, self.bound, self.num_params = degree, float(bound), degree + 1

    def map(self, params: Tensor) -> roots.Increasing:
        known = polynomial.bernstein(params, self.bound)
        return lambda x: linear_tails(lambda v: polynomial.bernstein_value(v, known), x, self.bound)


class SumOfSquares(Solved):
    r"""A polynomial whose slope is a sum of squares of polynomials on [-bound, bound], linear outside.

    Args:
        degree: Degree d of the squared polynomials; that of the map is 2d + 1.
        polynomials: Their number; ``polynomials · (degree + 1) + 1`` parameters for each feature.
        bound: Where the linear tails begin.

    Raises:
        ValueError: ``degree`` or ``polynomials`` is below 1, or ``bound`` is not positive.

    Reference:
        Jaini, Selby, Yu (2019), Sum-of-Squares Polynomial Flow, arXiv:1905.02325.
    """

    rule: Tensor

    def __init__(self, degree: int = 4, polynomials: int = 3, bound: float = 5.0) -> None:
        super().__init__()
        at_least_one(degree=degree, polynomials=polynomials)
        positive(bound=bound)
        self.degree, self.polynomials, self.bound = degree, polynomials, float(bound)
        self.num_params = polynomials * (degree + 1) + 1
        nodes, weights = np.polynomial.legendre.leggauss(degree + 1)  # exact up to degree 2 · degree + 1
        self.register_buffer("rule", in_two_parts(torch.tensor(np.stack([nodes + 1, weights]) / 2)), persistent=False)

    def map(self, params: Tensor) -> roots.Increasing:
        known = polynomial.squares(params, self.polynomials, self.bound)
        rule = joined(self.rule, params)
        return lambda x: linear_tails(lambda v: polynomial.squares_value(v, known, *rule), x, self.bound)


class MonotonicNetwork(Solved):
    r"""The integral of a positive network g(t, h) from 0 to x, by Clenshaw-Curtis quadrature on [-bound, bound], and a
    shift; linear outside.

    A single network serves all features; a feature's conditioner gives the signal h, which the network reads along with
    t. Its logarithm is softly clamped to ±7. With the quadrature of :mod:`pushforward.numerics.quadrature`, value and
    slope are consistent to rounding.

    Args:
        signal: Numbers in h; the shift is one more parameter for each feature.
        hidden: Widths of the network's hidden layers.
        nodes: Points of the quadrature.
        bound: Where the linear tails begin.

    Raises:
        ValueError: ``signal`` is below 1, ``nodes`` below 3, a width is below 1 or ``bound`` is not positive.

    Reference:
        Wehenkel, Louppe (2019), Unconstrained Monotonic Neural Networks, arXiv:1908.05164.
    """

    points: Tensor
    coefficients: Tensor
    refined: Tensor
    integral: Tensor

    def __init__(self, signal: int = 16, hidden: Sequence[int] = (64, 64), nodes: int = 16, bound: float = 5.0) -> None:
        super().__init__()
        at_least_one(signal=signal)
        positive(bound=bound)
        if nodes < 3:
            raise ValueError(f"nodes must be at least 3, got nodes={nodes}")
        self.signal, self.hidden, self.nodes, self.bound = signal, tuple(hidden), nodes, float(bound)
        self.num_params = signal + 1
        self.net = MLP(1, 1, 1, context=signal, hidden=hidden, activation="silu")
        for name, matrix in quadrature.rule(nodes)._asdict().items():
            self.register_buffer(name, in_two_parts(matrix), persistent=False)

    def map(self, params: Tensor) -> roots.Increasing:
        known = self._known(params)
        return lambda x: linear_tails(lambda v: quadrature.integral_value(v, known), x, self.bound)

    def _known(self, params: Tensor) -> quadrature.Integral:
        parts = self.points, self.coefficients, self.refined, self.integral
        rule = quadrature.Rule(*(joined(part, params) for part in parts))
        signal = params[:-1].movedim(0, -1)  # (*shape, signal)
        points = rule.points.view(-1, *[1] * signal.dim())  # (nodes, 1, …, 1)
        log = soft_clamp(self.net(points, signal)[0].squeeze(-1), 7.0)
        return quadrature.integral(log, params[-1], self.bound, rule)


def in_two_parts(values: Tensor) -> Tensor:
    """``(2, *shape)`` in single precision: the values, and their rounding residuals, which together hold 48 bits.

    Double-precision buffers would keep a single-precision model from moving to devices without float64, and
    single-precision buffers would make a double-precision model inexact.
    """
    rounded = values.float()
    return torch.stack([rounded, (values - rounded).float()])


def joined(parts: Tensor, like: Tensor) -> Tensor:
    """The values in the dtype of another tensor."""
    return parts[0].to(like) + parts[1].to(like)
