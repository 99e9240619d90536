r"""Contractions: bounds on spectral norms, and log-determinants and inverses of x + g(x) with a contraction g.

A map g whose Lipschitz constant is at most kappa < 1 makes x + g(x) invertible (Banach): the residual of x + g(x) = z
shrinks by at least the factor kappa with every step x ← z - g(x).

Reference:
    Behrmann et al. (2019), Invertible residual networks, arXiv:1811.00995; Chen et al. (2019), Residual flows for
    invertible generative modeling, arXiv:1906.02735.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .torch_internals import eager, transformed

SQUARINGS = 6  # of a Gram matrix: the bound is then at most m^(1/256) times the norm, 1.02 for m = 128
STRICT, LOOSE = 4.0, 64.0  # residual in units of rounding at which an event is done, and if it shrinks no more
SWISH_SLOPE = 1.1
LEAST_SLOPE = 1e-3  # of planar, radial and Sylvester maps, in any direction
_SHIFT = math.log(math.expm1(1 - LEAST_SLOPE))


def spectral_bound(matrix: Tensor) -> Tensor:
    r"""An upper bound on the largest singular value, tight to a factor of :math:`m^{1/2^{k + 2}}` for k SQUARINGS.

    .. math:: \sigma_1 \le \lVert G^{2^k} \rVert_F^{1 / 2^{k+1}},\qquad G = W^\top W \text{ (or } W W^\top)

    Unlike power iteration it has no state, is never too small, and has exact gradients.

    Reference:
        Delattre, Barthélemy, Araujo, Allauzen (2023), Efficient bound of Lipschitz constant for convolutional layers
        by Gram iteration, arXiv:2305.16173.
    """
    if torch.is_grad_enabled() and matrix.requires_grad and not (torch.compiler.is_compiling() or transformed()):
        return _SpectralBound.apply(matrix)  # type: ignore[no-any-return]
    return _gram_powers(matrix)[0]


def _gram_powers(matrix: Tensor) -> tuple[Tensor, list[Tensor]]:
    r"""The bound, and :math:`G, G^2, G^4, \ldots` up to scalar factors."""
    tiny = torch.finfo(matrix.dtype).tiny ** 0.5  # gives a zero matrix a finite gradient
    gram = matrix.mT @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.mT
    log_scale: Tensor | float = 0.0
    powers = []
    for number in range(SQUARINGS):
        if number % 3 == 0:  # against overflow and underflow; the scale cancels in the result, so no gradient is needed
            scale = torch.linalg.vector_norm(gram.detach()).clamp_min(tiny)
            gram, log_scale = gram / scale, log_scale + scale.log()
        powers.append(gram)
        gram, log_scale = gram @ gram, 2 * log_scale
    log_norm = (gram.square().sum() + tiny).log() / 2 + log_scale
    return (log_norm / 2 ** (SQUARINGS + 1)).exp(), [*powers, gram]


class _SpectralBound(torch.autograd.Function):
    r"""The bound, with its gradient from the powers already computed, in half the products that autograd needs:

    .. math:: \nabla \log \sigma = X / \langle W, X \rangle,\qquad X = W G\, G^2 G^4 \cdots G^{2^k},

    since the gradient of the Schatten norm goes along X, and the bound grows in proportion to W. Higher derivatives
    differentiate the formula itself.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        bound, powers = _gram_powers(matrix)
        ctx.save_for_backward(matrix, bound, *powers)
        ctx.save_for_forward(matrix, bound, *powers)
        return bound

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        matrix, bound, *powers = ctx.saved_tensors
        if torch.is_grad_enabled():
            return torch.autograd.grad(_gram_powers(matrix)[0], matrix, grad, create_graph=True)[0]
        return grad * _direction(matrix, bound, powers)

    @staticmethod
    def jvp(ctx: Any, by: Tensor) -> Tensor:
        matrix, bound, *powers = ctx.saved_tensors
        return (_direction(matrix, bound, powers) * by).sum()


def _direction(matrix: Tensor, bound: Tensor, powers: list[Tensor]) -> Tensor:
    """The gradient of the bound."""
    x = matrix
    for power in powers:
        x = x @ power if matrix.shape[0] > matrix.shape[1] else power @ x
    return x * (bound / (matrix * x).sum().clamp_min(torch.finfo(x.dtype).tiny))


def lipswish(x: Tensor) -> Tensor:
    """x · sigmoid(x) / 1.1, whose slope is at most 1 in absolute value: that of x · sigmoid(x) is at most 1.0998."""
    return F.silu(x) / SWISH_SLOPE


def swish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`y = x\, \sigma(x)` and its derivative :math:`\sigma(x) + y\,(1 - \sigma(x))`, at most 1.1."""
    gate = x.sigmoid()
    y = x * gate
    return y, torch.addcmul(gate, y, 1 - gate)


def above_minus_one(raw: Tensor) -> Tensor:
    """An increasing map onto (-1 + LEAST_SLOPE, infinity), 0 at 0: keeps a rank-one term from folding the line."""
    return F.softplus(raw + _SHIFT) - (1 - LEAST_SLOPE)


def log_abs_det_plus_identity(jacobian: Tensor) -> Tensor:
    """log det(I + J) of contractions J, ``(*batch, m, m)``; closed forms up to m = 2."""
    if jacobian.shape[-1] == 1:
        return jacobian[..., 0, 0].log1p()
    if jacobian.shape[-1] == 2:
        (a, b), (c, d) = (row.unbind(-1) for row in jacobian.unbind(-2))
        return (a + d + (a * d - b * c)).log1p()
    if not transformed():
        return torch.linalg.slogdet(jacobian + _identity(jacobian)).logabsdet
    # from the LU factors, though slower: under vmap, second derivatives of PyTorch's slogdet and det are wrong (2.13)
    LU, _ = torch.linalg.lu_factor(jacobian + _identity(jacobian))
    return LU.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


def inverse_plus_identity(jacobian: Tensor) -> Tensor:
    """(I + J)⁻¹ of contractions J, which are well-conditioned, ``(*batch, m, m)``."""
    if jacobian.shape[-1] == 1:
        return (1 + jacobian).reciprocal()
    return torch.linalg.inv(jacobian + _identity(jacobian))


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


class Contraction(Protocol):
    """g at given points."""

    @property
    def value(self) -> Tensor:
        """(*batch, m)."""

    def jacobian(self) -> Tensor:
        """(*batch, m, m)."""


@eager
@torch.no_grad()
def invert_contraction(g: Callable[[Tensor], Contraction], z: Tensor, kappa: float, newton: bool) -> Tensor:
    r"""x with x + g(x) = z for every event, under no_grad; NaN where rounding level was not reached.

    A step is Newton's, :math:`x - (I + J)^{-1} F` with :math:`F = x + g(x) - z`, if that shrinks the residual by the
    factor kappa; otherwise, and without ``newton``, it is :math:`x - F`, which always does. An event is done once its
    residual is a few units of rounding.

    Args:
        g: The contraction, which treats events independently.
        z: ``(*batch, m)``.
        kappa: A bound on the Lipschitz constant of g, below 1.
        newton: Whether Jacobians may be computed.
    """
    z, traced = z.detach(), transformed()
    eps = torch.finfo(z.dtype).eps
    unit = eps * (1 + z.abs().amax(-1, keepdim=True))
    most = math.ceil(math.log(eps) / math.log(kappa)) + 10  # fixed-point steps alone reach rounding in this many
    x, at = z, g(z)
    excess, size = _residual(x, at, z)
    for _ in range(min(most, 30) if traced and newton else most):
        step = (inverse_plus_identity(at.jacobian()) @ excess.unsqueeze(-1)).squeeze(-1) if newton else excess
        following = x - step
        at = g(following)
        beyond, reached = _residual(following, at, z)
        worse = reached > kappa * size if newton else torch.zeros_like(size, dtype=torch.bool)
        if newton and (traced or bool(worse.any())):
            following = torch.where(worse, x - excess, following)
            at = g(following)
            beyond, reached = _residual(following, at, z)
        going = (size > STRICT * unit) & ((reached < size) | (size > LOOSE * unit))  # an event that is done stays
        x, excess = torch.where(going, following, x), torch.where(going, beyond, excess)
        size = torch.where(going, reached, size)
        if not traced and not bool(going.any()):
            break
    return torch.where(size <= LOOSE * unit, x, torch.nan)


def _residual(x: Tensor, at: Contraction, z: Tensor) -> tuple[Tensor, Tensor]:
    """x + g(x) - z, and its largest entry."""
    excess = x + at.value - z
    return excess, excess.abs().amax(-1, keepdim=True)
