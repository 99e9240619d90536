"""Whether an observation is like the simulations at all: a model that never makes such data has no posterior for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..distributions.base import Density

ALPHA = 0.01  # level of a verdict, over all observations together


@dataclass(frozen=True, eq=False)
class Typicality:
    """How an observation's log-density ranks among those of simulations.

    Attributes:
        log_prob: The log-density of each observation, in nats, of the batch shape.
        less_likely: The share of simulations that are less likely.
        p_value: Of simulations that are as unlikely, or as much too likely; uniform if the observation is one of them.
        trusted: Whether the smallest, corrected for the number of observations, is at least 0.01; not if that is only
            because there are too few simulations.
        verdict: One sentence.
    """

    log_prob: Tensor
    less_likely: Tensor
    p_value: Tensor
    trusted: bool
    verdict: str


@torch.no_grad()
def typical(
    density: Density,
    x: Tensor,
    simulations: Tensor | None = None,
    *,
    context: Tensor | None = None,
    draws: int = 1000,
    generator: torch.Generator | None = None,
) -> Typicality:
    r"""Whether x is like the simulations, by the rank of its log-density among theirs, from either side.

    .. math:: p = 2 \min(r_\le, r_\ge),\quad r_\le = \frac{1 + \#\{k : \log p(x_k) \le \log p(x)\}}{K + 1}

    With ``simulations`` that the density did not see, p is right whatever it has learnt: a density that is poor only
    sees less. Draws of the density itself stand in for them, where the answer is only as good as the density.

    Args:
        density: A density of simulated data, such as a flow fitted to them (not that of parameters given data).
        x: The observation, ``(*event,)``, or several, ``(n, *event)``. Entries that are NaN are integrated out, if the
            density can (:func:`~pushforward.anyorder`); those of the simulations then are, too, for one observation.
        simulations: Simulated data, ``(K, *event)``; by default draws of the density.
        context: Of all of them, ``(context features,)``, for a density that takes one: p(x | context).
        draws: How many are drawn without ``simulations``.
        generator: Source of their randomness.

    Raises:
        ValueError: there are fewer than 20 simulations, or none with a density (as if it cannot integrate missing
            entries out), or several observations with missing entries.

    Reference:
        Bates et al. (2023), Testing for outliers with conformal p-values, arXiv:2104.08279; Schmitt et al. (2023),
        Detecting model misspecification in amortized Bayesian inference with neural networks, arXiv:2112.08866;
        Nalisnick et al. (2019), Detecting out-of-distribution inputs using typicality, arXiv:1906.02994.

    Example:
        >>> import torch, pushforward as pf
        >>> simulated = torch.randn(900, 2, generator=torch.Generator().manual_seed(0))
        >>> density = pf.gmm(2, components=1).fit(simulated[:400])
        >>> pf.diagnostics.typical(density, torch.tensor([6.0, -6.0]), simulated[400:]).trusted
        False
    """
    if simulations is None:
        simulations = density.sample((draws,), context, generator=generator)
    if len(simulations) < 20:
        raise ValueError(f"simulations must be at least 20, got {len(simulations)}")
    if bool(x.isnan().any()):
        if x.dim() > len(density.event_shape):
            raise ValueError(f"x must be one observation if entries are missing, got shape {tuple(x.shape)}")
        simulations = simulations.masked_fill(x.isnan(), torch.nan)
    found = (density.log_prob(rows, context) for rows in (x, simulations))
    log_prob, theirs = (value.masked_fill(value.isnan(), -torch.inf) for value in found)  # NaN: outside the support
    if bool((theirs == -torch.inf).all()):
        entries = " with these entries missing" if bool(x.isnan().any()) else ""
        raise ValueError(f"density must be one of the simulations, but none of them{entries} has a density")
    count, below = len(theirs), (theirs < log_prob[..., None]).sum(-1)
    above = (theirs > log_prob[..., None]).sum(-1)
    p_value = (2 * (1 + count - torch.maximum(below, above)) / (count + 1)).clamp(max=1.0)
    share = below / count
    return Typicality(log_prob, share, p_value, *_judged(p_value, share, count))


def _judged(p_value: Tensor, share: Tensor, count: int) -> tuple[bool, str]:
    """Whether all observations are like so many simulations, and the verdict."""
    n, least = p_value.numel(), float(p_value.min()) * p_value.numel()
    below = float(share.reshape(-1)[p_value.argmin()])
    side = f"less likely than {1 - below:.2%}" if below < 0.5 else f"more likely than {below:.2%}"
    if least < ALPHA:
        unlike = f"Unlike the simulations (p = {least:.1g}): {side} of {count}"
        return False, f"{unlike}, so no posterior for it can be trusted."
    if least < 3 * n / (count + 1):  # beyond all of them, where p is 2 / (count + 1)
        return False, f"Not known: {side} of {count} simulations, too few to tell; give at least {2 * n / ALPHA:,.0f}."
    return True, f"Like the simulations, as far as {count} of them can tell (p = {min(least, 1):.2g})."
