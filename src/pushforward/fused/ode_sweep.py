r"""The backward pass of a solve whose field is a two-layer network, written out stage by stage.

One step of m rows with S stages is differentiated in four phases: recomputing the activations of all stages, in one
batch; the gradient of the trace, in one batch; the adjoints, stage by stage; the gradients of the weights, in one
batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.ode.method import Rates, Rows, Step
from ..numerics.ode.tableau import Tableau


class FieldSweepNetwork(NamedTuple):
    """The network in logistic form."""

    first: Tensor  # (h1, features + 1), V_1; its last column multiplies t
    second: Tensor  # (h2, h1), V_2
    second_bias: Tensor  # (h2,)
    third: Tensor  # (features, h2), V_3
    third_bias: Tensor  # (features,)
    trace: Tensor  # (h2, h1), M

    def layers(self, t: Tensor, z: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[z, t] and the activations s_1 and s_2."""
        zt = torch.cat([z, t], 1)
        s1 = torch.addmm(start, zt, self.first.t()).sigmoid_()
        return zt, s1, torch.addmm(self.second_bias, s1, self.second.t()).sigmoid_()

    def slope(self, t: Tensor, z: Tensor, start: Tensor) -> Tensor:
        return torch.addmm(self.third_bias, self.layers(t, z, start)[2], self.third.t())

    def divergence(self, t: Tensor, z: Tensor, start: Tensor) -> Tensor:
        _, s1, s2 = self.layers(t, z, start)
        return self._trace(s1, s2)

    def rates(self, t: Tensor, z: Tensor, start: Tensor) -> Rates:
        """The slope and the divergence, which share the activations."""
        _, s1, s2 = self.layers(t, z, start)
        return torch.addmm(self.third_bias, s2, self.third.t()), self._trace(s1, s2)

    def _trace(self, s1: Tensor, s2: Tensor) -> Tensor:
        return ((slopes(s1) @ self.trace.t()) * slopes(s2)).sum(1)


def slopes(s: Tensor) -> Tensor:
    """The derivative s (1 - s) of the logistic function, from its value."""
    return torch.addcmul(s, s, s, value=-1)


class Stages(NamedTuple):
    """The network at all stages of a step: those used by the quadrature come first, in ``order``."""

    zt: Tensor  # (S m, features + 1)
    s1: Tensor  # (S m, h1)
    s2: Tensor  # (S m, h2)
    p1: Tensor  # (S m, h1), slopes
    p2: Tensor  # (S m, h2), slopes


class Adjoints(NamedTuple):
    """Gradients with respect to the slopes k and the pre-activations at all stages, in the order of :class:`Stages`."""

    k: Tensor  # (S m, features)
    v1: Tensor  # (S m, h1)
    v2: Tensor  # (S m, h2)


class Sweep:
    r"""Backpropagates through the steps.

    For a step with slopes k_i at states z_i, the adjoint of a stage is

    .. math:: \kappa_i = h\Big(b_i \lambda + \sum_{j>i} a_{ji} \lambda_j\Big),\qquad
              \lambda_i = J_i^T \kappa_i + h\, b_i\, \omega\, \nabla \mathrm{tr} J_i,

    with lambda the gradient at the step's end, lambda + sum_i lambda_i that at its beginning, and omega that of the
    log-determinant. The gradient of the trace enters at the two pre-activations and is propagated with the rest.

    Args:
        tableau: The method of the steps.
        start: Constant term of its first layer, ``(h1,)`` or ``(n, h1)``.
        z_grad: The gradient at the end, ``(n, features)``.
        logdet_grad: The gradient of the log-determinant, ``(n,)``.
        rows: The interval of each row.
    """

    def __init__(
        self,
        tableau: Tableau,
        network: FieldSweepNetwork,
        start: Tensor,
        z_grad: Tensor,
        logdet_grad: Tensor,
        rows: Rows,
    ) -> None:
        self.tableau, self.network, self.start = tableau, network, start
        self.rows, self.omega = rows, logdet_grad[:, None]
        self.used = tableau.stages - tableau.adaptive  # the last stage of an adaptive method is the next step's first
        self.order = (*tableau.weighty, *(i for i in range(self.used) if not tableau.b[i]))
        self.columns = [z_grad.new_tensor([tableau.a[j][i] for j in range(i + 1, self.used)]) for i in range(self.used)]
        self.z_grad = z_grad.clone(memory_format=torch.contiguous_format)
        self.start_grad = torch.zeros_like(start)
        self.grads = FieldSweepNetwork(*(torch.zeros_like(part) for part in network))

    def back(self, step: Step) -> None:
        """Propagates from the end of a step to its start."""
        rows = slice(None) if step.rows is None else step.rows
        t, h = self.rows.of(step.rows).place(step)
        stages = self._stages(step, rows, t, h)
        adjoints, z_grad = self._adjoints(stages, self.z_grad[rows], h, self.omega[rows])
        self.z_grad[rows] = z_grad
        self._weights(stages, adjoints, rows)

    def gradients(self) -> list[Tensor]:
        """Gradients with respect to z, start and the network."""
        return [self.z_grad, self.start_grad, *self.grads]

    def _stages(self, step: Step, rows: Tensor | slice, t: Tensor, h: Tensor) -> Stages:
        z = torch.cat([step.states[i] for i in self.order])
        times = torch.cat([torch.add(t, h, alpha=self.tableau.c[i]) for i in self.order])
        start = self.start if self.start.dim() == 1 else self.start[rows].repeat(self.used, 1)
        zt, s1, s2 = self.network.layers(times, z, start)
        return Stages(zt, s1, s2, slopes(s1), slopes(s2))

    def _trace(self, stages: Stages, h: Tensor, omega: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of sum_i h b_i omega tr J_i at the two pre-activations: d/da p^T q = q p (1 - 2 s)."""
        weight = torch.cat([h * omega * self.tableau.b[i] for i in self.tableau.weighty])
        _, s1, s2, p1, p2 = (part[: len(weight)] for part in stages)
        weighted = p2 * weight
        self.grads.trace.addmm_(weighted.t(), p1)
        c2 = (p1 @ self.network.trace.t()).mul_(weighted)
        c1 = (weighted @ self.network.trace).mul_(p1)
        return c1.addcmul_(c1, s1, value=-2), c2.addcmul_(c2, s2, value=-2)

    def _adjoints(self, stages: Stages, z_grad: Tensor, h: Tensor, omega: Tensor) -> tuple[Adjoints, Tensor]:
        c1, c2 = self._trace(stages, h, omega)
        m, features = z_grad.shape
        v1, v2 = torch.empty_like(stages.s1), torch.empty_like(stages.s2)
        k, at_states = stages.s1.new_empty(len(v1), features), z_grad.new_empty(self.used, m, features)
        first = self.network.first[:, :features]
        for i in reversed(range(self.used)):
            place = self.order.index(i)
            here = slice(place * m, (place + 1) * m)
            later = at_states[i + 1 :].view(self.used - 1 - i, m * features).t()
            torch.addmv(z_grad.view(-1), later, self.columns[i], beta=self.tableau.b[i], out=k[here].view(-1))
            k[here].mul_(h)
            self._through(k[here] @ self.network.third, stages.p2[here], c2[here], v2[here])
            self._through(v2[here] @ self.network.second, stages.p1[here], c1[here], v1[here])
            torch.mm(v1[here], first, out=at_states[i])
        return Adjoints(k, v1, v2), z_grad + at_states.sum(0)

    @staticmethod
    def _through(gradient: Tensor, slope: Tensor, from_trace: Tensor, out: Tensor) -> None:
        """The gradient through an activation; stages outside the quadrature get none from the trace."""
        if len(from_trace):
            torch.addcmul(from_trace, gradient, slope, out=out)
        else:
            torch.mul(gradient, slope, out=out)

    def _weights(self, stages: Stages, adjoints: Adjoints, rows: Tensor | slice) -> None:
        self.grads.first.addmm_(adjoints.v1.t(), stages.zt)
        self.grads.second.addmm_(adjoints.v2.t(), stages.s1)
        self.grads.second_bias.add_(adjoints.v2.sum(0))
        self.grads.third.addmm_(adjoints.k.t(), stages.s2)
        self.grads.third_bias.add_(adjoints.k.sum(0))
        if self.start.dim() == 1:
            self.start_grad.add_(adjoints.v1.sum(0))
        else:
            self.start_grad[rows] += adjoints.v1.view(self.used, -1, adjoints.v1.shape[1]).sum(0)
