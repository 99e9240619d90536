"""Runge-Kutta coefficients satisfy the conditions of their order, and solve at that order."""

import math

import pytest
import torch

from pushforward.numerics.ode.method import Rows
from pushforward.numerics.ode.solve import Solver
from pushforward.numerics.ode.tableau import TABLEAUS, Tableau

ALL = pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=list(TABLEAUS))


def conditions(t: Tableau, weights: tuple[float, ...]) -> dict[int, list[float]]:
    """By order: how far the weights are from the conditions of the rooted trees up to order 5 (Hairer et al., II.2)."""
    s = t.stages
    a = torch.tensor([[*row, *[0.0] * (s - len(row))] for row in t.a], dtype=torch.float64)
    b, c = torch.tensor(weights, dtype=torch.float64), torch.tensor(t.c, dtype=torch.float64)
    ac, ac2 = a @ c, a @ c**2
    residuals = {
        1: [b.sum() - 1],
        2: [b @ c - 1 / 2],
        3: [b @ c**2 - 1 / 3, b @ ac - 1 / 6],
        4: [b @ c**3 - 1 / 4, b @ (c * ac) - 1 / 8, b @ ac2 - 1 / 12, b @ (a @ ac) - 1 / 24],
        5: [
            b @ c**4 - 1 / 5,
            b @ (c**2 * ac) - 1 / 10,
            b @ ac**2 - 1 / 20,
            b @ (c * ac2) - 1 / 15,
            b @ (a @ c**3) - 1 / 20,
            b @ (c * (a @ ac)) - 1 / 30,
            b @ (a @ (c * ac)) - 1 / 40,
            b @ (a @ ac2) - 1 / 60,
            b @ (a @ (a @ ac)) - 1 / 120,
        ],
    }
    return {order: [abs(float(r)) for r in values] for order, values in residuals.items()}


@ALL
def test_order_conditions(tableau):
    for row, c in zip(tableau.a, tableau.c, strict=True):
        assert sum(row) == pytest.approx(c, abs=1e-12)
    misses = conditions(tableau, tableau.b)
    assert max(max(misses[order]) for order in range(1, tableau.order + 1)) < 1e-11
    if tableau.order < 5:
        assert max(misses[tableau.order + 1]) > 1e-3


@pytest.mark.parametrize("name", [name for name, t in TABLEAUS.items() if t.adaptive])
def test_embedded_method_is_one_order_lower_and_first_is_last(name):
    tableau = TABLEAUS[name]
    embedded = tuple(b - e for b, e in zip(tableau.b, tableau.e, strict=True))
    misses = conditions(tableau, embedded)
    assert max(max(misses[order]) for order in range(1, tableau.order)) < 1e-11
    assert max(misses[tableau.order]) > 1e-5
    assert tableau.a[-1] == tableau.b[:-1]
    assert tableau.c[-1] == 1


@ALL
def test_error_of_equal_steps_falls_at_the_order(tableau):
    def field(t, z, context):
        return z * t.cos(), None

    z, t0, span = (torch.full((1, 1), v, dtype=torch.float64) for v in (1.0, 0.0, 2.0))
    exact = math.exp(math.sin(2.0))
    errors = [float(Solver(tableau, steps=n).solve(field, z, Rows(t0, span)).z) - exact for n in (16, 32)]
    assert tableau.order - 0.3 < math.log2(abs(errors[0] / errors[1])) < tableau.order + 0.8
