r"""One Runge-Kutta step of a batch of rows, and the vocabulary of solves: status, step, outcome.

Time runs over *fractions* s of the interval: t = t0 + s (t1 - t0) with s from 0 to 1. Both directions of time then
share the same code, and the end is hit exactly.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .tableau import Tableau

# The value of a field at a point: dz/dt, (m, features), and optionally an integrand (m,) along the path.
Rates = tuple[Tensor, Tensor | None]
# field(t, z, context) with t (m, 1), z (m, features), context (m, c) or None.
Field = Callable[[Tensor, Tensor, Tensor | None], Rates]


class Rows(NamedTuple):
    """What belongs to each of n rows: its interval, its context, and its probes."""

    t0: Tensor  # (n, 1)
    span: Tensor  # (n, 1) t1 - t0
    context: Tensor | None = None  # (n, c)
    probes: Tensor | None = None  # (K, n, features)

    def of(self, index: Tensor | None) -> Rows:
        """Some of the rows; None: all of them."""
        if index is None:
            return self
        context = None if self.context is None else self.context[index]
        probes = None if self.probes is None else self.probes[:, index]
        return Rows(self.t0[index], self.span[index], context, probes)

    def place(self, step: Step) -> tuple[Tensor, Tensor]:
        """Where a step of these rows begins, and its length, ``(n, 1)``."""
        return self.t0 + step.start * self.span, step.length * self.span


class Status(enum.IntEnum):
    """How a row's solve ended."""

    REACHED = 0
    MAX_STEPS = 1
    NOT_FINITE = 2
    STEP_TOO_SMALL = 3


class Step(NamedTuple):
    """One accepted step of m rows."""

    rows: Tensor | None  # (m,) indices of the rows that took it; None: all of them, in order
    start: Tensor  # (m, 1) its start, as a fraction of the interval
    length: Tensor  # (m, 1) its length, as a fraction of the interval
    states: Tensor  # (stages, m, features) z at the stages
    integrand: Tensor | None  # (stages, m) the integrand at the stages


Observer = Callable[[Step], None]


@dataclass(frozen=True)
class Outcome:
    """The solution of each row and its numbers of steps and evaluations; NaN for rows that did not reach the end."""

    z: Tensor  # (n, features)
    status: Tensor  # (n,) of Status
    accepted: Tensor  # (n,) steps
    rejected: Tensor  # (n,) steps
    evaluations: Tensor  # (n,) of the field


class Method:
    """A tableau whose coefficients are tensors of the dtype and on the device of the solve."""

    def __init__(self, tableau: Tableau, like: Tensor) -> None:
        self.tableau = tableau
        self.a = [like.new_tensor(row) for row in tableau.a]
        self.b, self.e = like.new_tensor(tableau.b), like.new_tensor(tableau.e)

    def stages(
        self, field: Field, t: Tensor, h: Tensor, z: Tensor, first: Rates, context: Tensor | None
    ) -> tuple[Tensor, Tensor, Rates, Tensor | None]:
        """Evaluates the field at all stages of a step of length h from (t, z), where the rates are ``first``.

        Returns:
            The stages' states and increments h k, both ``(stages, m, features)``, the rates at the last stage, and the
            integrand at the stages, ``(stages, m)``, or None.
        """
        states = z.new_empty(self.tableau.stages, *z.shape)
        increments = torch.empty_like(states)
        integrand: list[Any] = [first[1]]
        states[0], rates = z, first
        torch.mul(first[0], h, out=increments[0])
        for i in range(1, self.tableau.stages):
            self.combine(increments[:i], self.a[i], z, out=states[i])
            rates = field(torch.add(t, h, alpha=self.tableau.c[i]), states[i], context)
            torch.mul(rates[0], h, out=increments[i])
            integrand.append(rates[1])
        together = None if integrand[0] is None else torch.stack(integrand)
        return states, increments, rates, together

    @staticmethod
    def combine(increments: Tensor, weights: Tensor, z: Tensor, out: Tensor | None = None) -> Tensor:
        """z + sum_i weights_i increments_i: one pass over memory, by a matrix-vector product."""
        columns = increments.view(len(weights), -1).t()
        flat = None if out is None else out.view(-1)
        return torch.addmv(z.reshape(-1), columns, weights, out=flat).view_as(z)
