r"""Increasing polynomials on [-bound, bound], linear beyond with their slopes at the ends.

Bernstein polynomials of degree M in :math:`v = (x / \mathrm{bound} + 1) / 2` have the slope

.. math:: \frac{dz}{dx} = \sum_{k=0}^{M-1} d_k \binom{M-1}{k} v^k (1 - v)^{M-1-k},\qquad d_k > 0

between the smallest and the largest of the parameters d; sums of squares have, with :math:`u = x / \mathrm{bound}`,

.. math:: \frac{dz}{dx} = \epsilon + \sum_k \Big(\sum_l a_{kl}\, u^l\Big)^2

Parameters come first and are relative to the identity.

Reference:
    Sick, Hothorn, Dürr (2020), Deep transformation models, arXiv:2004.00464; Arpogaus et al. (2022), arXiv:2204.13939;
    Jaini, Selby, Yu (2019), Sum-of-Squares Polynomial Flow, arXiv:1905.02325.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .affine import soft_clamp
from .spline import MIN_SLOPE, SLOPE_SHIFT

SLOPE_LIMIT, COEFFICIENT_LIMIT = 12.0, 4.0  # of raw parameters, as a network may also read far outliers


class BernsteinPolynomial(NamedTuple):
    """The value at -bound, of the shape ``(*shape,)``, and the coefficients of the slope, ``(M, *shape)``."""

    start: Tensor
    slopes: Tensor
    bound: float


def bernstein(params: Tensor, bound: float) -> BernsteinPolynomial:
    """From ``(M + 1, *shape)``: M slopes and, approximately, the value at 0."""
    slopes = MIN_SLOPE + F.softplus(soft_clamp(params[:-1], SLOPE_LIMIT) + SLOPE_SHIFT)
    return BernsteinPolynomial(params[-1] - bound * slopes.mean(0), slopes, bound)


def bernstein_value(x: Tensor, of: BernsteinPolynomial) -> tuple[Tensor, Tensor]:
    r"""z and log dz/dx, of the shape of x, by de Casteljau's repeated interpolation, which is free of cancellation.

    With :math:`d^{(r)}` the polynomial of degree r of the first r + 1 slopes,

    .. math:: z = z(-\mathrm{bound}) + \frac{2\, \mathrm{bound}}{M}\, v \sum_{r < M} d^{(r)}(v),\qquad
              \frac{dz}{dx} = d^{(M - 1)}(v)
    """
    v = x / (2 * of.bound) + 0.5
    level = of.slopes
    total = level[0]
    while len(level) > 1:
        level = torch.lerp(level[:-1], level[1:], v)
        total = total + level[0]
    return of.start + (2 * of.bound / len(of.slopes)) * v * total, level[0].log()


class Squares(NamedTuple):
    """The polynomials to be squared, highest power first, ``(degree + 1, polynomials, 1, *shape)``; the value at 0."""

    coefficients: Tensor
    shift: Tensor
    bound: float


def squares(params: Tensor, polynomials: int, bound: float) -> Squares:
    """From ``(polynomials · (degree + 1) + 1, *shape)``: coefficients by falling powers, and the value at 0."""
    start = (torch.arange(1.0, polynomials + 1, dtype=params.dtype, device=params.device)).sqrt()
    start = start / start.square().sum().sqrt() * (1 - MIN_SLOPE) ** 0.5  # distinct constants, so that all contribute
    raw = soft_clamp(params[:-1], COEFFICIENT_LIMIT).unflatten(0, (-1, polynomials))
    constants = raw[-1:] + start.view(1, -1, *[1] * (params.dim() - 1))
    return Squares(torch.cat([raw[:-1], constants]).unsqueeze(2), params[-1], bound)


def squares_value(x: Tensor, of: Squares, nodes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """z and log dz/dx, of the shape of x; the integral by Gauss-Legendre nodes on [0, 1], which is exact."""
    u, column = x / of.bound, [-1] + [1] * x.dim()
    density = _sum_of_squares(u * nodes.view(column), of.coefficients)  # (nodes, *shape)
    slope = _sum_of_squares(u.unsqueeze(0), of.coefficients)[0]
    mean = (weights.view(column) * density).sum(0)
    return of.shift + x * (MIN_SLOPE + mean), (MIN_SLOPE + slope).log()


def _sum_of_squares(u: Tensor, coefficients: Tensor) -> Tensor:
    total, *others = coefficients
    for coefficient in others:
        total = total * u + coefficient
    return (total * torch.ones_like(u)).square().sum(0)
