"""The search for modes: climbs from points where the target is higher than everything known of it explains."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diagnostics.peaks import MOST, Height, Peaks, peaks_from

CLIMBS = 64  # per round
CROWDED = 0.75  # share of the first climbs ending at distinct peaks above which there are too many peaks
QUIET = 4  # consecutive rounds without a find, after which the search is over
CHUNK = 8192  # points per call
FEWEST, LARGEST = 20_000, 2_000_000  # probes per round
EXCESS = 3.0  # nats above the known peaks at which a point is worth a climb
SMALL = 1e-5  # share of the mass below which a peak is negligible


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
            peaks = _large(peaks.together(found).merged())
        new = has_new(before, peaks)
        quiet = 0 if new else quiet + 1
        share = seconds / 8 / max(took, 1e-3)
        number = int(min(LARGEST, max(FEWEST, number * (share if quiet else min(share, 2.0)))))
    return Found(peaks, crowded or len(peaks) == MOST or (quiet == 0 and len(peaks) > CROWDED * MOST))


def _large(peaks: Peaks) -> Peaks:
    return peaks.at((peaks.log_mass - peaks.log_mass.logsumexp(0) > math.log(SMALL)).nonzero()[:, 0])


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
