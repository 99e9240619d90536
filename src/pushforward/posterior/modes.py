"""Fits to multimodal targets: search until no new modes appear, draw, start over all modes, fit and verify.

The search climbs from points where the target is higher than everything known of it explains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..diagnostics import Importance, importance
from ..diagnostics.peaks import MOST, Height, Peaks, in_noise, peaks_from
from ..distributions.flow import Flow
from ..distributions.mixture import GaussianMixture
from ..objectives.divergences import ForwardKL, Objective
from ..objectives.user_target import UserTarget
from ..training.batches import Rows
from ..training.fit import Result, train
from ..training.options import FitOptions, Length
from .constrain import Space
from .over_modes import draws_of_modes, flow_over_modes, refined, reweigh, split, weighed

AGAIN = 4  # searches continued from the known modes, at most
GOOD = 0.995  # effective share of draws above which a start needs little training
ENOUGH = 0.2  # share of draws that must be effective for a wide start to be refitted to them
SECONDS = 20.0  # for a search without a budget
CLIMBS = 64  # per round
CROWDED = 0.75  # share of the first climbs ending at distinct peaks above which there are too many peaks
QUIET = 4  # consecutive rounds without a find, after which the search is over
CHUNK = 8192  # points per call
FEWEST, LARGEST = 20_000, 2_000_000  # probes per round
EXCESS = 3.0  # nats above the known peaks at which a point is worth a climb
SMALL = 1e-5  # share of the mass below which a peak is negligible


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes found by a search.

    Attributes:
        location: Of each mode, in the space of x, ``(K, features)``.
        weight: The share of the mass around each, ``(K,)``; from the flow's base, corrected by importance weights.
        all: Whether these may be all: False if the search found more than it keeps, as for products of densities with
            two modes each.
    """

    location: Tensor
    weight: Tensor
    all: bool


def fit_over_modes(
    target: UserTarget,
    space: Space,
    fresh: Callable[[str], Flow],
    loss: Callable[[Flow], Objective],
    training: FitOptions,
    draws: int,
    ends: float,
) -> tuple[Flow, Importance, Result, Modes] | None:
    """Fits a flow over all modes found by searches, which go on until there are no more; with its importance weights,
    the last training, and the modes. None if there is at most one mode, for which another start serves.

    ``fresh`` makes a flow over the free coordinates, of the named recipe unless the user names one; ``loss`` is the
    objective of its final training, which ends when the time does.
    """
    height, seed = in_noise(target, space.outer), training.steps.seed
    training = replace(training, kept=replace(training.kept, checkpoint=None))  # of several trainings none is the whole
    generator = torch.Generator().manual_seed(seed)
    seconds = SECONDS if math.isinf(ends) else min(60.0, 0.2 * (ends - time.monotonic()))
    with target.unnoticed():
        found = _settled(height, search(height, space.free, seconds, generator, space.dtype), seconds, generator)
        if found is None or len(found.peaks) == 1:
            return None
        parts, gaussian, sample = draws_of_modes(height, found.peaks, found.crowded, generator)
        pieces, owner = split(parts, gaussian, sample)
        pieces = pieces if bool(gaussian.all()) else refined(height, pieces, generator)
    flow = flow_over_modes(fresh("realnvp" if len(parts) > 1 else "nsf-coupling"), pieces, sample, space)
    better = _weighed(flow, target, sample.shape[1], space, generator) if found.crowded else None
    if better is not None:
        sample = better
        flow = flow_over_modes(fresh("nsf-coupling"), parts, sample, space)
    rows = _rows(parts, sample, space, generator)
    result = _train(flow, target, loss, rows, training, ends, generator)
    judged = importance(flow, target, draws, generator=torch.Generator(flow.device).manual_seed(seed))
    return flow, judged, result, _modes(flow, found, owner, space)


def _settled(height: Height, found: Found | None, seconds: float, generator: torch.Generator) -> Found | None:
    """The result of searches, each continued from the last, until one finds nothing new."""
    for _ in range(AGAIN):
        if found is None or found.crowded or len(found.peaks) == 1:
            break
        peaks, dtype = found.peaks, found.peaks.loc.dtype
        again = search(height, peaks.loc.shape[1], seconds / 4, generator, dtype, peaks)
        if again is None or not has_new(peaks, again.peaks):
            break
        found = again
    return found


def _weighed(flow: Flow, target: UserTarget, n: int, space: Space, generator: torch.Generator) -> Tensor | None:
    """Draws of pi from those of a start that is good already, ``(1, n, features)``. Unlike those at the end of a path,
    they are independent, so the modes' shares are more precise. None if the weights leave too few."""
    found = weighed(flow, target, 2 * n, generator)
    if found.ess < ENOUGH * n:
        return None
    return space.outer(found.resample(n, generator=generator))[0][None]


def _modes(flow: Flow, found: Found, owner: Tensor, space: Space) -> Modes:
    weight, location = found.peaks.log_mass.softmax(0), found.peaks.loc
    if isinstance(flow.base, GaussianMixture):
        share = flow.base.logits.softmax(0).detach().cpu()
        weight = share.new_zeros(len(location)).index_add(0, owner, share)
    return Modes(space.outer.inverse(location)[0], weight, not found.crowded)


@torch.no_grad()
def _rows(parts: Peaks, sample: Tensor, space: Space, generator: torch.Generator) -> Tensor:
    """Draws of pi in the space of x: of each part in proportion to its mass, repeated as often as needed."""
    K, n, _ = sample.shape
    which = torch.multinomial(parts.log_mass.softmax(0), 2 * K * n, replacement=True, generator=generator)
    return space.outer.inverse(sample[which, torch.randint(n, (len(which),), generator=generator)])[0]


def _train(
    flow: Flow,
    target: UserTarget,
    loss: Callable[[Flow], Objective],
    rows: Tensor,
    training: FitOptions,
    ends: float,
    generator: torch.Generator,
) -> Result:
    """Maximum likelihood on draws first, if the start is not good yet; then reverse KL, and the parts' shares. A result
    worse than the start is discarded."""
    share = reweigh(flow, target, 4000, generator)
    start = {name: tensor.clone() for name, tensor in flow.state_dict().items()}

    def run(objective: Objective, rows: Rows | None, part: float, steps: int) -> Result:
        """Trains for a part of the time that is left, or for a number of steps."""
        left = max(2.0, 0.85 * (ends - time.monotonic()))
        length = Length(budget=part * left) if part and math.isfinite(ends) else Length(steps=steps)
        return train(objective, replace(training, length=length, initialize=False), rows)

    steps = training.length.steps or 100
    if share < GOOD:
        run(ForwardKL(flow), Rows(rows), 0.4, max(1, steps // 2))
        result = run(loss(flow), None, 1.0, steps)
    else:
        result = run(loss(flow), None, 0.0, min(steps, 100))
    for _ in range(2):
        reweigh(flow, target, 10_000, generator)
    if weighed(flow, target, 4000, generator).ess / 4000 < share:
        flow.load_state_dict(start)
    return result


@dataclass(frozen=True, eq=False)
class Found:
    """The peaks, at most ``MOST``, and whether they are too many to enumerate: nearly every climb ends at another."""

    peaks: Peaks
    crowded: bool


def search(
    height: Height,
    features: int,
    seconds: float,
    generator: torch.Generator,
    dtype: torch.dtype,
    known: Peaks | None = None,
) -> Found | None:
    r"""Peaks of a log-density, until rounds of probes find no more, or time is over; None if no climb ends at one.

    A point reveals an unknown mode only where that mode is higher than all others together, in a region that may be
    small; climbs from anywhere else end at known peaks. So many points are merely evaluated, and climbs start from
    those where :math:`\log\tilde\pi` exceeds the Gaussians of the known peaks,
    :math:`\log \sum_k m_k N(z; \mu_k, \Sigma_k)`. Points come from wide normals around the known peaks and their
    middle, from lines through two of them, and from their mixed and mirrored coordinates.
    """
    began, quiet = time.monotonic(), 0
    wide = torch.randn(CLIMBS, features, generator=generator, dtype=dtype)
    reach = 4.0 ** torch.arange(-1, 5, dtype=dtype).repeat(math.ceil(CLIMBS / 6))[:CLIMBS, None]
    wide[0] = 0.0
    peaks = peaks_from(height, wide * reach, 0.1 * reach)
    if peaks is None or known is not None:
        peaks = known if peaks is None or known is None else known.together(peaks).merged()
    if peaks is None:
        return None
    crowded = len(peaks) > CROWDED * CLIMBS
    number = FEWEST
    while quiet < QUIET and not crowded and len(peaks) < MOST and time.monotonic() - began < seconds:
        started = time.monotonic()
        starts, reach = _screened(height, peaks, number, generator)
        took = time.monotonic() - started
        found = peaks_from(height, starts, reach) if len(starts) else None
        before = peaks
        if found is not None:
            peaks = peaks.together(found).merged()
            peaks = peaks.at((peaks.log_mass.log_softmax(0) > math.log(SMALL)).nonzero()[:, 0])
        new = has_new(before, peaks)
        quiet = 0 if new else quiet + 1
        share = seconds / 8 / max(took, 1e-3)
        number = int(min(LARGEST, max(FEWEST, number * (share if quiet else min(share, 2.0)))))
    return Found(peaks, crowded or len(peaks) == MOST or (quiet == 0 and len(peaks) > CROWDED * MOST))


def has_new(before: Peaks, after: Peaks) -> bool:
    """Whether a peak is far from all those known before."""
    return bool((before.white(after.loc).norm(dim=-1).amin(0) > 1.0).any())


@torch.no_grad()
def _screened(height: Height, peaks: Peaks, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Probes worth a climb, half of them the highest above what is known, half any others; and step sizes."""
    kept, excess = [], []
    for _ in range(math.ceil(number / CHUNK)):
        z = _probes(peaks, min(CHUNK, number), generator)
        above = (height(z) - peaks.log_parts(z).logsumexp(0)).nan_to_num(-math.inf, -math.inf, -math.inf)
        worth = (above > EXCESS).nonzero()[:, 0]
        worth = worth[torch.randperm(len(worth), generator=generator)[:CLIMBS]]
        kept.append(z[worth])
        excess.append(above[worth])
    z, above = torch.cat(kept), torch.cat(excess)
    order = above.argsort(descending=True)
    any_other = order[CLIMBS // 2 :][torch.randperm(max(len(order) - CLIMBS // 2, 0), generator=generator)]
    z = z[torch.cat([order[: CLIMBS // 2], any_other[: CLIMBS // 2]])]
    away = (z[:, None] - peaks.loc).norm(dim=-1).amin(1) if len(z) else z.new_zeros(0)
    return z, (0.05 * away / math.sqrt(z.shape[1])).clamp_min(1e-3)[:, None]


def _probes(peaks: Peaks, number: int, generator: torch.Generator) -> Tensor:
    """Points at which unknown peaks may be the highest."""
    K, d = peaks.loc.shape
    like: dict[str, Any] = {"generator": generator, "dtype": peaks.loc.dtype}

    def of(n: int) -> Tensor:
        return torch.randint(K, (n,), generator=generator)

    n = number // 5
    width = peaks.factor.square().sum(-1).sqrt()  # (K, d): standard deviations
    middle = peaks.loc.mean(0)
    spread = peaks.loc.std(0, correction=0).square().add(width.square().mean(0)).sqrt()
    first, other, third, fourth, fifth = of(n), of(n), of(n), of(n), of(number - 4 * n)
    along = 4 * torch.rand(n, 1, **like) - 1.5
    line = torch.lerp(peaks.loc[first], peaks.loc[other], along)
    mixed = torch.where(torch.rand(n, d, **like) < 0.5, peaks.loc[third], peaks.loc[fourth])
    mirrored = torch.where(torch.rand(n, d, **like) < torch.rand(n, 1, **like), 2 * middle - mixed, mixed)
    around = peaks.loc[fifth] + _radius(3.0, 100.0, len(fifth), like) * width[fifth] * torch.randn(
        len(fifth), d, **like
    )
    about = middle + _radius(0.3, 10.0, n, like) * spread * torch.randn(n, d, **like)
    absolute = _radius(0.3, 100.0, n, like) * torch.randn(n, d, **like)
    local = width[first] * torch.randn(n, d, **like)
    return torch.cat([line + local, mirrored + local, around, about, absolute])


def _radius(low: float, high: float, n: int, like: dict[str, Any]) -> Tensor:
    """Log-uniform numbers, ``(n, 1)``."""
    return low * (high / low) ** torch.rand(n, 1, **like)
