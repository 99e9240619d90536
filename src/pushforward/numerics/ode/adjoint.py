r"""The continuous adjoint: the gradient of the exact solution, from a second equation that is solved backwards.

The path is not stored, so memory does not grow with the number of steps; the gradient is as accurate as the tolerance.

Reference:
    Chen et al. (2018), Neural ODEs, arXiv:1806.07366. Lecture: "Neural ODE" (Pontryagin's theorem).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .gradient import Problem, discrete, stage_places
from .method import Outcome, Rates, Rows, Status, Step


def adjoint(
    problem: Problem, z: Tensor, rows: Rows, parameters: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor | None, Outcome]:
    r"""Integrates a field; its gradients solve

    .. math:: \frac{da}{dt} = -\Big(\frac{\partial f}{\partial z}\Big)^T a - \omega \frac{\partial g}{\partial z},
              \qquad \frac{dL}{d\theta} = \int_{t_0}^{t_1} a^T \frac{\partial f}{\partial\theta}
              + \omega \frac{\partial g}{\partial\theta}\, dt

    with a the gradient with respect to z(t) and omega that with respect to the integrals of g. The second integral is a
    quadrature over the accepted steps: parameters are not part of the state.

    Args:
        problem, z, rows: As for :func:`.gradient.discrete`.
        parameters: The parameters of the field.

    Returns:
        As :func:`.gradient.discrete`.
    """
    report: list[Outcome] = []
    end, total = _Adjoint.apply(problem, report, rows.probes, z, *rows[:3], *parameters)
    return end, total if problem.integrand is not None else None, report[0]


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, problem: Problem, report: list[Outcome], probes: Tensor | None, z: Tensor, *given: Any
    ) -> tuple[Tensor, Tensor]:
        end, total, outcome = discrete(problem, z, Rows(given[0], given[1], given[2], probes))
        report.append(outcome)
        ctx.problem, ctx.probes, ctx.lost = problem, probes, outcome.status != Status.REACHED
        ctx.save_for_backward(end, *given)
        return end, z.new_zeros(0, len(z)) if total is None else total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, end_grad: Tensor, total_grad: Tensor) -> tuple[Tensor | None, ...]:
        end, t0, span, context, *parameters = ctx.saved_tensors
        rows = Rows(t0 + span, -span, context, ctx.probes)
        back = _Back(ctx.problem, rows, parameters, torch.where(ctx.lost, 0, total_grad))
        a_end = torch.where(ctx.lost[:, None], 0, end_grad)
        a_start, start = back.solve(torch.where(ctx.lost[:, None], 0, end), a_end)
        by_end, by_start = back.power(t0 + span, end, a_end), back.power(t0, start, a_start)
        return None, None, None, a_start, by_end - by_start, by_end, back.context_grad, *back.parameter_grads


class _Back:
    """The equation of z and a, from the end to the start, and the quadrature of the gradients along it.

    Args:
        problem: The field, the integrand and the solver.
        rows: The intervals from the end to the start, with the context and the probes.
        parameters: Parameters of the field.
        omega: Gradients of the integrals, ``(quantities, n)``.
    """

    def __init__(self, problem: Problem, rows: Rows, parameters: list[Tensor], omega: Tensor) -> None:
        self.problem, self.rows, self.omega, self.parameters = problem, rows, omega, parameters
        self.parameter_grads = [torch.zeros_like(p) if p.requires_grad else None for p in parameters]
        wanted = rows.context is not None and rows.context.requires_grad
        self.context_grad = torch.zeros_like(rows.context) if wanted else None  # type: ignore[arg-type]

    def solve(self, end: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """a and z at the start. The equation is linear in (a, omega): each row is scaled by its gradient."""
        largest = torch.maximum(a.abs().amax(1), self.omega.abs().sum(0))[:, None]
        self.unit = largest.clamp_min(torch.finfo(a.dtype).tiny)
        index = torch.arange(len(a), device=a.device)[:, None]  # the field's context here: the indices of its rows
        state = torch.cat([end, a / self.unit], 1)
        own = Rows(self.rows.t0, self.rows.span, index)
        z, a = self.problem.solver.solve(self._rates, state, own, self._observe).z.chunk(2, 1)
        return a * self.unit, z

    def power(self, t: Tensor, z: Tensor, a: Tensor) -> Tensor:
        """a . f + omega . g, ``(n, 1)``: the gradient with respect to the end of the interval."""
        return self._hamiltonian(t, z, a, self.rows, self.omega)[:, None]

    def _rates(self, t: Tensor, state: Tensor, index: Any) -> Rates:
        z, a = state.chunk(2, 1)
        rows, index = self.rows.of(index[:, 0]), index[:, 0]
        with torch.enable_grad():
            z, a = z.detach().requires_grad_(), a.detach().requires_grad_()
            power = self._hamiltonian(t, z, a, rows, self.omega[:, index] / self.unit[index, 0])
            force, f = torch.autograd.grad(power.sum(), (z, a))  # Hamilton's equations
        return torch.cat([f, -force], 1), None

    def _observe(self, step: Step) -> None:
        """Adds this step's contribution to the integrals for the parameters and the context."""
        inputs = [v for v in (*self.parameters, self.rows.context) if v is not None and v.requires_grad]
        if not inputs:
            return
        tableau = self.problem.solver.tableau
        t, weight = stage_places(tableau, *self.rows.of(step.rows).place(step))
        z, a = torch.cat([step.states[i] for i in tableau.weighty]).chunk(2, 1)
        index = torch.arange(len(self.unit), device=z.device) if step.rows is None else step.rows
        index = index.repeat(len(tableau.weighty))
        with torch.enable_grad():
            power = self._hamiltonian(t, z, a * self.unit[index], self.rows.of(index), self.omega[:, index])
            grads = iter(torch.autograd.grad(-(power * weight).sum(), inputs, allow_unused=True))
        for store in (*self.parameter_grads, self.context_grad):
            if store is not None and (grad := next(grads)) is not None:
                store += grad

    def _hamiltonian(self, t: Tensor, z: Tensor, a: Tensor, rows: Rows, omega: Tensor) -> Tensor:
        total = (self.problem.slope(t, z, rows.context) * a).sum(1)
        if self.problem.integrand is not None:
            total = total + (self.problem.integrand(t, z, rows.context, rows.probes) * omega).sum(0)
        return total
