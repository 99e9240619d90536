"""Invertible convolutions of images: 1 x 1 over the channels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Transform
from .linear import PLU, QR, Linear, Matrix
from .normalization import ActNorm

PARAMETRISATIONS: dict[str, type[Matrix]] = {"full": Linear, "plu": PLU, "qr": QR}


class Conv1x1(Transform):
    r"""z[:, i, j] = W x[:, i, j] at every pixel, with one W over the c channels; optionally after a per-channel
    normalisation, :math:`W \mathrm{diag}(e^s) (x + b)`, which then costs nothing extra.

    .. math:: \log|\det| = h \cdot w \cdot (\log|\det W| + \textstyle\sum s)

    O(c) for the log-determinant with ``"plu"`` and ``"qr"``, O(c^3) with ``"full"``. The inverse makes W⁻¹ once from
    its factors by triangular solves, O(c^3) whatever the image, and is a 1x1 convolution again.

    Args:
        weight: The W to start from, (c, c), or the number of channels c for a random rotation.
        parametrisation: ``"full"`` (:class:`Linear`), ``"plu"`` (:class:`PLU`) or ``"qr"`` (:class:`QR`).
        normalize: Put an :class:`ActNorm` before W and fold it into the same convolution.

    Raises:
        ValueError: the parametrisation is unknown, or W is not square or singular.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039. Lecture: "Invertible 1x1 conv".
    """

    event_dim = 3

    def __init__(self, weight: int | Tensor, parametrisation: str = "plu", *, normalize: bool = False) -> None:
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(
                f"parametrisation must be one of {', '.join(PARAMETRISATIONS)}, got parametrisation={parametrisation!r}"
            )
        self.matrix = PARAMETRISATIONS[parametrisation](weight)
        self.norm = ActNorm(len(self.matrix.weight()), event_dim=3) if normalize else None

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "weight": self.matrix.arguments()["weight"]}

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weight, bias = self.matrix.weight(), None
        if self.norm is not None:
            weight = weight * self.norm.log_scale.exp().flatten()  # W diag(exp s)
            bias = weight @ self.norm.bias.flatten()
        return _mix(x, weight, bias), self._logdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        identity = torch.eye(z.shape[-3], dtype=z.dtype, device=z.device)
        weight, bias = self.matrix.solve(identity).mT, None
        if self.norm is not None:
            weight, bias = weight * (-self.norm.log_scale).exp().view(-1, 1), -self.norm.bias.flatten()
        return _mix(z, weight, bias), -self._logdet(z)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.norm is not None:
            self.norm.initialize(x)
        return self.forward(x)[0]

    def _logdet(self, x: Tensor) -> Tensor:
        per_pixel = self.matrix.log_abs_det()
        if self.norm is not None:
            per_pixel = per_pixel + self.norm.log_scale.sum()
        return (per_pixel * (x.shape[-2] * x.shape[-1])).expand(x.shape[:-3])


def _mix(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution of (*batch, c, h, w), as the matrix product that it is when channels lie last in memory."""
    return F.linear(x.movedim(-3, -1), weight, bias).movedim(-1, -3)
