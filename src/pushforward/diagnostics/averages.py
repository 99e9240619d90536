"""Means of possibly weighted numbers, with their standard errors; quantiles likewise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

RULED_OUT = 30  # times our standard error


def mean_and_error(values: Any, weights: Any = None) -> tuple[float, float]:
    r"""The mean and its standard error, NaN for a single value, or if any is not finite.

    .. math:: m = \frac{\sum_i w_i v_i}{\sum_i w_i}, \quad
              \mathrm{se}^2 = \frac{n}{n - 1} \frac{\sum_i w_i^2 (v_i - m)^2}{(\sum_i w_i)^2}
    """
    values = np.asarray(values, dtype=float)
    if weights is None:
        n, mean = len(values), float(values.mean())
        return mean, float(values.std(ddof=1)) / math.sqrt(n) if n > 1 and math.isfinite(mean) else math.nan
    weights = np.asarray(weights, dtype=float)
    values, weights = values[weights > 0], weights[weights > 0]
    mean, n = float(np.average(values, weights=weights)), len(values)
    if n < 2 or not math.isfinite(mean):
        return mean, math.nan
    squares = float((weights**2 * (values - mean) ** 2).sum()) / float(weights.sum()) ** 2
    return mean, math.sqrt(n / (n - 1) * squares)


def rules_out(theirs_error: float, ours_error: float) -> bool:
    """Whether a rival's mean log-likelihood says nothing but that it rules some rows out: its standard error is far
    above ours, and above 1, so that a few rows decide both, and the difference is a number without meaning."""
    return theirs_error > max(RULED_OUT * ours_error, 1.0)


def overfits(seen: float, seen_error: float, unseen: float, unseen_error: float) -> bool:
    """Whether training data fare significantly better than held-out data: by more than two standard errors."""
    return seen - unseen > 2 * math.hypot(seen_error, unseen_error)


def quantiles(values: np.ndarray, shares: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Interpolated quantiles; with weights, as if each value occurred as often as it weighs."""
    if weights is None:
        return np.quantile(values, shares)
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    middles = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    return np.interp(shares, middles[weights > 0], values[weights > 0])


def effective_draws(chains: Tensor) -> float:
    r"""Effective sample size of means over chains ``(m, n, features)``, for all numbers of an event together.

    .. math:: \frac{m n}{1 + 2 \sum_t \rho_t},\quad \rho_t = 1 - \frac{V_t}{2 v},\quad
              V_t = \langle \lVert x_i - x_{i-t} \rVert^2 \rangle,\quad v = \frac{n - 1}{n} W + B

    with the mean variance W within chains and the variance B of their means, both summed over the numbers of the event,
    so that chains that stay apart count for little. The sum ends before the first negative pair of rho's. From 1 to m
    n.

    Reference:
        Gelman et al. (2013), Bayesian data analysis, section 11.5; Geyer (1992), Practical Markov chain Monte Carlo.
    """
    x = chains.double()
    m, n, _ = x.shape
    within, between = float(x.var(1).mean(0).sum()), float(x.mean(1).var(0).sum())
    spread = (n - 1) / n * within + between
    if spread == 0:
        return float(m * n)
    total = 0.0
    for t in range(1, n - 1, 2):
        pair = sum(1 - float((x[:, s:] - x[:, :-s]).square().sum(-1).mean()) / (2 * spread) for s in (t, t + 1))
        if pair < 0:
            break
        total += pair
    return min(max(m * n / (1 + 2 * total), 1.0), float(m * n))
