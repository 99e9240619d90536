"""The tail layer, between power tails of data and normal ones for the rest of the flow, and Hill's estimator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import at_least_one
from ..numerics import tails
from .base import Transform

START = 10.0  # initial tail index, if none is given
MEDIAN_E = math.log(2.0)  # E at the quartiles of a normal


class HeavyTails(Transform):
    r"""Maps each feature from power tails to normal ones; each of its two tails has its own index.

    .. math:: x = \mu + \sigma s\, \frac{e^{\lambda_s E} - 1}{\lambda_s},\quad E = -\log\bigl(2\Phi(-|z|)\bigr),
              \quad s = \operatorname{sign} z,\quad \lambda_s = 1 / \alpha_s

    A flow with a normal base and splines or bounded affine maps has normal tails, whatever it learns. As the layer
    closest to the data (:func:`pushforward.constrain`) this one gives it tails :math:`P(|x| > t) \sim t^{-\alpha}`.

    Args:
        features: Features of an event.
        index: Initial alpha, for all features, for each feature, or ``(2, features)`` for the left and the right tails:
            2 for the tails of a Student-t with two degrees of freedom. Without it, ``initialize`` estimates it from its
            batch by Hill's estimator, as :func:`pushforward.diagnostics.tail_index` does.
        trainable: Whether alpha is trained with the flow; mu and sigma always are.

    Raises:
        ValueError: ``features`` is below 1, or an index is not positive or of another shape.

    Reference:
        Hickling, Prangle (2024), Flexible tails for normalising flows, arXiv:2406.16971.

    Example:
        >>> import pushforward as pf
        >>> flow = pf.constrain(pf.nsf(2), pf.transforms.HeavyTails(2, index=2.0))
    """

    def __init__(
        self, features: int, index: float | Sequence[float] | Tensor | None = None, *, trainable: bool = True
    ) -> None:
        super().__init__()
        at_least_one(features=features)
        start = torch.as_tensor(START if index is None else index, dtype=torch.get_default_dtype())
        if start.shape not in ((), (features,), (2, features)):
            raise ValueError(
                f"index must be one number, {features}, or (2, {features}), got shape {tuple(start.shape)}"
            )
        if not bool((start > 0).all()):
            raise ValueError(f"index must be positive, got {float(start.min()):g}: it is the tails' degrees of freedom")
        self.estimates = index is None
        self.loc = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.full((features,), 0.5 * math.log(math.pi / 2)))  # slope 1 at 0
        self.log_index = nn.Parameter(start.log().expand(2, features).clone(), requires_grad=trainable)

    def index(self) -> Tensor:
        """alpha of the left and the right tail of every feature, ``(2, features)``."""
        return self.log_index.exp()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        away = (x - self.loc) * (-self.log_scale).exp()
        sign, weight = self._side(away)
        z, log_slope = tails.lighten(sign * away, weight)
        return sign * z, (log_slope - self.log_scale).sum(-1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        sign, weight = self._side(z)
        y, log_slope = tails.weigh_down(sign * z, weight)
        return self.loc + self.log_scale.exp() * sign * y, (log_slope + self.log_scale).sum(-1)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Fits location and scale by the median and the median absolute deviation of a batch of at least 8 rows, and
        each tail by Hill's estimate if no index was given."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) < 8:
            return self(x, context)[0]
        middle = rows.median(0).values
        if self.estimates:
            self.log_index.copy_(tail_index(rows).clamp(0.1, 100.0).log())
        weight = (-self.log_index).exp().mean(0)
        spread = (rows - middle).abs().median(0).values.clamp_min(torch.finfo(rows.dtype).tiny)
        self.loc.copy_(middle)
        self.log_scale.copy_((spread * weight / (weight * MEDIAN_E).expm1()).log())
        return self(x, context)[0]

    def _side(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """-1 or 1 for the tail that a value is in, 1 at 0, and lambda of that tail."""
        left, right = (-self.log_index).exp()
        below = values < 0
        return torch.where(below, -1.0, 1.0).to(values), torch.where(below, left, right)


def tail_index(x: Tensor, tail: int | None = None) -> Tensor:
    r"""Hill's estimate of the tail index alpha of each side of every column: :math:`P(|x| > t) \sim t^{-\alpha}`.

    .. math:: \frac1\alpha = \frac1k \sum_{i=1}^{k} \log\frac{x_{(i)}}{x_{(k+1)}}

    from the k largest distances from the median; infinite where these are all equal.

    Args:
        x: Rows, ``(n, features)``, at least 8.
        tail: k; by default :math:`n^{2/3} / 2`.

    Returns:
        ``(2, features)``, the left and the right tails: about 2 for draws of a Student-t with two degrees of freedom,
        large for normal ones.

    Raises:
        ValueError: x is not a table of at least 8 rows, or ``tail`` is not between 1 and n - 1.

    Reference:
        Hill (1975), A simple general approach to inference about the tail of a distribution, Annals of Statistics 3.

    Example:
        >>> import torch, pushforward as pf
        >>> x = torch.distributions.StudentT(2.0).sample((100_000, 1))
        >>> bool(((pf.diagnostics.tail_index(x) - 2).abs() < 0.4).all())
        True
    """
    if x.dim() != 2 or len(x) < 8:
        raise ValueError(f"x must be rows (n, features), at least 8 of them, got shape {tuple(x.shape)}")
    if tail is not None and not 1 <= tail < len(x):
        raise ValueError(f"tail must be from 1 to {len(x) - 1}, got tail={tail}")
    k = max(round(0.5 * len(x) ** (2 / 3)), 2) if tail is None else tail
    away = x - x.median(0).values
    largest = torch.stack([-away, away]).topk(k + 1, 1).values.clamp_min(torch.finfo(x.dtype).tiny)
    return 1 / (largest[:, :-1] / largest[:, -1:]).log().mean(1)
