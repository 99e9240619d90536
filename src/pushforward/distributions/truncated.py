"""A density restricted to events whose features are in order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics.in_order import InOrder
from .base import Density, Generator

ROUNDS = 1000  # of redrawing: an order that one draw in fifty keeps leaves one broken draw in 10^8
DRAWS = 8_000  # that estimate a mass: of a half, to 0.011 nats
LEAST = 0.02  # share of draws that keep the order, below which redrawing would take too long


class Truncated(Density):
    r"""A density given that its events are in order; others keep at most a small share of the mass.

    .. math:: \log p_O(x \mid c) = \log p(x \mid c) + \begin{cases} \log(1 - b') - \log(1 - b) & x \in O \\
        \log b' - \log b & x \notin O \end{cases}

    with b the mass that p has outside O, and b' ≤ b what is left of it. Draws always lie in O.

    Args:
        density: p.
        order: O.
        broken: b, a share of at least 0 and below 1; over the contexts if there are any, so that the density is exact
            for their average alone.
        left: b', no more than b; 0 makes events outside O impossible.

    Raises:
        ValueError: a share is none.
    """

    def __init__(self, density: Density, order: InOrder, broken: float, left: float = 0.0) -> None:
        super().__init__()
        if not 0 <= broken < 1 or not 0 <= left < 1:
            raise ValueError(f"broken and left are shares from 0 up to 1, got broken={broken} and left={left}")
        self.density, self.order = density, order
        self.event_shape, self.context_features = density.event_shape, density.context_features
        self.broken, self.left = float(broken), min(float(left), float(broken))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inside = math.log1p(-self.left) - math.log1p(-self.broken)
        outside = math.log(self.left / self.broken) if self.left else -math.inf
        log_p = self.density.log_prob(x, context)
        return log_p + torch.where(self.order(x), inside, outside).to(log_p)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        given = None if context is None else context.expand(*batch, -1).reshape(batch.numel(), context.shape[-1])
        x = self.density._generate(torch.Size([batch.numel()]), given, generator, temperature)
        for _ in range(ROUNDS):
            wrong = (~self.order(x)).nonzero()[:, 0]
            if not len(wrong):
                break
            again = None if given is None else given[wrong]
            x[wrong] = self.density._generate(torch.Size([len(wrong)]), again, generator, temperature)
        return x.reshape(*batch, *self.event_shape)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.density.initialize(x, context)


def untruncated(density: Density) -> Density:
    """p itself, of a density that is p given orders; any other density unchanged."""
    while isinstance(density, Truncated):
        density = density.density
    return density


@torch.no_grad()
def truncated(
    density: Density, order: InOrder, x: Tensor, context: Tensor | None = None, *, stated: bool, seed: int = 0
) -> Density:
    """The density given the order, its mass outside estimated by draws; unchanged if it nearly never keeps the order.

    Args:
        density: The density.
        order: The order.
        x: Training rows, whose number says how much mass is left to rows that break an order that was only found.
        context: Their contexts.
        stated: Whether the order must hold, so that rows which break it are impossible.
        seed: Seed of the draws.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    if context is not None:
        context = context[torch.randint(len(context), (DRAWS,), generator=generator, device=x.device)]
    draws = density.sample((DRAWS,) if context is None else (), context, generator=generator)
    broken = (float((~order(draws)).double().sum()) + 0.5) / (DRAWS + 1)
    if 1 - broken < LEAST:
        return density
    return Truncated(density, order, broken, 0.0 if stated else 0.5 / (len(x) + 1))
