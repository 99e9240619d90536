"""Hamiltonian Monte Carlo in noise space, where a fitted flow makes the target nearly N(0, I)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.annealing import accepted_moves

ACCEPTANCE, LENGTH = 0.8, 1.5  # the step size's target; of a trajectory, a quarter of the period of N(0, I)
MOST_LEAPS = 10  # per trajectory: if steps have to be small, shorter trajectories are the cheaper way to the same

Latent = Callable[[Tensor], tuple[Tensor, Tensor]]  # from z to x and the height log pi~(g(z)) + log|det J_g(z)|


def hmc(
    latent: Latent,
    z: Tensor,
    length: int,
    warmup: int,
    generator: torch.Generator | None = None,
    path: Callable[[float], Latent] | None = None,
) -> tuple[Tensor, float]:
    r"""Draws of the target by leapfrog steps in z, with an identity mass matrix; all chains take each step together.

    .. math:: H(z, p) = -\log\tilde\pi(g(z)) - \log|\det J_g(z)| + \tfrac12 \lVert p \rVert^2

    During warm-up, the step size is adapted by all chains together to an acceptance of 0.8; the number of steps is
    random. ``path`` gives targets on the way to this one, 0 to 1, which the chains follow through two thirds of the
    warm-up, if they start far from it. Returns the draws of x, ``(chains, length, *event)``, and the mean acceptance.

    Reference:
        Hoffman et al. (2019), NeuTra-lizing bad geometry in Hamiltonian Monte Carlo using neural transport,
        arXiv:1903.03704; Hoffman, Gelman (2014), The No-U-Turn sampler, arXiv:1111.4246 (the adaptation).
    """
    state, target = _at(latent, z), latent
    step, kept, accepted = _StepSize(0.5 * z[0].numel() ** -0.25), [], 0.0
    for i in range(warmup + length):
        if path is not None and i < warmup:
            target = path(min(1.5 * (i + 1) / warmup, 1.0))
            state = _at(target, state.z)
        size = step.now if i < warmup else step.average
        leaps = max(1, round(float(torch.rand((), generator=generator, device=z.device)) * 2 * LENGTH / size))
        momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
        new, after = _leapfrog(target, state, momentum, size, min(leaps, MOST_LEAPS))
        gain = new.height - _kinetic(after) - state.height + _kinetic(momentum)
        state, chance = accepted_moves(state, new, gain, generator)
        if i < warmup:
            step.adapt(float(chance.mean()))
        else:
            kept.append(state.x)
            accepted += float(chance.mean()) / length
    return torch.stack(kept, 1), accepted


class _State(NamedTuple):
    """Noise z, its x, the height and its gradient; a height of NaN or +inf is -inf, a gradient not finite 0."""

    z: Tensor
    x: Tensor
    height: Tensor
    slope: Tensor


def _at(latent: Latent, z: Tensor) -> _State:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        x, height = latent(z)
        (slope,) = torch.autograd.grad(height.sum(), z)
    height = torch.where(height < math.inf, height, -math.inf).detach()
    return _State(z.detach(), x.detach(), height, slope.nan_to_num(0.0, 0.0, 0.0))


def _leapfrog(latent: Latent, state: _State, momentum: Tensor, size: float, leaps: int) -> tuple[_State, Tensor]:
    """The end of a trajectory, and the momentum there."""
    momentum = momentum + 0.5 * size * state.slope
    for leap in range(leaps):
        state = _at(latent, state.z + size * momentum)
        momentum = momentum + (size if leap < leaps - 1 else 0.5 * size) * state.slope
    return state, momentum


def _kinetic(momentum: Tensor) -> Tensor:
    return 0.5 * momentum.flatten(1).square().sum(1)


class _StepSize:
    """Dual averaging of the log step size (Hoffman, Gelman 2014, section 3.2)."""

    def __init__(self, first: float) -> None:
        self.now = self.average = first
        self.centre, self.off, self.count = math.log(10 * first), 0.0, 0

    def adapt(self, acceptance: float) -> None:
        self.count += 1
        t = self.count
        self.off += (ACCEPTANCE - acceptance - self.off) / (t + 10)
        log_size = min(self.centre - math.sqrt(t) / 0.05 * self.off, math.log(LENGTH))
        weight = t**-0.75
        self.average = math.exp(weight * log_size + (1 - weight) * math.log(self.average))
        self.now = math.exp(log_size)
