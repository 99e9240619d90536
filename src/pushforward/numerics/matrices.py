"""Square matrices kept as triangular factors and reflections: building, applying and solving them."""

from __future__ import annotations

import torch
from torch import Tensor


def starting_matrix(weight: int | Tensor, *, random: bool = True) -> Tensor:
    """A checked copy of W; for an integer m, a random rotation (Haar) or the identity."""
    if isinstance(weight, int):
        if weight < 1:
            raise ValueError(f"weight must be a matrix or a size of at least 1, got weight={weight}")
        return torch.linalg.qr(torch.randn(weight, weight)).Q if random else torch.eye(weight)
    if weight.dim() != 2 or weight.shape[0] != weight.shape[1] or len(weight) == 0:
        raise ValueError(f"weight must be a square matrix to be invertible, got shape {tuple(weight.shape)}")
    start = weight.detach().clone()
    start = start if start.is_floating_point() else start.to(torch.get_default_dtype())
    if not bool(start.isfinite().all()):
        raise ValueError("weight must be finite, but it holds NaN or infinity")
    smallest, largest = torch.linalg.svdvals(start.double()).aminmax()
    if smallest <= largest * torch.finfo(start.dtype).eps:
        raise ValueError(
            f"weight must be invertible, but its singular values run from {float(largest):.3g} down to "
            f"{float(smallest):.3g}: it is singular"
        )
    return start


def with_log_diagonal(matrix: Tensor) -> Tensor:
    """Triangular matrices ``(*batch, m, m)`` with the diagonal replaced by log|diagonal|."""
    logs = matrix.diagonal(dim1=-2, dim2=-1).abs().log()
    return torch.diagonal_scatter(matrix, logs, dim1=-2, dim2=-1)


def triangle(factors: Tensor, lower: bool, sign: Tensor | None = None) -> Tensor:
    """The triangular matrices, (*batch, m, m), with diagonal sign · exp(diagonal of factors) and one side of
    ``factors``."""
    diagonal = factors.diagonal(dim1=-2, dim2=-1).exp()
    diagonal = diagonal if sign is None else diagonal * sign
    return torch.diagonal_scatter(factors.tril() if lower else factors.triu(), diagonal, dim1=-2, dim2=-1)


def solve_rows(matrix: Tensor, rows: Tensor, *, lower: bool, unit: bool = False) -> Tensor:
    """matrix⁻¹ r for every row r of ``rows``, (n, m), by substitution: O(m^2) each. The other triangle is not read, nor
    is the diagonal if it is all ones (``unit``)."""
    return torch.linalg.solve_triangular(matrix.mT, rows, upper=lower, left=False, unitriangular=unit)


def reflectors(W: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors, strictly lower triangular, and the upper triangular R of W = H_1 … H_m R; see :func:`reflect`. For an
    orthogonal W, R is a diagonal of signs."""
    vectors = torch.geqrf(W).a.tril(-1)
    return vectors, reflect(vectors, torch.eye(len(W), dtype=W.dtype)).mT @ W


def reflect(vectors: Tensor, columns: Tensor, *, transposed: bool = False) -> Tensor:
    r"""H_1 … H_m times a matrix of columns, (m, n), with Householder vectors v_j = e_j + vectors[:, j].

    All reflections are applied at once, in the compact WY form :math:`H_1 \cdots H_m = I - V T V^\top`, where
    :math:`T^{-1}` is upper triangular: :math:`V^\top V` above its diagonal and :math:`\lVert v_j \rVert^2 / 2` on it.

    Args:
        vectors: Strictly lower triangular, (m, m).
        columns: (m, n).
        transposed: Apply :math:`H_m \cdots H_1`, the transpose, which is the inverse.

    Reference:
        Schreiber, Van Loan (1989), A storage-efficient WY representation for products of Householder transformations.
    """
    V = vectors + torch.eye(len(vectors), dtype=vectors.dtype, device=vectors.device)
    gram = V.mT @ V
    T_inverse = gram.triu(1) + (gram.diagonal() / 2).diag()
    if transposed:
        return columns - V @ torch.linalg.solve_triangular(T_inverse.mT, V.mT @ columns, upper=False)
    return columns - V @ torch.linalg.solve_triangular(T_inverse, V.mT @ columns, upper=True)
