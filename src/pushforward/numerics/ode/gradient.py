r"""Gradients through a solve: exact for the discrete solution.

Besides the end state, a solve returns integrals along the path: log-densities are quadratures, not state. So rejected
steps cost no derivatives, and the probes of a stochastic trace share one solve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from ..torch_internals import repeat, transformed
from .method import Observer, Outcome, Rows, Status, Step
from .solve import Solver
from .tableau import Tableau


class Problem(NamedTuple):
    """What is integrated, and how.

    Attributes:
        slope: The field, f(t, z, context).
        integrand: g(t, z, context, probes) -> ``(quantities, m)``, to be integrated along the path, or None.
    """

    slope: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    integrand: Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor] | None
    solver: Solver

    def solve(self, z: Tensor, rows: Rows, observe: Observer | None) -> Outcome:
        """The end state alone, without gradients."""
        own = Rows(rows.t0.detach(), rows.span.detach(), rows.context)
        return self.solver.solve(lambda t, z, c: (self.slope(t, z, c), None), z.detach(), own, observe)

    def step(self, t: Tensor, h: Tensor, z: Tensor, rows: Rows) -> tuple[Tensor, ...]:
        """The end of one step and, with an integrand, its integral over the step."""
        tableau = self.solver.tableau
        states: list[Tensor] = []
        slopes: list[Tensor] = []
        for i, (a, c) in enumerate(zip(tableau.a, tableau.c, strict=True)):
            states.append(_combine(z, h, a, slopes))
            if i < tableau.stages - tableau.adaptive:  # an adaptive method's last slope is the next step's first
                slopes.append(self.slope(t + c * h, states[-1], rows.context))
        after = states[-1] if tableau.adaptive else _combine(z, h, tableau.b, slopes)
        return (after,) if self.integrand is None else (after, self.quadrature(t, h, states, rows))

    def quadrature(self, t: Tensor, h: Tensor, states: Sequence[Tensor] | Tensor, rows: Rows) -> Tensor:
        """h sum_i b_i g(t + c_i h, z_i), the integral over one step, ``(quantities, m)``; all stages in one call."""
        assert self.integrand is not None
        used = self.solver.tableau.weighty
        times, weight = stage_places(self.solver.tableau, t, h)
        context = None if rows.context is None else rows.context.repeat(len(used), 1)
        probes = None if rows.probes is None else rows.probes.repeat(1, len(used), 1)
        values = self.integrand(times, torch.cat([states[i] for i in used]), context, probes)
        return (values * weight).unflatten(1, (len(used), t.shape[0])).sum(1)


def discrete(
    problem: Problem, z: Tensor, rows: Rows, *, checkpoint: bool = True
) -> tuple[Tensor, Tensor | None, Outcome]:
    """Integrates a field; its gradients are those of the numerical solution.

    Args:
        problem: The field, the integrand and the solver.
        z: The initial state, ``(n, features)``.
        rows: The interval, context and probes of each row.
        checkpoint: Keep only the start of each step and recompute its stages in the backward pass.

    Returns:
        The end state ``(n, features)`` and the integrals ``(quantities, n)``, NaN for rows that did not reach the end;
        and the solver's outcome.
    """
    if torch.is_grad_enabled() or transformed():
        steps: list[Step] = []
        outcome = problem.solve(z, rows, lambda step: steps.append(step._replace(states=None)))  # type: ignore[arg-type]
        end, total = replay(problem, steps, z, rows, checkpoint=checkpoint)
    else:
        running = _Running(problem, rows)
        outcome = problem.solve(z, rows, None if problem.integrand is None else running.add)
        end, total = outcome.z, running.total
    lost = outcome.status != Status.REACHED
    if problem.integrand is not None:
        total = torch.where(lost, torch.nan, z.new_zeros(1, len(z)) if total is None else total)
    return torch.where(lost[:, None], torch.nan, end), total, outcome


def replay(
    problem: Problem, steps: Sequence[Step], z: Tensor, rows: Rows, *, checkpoint: bool
) -> tuple[Tensor, Tensor | None]:
    """The end state and the integrals, by repeating the accepted ``steps`` of a solve under autograd.

    Step positions are stored as fractions of the interval, so the end times get gradients as well.
    """

    def take(t: Tensor, h: Tensor, z: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
        return problem.step(t, h, z, Rows(*own))

    total: Tensor | None = None
    for step in steps:
        own = rows.of(step.rows)
        place = (*own.place(step), z if step.rows is None else z[step.rows], *own)
        after, *integral = recompute(take, *place, use_reentrant=False) if checkpoint else take(*place)  # type: ignore[arg-type]
        z = after if step.rows is None else z.index_copy(0, step.rows, after)
        if integral:
            total = _add(total, integral[0], step.rows, len(z))
    return z, total


def transformable(problem: Problem, z: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None, Outcome]:
    """The same as :func:`discrete` in plain operations, which ``torch.func`` can transform.

    Raises:
        RuntimeError: the solver's steps depend on the values of z, which ``vmap`` hides.
    """
    solver = problem.solver
    if solver.steps is None:
        _check_in_sight(problem.slope(rows.t0, z, rows.context) + rows.t0 + rows.span)
        return discrete(problem, z, rows, checkpoint=False)
    h = rows.span / solver.steps

    def step(k: Tensor, z: Tensor, *total: Tensor) -> tuple[Tensor, ...]:
        after, *integral = problem.step(rows.t0 + k * h, h, z, rows)
        return after, *(before + part for before, part in zip(total, integral, strict=True))

    start = () if problem.integrand is None else (torch.zeros_like(problem.integrand(rows.t0, z, *rows[2:])),)
    end, *integrals = repeat(solver.steps, step, z, *start)
    count = torch.full(z.shape[:1], solver.steps, device=z.device)
    outcome = Outcome(end, torch.zeros_like(count), count, torch.zeros_like(count), count * solver.tableau.stages)
    return end, (integrals[0] if integrals else None), outcome


def _check_in_sight(values: Tensor) -> None:
    try:
        bool(values.sum() > 0)
    except RuntimeError:
        raise RuntimeError(
            "torch.func.vmap hides the values to which steps adapt: take equal steps, Continuous(field, steps=20)"
        ) from None


def stage_places(tableau: Tableau, t: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Times ``(s m, 1)`` and quadrature weights ``(s m,)`` of the stages with a weight."""
    times = torch.cat([torch.add(t, h, alpha=tableau.c[i]) for i in tableau.weighty])
    return times, torch.cat([h[:, 0] * tableau.b[i] for i in tableau.weighty])


class _Running:
    """Integrals accumulated during a solve."""

    def __init__(self, problem: Problem, rows: Rows) -> None:
        self.problem, self.rows = problem, rows
        self.total: Tensor | None = None

    def add(self, step: Step) -> None:
        own = self.rows.of(step.rows)
        integral = self.problem.quadrature(*own.place(step), step.states, own)
        self.total = _add(self.total, integral, step.rows, len(self.rows.t0))


def _combine(z: Tensor, h: Tensor, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    pairs = [(weight, slope) for weight, slope in zip(weights, slopes, strict=False) if weight]
    if not pairs:
        return z
    total = pairs[0][1] * pairs[0][0]
    for weight, slope in pairs[1:]:
        total = torch.add(total, slope, alpha=weight)
    return torch.addcmul(z, total, h)


def _add(total: Tensor | None, part: Tensor, rows: Tensor | None, n: int) -> Tensor:
    total = part.new_zeros(len(part), n) if total is None else total
    return total + part if rows is None else total.index_add(1, rows, part)
