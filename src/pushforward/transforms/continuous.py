"""Continuous-in-time flows: the transform that follows a field from the data's time to the base's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..numerics import trace as traces
from ..numerics.ode.gradient import RowData, discrete
from ..numerics.ode.method import Status
from ..numerics.ode.network import follow as network_follow
from ..numerics.ode.solve import Solver
from ..numerics.ode.tableau import TABLEAUS
from .base import Transform

EXACT_UP_TO = 64  # features up to which trace="auto" is exact for a field without a closed form

FAILURES = {
    Status.MAX_STEPS: "used up max_steps={max_steps} (the field is stiff there, or the tolerance very tight)",
    Status.NOT_FINITE: "met values that are not finite",
    Status.STEP_TOO_SMALL: "needed steps below the resolution of the numbers (a jump or a pole in the field)",
}


@dataclass(frozen=True)
class Solution:
    """What a solve found, one entry for each row of the batch, and what it took."""

    z: Tensor  # (*batch, *event) the end; NaN where it was not reached
    logdet: Tensor | None  # (*batch,) log|det dz/dx| in nats, if it was asked for
    standard_error: Tensor | None  # (*batch,) of logdet, where it was estimated with probes
    status: Tensor  # (*batch,) of pushforward.numerics.ode.solve.Status; 0 is success
    accepted: Tensor  # (*batch,) steps
    rejected: Tensor  # (*batch,) steps
    evaluations: Tensor  # (*batch,) of the field
    max_steps: int = 0

    @property
    def message(self) -> str:
        """One sentence about the rows that did not arrive; empty when all did."""
        lost = [(status, int((self.status == status).sum())) for status in FAILURES]
        parts = [f"{count} {FAILURES[status].format(max_steps=self.max_steps)}" for status, count in lost if count]
        return f"of {self.status.numel()} rows, {'; '.join(parts)}: their results are NaN" if parts else ""


class Continuous(Transform):
    r"""Follows dz/dt = f(z, t) from the data at t = 1 to the base at t = 0, and back.

    .. math:: \log|\det \partial z(t_1) / \partial z(t_0)| = \int_{t_0}^{t_1} \mathrm{tr}\,
              \frac{\partial f}{\partial z}(z(t), t)\, dt

    Args:
        field: Any module ``(t, z, context=None) -> dz/dt`` that treats rows independently.
        solver: "dopri5", "tsit5" or "bosh3", which choose their steps; or, with ``steps``, also "euler", "midpoint" and
            "rk4".
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step.
        steps: So many equal steps in place of adaptive ones.
        max_steps: Attempted steps after which a row is given up; its results are NaN, and a warning says so.
        trace: "closed" (fields with a closed form), "exact" (one product for each feature), "hutchinson" (an unbiased
            estimate), or "auto": the first of these that is affordable.
        probes: Of Hutchinson's estimator.
        noise: Of its probes: "rademacher", "gaussian" or "orthogonal".
        gradient: "discrete", exact for the numerical solution, or "adjoint", which solves a second equation backwards.
        checkpoint: Keep only the beginning of each step for the backward pass (discrete gradient).
        time: The time of x; 1 is the data. ``at(t)`` is this transform with another one.
        event_dim: Trailing dimensions of one event.

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
        event_dim: int = 1,
    ) -> None:
        super().__init__()
        _one_of("solver", solver, TABLEAUS)
        _one_of("trace", trace, ("auto", "closed", "exact", "hutchinson"))
        _one_of("noise", noise, ("rademacher", "gaussian", "orthogonal"))
        _one_of("gradient", gradient, ("discrete", "adjoint"))
        if steps is None and not TABLEAUS[solver].adaptive:
            raise ValueError(f"solver={solver!r} does not choose its steps: say how many, for example steps=20")
        for name, value in {"steps": steps, "max_steps": max_steps, "probes": probes, "event_dim": event_dim}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {name}={value}")
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise ValueError(f"rtol and atol must not be negative, nor both 0, got rtol={rtol}, atol={atol}")
        self.field, self.time, self.event_dim = field, time, event_dim
        self.solver = Solver(TABLEAUS[solver], rtol, atol, max_steps, steps)
        self.trace, self.probes, self.noise = trace, probes, noise
        self.gradient, self.checkpoint = gradient, checkpoint

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._checked(self.solve(x, context, self.time, 0.0))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._checked(self.solve(z, context, 0.0, self.time))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.solve(x, context, self.time, 0.0, logdet=False).z

    def at(self, t: float | Tensor) -> Continuous:
        """The map from p(x, t) to the base: the same field, from ``t`` to 0.

        Args:
            t: A number, or a tensor that broadcasts against the batch.
        """
        return Continuous(**{**self.arguments(), "time": t})

    def solve(
        self,
        x: Tensor,
        context: Tensor | None = None,
        t0: float | Tensor = 1.0,
        t1: float | Tensor = 0.0,
        *,
        logdet: bool = True,
        probes: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Follows the field from (t0, x) to t1.

        Args:
            x: ``(*batch, *event)``.
            context: ``(*batch or broadcastable, c)``.
            t0: When to start: a number, or a tensor that broadcasts against the batch.
            t1: When to end.
            logdet: Whether the log-determinant is wanted.
            probes: Noise for Hutchinson's estimator, ``(K, *batch, *event)``; drawn from ``generator`` if missing.
            generator: Where the noise comes from; PyTorch's default one if missing.
        """
        batch, event = x.shape[: x.dim() - self.event_dim], x.shape[x.dim() - self.event_dim :]
        n, features = math.prod(batch), math.prod(event)
        z = x.reshape(n, features)
        start, end = (_per_row(t, x, batch) for t in (t0, t1))
        kind = self._trace(features) if logdet else None
        if kind == "hutchinson":
            if probes is None:
                probes = traces.draw_probes(self.noise, self.probes, z, generator=generator)
            probes = probes.reshape(len(probes), n, features)
        else:
            probes = None
        if context is not None:
            context = context.expand(*batch, context.shape[-1]).reshape(n, context.shape[-1])
        end_z, estimates, outcome = self._follow(z, RowData(context, probes), start, end - start, event, kind)
        error = None
        if kind == "hutchinson":
            error = traces.standard_error(estimates.detach(), self.noise, features).view(batch)
        return Solution(
            z=end_z.view(x.shape),
            logdet=None if estimates is None else estimates.mean(0).view(batch),
            standard_error=error,
            status=outcome.status.view(batch),
            accepted=outcome.accepted.view(batch),
            rejected=outcome.rejected.view(batch),
            evaluations=outcome.evaluations.view(batch),
            max_steps=self.solver.max_steps,
        )

    def _follow(self, z, data, t0, span, event, kind):
        """The end, the estimates of the log-determinant (probes, n), and the outcome."""
        if self.gradient == "discrete" and kind in (None, "closed") and getattr(self.field, "logistic_form", None):
            network, start = self.field.logistic_form(data.context)
            end, logdet, outcome = network_follow(network, start, self.solver, z, t0, span)
            return end, logdet[None], outcome
        slope = self._slope(event)
        integrand = None if kind is None else self._integrand(slope, kind)
        return discrete(slope, integrand, self.solver, z, data, t0, span, checkpoint=self.checkpoint)

    def _slope(self, event) -> Callable:
        if len(event) == 1:
            return self.field
        ones = (1,) * (len(event) - 1)

        def slope(t: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
            return self.field(t.view(-1, 1, *ones), z.unflatten(1, event), context).flatten(1)

        return slope

    def _integrand(self, slope, kind):
        def integrand(t, z, context, probes):
            if kind == "closed":
                return self.field.divergence(t, z, context)[None]
            field = lambda z: slope(t, z, context)  # noqa: E731
            if kind == "exact":
                return traces.exact(field, z)[None]
            return traces.quadratic_forms(field, z, probes)

        return integrand

    def _trace(self, features: int) -> str:
        closed = getattr(self.field, "closed_form", False)
        if self.trace != "auto":
            if self.trace == "closed" and not closed:
                raise ValueError(
                    f"trace='closed', but {type(self.field).__name__} has no closed form of its divergence"
                )
            return self.trace
        return "closed" if closed else "exact" if features <= EXACT_UP_TO else "hutchinson"

    @staticmethod
    def _checked(solution: Solution) -> tuple[Tensor, Tensor]:
        if solution.message:
            warnings.warn(solution.message, RuntimeWarning, stacklevel=3)
        return solution.z, solution.logdet


def _one_of(name: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {name}={value!r}")


def _per_row(t: float | Tensor, x: Tensor, batch: torch.Size) -> Tensor:
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    return t.expand(batch).reshape(-1, 1)
