"""Planar, radial and Sylvester flows: the identity plus a low-rank map, with free parameters or given by the context.

Each is invertible on the whole space, with a slope of at least :data:`~pushforward.numerics.contraction.LEAST_SLOPE` in
any direction, and starts as the identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import at_least_one
from ..nets.mlp import MLP
from ..numerics.contraction import above_minus_one
from ..numerics.matrices import reflect, reflectors, starting_matrix
from ..numerics.roots import solve
from .base import Transform


class Planar(Transform):
    r"""z = x + û tanh(wᵀx + b): moves every point along one direction, by an amount that depends on another.

    .. math:: \hat u = u + (m(w^\top u) - w^\top u)\, \frac{w}{\lVert w \rVert^2},\quad m > -1,\qquad
        \log|\det| = \log\bigl(1 + m(w^\top u)\, \tanh'(w^\top x + b)\bigr)

    so that :math:`w^\top \hat u > -1`, as invertibility requires. O(m) either way: the inverse solves one scalar
    equation, α + m tanh(α) = wᵀz + b for α = wᵀx + b, with an increasing left-hand side.

    Args:
        features: m, the features of an event.
        context: Features of the context, which then gives u, w and b, added to a trained w.
        hidden: Hidden widths of the network that reads the context; empty for a linear one.

    Raises:
        ValueError: a size is below 1.

    Reference:
        Rezende, Mohamed (2015), Variational inference with normalizing flows, arXiv:1505.05770.
    """

    sequential = (False, True)

    def __init__(self, features: int, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        at_least_one(features=features)
        self.event_shape = (features,)
        self.features = features
        self.net = _parameters(2 * features + 1, 1, context, hidden)
        self.direction = nn.Parameter(torch.randn(features) * features**-0.5)  # with w = 0 nothing would be learnt

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, w, b, m = self._params(x, context)
        h = ((x * w).sum(-1) + b).tanh()
        return x + u * h.unsqueeze(-1), (m * (1 - h * h)).log1p()

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, w, b, m = self._params(z, context)
        alpha = _root((z * w).sum(-1) + b, m)
        h = alpha.tanh()
        return z - u * h.unsqueeze(-1), -(m * (1 - h * h)).log1p()

    def _params(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        numbers = self.net(x.new_zeros(0), context).squeeze(0)
        u, w, b = numbers.split((self.features, self.features, 1), -1)
        w = w + self.direction
        inner = (w * u).sum(-1)
        m = above_minus_one(inner)
        square = (w * w).sum(-1) + torch.finfo(x.dtype).tiny
        return u + ((m - inner) / square).unsqueeze(-1) * w, w, b.squeeze(-1), m


class Radial(Transform):
    r"""z = x + β (x - c) / (α + r) with r = ‖x - c‖: contracts or expands around a centre.

    .. math:: \log|\det| = (m - 1) \log(1 + \beta h) + \log(1 + \alpha \beta h^2),\qquad h = 1 / (\alpha + r)

    with α > 0 and β > -α. O(m) either way: the radius of x is the positive root of a quadratic equation.

    Args:
        features: m, the features of an event.
        context: Features of the context, which then gives c, α and β.
        hidden: Hidden widths of the network that reads the context; empty for a linear one.

    Raises:
        ValueError: a size is below 1.

    Reference:
        Rezende, Mohamed (2015), arXiv:1505.05770.
    """

    def __init__(self, features: int, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        at_least_one(features=features)
        self.event_shape = (features,)
        self.features = features
        self.net = _parameters(features + 2, 1, context, hidden)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        centre, alpha, ratio = self._params(x, context)
        away = x - centre
        share, logdet = self._slopes(torch.linalg.vector_norm(away, dim=-1), alpha, ratio)
        return centre + away * share.unsqueeze(-1), logdet

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        centre, alpha, ratio = self._params(z, context)
        away = z - centre
        radius = torch.linalg.vector_norm(away, dim=-1)
        p = (alpha + alpha * ratio - radius) / 2  # r² + 2 p r - α R = 0
        root = (p * p + alpha * radius).sqrt()
        r = torch.where(p > 0, alpha * radius / (p.abs() + root), root - p)
        share, logdet = self._slopes(r, alpha, ratio)
        return centre + away / share.unsqueeze(-1), -logdet

    def _slopes(self, r: Tensor, alpha: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """1 + β h and the log-determinant, for β = α · ratio."""
        gate = alpha / (alpha + r)  # α h, without underflow
        return 1 + ratio * gate, (self.features - 1) * (ratio * gate).log1p() + (ratio * gate * gate).log1p()

    def _params(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """c, α and β / α."""
        numbers = self.net(x.new_zeros(0), context).squeeze(0)
        centre, width, strength = numbers.split((self.features, 1, 1), -1)
        alpha = 1 + above_minus_one(width)  # above LEAST_SLOPE, initially 1
        return centre, alpha.squeeze(-1), above_minus_one(strength).squeeze(-1)


class Sylvester(Transform):
    r"""z = x + Q R tanh(S Qᵀx + b): a planar flow along several orthogonal directions at once.

    .. math:: \log|\det| = \sum_i \log\bigl(1 + R_{ii} S_{ii} \tanh'(\cdot)_i\bigr),\qquad R_{ii} S_{ii} > -1

    with upper triangular R and S, and Q with orthonormal columns, a product of Householder reflections. O(m k) either
    way; the inverse solves for Qᵀx from its last entry to its first, each the root of an increasing function.

    Args:
        features: m, the features of an event.
        rank: k, columns of Q; all m by default.
        context: Features of the context, which then gives R, S and b.
        hidden: Hidden widths of the network that reads the context; empty for a linear one.

    Raises:
        ValueError: a size is below 1, or ``rank`` above ``features``.

    Reference:
        van den Berg, Hasenclever, Tomczak, Welling (2018), Sylvester normalizing flows, arXiv:1803.05649.
    """

    sequential = (False, True)
    sign: Tensor

    def __init__(self, features: int, rank: int | None = None, *, context: int = 0, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        at_least_one(features=features)
        self.event_shape = (features,)
        self.rank = features if rank is None else rank
        if not 1 <= self.rank <= features:
            raise ValueError(f"rank must be between 1 and features={features}, got rank={rank}")
        self.net = _parameters(self.rank, 2 * self.rank + 1, context, hidden)
        vectors, R = reflectors(starting_matrix(features).double())
        self.vectors = nn.Parameter(vectors.to(torch.get_default_dtype()))
        self.register_buffer("sign", R.diagonal().sign().to(self.vectors.dtype))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        Q, R, S, b, m = self._params(x, context)
        h = ((S @ (x @ Q).unsqueeze(-1)).squeeze(-1) + b).tanh()
        return x + (R @ h.unsqueeze(-1)).squeeze(-1) @ Q.mT, (m * (1 - h * h)).log1p().sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        Q, R, S, b, m = self._params(z, context)
        h = self._hidden(z @ Q, R, S, b, m)
        return z - (R @ h.unsqueeze(-1)).squeeze(-1) @ Q.mT, -(m * (1 - h * h)).log1p().sum(-1)

    def _hidden(self, q: Tensor, R: Tensor, S: Tensor, b: Tensor, m: Tensor) -> Tensor:
        """tanh(S y + b) for the y with y + R tanh(S y + b) = q, from the last entry to the first."""
        q, b, m = torch.broadcast_tensors(q, b, m)
        y: list[Tensor] = []
        h: list[Tensor] = []
        for i in reversed(range(self.rank)):
            rest, offset = q[..., i], b[..., i]
            for j, (known, squashed) in enumerate(zip(reversed(y), reversed(h), strict=True), i + 1):
                rest, offset = rest - R[..., i, j] * squashed, offset + S[..., i, j] * known
            scale = S[..., i, i].expand_as(rest)
            alpha = _root(scale * rest + offset, m[..., i])
            y.append((alpha - offset) / scale)
            h.append(alpha.tanh())
        return torch.stack(h[::-1], -1)

    def _params(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        numbers = self.net(x.new_zeros(0), context)
        first, second, b = numbers.split((self.rank, self.rank, 1))
        first, second = first.movedim(0, -2), second.movedim(0, -2)  # (*batch, k, k)
        scale = 1 + above_minus_one(second.diagonal(dim1=-2, dim2=-1))
        m = above_minus_one(first.diagonal(dim1=-2, dim2=-1))
        R = torch.diagonal_scatter(first.triu(), m / scale, dim1=-2, dim2=-1)
        S = torch.diagonal_scatter(second.triu(), scale, dim1=-2, dim2=-1)
        identity = torch.eye(len(self.vectors), dtype=x.dtype, device=x.device)
        Q = reflect(self.vectors.tril(-1), (self.sign[:, None] * identity)[:, : self.rank])
        return Q, R, S, b.squeeze(0), m


def _root(target: Tensor, m: Tensor) -> Tensor:
    """α with α + m tanh(α) = target, for m > -1."""
    target, m = torch.broadcast_tensors(target, m)

    def function(alpha: Tensor) -> tuple[Tensor, Tensor]:
        h = alpha.tanh()
        return alpha + m * h, (m * (1 - h * h)).log1p()

    def around(z: Tensor) -> tuple[Tensor, Tensor]:
        reach = m.abs() * 1.001  # |tanh| is at most 1
        slack = torch.finfo(z.dtype).eps * (1 + z.abs()) * 4
        return z - reach - slack, z + reach + slack

    return solve(function, target, around=around)


def _parameters(outputs: int, num_params: int, context: int, hidden: Sequence[int]) -> MLP:
    """Trained parameters ``(num_params, outputs)``, or ``(num_params, *batch, outputs)`` from a context."""
    return MLP(0, outputs, num_params, context=context, hidden=hidden if context else ())
