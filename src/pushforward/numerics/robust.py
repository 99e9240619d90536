"""Least absolute deviations: fits that a minority of wrong rows does not move."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROUNDS = 20
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
    chosen: list[int] = []
    rest = target - np.median(target)
    for _ in range(min(most, len(columns))):
        free = [j for j in range(len(columns)) if j not in chosen]
        chosen.append(max(free, key=lambda j: _correlation(rest, _remainder(columns[j], columns[chosen]))))
        design = np.column_stack([*columns[chosen], np.ones_like(target)])
        beta = least_absolute(design, target)
        yield list(chosen), beta
        rest = target - design @ beta


def _remainder(column: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What other columns leave of one, by least squares."""
    if not len(chosen):
        return column
    design = np.column_stack([*chosen, np.ones_like(column)])
    return np.asarray(column - design @ np.linalg.lstsq(design, column, rcond=None)[0])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    scale = float(a.std() * b.std())
    return abs(float(np.mean((a - a.mean()) * (b - b.mean())))) / scale if scale > 1e-12 else 0.0
