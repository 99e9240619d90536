"""The solver: a method with tolerances, or with a given number of equal steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adaptive import adaptive
from .method import Field, Method, Observer, Outcome, Rows, Status, Step
from .tableau import Tableau


@dataclass(frozen=True)
class Solver:
    """A method and its settings.

    Args:
        tableau: The method.
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step.
        max_steps: Attempted steps after which a row is given up.
        steps: Number of equal steps, in place of adaptive ones.
    """

    tableau: Tableau
    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 1000
    steps: int | None = None

    def solve(self, field: Field, z: Tensor, rows: Rows, observe: Observer | None = None) -> Outcome:
        """Integrates the field from (t0, z) to t0 + span, without gradients.

        Args:
            field: The field.
            z: The initial state, ``(n, features)``.
            rows: The interval and the context of each row.
            observe: Called with every accepted step.
        """
        if self.steps is not None:
            return fixed(field, z, rows, self.tableau, self.steps, observe)
        return adaptive(field, z, rows, self.tableau, self.rtol, self.atol, self.max_steps, observe)


@torch.no_grad()
def fixed(
    field: Field, z: Tensor, rows: Rows, tableau: Tableau, steps: int, observe: Observer | None = None
) -> Outcome:
    """A given number of equal steps, with ``tableau`` as the method; other arguments as in :meth:`Solver.solve`."""
    method, length = Method(tableau, z), torch.full_like(rows.t0, 1 / steps)
    rates = None
    for number in range(steps):
        start = torch.full_like(rows.t0, number / steps)
        t, h = rows.t0 + start * rows.span, length * rows.span
        first = field(t, z, rows.context) if rates is None or not tableau.adaptive else rates
        states, increments, rates, integrand = method.stages(field, t, h, z, first, rows.context)
        if observe is not None:
            observe(Step(None, start, length, states, integrand))
        z = method.combine(increments, method.b, z)
    finite, count = z.isfinite().all(1), torch.full(z.shape[:1], steps, device=z.device)
    return Outcome(
        z=torch.where(finite[:, None], z, torch.nan),
        status=torch.where(finite, int(Status.REACHED), int(Status.NOT_FINITE)),
        accepted=count,
        rejected=torch.zeros_like(count),
        evaluations=count * (tableau.stages - tableau.adaptive) + tableau.adaptive,
    )


def doubling_error(tableau: Tableau, coarse: Tensor, fine: Tensor) -> Tensor:
    r"""Estimates the error of a solution with equal steps from one with twice as many.

    .. math:: |z_h - z| \approx \frac{2^p}{2^p - 1}\, |z_h - z_{h/2}|

    for a method of order p, whose error is proportional to h^p up to higher-order terms.

    Args:
        tableau: The method.
        coarse: The solution, of any shape.
        fine: The solution with twice as many steps.

    Reference:
        Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, section II.4 (Richardson).
    """
    factor = 2**tableau.order
    return (coarse - fine).abs() * (factor / (factor - 1))
