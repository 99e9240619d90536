"""Modes of a target that a flow misses: climbs in noise space, and the mass around the peaks they reach.

By the duality of flows a target can be seen as a density of z, for which the flow itself is N(0, I): log pi~(g(z)) +
log|det J_g(z)|. There every scale is about one, every support is the whole space, and a missed mode is a peak far
from zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..distributions.flow import Flow
from ..objectives.user_target import LogDensity
from .peaks import Height, climb, in_noise, precision

TEMPERATURES = (2.0, 4.0, 8.0, 16.0, 32.0)  # how many times farther out than the flow's own draws the climbs start
PEAKS = 16  # the most whose mass is estimated


@torch.no_grad()
def missed_mass(
    flow: Flow,
    log_density: LogDensity,
    log_z: float,
    margin: float,
    starts: int,
    generator: torch.Generator | None,
    seconds: float,
) -> float:
    """The share of the target's mass found around peaks where the flow has less than exp(-margin) of its share, from 0
    to 1: a lower bound, as some mass may not be found.

    NaN if no search is possible: without climbs, or because the target has no gradient. ``log_z`` is estimated from the
    flow's own draws, in nats; climbs end after some ``seconds``.
    """
    height = in_noise(log_density, flow.transform)

    def excess(z: Tensor, value: Tensor) -> Tensor:
        return (value - flow.base.log_prob(z) - log_z).nan_to_num(-math.inf)

    z = flow.base.sample((starts,), generator=generator)
    with torch.enable_grad():
        if not starts or not height(z.requires_grad_()).requires_grad:
            return math.nan
    reach = z.new_tensor(TEMPERATURES).repeat(math.ceil(starts / len(TEMPERATURES)))[:starts]
    reach = reach.view(-1, *[1] * (z.dim() - 1))
    z = climb(height, z.detach() * reach, 0.1 * reach, seconds=seconds)
    value = height(z)
    missed = excess(z, value) > margin
    peaks: list[tuple[Tensor, Tensor]] = []  # with the factor L of each precision L L^T
    masses = [-math.inf]
    for i in value.nan_to_num(-math.inf).argsort(descending=True).tolist():
        seen = any(float(((z[i] - peak).flatten() @ factor).norm()) < 3 for peak, factor in peaks)
        if missed[i] and not seen and len(peaks) < PEAKS:
            peaks.append((z[i], _precision_factor(height, z[i])))
            draws, log_draw = _around(*peaks[-1], generator)
            value_there = height(draws)
            weights = torch.where(excess(draws, value_there) > margin, value_there - log_draw, -math.inf)
            masses.append(float(weights.double().logsumexp(0)) - math.log(len(draws)))
    found = float(torch.tensor(masses, dtype=torch.float64).logsumexp(0))
    return float(torch.tensor(found - log_z, dtype=torch.float64).sigmoid())


def _precision_factor(height: Height, z: Tensor) -> Tensor:
    """L with L L^T = minus the Hessian at a peak, made positive definite if it is not."""
    flat = z.view(1, -1)
    values, vectors = torch.linalg.eigh(precision(lambda u: height(u.view(-1, *z.shape)), flat)[0])
    return vectors * values.clamp_min(1e-2).sqrt()


def _around(peak: Tensor, factor: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """256 draws around a peak, from 1.5 times the scale of its Gaussian approximation, and their log-densities."""
    noise = torch.randn(256, peak.numel(), generator=generator, dtype=peak.dtype, device=peak.device)
    x = peak + 1.5 * torch.linalg.solve(factor.T, noise.T).T.view(-1, *peak.shape)  # factor^-T noise
    log_scale = math.log(1.5 * math.sqrt(2 * math.pi)) * peak.numel() - torch.linalg.slogdet(factor)[1]
    return x, -0.5 * noise.square().sum(1) - log_scale
