r"""Gradients through a solve: of the discrete solution, exactly, or of the exact solution by the adjoint equation.

Both return the integral of an integrand along the path besides the end of it: log-densities are quadrature, not state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from .method import Outcome, Status, Step
from .solve import Solver
from .tableau import Tableau

# The field alone, f(t, z, context), and what is integrated along the path: g(t, z, context, extra) -> (quantities, m).
Slope = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Integrand = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


class RowData:
    """What follows the rows: context ``(n, c)`` and probes ``(K, n, features)``; either may be None."""

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
    """Follows a field; its gradients are those of the numerical solution, exactly.

    Args:
        slope: The field.
        integrand: What is integrated along the path, or None.
        solver: How.
        z: Where to start, ``(n, features)``.
        data: Context and probes of the rows.
        t0: When to start, ``(n, 1)``.
        span: t1 - t0, ``(n, 1)``.
        checkpoint: Keep only the beginning of each step and compute its stages again in the backward pass.

    Returns:
        The end ``(n, features)`` and the integrals ``(quantities, n)``, NaN for rows that did not arrive; and what the
        solve says.
    """
    if torch.is_grad_enabled():
        steps: list[Step] = []
        outcome = _solve(slope, solver, z, data, t0, span, lambda step: steps.append(step._replace(states=None)))
        end, total = replay(slope, integrand, solver.tableau, steps, z, data, t0, span, checkpoint=checkpoint)
    else:
        running = _Total(z, data, t0, span)
        observe = None if integrand is None else lambda step: running.add(step, integrand, solver.tableau)
        outcome = _solve(slope, solver, z, data, t0, span, observe)
        end, total = outcome.z, running.total
    lost = outcome.status != Status.REACHED
    if integrand is not None:
        total = torch.where(lost, torch.nan, z.new_zeros(1, len(z)) if total is None else total)
    return torch.where(lost[:, None], torch.nan, end), total, outcome


def _solve(slope, solver, z, data, t0, span, observe):
    z, t0, span = z.detach(), t0.detach(), span.detach()
    return solver.solve(lambda t, z, c: (slope(t, z, c), None), z, data.context, t0, span, observe)


class _Total:
    def __init__(self, z, data, t0, span):
        self.n, self.data, self.t0, self.span = len(z), data, t0, span
        self.total = None

    def add(self, step, integrand, tableau):
        rows = slice(None) if step.rows is None else step.rows
        h = step.length * self.span[rows]
        t = self.t0[rows] + step.start * self.span[rows]
        integral = quadrature(integrand, tableau, t, h, step.states, *self.data.of(step.rows))
        if self.total is None:
            self.total = integral.new_zeros(len(integral), self.n)
        if step.rows is None:
            self.total += integral
        else:
            self.total.index_add_(1, rows, integral)


def quadrature(integrand: Integrand, tableau: Tableau, t, h, states, context, probes):
    r"""h sum_i b_i g(t + c_i h, z_i): the integral over one step, its stages in one batched call.

    Returns:
        ``(quantities, m)``.
    """
    used = tableau.weighty
    z = torch.cat([states[i] for i in used])
    times = torch.cat([t + tableau.c[i] * h for i in used])
    context = None if context is None else context.repeat(len(used), 1)
    probes = None if probes is None else probes.repeat(1, len(used), 1)
    values = integrand(times, z, context, probes)
    weights = values.new_tensor([tableau.b[i] for i in used])
    return torch.einsum("s,qsm->qm", weights, values.unflatten(1, (len(used), -1))) * h[:, 0]


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
    checkpoint: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Takes the accepted steps again, under autograd: the exact gradient of the discrete solution.

    The steps' places are kept as fractions of the interval, so the end times get their gradients as well.

    Args:
        slope: The field.
        integrand: What is integrated, or None.
        tableau: The method of the steps.
        steps: The accepted steps of a solve, in order.
        z: Where the solve started, ``(n, features)``.
        data: Context and probes of the rows.
        t0, span: The interval, ``(n, 1)``.
        checkpoint: Keep only the beginning of each step and compute its stages again in the backward pass.

    Returns:
        The end ``(n, features)`` and the integrals ``(quantities, n)``.
    """

    def take(t: Tensor, h: Tensor, z: Tensor, context: Tensor | None, probes: Tensor | None) -> tuple[Tensor, ...]:
        states, slopes = [], []
        for a, c in zip(tableau.a, tableau.c, strict=True):
            states.append(_combine(z, h, a, slopes))
            last = tableau.adaptive and len(a) == tableau.stages - 1
            slopes.append(None if last else slope(t + c * h, states[-1], context))
        after = states[-1] if tableau.adaptive else _combine(z, h, tableau.b, slopes)
        if integrand is None:
            return (after,)
        return after, quadrature(integrand, tableau, t, h, states, context, probes)

    total: Tensor | None = None
    for step in steps:
        rows = step.rows
        context, probes = data.of(rows)
        before, start, width = (v if rows is None else v[rows] for v in (z, t0, span))
        t, h = start + step.start * width, step.length * width
        if checkpoint:
            after, *integral = recompute(take, t, h, before, context, probes, use_reentrant=False)
        else:
            after, *integral = take(t, h, before, context, probes)
        z = after if rows is None else z.index_copy(0, rows, after)
        if integral:
            if total is None:
                total = integral[0].new_zeros(len(integral[0]), len(z))
            total = total + integral[0] if rows is None else total.index_add(1, rows, integral[0])
    return z, total


def _combine(z: Tensor, h: Tensor, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    pairs = [(w, k) for w, k in zip(weights, slopes, strict=False) if w]
    if not pairs:
        return z
    total = pairs[0][1] * pairs[0][0]
    for weight, slope in pairs[1:]:
        total = torch.add(total, slope, alpha=weight)
    return torch.addcmul(z, total, h)
