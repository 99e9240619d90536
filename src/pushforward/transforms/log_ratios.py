"""Parts of a whole as logarithms of their ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .base import Transform


class LogRatios(Transform):
    r"""Parts of a whole by their ratios to what is left of it: :math:`z_i = \log (u_i / u_0)`, the rest unchanged.

    .. math:: u_i = x_i + d_i, \quad u_0 = T - \sum_i x_i + d_0, \quad T = t + \sum_{k} x_k,
              \quad \log|\det| = \log\Big(\sum_i u_i + u_0\Big) - \sum_i \log u_i - \log u_0

    The last part, T - Σ x, is no feature: it follows. The whole T is a number, or the sum of other features; margins d
    leave room for cells of zeros and of rounded parts. Inverse: :math:`u = (T + \sum d)\, \mathrm{softmax}(z, 0)`.

    Args:
        parts: The features x_i.
        total: t.
        wholes: The features k.
        margins: d_i of each part, and d_0 last; 0 by default.

    Raises:
        ValueError: a feature is a part and a whole, or margins are not one more than parts.

    Reference:
        Aitchison (1982), The statistical analysis of compositional data, additive log-ratios.
    """

    def __init__(
        self,
        parts: Sequence[int],
        total: float = 0.0,
        wholes: Sequence[int] = (),
        margins: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.parts, self.wholes, self.total = [int(i) for i in parts], [int(k) for k in wholes], float(total)
        self.margins = [float(d) for d in margins] or [0.0] * (len(self.parts) + 1)
        if set(self.parts) & set(self.wholes):
            raise ValueError(f"parts {self.parts} and wholes {self.wholes} share a feature")
        if len(self.margins) != len(self.parts) + 1:
            raise ValueError(f"got {len(self.margins)} margins, expected {len(self.parts) + 1}: one more than parts")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = x[..., self.parts]
        left = self._whole(x) - parts.sum(-1) + self.margins[-1]
        logs, rest = (parts + x.new_tensor(self.margins[:-1])).log(), left.log()
        logdet = (self._whole(x) + sum(self.margins)).log() - logs.sum(-1) - rest
        return self._with(x, logs - rest[..., None]), logdet

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        size = self._whole(z) + sum(self.margins)
        logs = torch.nn.functional.pad(z[..., self.parts], (0, 1)).log_softmax(-1) + size.log()[..., None]
        x = self._with(z, logs[..., :-1].exp() - z.new_tensor(self.margins[:-1]))
        return x, logs.sum(-1) - size.log()

    def _whole(self, x: Tensor) -> Tensor:
        return x[..., self.wholes].sum(-1) + self.total

    def _with(self, x: Tensor, parts: Tensor) -> Tensor:
        places: list[Any] = [x[..., j] for j in range(x.shape[-1])]
        for i, part in zip(self.parts, parts.unbind(-1), strict=True):
            places[i] = part
        return torch.stack(places, -1)
