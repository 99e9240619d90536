"""Least absolute deviations: fits that a minority of wrong rows does not move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np

ROUNDS = 20
WRONG = 10.0  # median remainders, beyond which a row does not tell which columns are best
MOST, WHOLE = 30, 3  # columns of which sets are tried, and how many of them at a time
EXTREME, RIDGE = 0.005, 1e-9  # share of the rows at either end; of the variances
SMALLEST = 1e-9  # of the target's spread: residuals below it weigh no more


def least_absolute(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    r"""The coefficients that minimise :math:`\sum_i |y_i - x_i^\top \beta|`, by iteratively reweighted least squares.

    If more than half of the rows obey a linear formula exactly, the others are ignored, as a median ignores outliers.

    Args:
        design: X, of shape ``(n, features)``; a column of ones for an intercept.
        target: y, ``(n,)``.

    Returns:
        :math:`\beta`, ``(features,)``.

    Reference:
        Schlossmacher (1973), An iterative technique for absolute deviations curve fitting.
    """
    scale = np.maximum(np.abs(design).max(0), 1e-300)
    x, floor = design / scale, SMALLEST * max(float(np.std(target)), 1e-300)
    weight = np.ones(len(target))
    for _ in range(ROUNDS):
        root = np.sqrt(weight)
        beta = np.linalg.lstsq(x * root[:, None], target * root, rcond=1e-12)[0]
        weight = 1 / np.maximum(np.abs(target - x @ beta), floor)
        weight /= weight.max()
    return beta / scale


def best_subsets(columns: np.ndarray, target: np.ndarray, most: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Of one column, two, ..., those that leave least of the target by least squares, with their coefficients by
    :func:`least_absolute`: in rows where none is extreme, then in those of which the most columns leave little. Of many
    columns, sets of those are tried that are most correlated with the target; beyond three, those that have the three.

    Args:
        columns: Candidates, ``(features, n)``.
        target: y, ``(n,)``.
        most: Number of columns, at most.

    Yields:
        The indices of the columns, and their coefficients with the intercept last.
    """

    def covariance(rows: np.ndarray) -> np.ndarray:
        found = np.cov(rows)
        return found + np.diag(np.where(np.diag(found) > 0, RIDGE * np.diag(found), 1.0))  # 1 for what is constant

    def chosen(size: int, before: list[list[int]]) -> list[int]:
        if size <= WHOLE:
            sets = _subsets(len(columns), size)
        else:
            sets = np.array([sorted([*before[-1], j]) for j in range(len(columns)) if j not in before[-1]])
        own, cross = gram[1:, 1:][sets[:, :, None], sets[:, None]], gram[0, 1:][sets]
        return sets[(cross * np.linalg.solve(own, cross[..., None])[..., 0]).sum(1).argmax()].tolist()

    rows = np.stack([target, *columns])
    low, high = np.quantile(rows, [EXTREME, 1 - EXTREME], axis=1)[..., None]
    gram = covariance(rows.clip(low, high))
    likely = np.sort(np.argsort(-(gram[0, 1:] ** 2) / gram.diagonal()[1:], kind="stable")[:MOST])
    columns, most, tried = columns[likely], min(most, len(likely)), [0, *(likely + 1)]
    right = ((rows >= low) & (rows <= high))[tried].all(0)
    for sizes in ([min(most, WHOLE)], range(1, most + 1)):
        gram = covariance(rows[tried][:, right])
        found = list[list[int]]()
        for size in sizes:
            found.append(chosen(size, found))
        designs = [np.column_stack([*columns[some], np.ones_like(target)]) for some in found]
        fits = [least_absolute(design, target) for design in designs]
        off = np.abs(target - designs[-1] @ fits[-1])
        right &= off <= max(WRONG * np.median(off), SMALLEST * target.std())
    yield from ((likely[some].tolist(), beta) for some, beta in zip(found, fits, strict=True))


@cache
def _subsets(count: int, size: int) -> np.ndarray:
    return np.array([*itertools.combinations(range(count), size)])
