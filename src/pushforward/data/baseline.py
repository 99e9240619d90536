"""The density to beat: one Gaussian with a full covariance, its mean linear in the context where there is one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class Gaussian:
    r"""N(A [1, c] + b, S), fitted by maximum likelihood.

    .. math:: \log p(x \mid c) = -\tfrac12 \lVert L^{-1} (x - \mu(c)) \rVert^2 - \log\det L - \tfrac m2 \log 2\pi,
              \quad S = L L^\top

    Args:
        x: Rows of shape ``(n, m)``.
        context: Contexts of shape ``(n, c)``, or None.
    """

    def __init__(self, x: Tensor, context: Tensor | None = None) -> None:
        x = x.double()
        design = self._design(x, context)
        # gelsd copes with the indicators of a category, which add up to the constant column
        self.weights = torch.linalg.lstsq(design, x, driver="gelsd").solution
        residual = x - design @ self.weights
        covariance = residual.T @ residual / len(x)
        scale = covariance.diagonal().clamp_min(1e-300).sqrt()
        correlation = covariance / scale / scale[:, None]
        ridge = 1e-12 * torch.eye(len(scale), dtype=x.dtype)
        self.cholesky = scale[:, None] * torch.linalg.cholesky(correlation + ridge)

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats, of shape ``(*batch,)``."""
        centred = x.double() - self._design(x, context) @ self.weights
        z = torch.linalg.solve_triangular(self.cholesky, centred.flatten(0, -2).T, upper=False)
        constant = self.cholesky.diagonal().log().sum() + 0.5 * len(self.cholesky) * math.log(2 * math.pi)
        return (-0.5 * z.square().sum(0) - constant).view(x.shape[:-1])

    def to_json(self) -> dict[str, Any]:
        """What :meth:`from_json` makes it from again."""
        return {"weights": self.weights.tolist(), "cholesky": self.cholesky.tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Gaussian:
        made = cls.__new__(cls)
        made.weights, made.cholesky = (torch.tensor(values[k], dtype=torch.float64) for k in ("weights", "cholesky"))
        return made

    @staticmethod
    def _design(x: Tensor, context: Tensor | None) -> Tensor:
        ones = torch.ones(*x.shape[:-1], 1, dtype=torch.float64)
        return ones if context is None else torch.cat([ones, context.double().expand(*x.shape[:-1], -1)], -1)
