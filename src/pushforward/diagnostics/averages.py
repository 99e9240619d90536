"""Means of numbers that may have weights, with their standard errors; quantiles likewise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def mean_and_error(values: Any, weights: Any = None) -> tuple[float, float]:
    r"""The mean and its standard error.

    .. math:: m = \frac{\sum_i w_i v_i}{\sum_i w_i}, \quad
              \mathrm{se}^2 = \frac{n}{n - 1} \frac{\sum_i w_i^2 (v_i - m)^2}{(\sum_i w_i)^2}

    Args:
        values: Numbers ``(n,)``, at least one.
        weights: How much each counts, ``(n,)``; all alike where it is None.

    Returns:
        The error is NaN for a single value, or where one is not finite.
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


def quantiles(values: np.ndarray, shares: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Quantiles between the values; with weights, as if each value stood as many times as it weighs."""
    if weights is None:
        return np.quantile(values, shares)
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    middles = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    return np.interp(shares, middles[weights > 0], values[weights > 0])
