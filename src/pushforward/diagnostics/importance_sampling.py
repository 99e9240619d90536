"""How far a fitted flow can be trusted: importance weights against a target, their tail, and modes it misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..distributions.flow import Flow
from ..numerics.sequential import effective, resampled
from ..numerics.tails import khat
from ..objectives.forms import as_target
from ..objectives.target import evaluate
from ..objectives.user_target import LogDensity, UserTarget, place, told
from .peaks import Height, climb, in_noise, log_mean, precision

TEMPERATURES = (2.0, 4.0, 8.0, 16.0, 32.0)  # how many times farther out than the flow's own draws the climbs start
WIDE = 200  # draws at each of these temperatures, which look for mass without a peak
PEAKS = 16  # the most whose mass is estimated


@dataclass(frozen=True, eq=False)
class Importance:
    r"""Importance weights :math:`w = \tilde\pi / q` of n draws of a flow for a target :math:`\tilde\pi = Z \pi`.

    Attributes:
        draws: The flow's draws, ``(n, *event)``.
        log_weights: log w of each, ``(n,)``, in nats.
        ess: Effective sample size :math:`(\sum w)^2 / \sum w^2`, from 1 to n.
        khat: Shape of the weights' upper tail; see :func:`pushforward.numerics.tails.khat`.
        log_z: Estimate of log Z, in nats.
        log_z_se: Its standard error, in nats; reliable if k-hat is good.
        kl: Estimate of KL(flow ‖ pi) in nats.
        missed: The share of pi's mass found where the flow has none, from 0 to 1; NaN if no search was made.
        trusted: Whether estimates from these weights can be used.
        verdict: One sentence on why, or why not.
    """

    draws: Tensor
    log_weights: Tensor
    ess: float
    khat: float
    log_z: float
    log_z_se: float
    kl: float
    missed: float
    trusted: bool
    verdict: str

    def resample(self, n: int | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws of pi: n of the flow's draws, resampled in proportion to their weights (systematic resampling).

        Args:
            n: How many; the effective sample size rounded to a whole number by default.
            generator: Source of the randomness.
        """
        n = max(1, round(self.ess)) if n is None else n
        return self.draws[systematic(self.log_weights, n, generator)]

    def summary(self) -> dict[str, float | int | bool | str | None]:
        """The numbers and the sentence, without the draws, in a form that JSON can hold: None for values not finite."""
        names = ("ess", "khat", "log_z", "log_z_se", "kl", "missed")
        numbers = {name: getattr(self, name) for name in names}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"n": len(self.draws), **finite, "trusted": self.trusted, "verdict": self.verdict}


@torch.no_grad()
def importance(
    flow: Flow,
    log_density: LogDensity,
    n: int = 10_000,
    *,
    references: Tensor | None = None,
    starts: int = 60,
    chunk: int = 4096,
    generator: torch.Generator | None = None,
    seconds: float = math.inf,
) -> Importance:
    """Weights n draws of a flow against a target and says whether the fit can be trusted.

    The weights alone cannot reveal a mode in which the flow never draws. So the target is also climbed from ``starts``
    points spread far beyond the flow's draws (2 to 32 times), and the mass around every peak where the flow has none is
    estimated, as is that of tails, from draws spread as far. This finds modes whose basin such a climb can reach; it
    proves nothing about narrow, remote ones. If you know points where the target has mass (draws of a sampler, say),
    pass them as ``references``.

    Args:
        flow: The fitted flow, without a context.
        log_density: Maps ``(n, *event)`` to ``(n,)``: log pi(x) + constant, in nats.
        n: Draws.
        references: Points ``(m, *event)`` where pi is known to have mass.
        starts: Number of points to climb from; 0 for no search.
        chunk: Rows per call of the flow and the target.
        generator: Source of the randomness.
        seconds: Time after which the climbs end, converged or not.

    Returns:
        The weights, the statistics derived from them, and a verdict.

    Raises:
        TypeError: ``log_density`` is not a function of a batch.
        ValueError: n is below 1, or ``log_density`` fails for most draws: raises, or gives NaN, infinity or another
            shape. If it fails for a few, these have weight 0, with a note.
    """
    if n < 1 or starts < 0:
        raise ValueError(f"n must be at least 1 and starts at least 0, got n={n} and starts={starts}")
    target = as_target(log_density, flow.sample((16,), generator=torch.Generator(flow.device).manual_seed(0)))
    with target.held():
        pieces = [_weigh(flow, target, min(chunk, n - i), generator) for i in range(0, n, chunk)]
    draws, log_weights = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    lw = log_weights.double()
    log_z = log_mean(lw)
    share = (lw - lw.logsumexp(0)).exp()  # w / sum w
    ess = float(effective(lw)) if math.isfinite(log_z) else 0.0
    with target.unnoticed():
        missed = missed_mass(flow, target, log_z, math.log(n), starts, generator, seconds) if ess else math.nan
    unseen = 0.0 if references is None else _unseen(flow, target, references, log_z + math.log(n))
    k = khat(lw)
    trusted, verdict = _verdict(n, ess, k, missed, unseen)
    return Importance(
        draws=draws,
        log_weights=log_weights,
        ess=ess,
        khat=k,
        log_z=log_z,
        log_z_se=float(share.std() * n**0.5) if n > 1 and ess else math.inf,
        kl=float(log_z - lw.mean()),
        missed=missed,
        trusted=trusted,
        verdict=verdict,
    )


def _weigh(flow: Flow, target: UserTarget, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draws and their log-weights; a density may be zero, but not fail for most draws."""
    x, log_q = flow.rsample_and_log_prob((n,), generator=generator)
    failed = target.failed
    log_pi = evaluate(target, x)
    failed = target.failed - failed
    if failed > n / 2:
        why = told(target.error) if target.error else "is not finite"
        raise ValueError(f"log_density {why} for {failed} of {n} draws, as at x = {place(x[log_pi == -math.inf][0])}")
    return x, log_pi - log_q


def _unseen(flow: Flow, log_density: LogDensity, references: Tensor, limit: float) -> float:
    """The share of references at which the flow is so far below the target that n draws would miss them."""
    excess = evaluate(log_density, references) - flow.log_prob(references)
    return float((~(excess <= limit)).double().mean())  # NaN: outside the flow's support


def _verdict(n: int, ess: float, k: float, missed: float, unseen: float) -> tuple[bool, str]:
    """Whether to trust the weights, with one sentence; the limit is that of Vehtari et al. (2024), arXiv:1507.02646."""
    limit = min(0.7, 1 - 1 / math.log10(n)) if n > 1 else 0.0
    wider = "anneal the target, start from a wider flow, or fit to draws"
    flaws = {
        "the target is zero at every draw of the flow": not ess,
        f"about {missed:.0%} of the target's mass lies in a region where the flow puts almost none, so a mode or a "
        f'tail is missed; search for modes (modes="search"), {wider}': missed >= 0.01,
        f"at {unseen:.0%} of the reference points the target has far more mass than the flow, so a region is missed; "
        f"{wider}": unseen >= 0.01,
        f"the tail of the importance weights is too heavy (k-hat {k:.2f}, above {limit:.2f} for {n} draws); train "
        "longer or take a more flexible flow": not k <= limit,
        f"the weights leave {ess:.0f} effective draws of {n}, so a few draws decide every estimate; train longer, "
        "anneal the target or take a more flexible flow": ess < max(100.0, 0.01 * n),  # a handful dominates
    }
    for flaw, found in flaws.items():
        if found:
            return False, f"Do not trust this fit: {flaw}."
    close = "The flow is close to the target" if ess > 0.5 * n and k <= 0.5 else "Usable with its weights"
    modes = "missed modes were not searched for" if math.isnan(missed) else "no missed mode was found"
    return True, f"{close}: {ess:.0f} effective draws of {n}, k-hat {k:.2f}, {modes}."


def systematic(log_weights: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n indices in proportion to the weights, by systematic resampling."""
    start = torch.rand(1, generator=generator, dtype=torch.float64, device=log_weights.device)
    return resampled(log_weights.double()[:, None], start, n)[:, 0]


def bits_per_dim(log_prob: Tensor, shape: Sequence[int], levels: int = 256) -> Tensor:
    r"""Bits per dimension of images, the usual unit for comparing image models.

    .. math:: -\frac{\log p(x)}{D \log 2} + \log_2 \mathrm{levels}

    Args:
        log_prob: In nats: log-densities of images scaled to [0, 1]; with ``levels=1``, probabilities of discrete
            images or densities of images in whole grey levels.
        shape: Shape of one image; D is its product.
        levels: Number of grey levels that [0, 1] stands for.

    Returns:
        Bits per dimension, of the shape of ``log_prob``.

    Raises:
        ValueError: ``levels`` or a size is below 1.

    Reference:
        Theis, van den Oord, Bethge (2016), A note on the evaluation of generative models, arXiv:1511.01844.
    """
    dimensions = math.prod(shape)
    if dimensions < 1 or levels < 1:
        raise ValueError(f"shape must be positive and levels at least 1, got shape={tuple(shape)} and levels={levels}")
    return -log_prob / (dimensions * math.log(2)) + math.log2(levels)


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
    """The share of the target's mass found where the flow has less than exp(-margin) of its share, from 0 to 1, by
    draws from wider bases (for tails) and around peaks: a lower bound, as some mass may not be found.

    By the duality of flows a target can be seen as a density of z, for which the flow itself is N(0, I): log pi~(g(z))
    + log|det J_g(z)|. There every scale is about one, every support is the whole space, and a missed mode is a peak far
    from zero.

    NaN if no search is possible: without climbs, or because the target has no gradient. ``log_z`` is estimated from the
    flow's own draws, in nats; climbs end after some ``seconds``.
    """
    height, base = in_noise(log_density, flow.transform), flow.base
    each = math.ceil(starts / len(TEMPERATURES))
    draws = [t * base.sample((max(WIDE, each),), generator=generator) for t in TEMPERATURES]
    with torch.enable_grad():
        if not starts or not height(draws[0][:1].clone().requires_grad_()).requires_grad:
            return math.nan

    def compared(z: Tensor) -> tuple[Tensor, Tensor]:  # heights, and how far they exceed the flow's share
        value = height(z)
        return value, (value - base.log_prob(z) - log_z).nan_to_num(-math.inf, -math.inf)  # none outside the base

    z, size = torch.cat(draws), math.prod(base.event_shape)
    value, over = compared(z)
    log_draw = torch.stack([base.log_prob(z / t) - size * math.log(t) for t in TEMPERATURES]).logsumexp(0)
    tails = torch.where(over > margin, value - log_draw + math.log(len(TEMPERATURES)), -math.inf)  # log-weights
    best = over.view(len(draws), -1).argsort(1, descending=True)[:, : each // 2]
    chosen = [torch.cat([part[: each - each // 2], part[i]]) for part, i in zip(draws, best, strict=True)]
    reach = z.new_tensor(TEMPERATURES).repeat(each)[:starts].view(-1, *[1] * (z.dim() - 1))
    top = climb(height, torch.stack(chosen, 1).flatten(0, 1)[:starts], 0.1 * reach, seconds=seconds)
    value, over = compared(top)
    peaks: list[tuple[Tensor, Tensor]] = []  # with the factor L of each precision L L^T
    masses = [-math.inf]
    for i in value.nan_to_num(-math.inf).argsort(descending=True).tolist():
        seen = any(float(((top[i] - peak).flatten() @ factor).norm()) < 3 for peak, factor in peaks)
        if over[i] > margin and not seen and len(peaks) < PEAKS:
            peaks.append((top[i], _precision_factor(height, top[i])))
            there, log_draw = _around(*peaks[-1], generator)
            height_there, over_there = compared(there)
            masses.append(log_mean(torch.where(over_there > margin, height_there - log_draw, -math.inf)))
            apart = ((z - top[i]).flatten(1) @ peaks[-1][1]).norm(dim=1) > 1.5 * (size**0.5 + 3)
            tails = torch.where(apart, tails, -math.inf)  # what is around a peak counts once
    found = float(torch.tensor([*masses, log_mean(tails)], dtype=torch.float64).logsumexp(0))
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
