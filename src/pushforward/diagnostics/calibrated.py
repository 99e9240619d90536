"""Calibration of a conditional density: does p(x | context) have the right width and location?

For simulation-based inference: x are parameters drawn from the prior, the context is the data simulated from each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..errors import at_least_one
from .ranks import RankTest, band, rank, rank_test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = tuple(level / 10 for level in range(1, 10))
FEWEST = 20  # rows
ALPHA = 0.01  # level of a verdict, over all its tests together


@dataclass(frozen=True, eq=False)
class Calibration:
    r"""Ranks of true values among draws for their own context; uniform on 0, ..., K if the density is exact.

    Attributes:
        columns: Names of the parameters.
        draws: K, the number of draws for each context.
        ranks: Ranks of every parameter, ``(n, features)``: simulation-based calibration.
        density_ranks: How many draws are denser than the truth, ``(n,)``: expected coverage of highest-density
            regions. None if the density is not known.
        distance_ranks: How many draws are nearer than the truth to a random reference point, ``(n,)``: TARP, coverage
            of all dimensions together, which is right only if the density is.
        tests: The test of uniformity for each of these (parameters by name, ``"density"``, ``"distance"``).
        p_value: Of all together, with a Bonferroni correction.
        trusted: Whether it is at least 0.01.
        verdict: One sentence.

    Reference:
        Talts et al. (2018), arXiv:1804.06788; Hermans et al. (2022), A trust crisis in simulation-based inference?,
        arXiv:2110.06581; Lemos et al. (2023), Sampling-based accuracy testing of posterior estimators for general
        inference, arXiv:2302.03026.
    """

    columns: tuple[str, ...]
    draws: int
    ranks: Tensor
    density_ranks: Tensor | None
    distance_ranks: Tensor
    tests: dict[str, RankTest]
    p_value: float
    trusted: bool
    verdict: str

    def coverage(self, levels: Sequence[float] = LEVELS) -> dict[str, list[float]]:
        """The share of truths within the region of each nominal level: ``levels``, ``density`` (if it is known),
        ``distance``, and ``error``, the standard error of each share if the density were exact."""
        n, shares = len(self.ranks), {"levels": list(levels)}
        for name, ranks in (("density", self.density_ranks), ("distance", self.distance_ranks)):
            if ranks is not None:
                shares[name] = coverage((ranks.double() + 0.5) / (self.draws + 1), levels)
        return shares | {"error": [math.sqrt(level * (1 - level) / n) for level in levels]}

    def summary(self) -> dict[str, Any]:
        """The numbers and the sentence in a form that JSON can hold."""
        return {
            "n": len(self.ranks),
            "draws": self.draws,
            "tests": {name: test.to_json() for name, test in self.tests.items()},
            "coverage": self.coverage(),
            "p_value": self.p_value,
            "trusted": self.trusted,
            "verdict": self.verdict,
        }

    def figures(self) -> dict[str, Figure]:
        """``"ranks"``: the distribution of every parameter's ranks, with the band expected by chance;
        ``"coverage"``: the shares of truths within regions of all levels."""
        from .. import plot

        shares = self.coverage()
        width = band(len(self.ranks), self.draws)
        return {
            "ranks": plot.ranks(self.ranks.cpu(), self.draws, width, columns=self.columns),
            "coverage": plot.coverage(
                shares["levels"],
                shares.get("density"),
                shares["error"],
                distance=shares["distance"],
            ),
        }


@torch.no_grad()
def calibration(
    posterior: Density | Tensor,
    x: Tensor,
    context: Tensor | None = None,
    *,
    draws: int = 99,
    columns: Sequence[str] | None = None,
    chunk: int = 65_536,
    generator: torch.Generator | None = None,
) -> Calibration:
    """Ranks true values among draws of p(x | context): simulation-based calibration, expected coverage and TARP.

    Args:
        posterior: A conditional density; or draws ``(K, n, features)`` from any other, K for each context. A density is
            judged by coordinates, density and distance, draws by the first and the last.
        x: True values ``(n, features)``, at least 20, each drawn jointly with its context, and not used in training.
        context: Contexts ``(n, context features)``, for a density that takes one.
        draws: K; with 99, coverage at 10 %, 20 %, ... is exact.
        columns: Names of the parameters.
        chunk: Draws per call of the density.
        generator: Source of the randomness.

    Raises:
        TypeError: ``posterior`` is neither a density nor draws.
        ValueError: shapes do not fit, or there are too few rows or draws.

    Example:
        >>> import torch, pushforward as pf
        >>> flow = pf.realnvp(2, context=1)
        >>> x, context = torch.randn(500, 2), torch.randn(500, 1)  # a fresh flow is N(0, I), and that is what x follows
        >>> pf.diagnostics.calibration(flow, x, context, generator=torch.Generator().manual_seed(0)).trusted
        True
    """
    if not isinstance(x, Tensor) or x.dim() < 2 or len(x) < FEWEST:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be true values of shape (n, features) with n of at least {FEWEST}, got {shape}")
    drawn = draws_for(posterior, x, context, draws, generator, chunk)
    denser = None
    if isinstance(posterior, Density):
        denser = _denser(posterior, x, drawn.view(len(drawn), *x.shape), context, chunk, generator)
    return judge(x.flatten(1), drawn, denser, columns, generator)


def draws_for(
    posterior: Density | Tensor,
    x: Tensor,
    context: Tensor | None,
    draws: int,
    generator: torch.Generator | None,
    chunk: int = 65_536,
) -> Tensor:
    """Draws of a density for each context, ``(K, n, features)``; or the given draws, if they fit x."""
    if isinstance(posterior, Tensor):
        if posterior.dim() != x.dim() + 1 or posterior.shape[1:] != x.shape or len(posterior) < 1:
            expected = ", ".join(map(str, ("K", *x.shape)))
            raise ValueError(f"posterior must be draws of shape ({expected}), got {tuple(posterior.shape)}")
        return posterior.flatten(2)
    if not isinstance(posterior, Density):
        raise TypeError(f"posterior must be a density or a tensor of draws, got {type(posterior).__name__}")
    at_least_one(draws=draws)
    if context is None:
        return posterior.sample((draws, len(x)), generator=generator).flatten(2)
    if context.shape[:-1] != x.shape[:1]:
        raise ValueError(
            f"context must have shape ({len(x)}, features), one row for each x, got {tuple(context.shape)}"
        )
    parts = context.split(max(chunk // draws, 1))
    return torch.cat([posterior.sample((draws,), part, generator=generator) for part in parts], 1).flatten(2)


def _denser(
    posterior: Density,
    x: Tensor,
    drawn: Tensor,
    context: Tensor | None,
    chunk: int,
    generator: torch.Generator | None,
) -> Tensor:
    """How many draws for its context are denser than each x, ``(n,)``."""
    parts = []
    for rows in torch.arange(len(x), device=x.device).split(max(chunk // len(drawn), 1)):
        given = None if context is None else context[rows]
        many = None if given is None else given.expand(len(drawn), *given.shape)
        own, theirs = posterior.log_prob(x[rows], given), posterior.log_prob(drawn[:, rows], many)
        parts.append(rank(-own, -theirs, generator))
    return torch.cat(parts)


def judge(
    x: Tensor,
    drawn: Tensor,
    denser: Tensor | None = None,
    columns: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
) -> Calibration:
    """Calibration of truths x ``(n, features)`` from draws that were made before, ``(K, n, features)``, and from how
    many are denser than each truth, ``(n,)``, if that is known."""
    names = tuple(f"x{j + 1}" for j in range(x.shape[1])) if columns is None else tuple(map(str, columns))
    if len(names) != x.shape[1]:
        raise ValueError(f"columns has {len(names)} names, but x has {x.shape[1]} features")
    draws, ranks = len(drawn), rank(x, drawn, generator)
    nearer = _distance_ranks(x, drawn, generator)
    tests = {name: rank_test(column, draws) for name, column in zip(names, ranks.T, strict=True)}
    if denser is not None:
        tests["density"] = rank_test(denser, draws)
    tests["distance"] = rank_test(nearer, draws)
    p_value = min(1.0, len(tests) * min(test.p_value for test in tests.values()))
    verdict = _verdict(names, tests, p_value, len(x))
    return Calibration(names, draws, ranks, denser, nearer, tests, p_value, p_value >= ALPHA, verdict)


def _distance_ranks(x: Tensor, drawn: Tensor, generator: torch.Generator | None) -> Tensor:
    """TARP ranks; each row's reference is the truth of another row, which does not depend on this row's context."""
    centre = x.nanmean(0)
    seen = torch.where(x.isnan(), centre, x)
    scale = seen.std(0).clamp_min(torch.finfo(x.dtype).tiny)
    order = torch.randperm(len(x), generator=generator, device=x.device)
    reference = torch.empty_like(seen)
    reference[order] = seen[order.roll(1)]
    own = ((seen - reference) / scale).square().sum(-1)
    theirs = ((torch.where(drawn.isnan(), centre, drawn) - reference) / scale).square().sum(-1)
    return rank(own, theirs, generator)


def _verdict(names: Sequence[str], tests: dict[str, RankTest], p_value: float, n: int) -> str:
    if p_value >= ALPHA:
        return f"Calibrated, as far as {n} simulations can tell: the least uniform ranks have p = {p_value:.2g}."
    worst = min(tests, key=lambda name: tests[name].p_value)
    test, by_chance = tests[worst], f"p = {p_value:.1g}"
    if worst not in names:
        side = "too narrow" if test.shift > 0 else "too wide"
        return f"Not calibrated ({by_chance}): regions of all dimensions together, by {worst}, are {side} or misplaced."
    if abs(test.spread - 1) > abs(test.shift):
        side = "narrow" if test.spread > 1 else "wide"
        amount = abs(1 / test.spread - 1)
        return f"Not calibrated ({by_chance}): the posterior of {worst} is about {amount:.0%} too {side}."
    side = "low" if test.shift > 0 else "high"
    size = f"{abs(test.shift):.2f} of its standard deviations"
    return f"Not calibrated ({by_chance}): the posterior of {worst} lies too {side}, by about {size}."


def coverage(level: Tensor, levels: Sequence[float] = LEVELS) -> list[float]:
    """The share of rows within the region of each nominal level, from the share of draws that are further inside."""
    return [float((level <= nominal).double().mean()) for nominal in levels]
