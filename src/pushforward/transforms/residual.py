"""Residual flows: the identity plus a contraction. The Jacobian is full; the log-determinant is exact or estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import at_least_one, one_of
from ..nets.lipschitz import Linearised, LipschitzMLP
from ..numerics.contraction import inverse_plus_identity, invert_contraction, log_abs_det_plus_identity
from ..numerics.torch_internals import eager, transformed
from ..numerics.trace import draw_probes
from .base import Transform

EXACT_UP_TO = 8  # features: above this, the exact log-determinant takes several times as long as an estimate
GOES_ON = 0.5  # the probability that a series goes on for another term


class Residual(Transform):
    r"""z = x + g(x) with a contraction g: :math:`\lVert g(x) - g(y) \rVert \le \kappa \lVert x - y \rVert`, κ < 1.

    .. math:: \log\det(I + J) = \sum_{k \ge 1} \frac{(-1)^{k+1}}{k} \operatorname{tr} J^k

    ``logdet="exact"`` computes the whole Jacobian, at the cost of one pass per feature. ``"roulette"`` is an unbiased
    estimate at the cost of a few passes: :math:`v^\top J^k v` with random signs v, for the first ``terms`` powers and a
    random number of further ones, each divided by the probability of reaching it. Its value is drawn anew in every
    call; its gradient, :math:`\sum_k (-1)^k v^\top J^k\, \partial J\, v`, goes through one product alone, so memory
    does not grow with the number of powers (first derivatives only).

    The inverse iterates x ← z - g(x), where every step shrinks the residual by at least the factor κ, with Newton steps
    if the Jacobian is exact and they shrink it more. It ends at rounding level; an event that does not reach it is NaN.
    All slopes lie within 1 - κ and 1 + κ. Derivatives of the inverse take the exact Jacobian, and are exact up to the
    second.

    Args:
        net: g and its bound.
        logdet: ``"exact"``, ``"roulette"``, or ``"auto"``: exact up to 8 features.
        terms: Powers that an estimate always includes.

    Raises:
        ValueError: ``logdet`` is unknown or ``terms`` is below 1.

    Reference:
        Chen, Behrmann, Duvenaud, Jacobsen (2019), Residual flows for invertible generative modeling, arXiv:1906.02735.
    """

    sequential = (False, True)

    def __init__(self, net: LipschitzMLP, *, logdet: str = "auto", terms: int = 2) -> None:
        super().__init__()
        one_of(("auto", "exact", "roulette"), logdet=logdet)
        at_least_one(terms=terms)
        self.net, self.logdet, self.terms = net, logdet, terms
        self.event_shape = (net.features,)

    @property
    def exact(self) -> bool:
        """Whether the log-determinant is exact."""
        return self.logdet == "exact" or (self.logdet == "auto" and self.net.features <= EXACT_UP_TO)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        at = self.net.linearised(x, context)
        return x + at.value, self._log_det(at)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.generate(z, context)
        return x, -self._log_det(self.net.linearised(x, context))

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        z = z if context is None else z + context.new_zeros(*context.shape[:-1], 1)  # the batch of both
        layers = list(self.net.layers())
        x = invert_contraction(lambda v: self.net.linearised(v, context, layers), z, self.net.lipschitz, self.exact)
        if torch.is_grad_enabled() or transformed():
            # Newton steps at the solution add nothing to its value, but each adds one more order of derivatives. The
            # matrix may be treated as constant there, and must be: under vmap, derivatives of PyTorch's solve are wrong
            # (2.13)
            whole = inverse_plus_identity(self.net.linearised(x, context, layers).jacobian().detach())
            for _ in range(2):
                excess = x + self.net.linearised(x, context, layers).value - z
                step = (whole @ excess.unsqueeze(-1)).squeeze(-1)
                x = x - (step - step.detach())
        return x

    def _log_det(self, at: Linearised) -> Tensor:
        return log_abs_det_plus_identity(at.jacobian()) if self.exact else self._estimate(at)

    @eager
    def _estimate(self, at: Linearised) -> Tensor:
        """The Russian-roulette estimate of the series, and a term of value 0 that carries its gradient."""
        probe = draw_probes("rademacher", 1, at.value.reshape(-1, at.value.shape[-1]))[0].view_as(at.value)
        with torch.no_grad():
            more = int(torch.empty(()).geometric_(1 - GOES_ON))  # 1, 2, …
            total, slope = torch.zeros_like(probe[..., 0]), torch.zeros_like(probe)
            power, sign = probe, 1.0
            for k in range(1, self.terms + more + 1):
                weight = sign / GOES_ON ** max(k - self.terms - 1, 0)
                slope = slope + weight * power
                power = at.left(power)
                total = total + weight / k * (power * probe).sum(-1)
                sign = -sign
        if not torch.is_grad_enabled():
            return total
        surrogate = (at.right(probe) * slope).sum(-1)
        return total + (surrogate - surrogate.detach())
