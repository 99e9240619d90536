r"""Ranks of true values among draws: uniform if the draws come from the right distribution.

Take any number that can be computed from a point and its context: a coordinate, the density, the distance to some
reference. If x and K draws follow the same distribution given the context, the rank of x's number among those of the
draws is uniform on 0, ..., K. Every check of calibration here is a test of that.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

MOST_BINS, FEWEST_PER_BIN = 20, 5


@dataclass(frozen=True)
class RankTest:
    """Whether ranks are uniform, and if not, in what way.

    Attributes:
        p_value: Probability that ranks deviate from uniform at least this much by chance: three tests (shift, spread,
            histogram) with a Bonferroni correction.
        shift: Mean of the ranks' normal scores, 0 if right: by how many of their own standard deviations the draws are
            too low.
        spread: Standard deviation of the scores, 1 if right; above 1 the draws are too narrow, below too wide.
    """

    p_value: float
    shift: float
    spread: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def rank(values: Tensor, drawn: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """How many of the draws ``(K, *shape)`` are below each value; ties are broken at random, which keeps ranks uniform,
    and NaN counts as the lowest number."""
    low = torch.finfo(values.dtype).min
    values, drawn = values.nan_to_num(nan=low), drawn.nan_to_num(nan=low)
    ties = (drawn == values).sum(0)
    u = torch.rand(values.shape, generator=generator, dtype=torch.float64, device=values.device)
    return (drawn < values).sum(0) + (u * (ties + 1)).floor().long().clamp(max=ties)


def normal_scores(ranks: Tensor, draws: int) -> Tensor:
    r"""The standard normal quantile :math:`\Phi^{-1}((r + 1/2) / (K + 1))` of each rank r among K draws."""
    return torch.special.ndtri((ranks.double() + 0.5) / (draws + 1))


def rank_test(ranks: Tensor, draws: int) -> RankTest:
    """Tests ranks ``(n,)`` among ``draws`` draws for uniformity.

    Reference:
        Cook, Gelman, Rubin (2006), Validation of software for Bayesian models using posterior quantiles, JCGS 15(3);
        Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration,
        arXiv:1804.06788.
    """
    n, scores = len(ranks), normal_scores(ranks, draws)
    possible = normal_scores(torch.arange(draws + 1), draws)  # the distribution of scores if ranks are uniform
    variance, fourth = float(possible.square().mean()), float(possible.pow(4).mean())
    shift = math.erfc(abs(float(scores.mean())) * math.sqrt(n / variance / 2))
    spread = _two_sided(float(scores.square().sum()), n * variance, n * (fourth - variance**2))
    p_value = min(1.0, 3 * min(shift, spread, _histogram(ranks, draws)))
    return RankTest(p_value, float(scores.mean()), float(scores.square().mean().div(variance).sqrt()))


def _two_sided(value: float, mean: float, variance: float) -> float:
    """The two-sided p-value of a sum of squares, by the gamma distribution with its mean and variance."""
    if not variance > 0:
        return 1.0
    shape, scale = (torch.tensor(v, dtype=torch.float64) for v in (mean**2 / variance, variance / mean))
    below = float(torch.special.gammainc(shape, value / scale))
    above = float(torch.special.gammaincc(shape, value / scale))
    return min(1.0, 2 * min(below, above))


def _histogram(ranks: Tensor, draws: int) -> float:
    """Pearson's chi-squared test with bins of equally many ranks, as many as the ranks and rows allow."""
    most = min(MOST_BINS, len(ranks) // FEWEST_PER_BIN)
    bins = max((b for b in range(2, most + 1) if (draws + 1) % b == 0), default=1)
    if bins < 2:
        return 1.0
    counts = torch.bincount(ranks * bins // (draws + 1), minlength=bins).double()
    expected = len(ranks) / bins
    statistic = ((counts - expected).square() / expected).sum()
    half = torch.tensor((bins - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(half, statistic.cpu() / 2))


def band(n: int, draws: int, *, level: float = 0.95, simulations: int = 1000, seed: int = 0) -> float:
    r"""c such that the distribution function of n uniform ranks stays within :math:`u \pm c\sqrt{u (1 - u) / n}`
    everywhere at once, with probability ``level``; by simulation.

    Reference:
        Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity, arXiv:2103.10522.
    """
    generator, rows = torch.Generator().manual_seed(seed), min(n, 1000)  # hardly changes for more
    u = torch.arange(1, draws + 1, dtype=torch.float64) / (draws + 1)
    worst = []
    for _ in range(simulations):
        counts = torch.bincount(torch.randint(draws + 1, (rows,), generator=generator), minlength=draws + 1)
        reached = counts.cumsum(0)[:-1].double() / rows
        worst.append(((reached - u).abs() / (u * (1 - u) / rows).sqrt()).max())
    return float(torch.stack(worst).quantile(level))
