r"""Gradients through a solve: exact for the discrete solution.

Besides the end state, a solve returns integrals along the path: log-densities are quadratures, not state. So rejected
steps cost no derivatives, and the probes of a stochastic trace share one solve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from ..torch_internals import repeat, transformed
from .method import Observer, Outcome, Status, Step
from .solve import Solver
from .tableau import Tableau

# The field, f(t, z, context), and the integrand, g(t, z, context, probes) -> (quantities, m).
Slope = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Integrand = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


class RowData:
    """Data per row: context ``(n, c)`` and probes ``(K, n, features)``; either may be None."""

    def __init__(self, context: Tensor | None, probes: Tensor | None) -> None:
        self.context, self.probes = context, probes

    def of(self, rows: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if rows is None:
            return self.context, self.probes
        context = None if self.context is None else self.context[rows]
        return context, None if self.probes is None else self.probes[:, rows]


def discrete(
    slope: Slope,
    integrand: Integrand | None,
    solver: Solver,
    z: Tensor,
    data: RowData,
    t0: Tensor,
    span: Tensor,
    *,
    checkpoint: bool = True,
) -> tuple[Tensor, Tensor | None, Outcome]:
    """Integrates a field; its gradients are those of the numerical solution.

    Args:
        slope: The field.
        integrand: The integrand along the path, or None.
        solver: The solver.
        z: The initial state, ``(n, features)``.
        data: Context and probes of the rows.
        t0: The initial time, ``(n, 1)``.
        span: t1 - t0, ``(n, 1)``.
        checkpoint: Keep only the start of each step and recompute its stages in the backward pass.

    Returns:
        The end state ``(n, features)`` and the integrals ``(quantities, n)``, NaN for rows that did not reach the end;
        and the solver's outcome.
    """
    if torch.is_grad_enabled() or transformed():
        steps: list[Step] = []
        outcome = _solve(slope, solver, z, data, t0, span, lambda step: steps.append(step._replace(states=None)))  # type: ignore[arg-type]
        end, total = replay(slope, integrand, solver.tableau, steps, z, data, t0, span, checkpoint=checkpoint)
    else:
        running = _Running(integrand, solver.tableau, data, t0, span)
        outcome = _solve(slope, solver, z, data, t0, span, None if integrand is None else running.add)
        end, total = outcome.z, running.total
    lost = outcome.status != Status.REACHED
    if integrand is not None:
        total = torch.where(lost, torch.nan, z.new_zeros(1, len(z)) if total is None else total)
    return torch.where(lost[:, None], torch.nan, end), total, outcome


def replay(
    slope: Slope,
    integrand: Integrand | None,
    tableau: Tableau,
    steps: Sequence[Step],
    z: Tensor,
    data: RowData,
    t0: Tensor,
    span: Tensor,
    *,
    checkpoint: bool,
) -> tuple[Tensor, Tensor | None]:
    """Repeats the accepted steps under autograd.

    Step positions are stored as fractions of the interval, so the end times get gradients as well.

    Args:
        slope, integrand, z, data, t0, span, checkpoint: As for :func:`discrete`.
        tableau: The method of the steps.
        steps: The accepted steps of a solve, in order.

    Returns:
        The end state ``(n, features)`` and the integrals ``(quantities, n)``.
    """

    def take(t: Tensor, h: Tensor, z: Tensor, context: Tensor | None, probes: Tensor | None) -> tuple[Tensor, ...]:
        states, after = _stages(slope, tableau, t, h, z, context)
        if integrand is None:
            return (after,)
        return after, quadrature(integrand, tableau, t, h, states, context, probes)

    total: Tensor | None = None
    for step in steps:
        context, probes = data.of(step.rows)
        before, begin, width = (v if step.rows is None else v[step.rows] for v in (z, t0, span))
        place = (begin + step.start * width, step.length * width, before, context, probes)
        after, *integral = recompute(take, *place, use_reentrant=False) if checkpoint else take(*place)
        z = after if step.rows is None else z.index_copy(0, step.rows, after)
        if integral:
            total = _add(total, integral[0], step.rows, len(z))
    return z, total


def transformable(
    slope: Slope, integrand: Integrand | None, solver: Solver, z: Tensor, data: RowData, t0: Tensor, span: Tensor
) -> tuple[Tensor, Tensor | None, Outcome]:
    """The same as :func:`discrete` in plain operations, which ``torch.func`` can transform.

    Raises:
        RuntimeError: the solver's steps depend on the values of z, which ``vmap`` hides.
    """
    if solver.steps is None:
        _check_in_sight(slope(t0, z, data.context) + t0 + span)
        return discrete(slope, integrand, solver, z, data, t0, span, checkpoint=False)
    end, *integrals = _equal_steps(slope, integrand, solver.tableau, solver.steps, z, data, t0, span)
    count = torch.full(z.shape[:1], solver.steps, device=z.device)
    outcome = Outcome(end, torch.zeros_like(count), count, torch.zeros_like(count), count * solver.tableau.stages)
    return end, (integrals[0] if integrals else None), outcome


def _equal_steps(
    slope: Slope,
    integrand: Integrand | None,
    tableau: Tableau,
    steps: int,
    z: Tensor,
    data: RowData,
    t0: Tensor,
    span: Tensor,
) -> tuple[Tensor, ...]:
    """The end state and, with an integrand, its integrals, by a loop of equal steps."""
    context, probes = data.of(None)
    h = span / steps

    def step(k: Tensor, z: Tensor, *total: Tensor) -> tuple[Tensor, ...]:
        t = t0 + k * h
        states, after = _stages(slope, tableau, t, h, z, context)
        if integrand is None:
            return (after,)
        return after, total[0] + quadrature(integrand, tableau, t, h, states, context, probes)

    start = () if integrand is None else (torch.zeros_like(integrand(t0, z, context, probes)),)
    return repeat(steps, step, z, *start)


def _check_in_sight(values: Tensor) -> None:
    try:
        bool(values.sum() > 0)
    except RuntimeError:
        raise RuntimeError(
            "torch.func.vmap hides the values to which steps adapt: take equal steps, Continuous(field, steps=20)"
        ) from None


def quadrature(
    integrand: Integrand,
    tableau: Tableau,
    t: Tensor,
    h: Tensor,
    states: Sequence[Tensor] | Tensor,
    context: Tensor | None,
    probes: Tensor | None,
) -> Tensor:
    """h sum_i b_i g(t + c_i h, z_i), the integral over one step, ``(quantities, m)``; all stages in one call."""
    used = tableau.weighty
    times, weight, _ = stage_places(tableau, t, h, None)
    z = torch.cat([states[i] for i in used])
    context = None if context is None else context.repeat(len(used), 1)
    probes = None if probes is None else probes.repeat(1, len(used), 1)
    values = integrand(times, z, context, probes)
    return (values * weight).unflatten(1, (len(used), t.shape[0])).sum(1)


def stage_places(tableau: Tableau, t: Tensor, h: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Times ``(s m, 1)``, quadrature weights ``(s m,)`` and rows ``(s m,)`` of the stages with a weight."""
    used = tableau.weighty
    times = torch.cat([torch.add(t, h, alpha=tableau.c[i]) for i in used])
    weights = torch.cat([h[:, 0] * tableau.b[i] for i in used])
    return times, weights, None if rows is None else rows.repeat(len(used))


class _Running:
    """Integrals accumulated during a solve."""

    def __init__(self, integrand: Integrand | None, tableau: Tableau, data: RowData, t0: Tensor, span: Tensor) -> None:
        self.integrand, self.tableau, self.data, self.t0, self.span = integrand, tableau, data, t0, span
        self.total: Tensor | None = None

    def add(self, step: Step) -> None:
        rows = slice(None) if step.rows is None else step.rows
        span = self.span[rows]
        t, h = self.t0[rows] + step.start * span, step.length * span
        assert self.integrand is not None
        integral = quadrature(self.integrand, self.tableau, t, h, step.states, *self.data.of(step.rows))
        self.total = _add(self.total, integral, step.rows, len(self.t0))


def _solve(
    slope: Slope, solver: Solver, z: Tensor, data: RowData, t0: Tensor, span: Tensor, observe: Observer | None
) -> Outcome:
    z, t0, span = z.detach(), t0.detach(), span.detach()
    return solver.solve(lambda t, z, c: (slope(t, z, c), None), z, data.context, t0, span, observe)


def _stages(
    slope: Slope, tableau: Tableau, t: Tensor, h: Tensor, z: Tensor, context: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """The states at a step's stages, and its end."""
    states: list[Tensor] = []
    slopes: list[Tensor] = []
    for i, (a, c) in enumerate(zip(tableau.a, tableau.c, strict=True)):
        states.append(_combine(z, h, a, slopes))
        if i < tableau.stages - tableau.adaptive:  # an adaptive method's last slope is the next step's first
            slopes.append(slope(t + c * h, states[-1], context))
    return states, states[-1] if tableau.adaptive else _combine(z, h, tableau.b, slopes)


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
