r"""Integrals of positive functions sampled at Chebyshev points, the basis of unconstrained monotonic networks; and
expectations of functions of a normal number.

The square root of the integrand is interpolated at N Clenshaw-Curtis points on [-bound, bound]; its square, a
polynomial of degree 2 (N - 1) that is positive everywhere, is integrated exactly by the rule's weights,

.. math:: z = c + \int_0^x \big(\epsilon + p(t / \mathrm{bound})^2\big)\, dt,\qquad p(u_j) = \sqrt{g(t_j)}

so slope and value are consistent to rounding, however rough g is, and the root finder never calls the network again.

Reference:
    Clenshaw, Curtis (1960), A method for numerical integration on an automatic computer;
    Wehenkel, Louppe (2019), Unconstrained Monotonic Neural Networks, arXiv:1908.05164.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .spline import MIN_SLOPE

NODES, FARTHEST = 61, 5.0  # of a standard normal
NODES_OF_MANY = 15  # of each of several, whose sum is smooth


class Rule(NamedTuple):
    """For N points: the points; the matrices from values to Chebyshev coefficients, from these to values at the 2N - 1
    points of the square, and from values there to coefficients of the integral."""

    points: Tensor
    coefficients: Tensor
    refined: Tensor
    integral: Tensor


def rule(n: int) -> Rule:
    """The rule of n points, in double precision."""
    fine = 2 * n - 1
    analysis = _analysis(fine)
    integration = torch.zeros(fine + 1, fine, dtype=torch.float64)
    for k in range(fine):  # the integral of T_k is T_{k+1} / (2k + 2) - T_{k-1} / (2k - 2)
        integration[k + 1, k] += 1.0 if k == 0 else 0.5 / (k + 1)
        if k > 1:
            integration[k - 1, k] -= 0.5 / (k - 1)
    if fine > 1:
        integration[2, 1] = 0.25
    at_zero = torch.tensor([math.cos(k * math.pi / 2) for k in range(fine + 1)], dtype=torch.float64)
    integral = integration @ analysis
    integral[0] -= at_zero @ integral
    return Rule(_points(n), _analysis(n), _synthesis(_points(fine), n), integral)


def _points(n: int) -> Tensor:
    return (math.pi * torch.arange(n, dtype=torch.float64) / max(n - 1, 1)).cos()


def _synthesis(points: Tensor, n: int) -> Tensor:
    return (points.clamp(-1, 1).arccos()[:, None] * torch.arange(n)).cos()


def _analysis(n: int) -> Tensor:
    """The discrete cosine transform that takes values at n points to coefficients."""
    ends = torch.ones(n, dtype=torch.float64)
    ends[0] = ends[-1] = 0.5
    return (2 / max(n - 1, 1)) * ends[:, None] * _synthesis(_points(n), n).T * ends


class Integral(NamedTuple):
    """The coefficients of p, ``(N, *shape)``, and of the integral of its square, ``(2N, *shape)``; the value at 0."""

    root: Tensor
    integral: Tensor
    shift: Tensor
    bound: float


def integral(log_integrand: Tensor, shift: Tensor, bound: float, by: Rule) -> Integral:
    """From the logarithms of the integrand at the points, ``(N, *shape)``."""
    values = (0.5 * log_integrand + 0.5 * math.log(1 - MIN_SLOPE)).exp()
    root = _applied(by.coefficients, values)
    return Integral(root, _applied(by.integral, _applied(by.refined, root).square()), shift, bound)


def integral_value(x: Tensor, of: Integral) -> tuple[Tensor, Tensor]:
    """z and log dz/dx, of the shape of x."""
    polynomials = _chebyshev(x / of.bound, len(of.integral))
    root = (of.root * polynomials[: len(of.root)]).sum(0)
    z = of.shift + MIN_SLOPE * x + of.bound * (of.integral * polynomials).sum(0)
    return z, (MIN_SLOPE + root.square()).log()


def _chebyshev(u: Tensor, count: int) -> Tensor:
    """T_0 … T_{count - 1} at u, ``(count, *shape)``, in about log2(count) steps: 2 T_j T_k = T_{j+k} + T_{j-k}."""
    known = torch.stack([torch.ones_like(u), u])
    while len(known) < count:
        top = known[-1]  # T_j: with T_0 … T_j come T_{j+1} … T_{2j}
        known = torch.cat([known, 2 * top * known[1:] - known[:-1].flip(0)])
    return known[:count]


def _applied(matrix: Tensor, values: Tensor) -> Tensor:
    """The matrix times the values ``(N, *shape)`` along their first dimension."""
    return (matrix @ values.reshape(len(values), values[0].numel())).reshape(len(matrix), *values.shape[1:])


def normal_nodes(like: Tensor, points: int = NODES) -> tuple[Tensor, Tensor]:
    """Points of a standard normal and their weights, both ``(points,)``: the trapezoidal rule, which is as good as
    exact for smooth functions; for others its errors are some hundredths of their jumps.

    Reference:
        Trefethen, Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56.
    """
    z = torch.linspace(-FARTHEST, FARTHEST, points).to(like)
    return z, (-0.5 * z.square()).softmax(0)
