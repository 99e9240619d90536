"""Reduces a mixture of Gaussians by merging two components into one."""

from __future__ import annotations

import torch
from torch import Tensor

from .em import precision_factors
from .mixture import GaussianMixture


@torch.no_grad()
def merged(mixture: GaussianMixture) -> GaussianMixture:
    r"""The mixture with the two components merged that lose the least by it, preserving weight, mean and covariance.

    The loss is an upper bound on the Kullback-Leibler divergence between the mixtures,

    .. math:: B_{ij} = \tfrac12 \bigl((w_i + w_j) \log\lvert\Sigma_{ij}\rvert - w_i \log\lvert\Sigma_i\rvert
              - w_j \log\lvert\Sigma_j\rvert\bigr).

    Args:
        mixture: With full covariances and at least two components.

    Reference:
        Runnalls (2007), Kullback-Leibler approach to Gaussian mixture reduction, equation 21.
    """
    w, mu, cov = mixture.logits.double().softmax(0), mixture.loc.double(), mixture.covariances().double()
    i, j = torch.triu_indices(len(w), len(w), 1, device=w.device)
    weight = w[i] + w[j]
    a, b = w[i] / weight, w[j] / weight
    between = mu[i] - mu[j]
    both = _times(a, cov[i]) + _times(b, cov[j]) + _times(a * b, between[:, :, None] * between[:, None, :])
    log_det = cov.logdet()
    best = (weight * both.logdet() - w[i] * log_det[i] - w[j] * log_det[j]).argmin()
    kept = torch.ones_like(w, dtype=torch.bool)
    kept[i[best]] = kept[j[best]] = False
    new = GaussianMixture(mixture.event_shape[0], len(w) - 1, context=mixture.context_features).to(mixture.loc)
    centre = a[best] * mu[i[best]] + b[best] * mu[j[best]]
    new.logits.copy_(torch.cat([w[kept], weight[best, None]]).log())
    new.loc.copy_(torch.cat([mu[kept], centre[None]]))
    new.factors.copy_(torch.cat([mixture.factors[kept], precision_factors(both[best, None]).to(mixture.loc)]))
    return new


def _times(share: Tensor, matrices: Tensor) -> Tensor:
    return share[:, None, None] * matrices
