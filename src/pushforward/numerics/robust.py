"""Least absolute deviations: fits that a minority of wrong rows does not move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

ROUNDS = 20
WRONG = 10.0  # median remainders, beyond which a row does not tell which columns are best
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


def pursuit(columns: np.ndarray, target: np.ndarray, most: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Orthogonal matching pursuit by :func:`least_absolute`: one more column in each round, the one that is most
    correlated with what the ones before leave of the target.

    Args:
        columns: Candidates, ``(features, n)``.
        target: y, ``(n,)``.
        most: Number of rounds.

    Yields:
        The indices of the columns, and their coefficients with the intercept last.

    Reference:
        Pati, Rezaiifar, Krishnaprasad (1993), Orthogonal matching pursuit.
    """
    chosen, design = list[int](), np.ones((len(target), 1))
    rest = target - np.median(target)
    for _ in range(min(most, len(columns))):
        left = columns.T - design @ np.linalg.lstsq(design, columns.T, rcond=None)[0]
        scale = left.std(0) * rest.std()
        correlation = np.abs((rest - rest.mean()) @ left) / len(rest) / np.where(scale > 1e-12, scale, np.inf)
        correlation[chosen] = -1.0
        chosen.append(int(correlation.argmax()))
        design = np.column_stack([*columns[chosen], np.ones_like(target)])
        beta = least_absolute(design, target)
        yield list(chosen), beta
        rest = target - design @ beta


def best_subsets(columns: np.ndarray, target: np.ndarray, most: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Of one column, two, ..., those that leave least of the target by least squares, with their coefficients by
    :func:`least_absolute`, the intercept last: in rows where none is extreme, then in those of which the most columns
    leave little. Arguments as of :func:`pursuit`, which misses columns that tell something only together."""

    def chosen(size: int) -> list[int]:
        sets = np.array([*itertools.combinations(range(len(columns)), size)])
        own, cross = gram[1:, 1:][sets[:, :, None], sets[:, None]], gram[0, 1:][sets]
        return sets[(cross * np.linalg.solve(own, cross[..., None])[..., 0]).sum(1).argmax()].tolist()

    rows, most = np.stack([target, *columns]), min(most, len(columns))
    low, high = np.quantile(rows, [EXTREME, 1 - EXTREME], axis=1)[..., None]
    right = ((rows >= low) & (rows <= high)).all(0)
    for sizes in ([most], range(1, most + 1)):
        gram = np.cov(rows[:, right])
        gram += np.diag(np.where(np.diag(gram) > 0, RIDGE * np.diag(gram), 1.0))  # 1 for what is constant in these rows
        found = [chosen(size) for size in sizes]
        designs = [np.column_stack([*columns[some], np.ones_like(target)]) for some in found]
        fits = [least_absolute(design, target) for design in designs]
        off = np.abs(target - designs[-1] @ fits[-1])
        right &= off <= (WRONG * np.median(off) or np.inf)
    yield from zip(found, fits, strict=True)
