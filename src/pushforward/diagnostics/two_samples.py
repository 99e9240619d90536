r"""Whether two samples come from one distribution: many statistics at once, each corrected for how many there are.

A statistic is the squared distance between the means of some features of the rows, up to a factor

.. math:: T = \Bigl\lVert \sum_{i \in B} f_i \Bigr\rVert^2

with features that sum to 0 over both samples A and B. Legendre polynomials of ranks give the Anderson-Darling
statistic, indicators of categories Pearson's, and random Fourier features the maximum mean discrepancy.

If nothing has changed, rows belong to A and B by chance; so all statistics are computed again for random divisions of
the rows, and what a statistic, the largest of several, or the most surprising of all has for these is its distribution,
whatever the features are, and however they depend on each other.

Reference:
    Westfall, Young (1993), Resampling-based multiple testing.
    Phipson, Smyth (2010), Permutation p-values should never be zero, arXiv:1603.05766.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Groups = Mapping[str, Mapping[Key, Tensor]]

DIVISIONS = 999  # random ones that the real one is compared with
OTHERS = 200  # further ones, which give the statistics a common scale
POLYNOMIALS = 8
LOWEST = 0.02  # share of the rows


class Moved(NamedTuple):
    """One statistic: its p-value, corrected for the number of statistics in its group, and its surprise: a standard
    normal number would be so large as seldom. It also ranks those whose p-values are the least that there are."""

    p_value: float
    surprise: float


@dataclass(frozen=True)
class Comparison(Generic[Key]):
    """The statistics of every group, the most surprising first, and the p-value of the most surprising group, corrected
    for the number of groups: at most x with probability x if both samples come from one distribution."""

    p_value: float
    groups: dict[str, dict[Key, Moved]]


def divisions(second: Tensor, seed: int = 0) -> Tensor:
    """The division of rows into those of a second sample, which are marked ``(n,)``, and the others, and random ones,
    ``(1 + DIVISIONS + OTHERS, n)``, of 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.rand(DIVISIONS + OTHERS, len(second), generator=generator).argsort(1)
    return torch.cat([second[None], second[shuffled]]).float()


@torch.no_grad()
def surprises(groups: Groups[Key], divisions: Tensor) -> dict[str, dict[Key, Tensor]]:
    """Every statistic for the real division and the others, ``(1 + DIVISIONS,)``, all on one scale, in the same groups.
    A statistic is given by the features ``(n, k)`` of all rows, found without knowing to which sample a row belongs."""
    return {name: _surprises(some, divisions) if some else {} for name, some in groups.items()}


def compared(groups: Groups[Key]) -> Comparison[Key]:
    """Compares two samples by groups of statistics, of each its surprises."""
    found = {name: torch.stack(list(some.values()), 1) for name, some in groups.items() if some}
    largest = {name: z.amax(1) for name, z in found.items()}  # (1 + DIVISIONS,)
    ranked = torch.stack([_share_above(z, z) for z in largest.values()]).amin(0)
    moved: dict[str, dict[Key, Moved]] = {name: {} for name in groups}
    for name, z in found.items():
        p_values = _share_above(largest[name], z[0]).tolist()
        each = zip(groups[name], map(Moved, p_values, z[0].tolist()), strict=True)
        moved[name] = dict(sorted(each, key=lambda one: -one[1].surprise))
    return Comparison(float(_share_above(-ranked, -ranked[:1])), moved)


def _surprises(statistics: Mapping[Key, Tensor], divisions: Tensor) -> dict[Key, Tensor]:
    """The surprises of the statistics of a group.

    Sums of squares are about gamma variables, of the mean and variance that further divisions have; Wilson and
    Hilferty's cube root makes them normal.
    """
    sizes = [features.shape[1] for features in statistics.values()]
    wide = torch.cat([features.float() for features in statistics.values()], 1)
    sums = divisions @ (wide - wide.mean(0))
    t = torch.stack([part.square().sum(1) for part in sums.split(sizes, 1)], 1).double()
    mean, variance = t[1 + DIVISIONS :].mean(0), t[1 + DIVISIONS :].var(0)
    varies = (mean > 0) & (variance > 0)
    part = variance / (9 * mean.square()).clamp_min(1e-300)  # 2 / (9 · degrees of freedom)
    z = ((t[: 1 + DIVISIONS] / mean.clamp_min(1e-300)).pow(1 / 3) - (1 - part)) / part.sqrt().clamp_min(1e-300)
    return dict(zip(statistics, torch.where(varies, z, -math.inf).T, strict=True))


def _share_above(divisions: Tensor, values: Tensor) -> Tensor:
    """For each value, which share of the divisions, the real one included, has one as large."""
    below = torch.searchsorted(divisions.sort().values, values.contiguous())
    return 1 - below.double() / len(divisions)


def rank_features(values: Tensor) -> Tensor:
    r"""Legendre polynomials of the ranks of values ``(n,)``: those of the Anderson-Darling statistic, ``(n, k)``, which
    is :math:`\sum_k \frac{1}{k (k + 1)} (\sum_i P_k(u_i) \sqrt{2k + 1})^2` up to a factor. NaN, a value that is not
    there, has zeros.

    Reference:
        Anderson, Darling (1952), Asymptotic theory of certain "goodness of fit" criteria, section 4.
    """
    u, there = middle_ranks(values), ~values.isnan()
    x = 2 * u - 1
    polynomials = [torch.ones_like(x), x]
    for k in range(1, POLYNOMIALS):
        polynomials.append(((2 * k + 1) * x * polynomials[k] - k * polynomials[k - 1]) / (k + 1))
    weights = [math.sqrt((2 * k + 1) / (k * (k + 1))) for k in range(1, POLYNOMIALS + 1)]
    return _centred(torch.stack(polynomials[1:], 1) * torch.tensor(weights, dtype=x.dtype), there)


def odd_features(values: Tensor) -> Tensor:
    """The same, with an indicator of the lowest values, ``(n, k + 1)``: for numbers that are low where a row is odd."""
    lowest = (middle_ranks(values) < LOWEST)[:, None].double() * ~values.isnan()[:, None]
    return torch.cat([rank_features(values), _centred(lowest, ~values.isnan()) * math.sqrt(0.5 / LOWEST)], 1)


def category_features(codes: Tensor) -> Tensor:
    """Indicators of the categories that some row has, ``(n, categories)``, scaled as in Pearson's statistic; codes are
    whole numbers ``(n,)``, and NaN where there is none."""
    there = ~codes.isnan()
    own = codes[there].unique()
    indicators = (codes[:, None] == own).double()
    shares = indicators.sum(0) / there.sum().clamp_min(1)
    return _centred(indicators / (shares + 1 / max(len(codes), 1)).sqrt(), there)


def kernel_features(x: Tensor, seed: int, width: float, features: int = 100) -> Tensor:
    """Random Fourier features of rows ``(n, d)``: the maximum mean discrepancy of a Gaussian kernel, ``(n, 2 k)``.

    Reference:
        Rahimi, Recht (2007), Random features for large-scale kernel machines; Gretton et al. (2012), A kernel
        two-sample test, JMLR 13.
    """
    generator = torch.Generator().manual_seed(seed)
    angles = x.double() @ torch.randn(x.shape[1], features, generator=generator, dtype=torch.float64) / width
    return torch.cat([angles.cos(), angles.sin()], 1)


def middle_ranks(values: Tensor) -> Tensor:
    """Ranks of the values that are there, in (0, 1), equal ones at the middle of theirs; 1/2 for NaN."""
    there = ~values.isnan()
    some = values[there]
    order = some.sort().values
    low, high = (torch.searchsorted(order, some, right=right) for right in (False, True))
    return torch.full_like(values, 0.5, dtype=torch.float64).index_put(
        (there,), (low + high).double() / (2 * len(some))
    )


def _centred(features: Tensor, there: Tensor) -> Tensor:
    """Features that sum to 0 over the rows that have any; zeros for the others."""
    features = features * there[:, None]
    return features - there[:, None] * (features.sum(0) / there.sum().clamp_min(1))
