"""Charts from matrices (Cholesky factors, covariances and correlations, row by row in one vector) to free numbers.

An n x n matrix appears in an event as n^2 numbers. Fewer of them are free: densities are with respect to the lower
triangle, without the diagonal if that follows from the rest, as in Stan and in ``torch.distributions``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..numerics.tails import log_ndtri
from .base import Transform, Where

LOG_2 = math.log(2.0)


class MatrixChart(Transform):
    """A map between flattened n x n matrices and free numbers. Subclasses give ``chart`` and ``matrix``.

    Args:
        n: Number of rows of a matrix.

    Raises:
        ValueError: ``n`` is below 1, or below 2 if 1 leaves nothing free.
    """

    at_least = 1
    kind: Any = constraints.positive_definite  # of the matrix

    def __init__(self, n: int) -> None:
        super().__init__()
        if n < self.at_least:
            raise ValueError(f"n must be at least {self.at_least}, got n={n}")
        self.n = n
        diagonal = 0 if self.at_least == 1 else -1
        self.free = n * (n + 1) // 2 if self.at_least == 1 else n * (n - 1) // 2  # numbers of z
        self.register_buffer("places", torch.tril_indices(n, n, diagonal), persistent=False)

    @property
    def domain(self) -> Where:
        return Where(lambda x: self.kind.check(x.unflatten(-1, (self.n, self.n))))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.chart(x.unflatten(-1, (self.n, self.n)))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        matrix, logdet = self.matrix(z)
        return matrix.flatten(-2), logdet

    def chart(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Free numbers of ``(*batch, n, n)``, and log|det|."""
        raise NotImplementedError

    def matrix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix, and log|det|."""
        raise NotImplementedError

    def _vector(self, matrix: Tensor) -> Tensor:
        rows, columns = self.get_buffer("places")
        return matrix[..., rows, columns]

    def _lower(self, vector: Tensor) -> Tensor:
        rows, columns = self.get_buffer("places")
        flat = vector.new_zeros(*vector.shape[:-1], self.n * self.n)
        return flat.index_add(-1, rows * self.n + columns, vector).unflatten(-1, (self.n, self.n))


class LowerCholesky(MatrixChart):
    r"""Lower triangular matrices with a positive diagonal: :math:`z_{ii} = \log L_{ii},\ z_{ij} = L_{ij}`."""

    kind = constraints.lower_cholesky

    def chart(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        log = matrix.diagonal(dim1=-2, dim2=-1).log()
        return self._vector(torch.diagonal_scatter(matrix, log, dim1=-2, dim2=-1)), -log.sum(-1)

    def matrix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower = self._lower(z)
        log = lower.diagonal(dim1=-2, dim2=-1)
        return torch.diagonal_scatter(lower, log.exp(), dim1=-2, dim2=-1), log.sum(-1)


class PositiveDefinite(MatrixChart):
    r"""Symmetric positive-definite matrices by their Cholesky factors, with :math:`\log L_{ii}` on the diagonal.

    .. math:: \Sigma = L L^\top,\quad
              \log\Bigl|\frac{d\Sigma}{dz}\Bigr| = n \log 2 + \sum_{i=1}^n (n + 2 - i) \log L_{ii}

    Reference:
        Magnus, Neudecker (1980), The elimination matrix: some lemmas and applications, SIAM J. Alg. Disc. Meth. 1.
    """

    def chart(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        lower = _cholesky(matrix)
        log = lower.diagonal(dim1=-2, dim2=-1).log()
        return self._vector(torch.diagonal_scatter(lower, log, dim1=-2, dim2=-1)), -self._logdet(log)

    def matrix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower = self._lower(z)
        log = lower.diagonal(dim1=-2, dim2=-1)
        lower = torch.diagonal_scatter(lower, log.exp(), dim1=-2, dim2=-1)
        return lower @ lower.mT, self._logdet(log)

    def _logdet(self, log: Tensor) -> Tensor:
        powers = torch.arange(self.n + 1, 1, -1, dtype=log.dtype, device=log.device)
        return self.n * LOG_2 + (powers * log).sum(-1)


class UnitCholesky(MatrixChart):
    r"""Cholesky factors of correlation matrices, whose rows have norm 1, by their partial correlations.

    .. math:: r_{ij} = \frac{L_{ij}}{\sqrt{1 - \sum_{k<j} L_{ik}^2}} = 2 \Phi(z_{ij}) - 1,\quad j < i

    so that standard normal z has uniform partial correlations.

    Reference:
        Lewandowski, Kurowicka, Joe (2009), Generating random correlation matrices based on vines and extended onion
        method, Journal of Multivariate Analysis 100.
    """

    at_least = 2
    kind = constraints.corr_cholesky

    def chart(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        squares = matrix.tril().square()
        left = squares.flip(-1).cumsum(-1).flip(-1)  # 1 - sum_{k<j} of a row, summed from its end to avoid cancellation
        after = self._vector(left.roll(-1, -1))
        log_left, value = self._vector(left).log(), self._vector(matrix)
        r = value * (-0.5 * log_left).exp()
        log_rest = after.log() - log_left - r.abs().log1p()  # log(1 - |r|)
        z = -torch.where(value < 0, -1.0, 1.0).to(value) * log_ndtri(log_rest - LOG_2)
        return z, -(0.5 * log_left + _log_slope(z)).sum(-1)

    def matrix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Entries are r times the remainder of the row: log(1 - r^2) = log 4 + log Phi(z) + log Phi(-z)."""
        both = 2 * LOG_2 + torch.special.log_ndtr(z) + torch.special.log_ndtr(-z)
        log_left = 0.5 * (self._lower(both).cumsum(-1) - self._lower(both))  # before each entry, of the root
        r = self._lower(torch.erf(z * math.sqrt(0.5)))
        unit = torch.eye(self.n, dtype=z.dtype, device=z.device)
        return ((r + unit) * log_left.exp()).tril(), (self._vector(log_left) + _log_slope(z)).sum(-1)


class Correlation(MatrixChart):
    r"""Correlation matrices :math:`C = L L^\top` by :class:`UnitCholesky`; densities are with respect to the entries
    below the diagonal.

    .. math:: \log\Bigl|\frac{dC}{dL}\Bigr| = \sum_{j=1}^n (n - j) \log L_{jj}
    """

    at_least = 2

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.factor = UnitCholesky(n)

    @property
    def domain(self) -> Where:
        chart = super().domain
        return Where(lambda x: chart.check(x) & ((x[..., :: self.n + 1] - 1).abs() < 1e-4).all(-1))

    def chart(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        lower = _cholesky(matrix)
        z, logdet = self.factor.chart(lower)
        return z, logdet - self._logdet(lower)

    def matrix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower, logdet = self.factor.matrix(z)
        return lower @ lower.mT, logdet + self._logdet(lower)

    def _logdet(self, lower: Tensor) -> Tensor:
        powers = torch.arange(self.n - 1, -1, -1, dtype=lower.dtype, device=lower.device)
        return (powers * lower.diagonal(dim1=-2, dim2=-1).log()).sum(-1)


def _log_slope(z: Tensor) -> Tensor:
    """log of d(2 Phi(z) - 1)/dz."""
    return LOG_2 - 0.5 * z.square() - 0.5 * math.log(2 * math.pi)


def _cholesky(matrix: Tensor) -> Tensor:
    """L of the matrix given by the lower triangle, so that gradients refer to that triangle alone; NaN if it is not
    positive definite, without affecting other events."""
    symmetric = matrix.tril() + matrix.tril(-1).mT
    lower, info = torch.linalg.cholesky_ex(symmetric)
    return lower.masked_fill((info > 0)[..., None, None], math.nan)
