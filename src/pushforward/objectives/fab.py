"""Flow annealed importance sampling bootstrap: learning where a flow has too little mass, and alpha-divergences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..distributions.flow import Flow
from ..errors import one_of
from ..numerics.annealing import BEST, KERNELS, Path
from .divergences import TargetObjective
from .user_target import LogDensity

CLIP = math.log(10.0)  # the most that a weight may have changed since its draw was made, in nats
FIRST = 8  # batches drawn before the first step


class AnnealedBootstrap(TargetObjective):
    r"""The alpha-divergence of a flow q from a target pi, by draws annealed from q to where q is too small (FAB).

    .. math:: \nabla \mathcal{L} = -\mathbb{E}_{g}\left[w(x)\, \nabla \log q(x)\right],\qquad
              g \propto \pi^\alpha q^{1 - \alpha},\; w = g / p_{AIS}

    Draws of q follow :math:`q^{1 - \alpha\beta} \tilde\pi^{\alpha\beta}` for rising :math:`\beta`, by Metropolis
    moves, and get the weights of annealed importance sampling. With :math:`\alpha = 2` they end where
    :math:`\pi^2 / q` is large: in the modes that q neglects. They are kept in a buffer, from which steps draw in
    proportion to their weights; the weights follow q as it learns. It covers modes that
    :class:`~pushforward.ReverseKL` abandons, provided annealed draws reach them.

    Args:
        flow: The flow to train, without a context.
        log_density: Maps ``(n, *event)`` to ``(n,)``: log pi(x) + constant, in nats, differentiable.
        alpha: Above 1; 2 for the least variance of importance weights.
        rungs: Number of densities between q and the end of the path.
        kernel: ``"hmc"`` or ``"metropolis"``.
        every: Training steps per batch of new draws.
        buffer: Number of draws kept.
        check: Try ``log_density`` once, now, on a few draws.

    Raises:
        ValueError: an argument is out of range, or ``log_density`` violates its contract.

    Reference:
        Midgley, Stimper, Simm, Schölkopf, Hernández-Lobato (2023), Flow annealed importance sampling bootstrap,
        arXiv:2208.01893; Neal (2001), Annealed importance sampling, arXiv:physics/9803008.
    """

    x: Tensor
    log_w: Tensor
    log_q: Tensor
    size: Tensor
    calls: Tensor
    filled: Tensor

    def __init__(
        self,
        flow: Flow,
        log_density: LogDensity,
        *,
        alpha: float = 2.0,
        rungs: int = 2,
        kernel: str = "hmc",
        every: int = 4,
        buffer: int = 16_384,
        check: bool = True,
    ) -> None:
        one_of(KERNELS, kernel=kernel)
        if not alpha > 1 or rungs < 1 or every < 1 or buffer < 1:
            raise ValueError(
                "alpha must be above 1, and rungs, every and buffer at least 1, "
                f"got alpha={alpha}, rungs={rungs}, every={every} and buffer={buffer}"
            )
        super().__init__(flow, log_density, check=check)
        self.alpha, self.rungs, self.kernel, self.every = alpha, rungs, kernel, every
        like = flow.sample((1,), generator=torch.Generator(flow.device).manual_seed(0))
        self.register_buffer("x", like.new_zeros(buffer, *like.shape[1:]))
        self.register_buffer("log_w", like.new_full((buffer,), -math.inf))
        self.register_buffer("log_q", like.new_zeros(buffer))
        self.register_buffer("size", like.new_full((rungs,), 0.1))  # step sizes, for each density of the path
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))  # draws ever added

    def forward(self, n: int) -> Tensor:
        """The loss of n draws from the buffer, a scalar, with the divergence's gradient up to a constant factor."""
        if int(self.calls) % self.every == 0:
            for _ in range(FIRST if int(self.filled) == 0 else 1):
                self._refill(n)
        self.calls += 1
        taken = torch.multinomial(self.log_w.softmax(0), n, replacement=True)
        log_q = self.flow.log_prob(self.x[taken])
        with torch.no_grad():  # q^(1 - alpha) has changed since
            change = (self.alpha - 1) * (self.log_q[taken] - log_q)
            self.log_w[taken] = self.log_w[taken] + change.nan_to_num(0.0)
            self.log_q[taken] = log_q.detach()
        return -(change.clamp(max=CLIP).exp() * log_q).mean()

    @torch.no_grad()
    def _refill(self, n: int) -> None:
        """Replaces the oldest draws of the buffer by n annealed ones."""
        x, log_w = self.anneal(n)
        places = (int(self.filled) + torch.arange(n, device=x.device)) % len(self.x)
        self.x[places], self.log_w[places] = x, log_w.nan_to_num(-math.inf, -math.inf, -math.inf)
        self.log_q[places] = self.flow.log_prob(x)
        self.filled += n

    @torch.no_grad()
    def anneal(self, n: int) -> tuple[Tensor, Tensor]:
        """n draws at the end of the path and their log-weights, ``(n, *event)`` and ``(n,)``."""
        shape = self.flow.event_shape

        def log_q(rows: Tensor) -> Tensor:
            return self.flow.log_prob(rows.view(-1, *shape))

        def log_pi(rows: Tensor) -> Tensor:
            return self.log_density(rows.view(-1, *shape))

        path = Path(log_q, log_pi)
        point = path.at(self.flow.sample((n,)).flatten(1))
        log_w, step = torch.zeros_like(point.a), self.alpha / (self.rungs + 1)
        for rung in range(self.rungs):
            log_w = log_w + step * (point.b - point.a)
            share = step * (rung + 1)
            shares = torch.full_like(log_w, 1 - share), torch.full_like(log_w, share)
            size = self.size[rung].expand_as(log_w)
            point, chance = KERNELS[self.kernel](path, point, shares, size)
            self.size[rung] *= (0.5 * (chance.mean() - BEST[self.kernel])).exp()
        return point.x.view(-1, *shape), log_w + step * (point.b - point.a)


class AlphaDivergence(TargetObjective):
    r"""Rényi's variational bound: between the reverse KL (alpha to 1) and importance weighting (alpha = 0).

    .. math:: \mathcal{L} = -\frac{1}{1 - \alpha} \log \frac1n \sum_i \left(\tilde\pi(x_i) / q(x_i)\right)^{1 - \alpha},
              \quad x_i \sim q

    The smaller alpha, the more q covers what it would otherwise leave out; below 0, being too narrow costs more than
    being too wide. No alpha helps where q never draws: see :class:`AnnealedBootstrap`.

    Args:
        flow: The flow to train, without a context.
        log_density: Maps ``(n, *event)`` to ``(n,)``: log pi(x) + constant, in nats, differentiable.
        alpha: Below 1.
        check: Try ``log_density`` once, now, on a few draws.

    Raises:
        ValueError: alpha is not below 1, or ``log_density`` violates its contract.

    Reference:
        Li, Turner (2016), Rényi divergence variational inference, arXiv:1602.02311.
    """

    def __init__(self, flow: Flow, log_density: LogDensity, alpha: float = 0.5, *, check: bool = True) -> None:
        if not alpha < 1:
            raise ValueError(f"alpha must be below 1 (the reverse KL divergence is its limit there), got {alpha}")
        super().__init__(flow, log_density, check=check)
        self.alpha = alpha

    def forward(self, n: int) -> Tensor:
        """The estimate of the bound from n draws, a scalar in nats."""
        x, log_q, _ = self._draw(n)
        log_pi = self._log_pi(x, None)
        log_w = torch.where(log_pi == -math.inf, -math.inf, log_pi - log_q)
        return (math.log(n) - ((1 - self.alpha) * log_w).logsumexp(0)) / (1 - self.alpha)
