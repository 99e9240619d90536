"""Linear maps z = W x by singular values and by the matrix exponential."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..numerics.matrices import reflect, reflectors, starting_matrix
from .linear import Matrix


class SVD(Matrix):
    r"""z = U Σ Vᵀ x with orthogonal U and V and positive singular values, stored as logarithms.

    .. math:: \log|\det W| = \sum_j \log \sigma_j

    O(m) for the log-determinant, O(m^2) per sample for either direction. W is decomposed once; then the factors are
    trained: U and V are products of Householder reflections and fixed signs, and stay orthogonal. ``factors`` holds the
    vectors of U below its diagonal, log σ on it, and those of V, transposed, above it.

    Args:
        weight: The initial W, (m, m), or m for a random rotation.

    Raises:
        ValueError: W is not square or is singular.

    Reference:
        Zhang, Lei, Dhillon (2018), Stabilizing gradients for deep neural networks via efficient SVD parameterization,
        arXiv:1803.09327.
    """

    left_sign: Tensor
    right_sign: Tensor

    def __init__(self, weight: int | Tensor) -> None:
        start = starting_matrix(weight)
        super().__init__(len(start))
        U, sigma, Vh = torch.linalg.svd(start.double())
        (left, left_R), (right, right_R) = reflectors(U), reflectors(Vh.mT)
        self.factors = nn.Parameter((left + sigma.log().diag() + right.mT).to(start.dtype))
        self.register_buffer("left_sign", left_R.diagonal().sign().to(start.dtype))
        self.register_buffer("right_sign", right_R.diagonal().sign().to(start.dtype))

    def weight(self) -> Tensor:
        return self.apply_weight(torch.eye(len(self.factors), dtype=self.factors.dtype, device=self.factors.device)).mT

    def apply_weight(self, x: Tensor) -> Tensor:
        left, right = self.factors.tril(-1), self.factors.triu(1).mT
        columns = self.right_sign[:, None] * reflect(right, x.mT, transposed=True)  # Vᵀ x
        scaled = self.factors.diagonal().exp()[:, None] * columns
        return reflect(left, self.left_sign[:, None] * scaled).mT

    def solve(self, z: Tensor) -> Tensor:
        left, right = self.factors.tril(-1), self.factors.triu(1).mT
        columns = self.left_sign[:, None] * reflect(left, z.mT, transposed=True)
        scaled = (-self.factors.diagonal()).exp()[:, None] * columns
        return reflect(right, self.right_sign[:, None] * scaled).mT


class MatrixExponential(Matrix):
    r"""z = exp(A) W_0 x with a free matrix A, initially 0, and a constant W_0: invertible for any A.

    .. math:: \log|\det W| = \operatorname{tr} A + \log|\det W_0|

    O(m^3) for the exponential and the log-determinant, once per batch; the inverse is :math:`W_0^{-1} \exp(-A)`.

    Args:
        weight: W_0, (m, m), or m for a random rotation.

    Raises:
        ValueError: W_0 is not square or is singular.

    Reference:
        Xiao, Liu (2020), Generative flows with matrix exponential, arXiv:2007.09651.
    """

    start: Tensor

    def __init__(self, weight: int | Tensor) -> None:
        start = starting_matrix(weight)
        super().__init__(len(start))
        self.exponent = nn.Parameter(torch.zeros_like(start))
        self.register_buffer("start", start)

    def weight(self) -> Tensor:
        return torch.linalg.matrix_exp(self.exponent) @ self.start

    def log_abs_det(self) -> Tensor:
        return self.exponent.diagonal().sum() + torch.linalg.slogdet(self.start).logabsdet

    def solve(self, z: Tensor) -> Tensor:
        return torch.linalg.solve(self.start, F.linear(z, torch.linalg.matrix_exp(-self.exponent)).mT).mT
