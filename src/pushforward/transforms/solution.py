"""The report of a continuous flow's solve: the result, and how it ended for each sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..numerics.ode.method import Status

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
