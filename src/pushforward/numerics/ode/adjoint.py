r"""The continuous adjoint: the gradient of the exact solution, from a second equation that is solved backwards.

The path is not stored, so memory does not grow with the number of steps; the gradient is as accurate as the tolerance.

Reference:
    Chen et al. (2018), Neural ODEs, arXiv:1806.07366. Lecture: "Neural ODE" (Pontryagin's theorem).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .gradient import Integrand, RowData, Slope, discrete, stage_places
from .method import Outcome, Rates, Status, Step
from .solve import Solver


def adjoint(
    slope: Slope,
    integrand: Integrand | None,
    solver: Solver,
    z: Tensor,
    data: RowData,
    t0: Tensor,
    span: Tensor,
    parameters: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor | None, Outcome]:
    r"""Integrates a field; its gradients solve

    .. math:: \frac{da}{dt} = -\Big(\frac{\partial f}{\partial z}\Big)^T a - \omega \frac{\partial g}{\partial z},
              \qquad \frac{dL}{d\theta} = \int_{t_0}^{t_1} a^T \frac{\partial f}{\partial\theta}
              + \omega \frac{\partial g}{\partial\theta}\, dt

    with a the gradient with respect to z(t) and omega that with respect to the integrals of g. The second integral is a
    quadrature over the accepted steps: parameters are not part of the state.

    Args:
        slope, integrand, solver, z, data, t0, span: As for :func:`.gradient.discrete`.
        parameters: The parameters of the field.

    Returns:
        As :func:`.gradient.discrete`.
    """
    report: list[Outcome] = []
    problem = (slope, integrand, solver, data.probes)
    end, total = _Adjoint.apply(problem, report, z, t0, span, data.context, *parameters)
    return end, total if integrand is not None else None, report[0]


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: tuple,
        report: list[Outcome],
        z: Tensor,
        t0: Tensor,
        span: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        slope, integrand, solver, probes = problem
        end, total, outcome = discrete(slope, integrand, solver, z, RowData(context, probes), t0, span)
        report.append(outcome)
        ctx.problem, ctx.lost = problem, outcome.status != Status.REACHED
        ctx.save_for_backward(end, t0, span, context, *parameters)
        return end, z.new_zeros(0, len(z)) if total is None else total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, end_grad: Tensor, total_grad: Tensor) -> tuple[Tensor | None, ...]:
        end, t0, span, context, *parameters = ctx.saved_tensors
        back = _Back(ctx.problem, context, parameters, torch.where(ctx.lost, 0, total_grad))
        a_end = torch.where(ctx.lost[:, None], 0, end_grad)
        a_start, start = back.solve(torch.where(ctx.lost[:, None], 0, end), a_end, t0 + span, -span)
        by_end, by_start = back.power(t0 + span, end, a_end), back.power(t0, start, a_start)
        return None, None, a_start, by_end - by_start, by_end, back.context_grad, *back.parameter_grads


class _Back:
    """The equation of z and a, from the end to the start, and the quadrature of the gradients along it.

    Args:
        problem: The field, the integrand, the solver and the probes.
        context: Context of the rows, or None.
        parameters: Parameters of the field.
        omega: Gradients of the integrals, ``(quantities, n)``.
    """

    def __init__(self, problem: tuple, context: Tensor | None, parameters: list[Tensor], omega: Tensor) -> None:
        self.slope, self.integrand, self.solver, probes = problem
        self.data, self.omega, self.parameters = RowData(context, probes), omega, parameters
        self.parameter_grads = [torch.zeros_like(p) if p.requires_grad else None for p in parameters]
        wanted = context is not None and context.requires_grad
        self.context_grad = torch.zeros_like(context) if wanted else None  # type: ignore[arg-type]

    def solve(self, end: Tensor, a: Tensor, t1: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
        """a and z at the start. The equation is linear in (a, omega): each row is scaled by its gradient."""
        unit = torch.maximum(a.abs().amax(1), self.omega.abs().sum(0)).clamp_min(torch.finfo(a.dtype).tiny)[:, None]
        self.unit, self.span, self.t1 = unit, span, t1
        rows = torch.arange(len(a), device=a.device)[:, None]  # the field's context here: the indices of its rows
        state = torch.cat([end, a / unit], 1)
        z, a = self.solver.solve(self._rates, state, rows, t1, span, self._observe).z.chunk(2, 1)
        return a * unit, z

    def power(self, t: Tensor, z: Tensor, a: Tensor) -> Tensor:
        """a . f + omega . g, ``(n, 1)``: the gradient with respect to the end of the interval."""
        return self._hamiltonian(t, z, a, None)[:, None]

    def _rates(self, t: Tensor, state: Tensor, rows: Tensor) -> Rates:
        z, a = state.chunk(2, 1)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            context, probes = self.data.of(rows[:, 0])
            f = self.slope(t, z, None if context is None else context.detach())
            total = (f * a).sum()
            if self.integrand is not None:
                total = total + (self.integrand(t, z, context, probes) * self._omega(rows[:, 0])).sum()
            force = torch.autograd.grad(total, z)[0]
        return torch.cat([f.detach(), -force], 1), None

    def _observe(self, step: Step) -> None:
        """Adds this step's contribution to the integrals for the parameters and the context."""
        inputs = [v for v in (*self.parameters, self.data.context) if v is not None and v.requires_grad]
        if not inputs:
            return
        rows = slice(None) if step.rows is None else step.rows
        span, tableau = self.span[rows], self.solver.tableau
        t, weight, index = stage_places(tableau, self.t1[rows] + step.start * span, step.length * span, step.rows)
        z, a = torch.cat([step.states[i] for i in tableau.weighty]).chunk(2, 1)
        if index is None:
            index = torch.arange(len(self.unit), device=z.device).repeat(len(tableau.weighty))
        with torch.enable_grad():
            total = -(self._hamiltonian(t, z, a * self.unit[index], index) * weight).sum()
            grads = iter(torch.autograd.grad(total, inputs, allow_unused=True))
        for store in (*self.parameter_grads, self.context_grad):
            if store is not None and (grad := next(grads)) is not None:
                store += grad

    def _hamiltonian(self, t: Tensor, z: Tensor, a: Tensor, rows: Tensor | None) -> Tensor:
        context, probes = self.data.of(rows)
        total = (self.slope(t, z, context) * a).sum(1)
        if self.integrand is not None:
            omega = self.omega if rows is None else self.omega[:, rows]
            total = total + (self.integrand(t, z, context, probes) * omega).sum(0)
        return total

    def _omega(self, rows: Tensor) -> Tensor:
        return self.omega[:, rows] / self.unit[rows, 0]
