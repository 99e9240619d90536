"""The density to beat: one Gaussian with a full covariance, its mean linear in the context and the categories."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..numerics.indicators import indicators


class LinearGaussian:
    r"""N(A [1, c] + b, S), fitted by maximum likelihood to weighted rows ``(n, m)`` and contexts ``(n, c)``.

    .. math:: \log p(x \mid c) = -\tfrac12 \lVert L^{-1} (x - \mu(c)) \rVert^2 - \log\det L - \tfrac m2 \log 2\pi,
              \quad S = L L^\top

    Columns of categories k have independent frequencies, :math:`\sum_j \log p(k_j)`, and are part of c for the others;
    ``classes`` says how many categories each column has, 0 for numbers.
    """

    def __init__(
        self,
        x: Tensor,
        context: Tensor | None = None,
        classes: Sequence[int] = (),
        weights: Tensor | None = None,
    ) -> None:
        self.classes = list(classes) or [0] * x.shape[-1]
        x, names = self._divide(x.double())
        share = torch.ones(len(x), 1, dtype=x.dtype) if weights is None else weights.double()[:, None] / weights.mean()
        self.frequencies = self._frequencies(names, share)
        design = self._design(names, context)
        self.weights, self.cholesky = x.new_zeros(design.shape[1], 0), x.new_zeros(0, 0)
        if not x.shape[1]:
            return
        # gelsd copes with collinear columns: the indicators of a category add up to the constant column
        self.weights = torch.linalg.lstsq(share.sqrt() * design, share.sqrt() * x, driver="gelsd").solution
        residual = share.sqrt() * (x - design @ self.weights)
        covariance = residual.T @ residual / len(x)
        scale = covariance.diagonal().clamp_min(1e-300).sqrt()
        correlation = covariance / scale / scale[:, None]
        ridge = 1e-12 * torch.eye(len(scale), dtype=x.dtype)
        self.cholesky = scale[:, None] * torch.linalg.cholesky(correlation + ridge)

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats, of shape ``(*batch,)``."""
        x, names = self._divide(x.double())
        centred = x - self._design(names, context) @ self.weights
        z = torch.linalg.solve_triangular(self.cholesky, centred.flatten(0, -2).T, upper=False)
        constant = self.cholesky.diagonal().log().sum() + 0.5 * len(self.cholesky) * math.log(2 * math.pi)
        frequency = indicators(names, self._sizes) * self.frequencies  # each category has exactly one non-zero entry
        parts = [part.sum(-1).log() for part in frequency.split(self._sizes, -1)] if self._sizes else []
        return sum(parts, (-0.5 * z.square().sum(0) - constant).view(x.shape[:-1]))

    def to_json(self) -> dict[str, Any]:
        """The state from which :meth:`from_json` rebuilds the object."""
        tensors = {name: getattr(self, name).tolist() for name in ("weights", "cholesky", "frequencies")}
        return {**tensors, "classes": self.classes}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LinearGaussian:
        made = cls.__new__(cls)
        made.weights, made.cholesky = (torch.tensor(values[k], dtype=torch.float64) for k in ("weights", "cholesky"))
        made.cholesky = made.cholesky.view(len(made.cholesky), len(made.cholesky))  # may be empty
        made.weights = made.weights.view(len(made.weights), len(made.cholesky))
        made.frequencies = torch.tensor(values.get("frequencies", []), dtype=torch.float64)
        made.classes = list(values.get("classes", [0] * len(made.cholesky)))
        return made

    @functools.cached_property
    def _sizes(self) -> list[int]:
        return [size for size in self.classes if size]

    def _frequencies(self, names: Tensor, share: Tensor) -> Tensor:
        """The relative frequency of each category, with half a count added so that none is impossible."""
        counts = (share * indicators(names, self._sizes)).sum(0) + 0.5
        return torch.cat([each / each.sum() for each in counts.split(self._sizes)]) if self._sizes else counts

    def _divide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers, and the codes of the categories."""
        named = torch.tensor(self.classes, device=x.device) > 0
        return x[..., ~named], x[..., named]

    def _design(self, names: Tensor, context: Tensor | None) -> Tensor:
        batch = names.shape[:-1]
        parts = [torch.ones(*batch, 1, dtype=torch.float64), indicators(names, self._sizes)]
        if context is not None:
            parts.append(context.double().expand(*batch, -1))
        return torch.cat(parts, -1)
