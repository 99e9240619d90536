"""Linear flows: permutations, diagonal maps, and z = W x with a matrix W that is full, triangular or decomposed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one, one_of
from ..numerics.matrices import reflect, reflectors, solve_rows, starting_matrix, triangle, with_log_diagonal
from .base import Transform


class Permutation(Transform):
    r"""z_j = x_{order[j]}. :math:`\log|\det| = 0`; O(m) in both directions.

    Args:
        order: A permutation of 0 … m-1.

    Raises:
        ValueError: ``order`` is not a permutation.

    Reference:
        Lecture: "Jacobian structure", case 1.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int] | Tensor) -> None:
        super().__init__()
        order = torch.as_tensor(order, dtype=torch.long)
        if order.dim() != 1 or not torch.equal(order.sort().values, torch.arange(len(order))) or len(order) == 0:
            last = max(order.numel() - 1, 0)
            raise ValueError(f"order must be a permutation of 0 to {last}, one after the other, got {order.tolist()}")
        self.event_shape = (len(order),)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.order), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.index_select(-1, self.back), z.new_zeros(z.shape[:-1])


class Diagonal(Transform):
    r"""z = exp(log_scale) · x + shift. :math:`\log|\det| = \sum_j \mathrm{log\_scale}_j`; O(m) in both directions.

    Args:
        features: m, the features of an event.

    Reference:
        Lecture: "Linear normalizing flows", diagonal matrix.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least_one(features=features)
        self.event_shape = (features,)
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (z - self.shift) * (-self.log_scale).exp(), (-self.log_scale.sum()).expand(z.shape[:-1])


class Matrix(Transform):
    r"""z = W x with a square W; subclasses give it a cheap log-determinant and a cheap inverse.

    Each subclass states its cost per sample; :math:`\log|\det|` depends on the parameters alone. ``factors``, where a
    subclass has them, hold the logarithms of a diagonal whose product is |det W|.
    """

    event_shape: tuple[int]
    factors: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.event_shape = (features,)

    def weight(self) -> Tensor:
        """W itself, (m, m), for 1x1 convolutions."""
        raise NotImplementedError

    def log_abs_det(self) -> Tensor:
        """log|det W|, a scalar."""
        return self.factors.diagonal().sum()

    def apply_weight(self, x: Tensor) -> Tensor:
        """W x for each of a few vectors, (n, m), factor by factor where that costs less than W itself."""
        return F.linear(x, self.weight())

    def solve(self, z: Tensor) -> Tensor:
        """W⁻¹ z for each of n vectors, (n, m)."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """The size stands for the matrix, whose factors are stored as tensors."""
        return {**super().arguments(), "weight": self.event_shape[0]}

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _by_rows(self._multiply, x), self.log_abs_det().expand(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.generate(z), (-self.log_abs_det()).expand(z.shape[:-1])

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return _by_rows(self.solve, z)

    def _multiply(self, x: Tensor) -> Tensor:
        few = not torch.compiler.is_compiling() and len(x) < x.shape[-1]
        return self.apply_weight(x) if few else F.linear(x, self.weight())


class Linear(Matrix):
    r"""z = W x with a full W: the log-determinant and the inverse cost O(m^3), once per batch.

    Args:
        weight: The initial W, (m, m), or m for a random rotation.

    Raises:
        ValueError: W is not square or is singular.

    Reference:
        Lecture: "Linear normalizing flows".
    """

    def __init__(self, weight: int | Tensor) -> None:
        start = starting_matrix(weight)
        super().__init__(len(start))
        self.matrix = nn.Parameter(start)

    def weight(self) -> Tensor:
        return self.matrix

    def log_abs_det(self) -> Tensor:
        return torch.linalg.slogdet(self.matrix).logabsdet

    def solve(self, z: Tensor) -> Tensor:
        return torch.linalg.solve(self.matrix, z.mT).mT


class Triangular(Matrix):
    r"""z = T x with a triangular T, whose positive diagonal is stored as logarithms.

    .. math:: \log|\det| = \sum_j \log T_{jj}

    O(m) for the log-determinant, O(m^2) for either direction. Starts as the identity.

    Args:
        weight: The initial T, (m, m), or m for the identity.
        lower: Lower triangular (z_j reads x_1 … x_j), or upper.

    Raises:
        ValueError: T is not square, has entries on the wrong side, or has a non-positive diagonal.

    Reference:
        Lecture: "Jacobian structure", case 3; "Linear normalizing flows", triangular matrix.
    """

    def __init__(self, weight: int | Tensor, lower: bool = True) -> None:
        start = starting_matrix(weight, random=False)
        super().__init__(len(start))
        self.lower = lower
        side = "lower" if lower else "upper"
        if not torch.equal(start, start.tril() if lower else start.triu()):
            raise ValueError(f"weight must be {side} triangular, but it has entries on the other side of the diagonal")
        if not bool((start.diagonal() > 0).all()):
            raise ValueError(f"weight must have a positive diagonal, got a minimum of {float(start.diagonal().min())}")
        self.factors = nn.Parameter(with_log_diagonal(start))

    def weight(self) -> Tensor:
        return triangle(self.factors, self.lower)

    def solve(self, z: Tensor) -> Tensor:
        return solve_rows(self.weight(), z, lower=self.lower)


class PLU(Matrix):
    r"""z = P L U x: a fixed permutation, a unit lower and an upper triangular matrix.

    .. math:: \log|\det W| = \sum_j \log|U_{jj}|

    O(m) for the log-determinant, O(m^2) for either direction; nothing is inverted. W is decomposed once; then the
    factors are trained. The lecture's diagonals are positive, which would reach only half of all W; so the signs of U's
    diagonal are kept from the decomposition and are not trained (as in Glow). ``factors`` holds L below the diagonal,
    log|U_jj| on it and U above it.

    Args:
        weight: The initial W, (m, m), or m for a random rotation.

    Raises:
        ValueError: W is not square or is singular.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039. Lecture: "Matrix decompositions".
    """

    order: Tensor
    back: Tensor
    sign: Tensor

    def __init__(self, weight: int | Tensor) -> None:
        start = starting_matrix(weight)
        super().__init__(len(start))
        P, L, U = torch.linalg.lu(start.double())
        factors = L.tril(-1) + with_log_diagonal(U)
        self.factors = nn.Parameter(factors.to(start.dtype))
        self.register_buffer("order", P.argmax(1))  # (P y)_i = y_{order[i]}
        self.register_buffer("back", self.order.argsort())
        self.register_buffer("sign", U.diagonal().sign().to(start.dtype))

    def upper(self) -> Tensor:
        return triangle(self.factors, lower=False, sign=self.sign)

    def weight(self) -> Tensor:
        upper = self.upper()
        return torch.addmm(upper, self.factors.tril(-1), upper).index_select(0, self.order)  # (I + L') U

    def apply_weight(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.upper())
        return torch.addmm(y, y, self.factors.tril(-1).mT).index_select(-1, self.order)  # (I + L') y

    def solve(self, z: Tensor) -> Tensor:
        y = solve_rows(self.factors, z.index_select(-1, self.back), lower=True, unit=True)
        return solve_rows(self.upper(), y, lower=False)


class QR(Matrix):
    r"""z = Q R x with an orthogonal Q and an upper triangular R, whose positive diagonal is stored as logarithms.

    .. math:: \log|\det W| = \sum_j \log R_{jj}

    O(m) for the log-determinant, O(m^2) per sample for either direction, since :math:`Q^{-1} = Q^\top`. W is decomposed
    once; then the factors are trained, and Q stays orthogonal. ``factors`` holds R above the diagonal, log R_jj on it,
    and below it the parameters of Q:

    - ``"householder"``: the vectors v_j (with a 1 on the diagonal) of :math:`Q = H_1 \cdots H_m S`,
      :math:`H_j = I - 2 v_j v_j^\top / \lVert v_j \rVert^2`, S a fixed diagonal of signs;
    - ``"exponential"``: A of :math:`Q = \exp(A - A^\top) Q_0` with the Q_0 of the decomposition, A = 0 at the start.

    Args:
        weight: The initial W, (m, m), or m for a random rotation.
        orthogonal: How Q is parametrised: ``"householder"`` or ``"exponential"``.

    Raises:
        ValueError: W is not square or is singular, or ``orthogonal`` is unknown.

    Reference:
        Hoogeboom, van den Berg, Welling (2019), Emerging convolutions, arXiv:1901.11137. Lecture: "Matrix
        decompositions".
    """

    sign: Tensor
    vectors: Tensor

    def __init__(self, weight: int | Tensor, orthogonal: str = "householder") -> None:
        one_of(("householder", "exponential"), orthogonal=orthogonal)
        start = starting_matrix(weight)
        super().__init__(len(start))
        self.orthogonal = orthogonal
        vectors, R = reflectors(start.double())
        sign = R.diagonal().sign()
        householder = orthogonal == "householder"
        factors = with_log_diagonal((sign[:, None] * R).triu()) + (vectors if householder else 0.0)
        self.factors = nn.Parameter(factors.to(start.dtype))
        self.register_buffer("sign", sign.to(start.dtype))  # S
        # Q_0 = H_1 … H_m S is stored as its vectors, so it is orthogonal to machine precision in any dtype
        self.register_buffer("vectors", None if householder else vectors.to(start.dtype))

    def rotate(self, columns: Tensor) -> Tensor:
        """Q times a matrix of columns, (m, n)."""
        below = self.factors.tril(-1)
        if self.orthogonal == "householder":
            return reflect(below, self.sign[:, None] * columns)
        return torch.linalg.matrix_exp(below - below.mT) @ reflect(self.vectors, self.sign[:, None] * columns)

    def rotate_back(self, columns: Tensor) -> Tensor:
        """Qᵀ times a matrix of columns, (m, n)."""
        below = self.factors.tril(-1)
        if self.orthogonal == "householder":
            return self.sign[:, None] * reflect(below, columns, transposed=True)
        turned = torch.linalg.matrix_exp(below.mT - below) @ columns
        return self.sign[:, None] * reflect(self.vectors, turned, transposed=True)

    def upper(self) -> Tensor:
        return triangle(self.factors, lower=False)

    def weight(self) -> Tensor:
        return self.rotate(self.upper())

    def apply_weight(self, x: Tensor) -> Tensor:
        return self.rotate(self.upper() @ x.mT).mT

    def solve(self, z: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.upper(), self.rotate_back(z.mT), upper=True).mT


def _by_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of (n, m) applied to (*batch, m)."""
    rows = math.prod(x.shape[:-1])  # not numel(), which is undefined for a traced dynamic batch
    return function(x.reshape(rows, x.shape[-1])).reshape(x.shape)
