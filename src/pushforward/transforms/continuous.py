"""Continuous-in-time flows: the transform that integrates a field from the data's time to the base's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import at_least_one, one_of
from ..numerics import trace as traces
from ..numerics.ode.adjoint import adjoint
from ..numerics.ode.gradient import Problem, discrete, transformable
from ..numerics.ode.method import Outcome, Rows, Status
from ..numerics.ode.solve import Solver, doubling_error
from ..numerics.ode.tableau import TABLEAUS
from ..numerics.torch_internals import eager, transformed
from .base import Transform, check_event
from .seam import field_solve

EXACT_UP_TO = 32  # features up to which trace="auto" is exact without a closed form: as dear as ten probes
FAILURES = {
    Status.MAX_STEPS: "used up max_steps={max_steps} (the field is stiff there, or the tolerance very tight)",
    Status.NOT_FINITE: "met values that are not finite",
    Status.STEP_TOO_SMALL: "needed steps below the resolution of the numbers (a jump or a pole in the field)",
}


@dataclass(frozen=True)
class Solution:
    """The result of a solve and its cost, one entry per sample of the batch."""

    z: Tensor  # (*batch, *event) the end; NaN where it was not reached
    status: Tensor  # (*batch,) of pushforward.numerics.ode.method.Status; 0 is success
    accepted: Tensor  # (*batch,) steps
    rejected: Tensor  # (*batch,) steps
    evaluations: Tensor  # (*batch,) of the field
    max_steps: int
    logdet: Tensor | None = None  # (*batch,) log|det dz/dx| in nats
    error: Tensor | None = None  # (*batch,) the largest error of z in a sample, if requested
    logdet_error: Tensor | None = None  # (*batch,) that of logdet, in nats
    standard_error: Tensor | None = None  # (*batch,) of logdet, if estimated with probes
    kinetic: Tensor | None = None  # (*batch,) the integral of |f|^2
    jacobian: Tensor | None = None  # (*batch,) the integral of |J v|^2, in expectation that of |J|_F^2

    @property
    def message(self) -> str:
        """One sentence about the samples that did not reach the end time; empty if all did."""
        lost = [(status, int((self.status == status).sum())) for status in FAILURES]
        parts = [f"{count} {FAILURES[status].format(max_steps=self.max_steps)}" for status, count in lost if count]
        return f"of {self.status.numel()} rows, {'; '.join(parts)}: their results are NaN" if parts else ""


class Continuous(Transform):
    r"""Integrates dz/dt = f(z, t) from the data at t = 1 to the base at t = 0, and back.

    .. math:: \log|\det \partial z(t_1) / \partial z(t_0)| = \int_{t_0}^{t_1} \mathrm{tr}\,
              \frac{\partial f}{\partial z}(z(t), t)\, dt

    Each sample has its own step sizes, so its result does not depend on the rest of the batch. A sample whose solve
    fails becomes NaN, with a warning if its input was finite.

    Args:
        field: Any module ``(t, z, context=None) -> dz/dt`` that treats samples independently;
            t has the dimensions of z.
        solver: "dopri5", "tsit5" or "bosh3", which are adaptive; or, with ``steps``, also "euler", "midpoint" and
            "rk4".
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step.
        steps: Number of equal steps, in place of adaptive ones.
        max_steps: Attempted steps after which a sample is given up.
        trace: "closed" (fields with a closed form), "exact" (one product per feature), "hutchinson" (an unbiased
            estimate), or "auto": the first of these that is affordable.
        probes: Number of Hutchinson's probes.
        noise: Kind of probes: "rademacher", "gaussian" or "orthogonal".
        gradient: "discrete", exact for the numerical solution, or "adjoint", which solves a second equation backwards.
        checkpoint: Keep only the start of each step for the backward pass (discrete gradient).
        time: The time of x; 1 is the data. ``at(t)`` is this transform with another time.
        event_dim: Trailing dimensions of one event; by default the field's own, or 1.

    Raises:
        ValueError: an unknown name, a tolerance or a number that is not positive, or ``steps`` is missing.

    Reference:
        Chen et al. (2018), Neural ODEs, arXiv:1806.07366; Grathwohl et al. (2019), FFJORD, arXiv:1810.01367. Lecture:
        "Neural ODE", "Continuous-in-time NF", "FFJORD density estimation".
    """

    def __init__(
        self,
        field: nn.Module,
        *,
        solver: str = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        steps: int | None = None,
        max_steps: int = 1000,
        trace: str = "auto",
        probes: int = 1,
        noise: str = "rademacher",
        gradient: str = "discrete",
        checkpoint: bool = True,
        time: float | Tensor = 1.0,
        event_dim: int | None = None,
    ) -> None:
        super().__init__()
        one_of(TABLEAUS, solver=solver)
        one_of(("auto", "closed", "exact", "hutchinson"), trace=trace)
        one_of(("rademacher", "gaussian", "orthogonal"), noise=noise)
        one_of(("discrete", "adjoint"), gradient=gradient)
        numbers = {"steps": steps, "max_steps": max_steps, "probes": probes, "event_dim": event_dim}
        at_least_one(**{name: number for name, number in numbers.items() if number is not None})
        if steps is None and not TABLEAUS[solver].adaptive:
            raise ValueError(f"solver={solver!r} does not choose its steps: say how many, for example steps=20")
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise ValueError(f"rtol and atol must not be negative, nor both 0, got rtol={rtol}, atol={atol}")
        if trace == "closed" and not getattr(field, "closed_form", False):
            raise ValueError(f"trace='closed', but the divergence of {type(field).__name__} has no closed form")
        self.field: Any = field
        self.time = time
        self.event_dim = getattr(field, "event_dim", 1) if event_dim is None else event_dim
        self.event_shape = getattr(field, "event_shape", None)
        self.solver = Solver(TABLEAUS[solver], rtol, atol, max_steps, steps)
        self.trace, self.probes, self.noise = trace, probes, noise
        self.gradient, self.checkpoint = gradient, checkpoint

    def arguments(self) -> dict[str, Any]:
        solver = self.solver
        known = {"rtol": solver.rtol, "atol": solver.atol, "max_steps": solver.max_steps, "steps": solver.steps}
        return {**super().arguments(), "solver": solver.tableau.name, **known}

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        solution = self._solve(x, context, self.time, 0.0)
        return solution.z, solution.logdet  # type: ignore[return-value]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        solution = self._solve(z, context, 0.0, self.time)
        return solution.z, solution.logdet  # type: ignore[return-value]

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self._solve(z, context, 0.0, self.time, logdet=False).z

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self._solve(x, context, self.time, 0.0, logdet=False).z

    def at(self, t: float | Tensor) -> Continuous:
        """The map from p(x, t) to the base: the same field and parameters, from ``t`` to 0.

        Args:
            t: A number, or a tensor that broadcasts against the batch.
        """
        return Continuous(**{**self.arguments(), "time": t})

    @partial(eager, unless=lambda self, *args: self.solver.steps is not None)  # equal steps do not depend on the data
    def solve(
        self,
        x: Tensor,
        context: Tensor | None = None,
        t0: float | Tensor = 1.0,
        t1: float | Tensor = 0.0,
        *,
        logdet: bool = True,
        energies: bool = False,
        error: bool = False,
        probes: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Integrates the field from (t0, x) to t1, and reports on the solve.

        Args:
            x: ``(*batch, *event)``.
            context: ``(*batch or broadcastable, c)``.
            t0: The initial time: a number, or a tensor that broadcasts against the batch.
            t1: The end time.
            logdet: Whether to compute the log-determinant.
            energies: Whether to compute the integrals of the field's kinetic energy and squared Jacobian norm.
            error: Whether to estimate the error of equal steps, from a second solve with twice as many (which costs
                twice as much again).
            probes: Noise for Hutchinson's estimator, ``(K, *batch, *event)``; drawn from ``generator`` by default.
            generator: Source of the noise; PyTorch's default generator if None.

        Raises:
            ValueError: the field is for events of another shape, or ``error`` is requested with adaptive steps.
        """
        if error and self.solver.steps is None:
            raise ValueError("error=True is for equal steps (steps=...): adaptive ones keep theirs below rtol and atol")
        check_event(x, self.event_shape)
        batch, event = x.shape[: x.dim() - self.event_dim], x.shape[x.dim() - self.event_dim :]
        n, features = math.prod(batch), math.prod(event)
        z = x.reshape(n, features)
        kind = self._trace(features) if logdet else None
        if probes is None and (kind == "hutchinson" or energies):
            probes = traces.draw_probes(self.noise, self.probes, z, generator=generator)
        if probes is not None:
            probes = probes.reshape(len(probes), n, features)
        if context is not None:
            context = context.expand(*batch, context.shape[-1]).reshape(n, context.shape[-1])
        start, end = (torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(batch).reshape(n, 1) for t in (t0, t1))
        rows = Rows(start, end - start, context, probes)
        plain = _captured() or energies or self.gradient != "discrete" or kind not in (None, "closed")
        fast = None if plain or rows.span.requires_grad else field_solve(self.field)
        if fast is None:
            arrived, integrals, outcome = self._by_field(z, rows, event, kind, energies)
        else:
            arrived, integral, outcome = fast(self.solver, z, rows, kind is not None)
            integrals = integral[None]
        solution = self._solution(x.shape, batch, arrived, integrals, outcome, kind, energies)
        return self._with_error(solution, x, context, (t0, t1), probes) if error else solution

    def _with_error(self, solution: Solution, x: Tensor, context: Any, times: tuple, probes: Any) -> Solution:
        """The solution with error estimates, by step doubling."""
        finer = Continuous(**{**self.arguments(), "steps": 2 * (self.solver.steps or 0)})
        with torch.no_grad():
            fine = finer.solve(x, context, *times, logdet=solution.logdet is not None, probes=probes)
        error = doubling_error(self.solver.tableau, solution.z.detach(), fine.z).flatten(-self.event_dim).amax(-1)
        known: dict[str, Any] = {"error": error, "evaluations": solution.evaluations + fine.evaluations}
        if solution.logdet is not None:
            known["logdet_error"] = doubling_error(self.solver.tableau, solution.logdet.detach(), fine.logdet)  # type: ignore[arg-type]
        return replace(solution, **known)

    def _solve(self, *args, **options) -> Solution:
        solution = self.solve(*args, **options)
        if _captured() or solution.z.is_meta:
            return solution  # warnings cannot depend on values there
        unexpected = (solution.status != Status.REACHED) & args[0].flatten(-self.event_dim).isfinite().all(-1)
        if bool(unexpected.any()):
            warnings.warn(solution.message, RuntimeWarning, stacklevel=3)
        return solution

    def _trace(self, features: int) -> str:
        if self.trace != "auto":
            return self.trace
        closed = getattr(self.field, "closed_form", False)
        return "closed" if closed else "exact" if features <= EXACT_UP_TO else "hutchinson"

    def _by_field(self, z, rows, event, kind, energies) -> tuple[Tensor, Tensor | None, Outcome]:
        slope = self._slope(event)
        wanted = self._integrands(slope, kind, energies)
        integrand = (lambda *place: torch.cat([one(*place) for one in wanted])) if wanted else None
        problem = Problem(slope, integrand, self.solver)
        if _captured():
            return transformable(problem, z, rows)
        if self.gradient == "adjoint" and torch.is_grad_enabled():
            return adjoint(problem, z, rows, tuple(self.field.parameters()))
        return discrete(problem, z, rows, checkpoint=self.checkpoint)

    def _slope(self, event: torch.Size) -> Callable:
        if len(event) == 1:
            return self.field
        ones = (1,) * len(event)

        def slope(t: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
            return self.field(t.view(-1, *ones), z.unflatten(1, event), context).flatten(1)

        return slope

    def _integrands(self, slope: Callable, kind: str | None, energies: bool) -> list[Callable]:
        """The integrands along the path: each maps (t, z, context, probes) to ``(quantities, m)``."""

        def at(t: Tensor, context: Tensor | None) -> Callable[[Tensor], Tensor]:
            return lambda z: slope(t, z, context)

        choices = {
            "closed": lambda t, z, c, v: self.field.divergence(t, z, c)[None],
            "exact": lambda t, z, c, v: traces.exact(at(t, c), z)[None],
            "hutchinson": lambda t, z, c, v: traces.quadratic_forms(at(t, c), z, v),
        }
        wanted = [] if kind is None else [choices[kind]]
        if energies:
            wanted.append(lambda t, z, c, v: slope(t, z, c).square().sum(1)[None])
            wanted.append(lambda t, z, c, v: traces.squared_products(at(t, c), z, v).mean(0, keepdim=True))
        return wanted

    def _solution(self, shape, batch, arrived, integrals, outcome, kind, energies) -> Solution:
        parts = {}
        if energies:
            # integrals change sign with the direction of time; energies do not
            parts = {"kinetic": integrals[-2].abs().view(batch), "jacobian": integrals[-1].abs().view(batch)}
            integrals = integrals[:-2]
        if kind is not None:
            parts["logdet"] = integrals.mean(0).view(batch)
        if kind == "hutchinson":
            features = math.prod(shape[len(batch) :])
            parts["standard_error"] = traces.standard_error(integrals.detach(), self.noise, features).view(batch)
        return Solution(
            z=arrived.view(shape),
            status=outcome.status.view(batch),
            accepted=outcome.accepted.view(batch),
            rejected=outcome.rejected.view(batch),
            evaluations=outcome.evaluations.view(batch),
            max_steps=self.solver.max_steps,
            **parts,
        )


def _captured() -> bool:
    """Whether the call is traced or transformed, so that nothing may depend on values."""
    return torch.compiler.is_compiling() or transformed()
