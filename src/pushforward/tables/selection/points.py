"""Standardised rows as the members of an average see them: each at several points of its cell."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...training.batches import mix
from ...transforms.compose import Compose
from ...transforms.marginals import Marginals
from ...transforms.normalization import Whiten


@dataclass(frozen=True, eq=False)
class Points:
    """Rows ``(copies, n, features)``, the same ones at several points of their cells; their contexts ``(n, context
    features)`` or None; and the weight of each row, ``(n,)``."""

    x: Tensor
    context: Tensor | None
    weight: Tensor

    @classmethod
    def of(cls, x: Tensor, context: Tensor | None = None, weight: Tensor | None = None) -> Points:
        """Rows ``(n, features)`` or ``(copies, n, features)``; of equal weight if none is given."""
        x = x[None] if x.dim() == 2 else x
        return cls(x, context, torch.ones(x.shape[1]).to(x) if weight is None else torch.as_tensor(weight).to(x))

    def __len__(self) -> int:
        return self.x.shape[1]

    def __getitem__(self, rows: Tensor) -> Points:
        return Points(self.x[:, rows], None if self.context is None else self.context[rows], self.weight[rows])

    @property
    def features(self) -> int:
        return self.x.shape[-1]

    @property
    def given(self) -> int:
        """Number of context features."""
        return 0 if self.context is None else self.context.shape[-1]

    @functools.cached_property
    def copula(self) -> Compose:
        """A Gaussian copula of the rows: maps every column to a standard normal, then removes the correlations.

        The correlations are shrunk slightly towards 0, the more so the fewer rows there are per column.

        Reference:
            Nelsen (2006), An Introduction to Copulas.
        """
        rows, features = self.x.shape[-2:]
        marginals = Marginals(features, linear=True).to(self.x)
        z = marginals.initialize(self.x).reshape(-1, features).double()
        covariance = torch.cov(z.T, correction=0).reshape(features, features)
        diagonal, share = covariance.diagonal().diag(), features / (rows + features)
        factor = torch.linalg.cholesky((1 - share) * covariance + share * diagonal + 1e-6 * torch.eye(features).to(z))
        return Compose([marginals, Whiten(z.mean(0).to(self.x), factor.to(self.x))])

    @torch.no_grad()
    def behind(self, first: Compose) -> Points:
        """The rows after a map."""
        return Points(first(self.x)[0], self.context, self.weight)


def folds(rows: int, members: int, seed: int) -> list[Tensor]:
    """Row indices in as many random folds of nearly equal size."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(mix(seed, members, 3)))
    return [part.sort().values for part in order.tensor_split(members)]


def others(parts: Sequence[Tensor], k: int) -> Tensor:
    """The rows of all folds but one."""
    return torch.cat([part for place, part in enumerate(parts) if place != k]).sort().values
