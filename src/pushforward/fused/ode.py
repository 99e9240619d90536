r"""A field with two tanh layers: its solution, its exact divergence and hand-written gradients of both.

On a CPU such a field spends half its time in tanh, and most of autograd's work for a step is bookkeeping. Here the
network is first rewritten with the logistic function, which is several times faster:

.. math:: \tanh(a) = 2\,\sigma(2a) - 1 \quad\Rightarrow\quad
          f = V_3\,s_2 + \beta_3,\quad s_2 = \sigma(V_2 s_1 + \beta_2),\quad s_1 = \sigma(V_1 [z, t] + \mathrm{start})

With slopes p = s (1 - s) the Jacobian is V_3 diag(p_2) V_2 diag(p_1) V_1, and its trace costs one matrix product:

.. math:: \mathrm{tr} J = p_2^T M p_1, \qquad M = V_2 \circ (V_1 V_3)^T

All gradients are those of the discrete solution, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.field import MLPField
from ..nets.mlp import needed
from ..numerics.ode.gradient import Problem, replay
from ..numerics.ode.method import Outcome, Rows, Status, Step
from ..numerics.ode.solve import Solver
from ..numerics.ode.tableau import Tableau
from ..numerics.torch_internals import watched
from .ode_sweep import FieldSweepNetwork, Sweep

Follow = Callable[[Solver, Tensor, Rows, bool], tuple[Tensor, Tensor, Outcome]]


def field_solve(field: nn.Module) -> Follow | None:
    """The solve of a field, if it is one with two tanh layers; see :func:`pushforward.transforms.seam.field_solve`."""
    if type(field) is not MLPField or len(field.weights) != 3 or watched(field):
        return None

    def follow(solver: Solver, z: Tensor, rows: Rows, trace: bool) -> tuple[Tensor, Tensor, Outcome]:
        report: list[Outcome] = []
        network, start = logistic_form(field, rows.context)
        interval = Rows(rows.t0, rows.span)
        end, logdet = _Follow.apply(solver, trace, report, interval, z, start, *network)
        return end, logdet, report[0]

    return follow


def logistic_form(field: MLPField, context: Tensor | None) -> tuple[FieldSweepNetwork, Tensor]:
    """The field as matrices, and the start of its first layer, ``(h1,)``, or ``(n, h1)`` with a context."""
    weights, biases = list(field.weights), list(field.biases)
    first, second, third = 2 * weights[0], 4 * weights[1], 2 * weights[2]
    second_bias = 2 * (biases[1] - weights[1].sum(1))
    third_bias = biases[2] - weights[2].sum(1)
    trace = second * (first[:, : field.features] @ third).t()
    start = 2 * biases[0]
    if (weight := field.context_weight) is not None:
        start = torch.addmm(start, needed(context, weight), 2 * weight.t())
    return FieldSweepNetwork(first, second, second_bias, third, third_bias, trace), start


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        solver: Solver,
        trace: bool,
        report: list[Outcome],
        rows: Rows,
        z: Tensor,
        start: Tensor,
        *parts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        network, record = FieldSweepNetwork(*parts), _Record(z, solver.tableau, keep=any(ctx.needs_input_grad))
        rates: Any = network.rates if trace else lambda t, z, start: (network.slope(t, z, start), None)
        observe = record.add if trace or record.keep else None
        if start.dim() == 1:  # the same for all rows, so not row data
            outcome = solver.solve(lambda t, z, _: rates(t, z, start), z, rows, observe)
        else:
            outcome = solver.solve(rates, z, rows._replace(context=start), observe)
        report.append(outcome)
        lost = outcome.status != Status.REACHED
        ctx.save_for_backward(z, start, *parts)
        ctx.solver, ctx.rows, ctx.steps, ctx.lost = solver, rows, record.steps, lost
        return outcome.z, torch.where(lost, torch.nan, record.integral * rows.span[:, 0])

    @staticmethod
    def backward(ctx: Any, end_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:
        end_grad = torch.where(ctx.lost[:, None], 0, end_grad)
        logdet_grad = torch.where(ctx.lost, 0, logdet_grad)
        if torch.is_grad_enabled():  # create_graph=True: second derivatives are left to autograd
            return None, None, None, None, *_replayed(ctx, end_grad, logdet_grad)
        _, start, *parts = ctx.saved_tensors
        sweep = Sweep(ctx.solver.tableau, FieldSweepNetwork(*parts), start, end_grad, logdet_grad, ctx.rows)
        for step in reversed(ctx.steps):
            sweep.back(step)
        return None, None, None, None, *sweep.gradients()


class _Record:
    """The integral of the divergence, in units of the interval, and the steps if a gradient will be needed."""

    def __init__(self, z: Tensor, tableau: Tableau, *, keep: bool) -> None:
        self.weights, self.integral = z.new_tensor(tableau.b), z.new_zeros(len(z))
        self.keep = keep
        self.steps: list[Step] = []

    def add(self, step: Step) -> None:
        if step.integrand is not None:
            part = (self.weights @ step.integrand) * step.length[:, 0]
            rows = slice(None) if step.rows is None else step.rows
            self.integral[rows] += part
        if self.keep:
            self.steps.append(step._replace(integrand=None))


def _replayed(ctx: Any, end_grad: Tensor, logdet_grad: Tensor) -> list[Tensor | None]:
    """The gradient as a differentiable function: repeats the steps under autograd."""
    z, start, *parts = inputs = ctx.saved_tensors
    network: Any = FieldSweepNetwork(*parts)  # Any: its context is always given
    problem = Problem(network.slope, lambda t, z, context, _: network.divergence(t, z, context)[None], ctx.solver)
    rows = ctx.rows._replace(context=start.expand(len(z), -1))
    end, logdet = replay(problem, ctx.steps, z, rows, checkpoint=False)
    assert logdet is not None
    wanted, grads_out = [v for v in inputs if v.requires_grad], (end_grad, logdet_grad)
    found = torch.autograd.grad((end, logdet[0]), wanted, grads_out, create_graph=True, allow_unused=True)
    grads = iter(found)
    return [next(grads) if v.requires_grad else None for v in inputs]
