r"""Solving dz/dt = f(z, t): a method with tolerances and error control per row, or with a given number of equal steps.

Rows are independent: each has its own time, step size and error control, and leaves the batch when it reaches the end.
So a result does not depend on the rest of the batch, and a row that cannot be solved fails alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .method import Field, Method, Observer, Outcome, Rates, Rows, Status, Step
from .tableau import Tableau

SAFETY, SMALLEST, LARGEST = 0.9, 0.2, 10.0  # safety factor, and bounds on the change of the step size
AFTER_OVERFLOW = 0.1  # the factor if the error is not finite
CROWDED = 8  # finished rows leave once they are an eighth of the batch, since moving the others is not free


@dataclass(frozen=True)
class Solver:
    """A method and its settings."""

    tableau: Tableau
    rtol: float = 1e-5  # relative tolerance of a step
    atol: float = 1e-5  # absolute tolerance of a step
    max_steps: int = 1000  # attempted steps after which a row is given up
    steps: int | None = None  # number of equal steps, in place of adaptive ones

    def solve(self, field: Field, z: Tensor, rows: Rows, observe: Observer | None = None) -> Outcome:
        """Integrates the field from (t0, z) to t0 + span, without gradients.

        Args:
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
        coarse: The solution, of any shape.
        fine: The solution with twice as many steps.

    Reference:
        Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, section II.4 (Richardson).
    """
    factor = 2**tableau.order
    return (coarse - fine).abs() * (factor / (factor - 1))


@torch.no_grad()
def adaptive(
    field: Field,
    z: Tensor,
    rows: Rows,
    tableau: Tableau,
    rtol: float,
    atol: float,
    max_steps: int,
    observe: Observer | None = None,
) -> Outcome:
    r"""Takes steps whose estimated errors are within the tolerance.

    A step is accepted when the root mean square over features of error / (atol + rtol max(|z|, \|z_next|)) is at
    most 1; step sizes follow a proportional-integral controller. The tableau must have an error estimate.

    Reference:
        Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, section II.4; the controller: Hairer,
        Wanner (1996), volume II, section IV.2.
    """
    solve = _Solve(field, z, rows, tableau, max(rtol, 4 * torch.finfo(z.dtype).eps), atol)
    for _ in range(max_steps):
        if not len(solve.z):
            break
        solve.attempt(observe)
        solve.retire()
    return solve.outcome()


class _Solve:
    """The active rows (``index`` holds their indices), and the results of the finished ones."""

    MOVING = ("index", "z", "slope", "integrand", "start", "length", "previous", "finite")

    def __init__(self, field: Field, z: Tensor, rows: Rows, tableau: Tableau, rtol: float, atol: float) -> None:
        self.field, self.tableau, self.rtol, self.atol = field, tableau, rtol, atol
        self.method = Method(tableau, z)
        self.resolution = torch.finfo(z.dtype).eps
        self.z, self.rows = z, rows
        self.index = torch.arange(len(z), device=z.device)
        self.slope, self.integrand = field(rows.t0, z, rows.context)
        self.start, self.previous = torch.zeros_like(rows.t0), torch.ones_like(rows.t0)
        self.length = self._first_length()
        self.finished = torch.full_like(z, torch.nan)
        self.status = torch.full_like(self.index, int(Status.MAX_STEPS))
        self.accepted, self.rejected = torch.zeros_like(self.index), torch.zeros_like(self.index)
        self.finite = torch.ones_like(self.start, dtype=torch.bool)
        bad = ~(z.isfinite() & self.slope.isfinite()).all(1)
        if bool(bad.any()):
            self._leave(bad, torch.full_like(self.index, int(Status.NOT_FINITE)))

    def attempt(self, observe: Observer | None) -> None:
        """One step of every active row; those whose error is within the tolerance advance."""
        left = 1 - self.start
        length = torch.minimum(self.length, left)  # stops exactly at the end; rows already there stay put
        states, increments, rates, integrand = self.method.stages(
            self.field,
            torch.addcmul(self.rows.t0, self.start, self.rows.span),
            length * self.rows.span,
            self.z,
            (self.slope, self.integrand),
            self.rows.context,
        )
        error = self.method.combine(increments, self.method.e, torch.zeros_like(self.z))
        ratio = self._norm(error, torch.maximum(self.z.abs(), states[-1].abs()))
        moved = (ratio <= 1) & (left > 0)
        count = self._count(moved[:, 0], left[:, 0] > 0)
        everyone = count == len(moved)
        if observe is not None and count:
            observe(self._taken(length, states, integrand, None if everyone else moved[:, 0]))
        self.length = length * self._growth(ratio)
        after = torch.where(length < left, self.start + length, 1.0)
        self._advance(None if everyone else moved, states[-1], rates, after, ratio)

    def retire(self) -> None:
        """Removes rows that have reached the end, or whose steps have become too small to advance."""
        arrived = self.start[:, 0] >= 1
        stuck = ~arrived & (self.length[:, 0] < self.resolution)
        leaving, lost = torch.stack([(arrived | stuck).sum(), stuck.sum()]).tolist()
        if lost or (leaving and leaving * CROWDED >= len(arrived)):
            reason = torch.where(self.finite[:, 0], int(Status.STEP_TOO_SMALL), int(Status.NOT_FINITE))
            self._leave(arrived | stuck, torch.where(arrived, int(Status.REACHED), reason))

    def outcome(self) -> Outcome:
        """The results, once no row is left or the steps are used up."""
        arrived = self.start[:, 0] >= 1
        self._leave(arrived, torch.zeros_like(self.index))
        attempts = self.accepted + self.rejected
        evaluations = 2 + (self.tableau.stages - 1) * attempts  # 2: the first slope, and the first step size
        return Outcome(self.finished, self.status, self.accepted, self.rejected, evaluations)

    def _first_length(self) -> Tensor:
        """A first step size from the magnitudes of z, of its slope, and of the slope's rate of change.

        As in Hairer et al., II.4, but without the factor of 1/100 under the root: too long a first step costs one
        attempt, too short a one several steps until the size has grown.
        """
        t0, span, context, _ = self.rows
        size, slope = self.z.abs(), self.slope * span
        tiny = torch.finfo(self.z.dtype).tiny
        z_norm, slope_norm = self._norm(self.z, size), self._norm(slope, size)
        guess = (0.01 * z_norm / slope_norm.clamp_min(tiny)).clamp(1e-6, 1)
        ahead, _ = self.field(torch.addcmul(t0, guess, span), torch.addcmul(self.z, guess, slope), context)
        bend = self._norm(ahead * span - slope, size) / guess
        length = torch.maximum(slope_norm, bend).clamp_min(tiny) ** (-1 / (self.tableau.order + 1))
        return torch.minimum(100 * guess, length).clamp(max=1).nan_to_num(1e-3)

    def _norm(self, error: Tensor, size: Tensor) -> Tensor:
        """The root mean square over features of error / (atol + rtol size), ``(m, 1)``."""
        scaled = error / (size * self.rtol + self.atol)
        return torch.linalg.vector_norm(scaled, dim=1, keepdim=True) / size.shape[1] ** 0.5

    def _growth(self, ratio: Tensor) -> Tensor:
        """The factor of the next step size, from this error, damped by the previous one."""
        self.finite = ratio.isfinite()
        damping = 0.1 / self.tableau.order
        power = 1 / self.tableau.order - 0.75 * damping
        factor = SAFETY * ratio.clamp_min(1e-10) ** -power * self.previous**damping
        return torch.where(self.finite, factor.clamp(SMALLEST, LARGEST), AFTER_OVERFLOW)

    def _advance(self, moved: Tensor | None, z: Tensor, rates: Rates, start: Tensor, ratio: Tensor) -> None:
        new = {"z": z, "slope": rates[0], "integrand": rates[1], "start": start, "previous": ratio.clamp_min(1e-4)}
        for name, value in new.items():
            if moved is not None and value is not None:
                value = torch.where(moved if value.dim() > 1 else moved[:, 0], value, getattr(self, name))
            setattr(self, name, value)

    def _count(self, moved: Tensor, going: Tensor) -> int:
        self.accepted.index_add_(0, self.index, moved.long())
        self.rejected.index_add_(0, self.index, (going & ~moved).long())
        return int(moved.sum())

    def _taken(self, length: Tensor, states: Tensor, integrand: Tensor | None, moved: Tensor | None) -> Step:
        """The step, restricted to the rows that advanced."""
        rows = None if len(self.index) == len(self.status) else self.index
        if moved is None:
            return Step(rows, self.start, length, states, integrand)
        chosen = moved.nonzero()[:, 0]
        integrand = None if integrand is None else integrand.index_select(1, chosen)
        return Step(self.index[chosen], self.start[chosen], length[chosen], states.index_select(1, chosen), integrand)

    def _leave(self, leaving: Tensor, status: Tensor) -> None:
        gone, stay = leaving.nonzero()[:, 0], (~leaving).nonzero()[:, 0]
        index, status = self.index[gone], status[gone]
        self.status[index] = status
        self.finished[index] = torch.where((status == Status.REACHED)[:, None], self.z[gone], torch.nan)
        self.rows = self.rows.of(stay)
        for name in self.MOVING:
            value = getattr(self, name)
            setattr(self, name, None if value is None else value[stay])
