"""From an approximate flow to asymptotically exact draws: Markov chains with the flow as the map; resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diagnostics.importance_sampling import systematic
from ..distributions.flow import Flow
from ..errors import one_of
from ..numerics.sequential import effective
from ..numerics.threads import using
from ..objectives.target import LogDensity, evaluate
from .hmc import hmc

METHODS = ("metropolis", "hmc", "resampling")
CANDIDATES = 100  # draws of the flow from which the start of each chain is chosen
WORST_RHAT, FEWEST = 1.05, 100  # thresholds of a verdict: the largest R-hat, and the smallest effective sample size


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of a target, in chains, and whether they have converged.

    Attributes:
        chains: The draws, ``(chains, length, *event)``.
        method: ``"metropolis"``, ``"hmc"`` or ``"resampling"``.
        acceptance: The share of proposals that were accepted; None for resampling, which has none.
        weighted: Effective sample size of the proposals that were resampled; None for Markov chains.
    """

    chains: Tensor
    method: str
    acceptance: float | None
    weighted: float | None = None

    @property
    def draws(self) -> Tensor:
        """All draws, ``(chains · length, *event)``."""
        return self.chains.flatten(0, 1)

    @cached_property
    def rhat(self) -> Tensor:
        """R-hat of every number of the event: rank-normalised, of split and folded chains; needs arviz-stats."""
        return self._measure("rhat", method="rank")

    @cached_property
    def ess(self) -> Tensor:
        """Bulk effective sample size for the mean of every number of the event; needs arviz-stats.

        Resampled draws repeat each other, so theirs is at most the effective sample size of their weights.
        """
        return self._measure("ess", method="bulk")

    @cached_property
    def ess_tail(self) -> Tensor:
        """Tail effective sample size likewise, for quantiles in the tails."""
        return self._measure("ess", method="tail", prob=(0.05, 0.95))

    @property
    def trusted(self) -> bool:
        """Whether all R-hats are at most 1.05 and all effective sample sizes at least 100."""
        return _worst(self.rhat, max) <= WORST_RHAT and min(_worst(self.ess, min), _worst(self.ess_tail, min)) >= FEWEST

    @property
    def verdict(self) -> str:
        """One sentence."""
        bulk, tail, rhat = _worst(self.ess, min), _worst(self.ess_tail, min), _worst(self.rhat, max)
        numbers = f"R-hat {rhat:.3f}, {bulk:.0f} effective draws of {len(self.draws)} ({tail:.0f} for the tails)"
        accepted = "" if self.acceptance is None else f", acceptance {self.acceptance:.0%}"
        if self.trusted:
            return f"The chains have converged: {numbers}{accepted}."
        return f"Do not trust these draws: {numbers}{accepted}; draw more, take hmc, or fit longer."

    def summary(self) -> dict[str, Any]:
        """The numbers and the sentence in a form that JSON can hold."""
        return {
            "n": len(self.draws),
            "chains": len(self.chains),
            "method": self.method,
            "acceptance": self.acceptance,
            "rhat": _worst(self.rhat, max),
            "ess": _worst(self.ess, min),
            "ess_tail": _worst(self.ess_tail, min),
            "trusted": self.trusted,
            "verdict": self.verdict,
        }

    def _measure(self, name: str, **options: Any) -> Tensor:
        """A statistic of arviz-stats for every number of the event; NaN for one that is constant."""
        try:
            from arviz_stats.base import array_stats
        except ImportError:
            raise ImportError(
                'R-hat and effective numbers need arviz-stats: pip install "pushforward[diagnostics]"'
            ) from None
        values = self.chains.double().cpu().numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            found = getattr(array_stats, name)(values, chain_axis=0, draw_axis=1, **options)
        found = torch.as_tensor(np.asarray(found, dtype=float))
        return found if name != "ess" or self.weighted is None else found.clamp(max=self.weighted)


def _worst(values: Tensor, side: Any) -> float:
    seen = values[~values.isnan()].tolist()
    return float(side(seen)) if seen else math.nan


@torch.no_grad()
def chains(
    flow: Flow,
    log_density: LogDensity,
    n: int = 1000,
    *,
    method: str = "metropolis",
    chains: int | None = None,
    warmup: int | None = None,
    chunk: int = 4096,
    generator: torch.Generator | None = None,
) -> Chains:
    r"""Draws of a target with a fitted flow as the map: exact in the limit of long chains, however good the flow is.

    - ``"metropolis"``: independent draws x' of the flow, accepted with probability
      :math:`\min(1, w(x') / w(x))`, :math:`w = \tilde\pi / q`. Cheap, and nearly independent where the flow is close.
    - ``"hmc"``: Hamiltonian Monte Carlo on the noise z (NeuTra). Needs gradients; for a flow that is less close, or
      whose tails are too light.
    - ``"resampling"``: draws of the flow, resampled in proportion to w (sampling-importance-resampling). Not a
      chain; the error falls with the number of proposals, ten for each draw.

    None of them finds a mode to which the flow assigns no mass.

    Args:
        flow: The fitted flow, without a context.
        log_density: Maps ``(n, *event)`` to ``(n,)``: log pi(x) + constant, in nats; NaN counts as density 0.
        n: Draws, rounded up to a multiple of ``chains``.
        method: One of the above.
        chains: Number of chains; 4 by default, and for ``"hmc"``, whose chains step together, one per 250
            draws, at most 64.
        warmup: Draws of each chain that are discarded; a tenth of its length, but at least 50 (``"hmc"``: 60).
        chunk: Rows per call of the flow and the target.
        generator: Source of the randomness.

    Raises:
        ValueError: an argument is out of range, or the target is zero at every draw of the flow.

    Reference:
        Hastings (1970); Hoffman et al. (2019), arXiv:1903.03704; Rubin (1988), Using the SIR algorithm to simulate
        posterior distributions. R-hat and effective numbers: Vehtari et al. (2021), arXiv:1903.08008.

    Example:
        >>> import torch, pushforward as pf
        >>> from pushforward.posterior.exact import chains
        >>> wide = lambda x: -0.5 * (x / 1.1).square().sum(-1)
        >>> found = chains(pf.realnvp(2), wide, 4000, generator=torch.Generator().manual_seed(0))
        >>> found.acceptance > 0.8, found.trusted
        (True, True)
    """
    one_of(METHODS, method=method)
    many = (min(max(n // 250, 4), 64) if method == "hmc" else 4) if chains is None else chains
    if n < 1 or many < 1 or (warmup is not None and warmup < 0):
        raise ValueError(f"n and chains must be at least 1 and warmup at least 0, got {n}, {many} and {warmup}")
    length = math.ceil(n / many)
    least = 60 if method == "hmc" else 50
    skip = max(least, length // 10) if warmup is None else warmup
    if method == "metropolis":
        x, log_w = proposals(flow, log_density, many * (CANDIDATES + skip + length), chunk, generator)
        place, acceptance = _metropolis(log_w.view(many, -1), skip, generator)
        own = torch.arange(many, device=x.device)[:, None]
        return Chains(x.view(many, -1, *x.shape[1:])[own, place], method, acceptance)
    if method == "hmc":
        x, log_w = proposals(flow, log_density, many * CANDIDATES, chunk, generator)
        start = flow.transform(x[systematic(log_w, many, generator)])[0]
        with using(1):  # small operators
            kept, acceptance = hmc(lambda z: _latent(flow, log_density, z), start, length, skip, generator)
        return Chains(kept, method, acceptance)
    x, log_w = proposals(flow, log_density, 10 * many * length, chunk, generator)
    place = systematic(log_w, many * length, generator)
    order = torch.randperm(len(place), generator=generator, device=place.device)
    return Chains(x[place[order]].view(many, length, *x.shape[1:]), method, None, float(effective(log_w)))


def proposals(
    flow: Flow, log_density: LogDensity, n: int, chunk: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draws of the flow and their log-weights in double precision, -inf where the target is not a number.

    Raises:
        ValueError: all weights are 0.
    """
    pieces = []
    for i in range(0, n, chunk):
        x, log_q = flow.rsample_and_log_prob((min(chunk, n - i),), generator=generator)
        pieces.append((x, (evaluate(log_density, x) - log_q).double()))
    x, log_w = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    log_w = torch.where(log_w < math.inf, log_w, -math.inf)
    if not bool((log_w > -math.inf).any()):
        raise ValueError(f"log_density is not finite at any of {n} draws of the flow, so no chain can start")
    return x, log_w


def _metropolis(log_w: Tensor, warmup: int, generator: torch.Generator | None) -> tuple[Tensor, float]:
    """The index of each chain's proposal after each step kept, ``(chains, length)``, and the acceptance rate.

    The chain starts at one of the first proposals, drawn in proportion to its weight.
    """
    first, rest = log_w[:, :CANDIDATES], log_w[:, CANDIDATES:]
    low = rest.new_tensor(-1e300)  # a chain whose candidates all have density 0 moves to any that has not
    u = torch.rand(rest.shape, generator=generator, dtype=rest.dtype, device=rest.device)
    at = torch.multinomial(first.maximum(low).softmax(1), 1, generator=generator)  # (chains, 1)
    here = first.gather(1, at)[:, 0].maximum(low).cpu().numpy()
    offers, thresholds, place = rest.cpu().numpy().T, u.log().cpu().numpy().T, at[:, 0].cpu().numpy()
    places, accepted = [], 0
    for step, (offer, threshold) in enumerate(zip(offers, thresholds, strict=True)):
        taken = threshold < offer - here
        here = np.where(taken, offer, here)
        place = np.where(taken, CANDIDATES + step, place)
        if step >= warmup:
            places.append(place)
            accepted += int(taken.sum())
    kept = np.stack(places, 1)
    return torch.from_numpy(kept).to(log_w.device), accepted / kept.size


def _latent(flow: Flow, log_density: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
    x, logdet = flow.transform.inverse(z)
    return x, log_density(x) + logdet
