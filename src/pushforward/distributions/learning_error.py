r"""The statistical error of a mixture of Gaussians' log-densities, given the number of its training rows.

To first order in the errors of the parameters :math:`w_k, \mu_k, \Sigma_k`, taken as independent, with the variances of
a multinomial, a mean and a Wishart matrix of :math:`n w_k \rho_k` rows,

.. math:: n \operatorname{Var} \log p(x) = \sum_k \frac{r_k^2}{w_k \rho_k} \Bigl(1 + \frac{q_k^2 + m}{2}\Bigr) - 1,
          \qquad \rho_k = \frac{\mathrm{E}\, r_k^2}{\mathrm{E}\, r_k}

with the responsibilities :math:`r_k` of the components for x, its squared distances
:math:`q_k = \lVert A_k (x - \mu_k) \rVert^2` and m entries; :math:`\rho_k` measures how well a component's rows are
identified. For a single Gaussian the mean over its own rows is (m + 1)(m + 2) / 2 - 1, the number of its parameters
(Wilks 1938).

Reference:
    Louis (1982), Finding the observed information matrix when using the EM algorithm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Density
from .flow import Flow
from .mixed import Mixed
from .mixture import GaussianMixture

DRAWS = 4096  # of a mixture, to estimate how much its components overlap


@torch.no_grad()
def learning_error(density: Density, x: Tensor, context: Tensor | None, rows: float) -> Tensor:
    """The standard error of log p(the entries that are not NaN | context) of rows that are ``exact``, ``(n,)`` nats.

    For a mixture of Gaussians, also behind maps of single entries or along with categories, whose own error is left
    out; 0 for all other densities, as the error of a network's weights is unknown.

    Args:
        x: ``(n, features)``; NaN where an entry is integrated out.
        context: ``(n, context features)`` or None.
        rows: The number of rows that the density was trained on.
    """
    error = x.new_zeros(len(x))
    if isinstance(density, Mixed) and (known := density.exact(x) & ~x[:, density.numbers_at].isnan().all(1)).any():
        _, numbers, given = density.divide(x[known], None if context is None else context[known])
        error[known] = learning_error(density.numbers, numbers, given, rows)
    elif isinstance(density, Flow) and isinstance(density.base, GaussianMixture) and density.exact(x).all():
        z, told = density.noise_of_seen(x)[0], _told_apart(density.base)
        for some, part, y in density.base.by_pattern(z, context if density.base.context_features else None):
            error[some] = (_variance(part, y, told) / rows).clamp_min(0).sqrt().to(error)
    return error


def _told_apart(mixture: GaussianMixture) -> Tensor:
    """rho of every component, ``(components,)``, from draws of the mixture."""
    whole = mixture.among(list(range(mixture.loc.shape[1])), 0)
    draws = whole.cpu().sample((DRAWS,), generator=torch.Generator().manual_seed(0)).to(mixture.loc)
    share = whole.to(mixture.loc).joint(draws).softmax(-1)
    return share.square().sum(0) / share.sum(0).clamp_min(1e-9)


def _variance(mixture: GaussianMixture, y: Tensor, told: Tensor) -> Tensor:
    """n Var log p(x | context) of y = (context, x), ``(n,)``."""
    weight, (given, size) = mixture.logits.softmax(0) * told, (mixture.context_features, y.shape[1])
    joint, square = mixture.joint(y), mixture.white(y).square()
    share, all_of = joint.softmax(-1), _of_component(square.sum(-1), size)
    before = mixture.joint(y[:, :given], given).softmax(-1)
    mine = _of_component(square[..., :given].sum(-1), given)
    parts = (share - before).square() + share.square() * all_of + (before.square() - 2 * share * before) * mine
    return (parts / weight).sum(-1)


def _of_component(square: Tensor, size: int) -> Tensor:
    """The contribution of a component's centre and covariance, from a squared distance in ``size`` entries."""
    return 0.5 * (square.square() + size)
