"""Public checks for your own transforms and flows: every log-determinant is compared with autodiff.

Each check raises :class:`CheckError` with one sentence on what is wrong, or returns a small :class:`Report`. Every
flow starts as the identity, where a wrong log-determinant is easily right by chance: call :func:`randomize` first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..transforms.base import Transform
from ..transforms.compose import Inverse
from .checks import (
    TOLERANCES,
    Case,
    CheckError,
    check_copies,
    check_density,
    check_description,
    check_direction,
    check_reparameterised,
    check_results,
    close,
    jacobian_structure,
    randomize,
    tolerance_of,
)

__all__ = ["TOLERANCES", "CheckError", "Report", "check_flow", "check_transform", "jacobian_structure", "randomize"]


@dataclass(frozen=True)
class Report:
    """The results of a check that passed.

    Attributes:
        structure: The Jacobian of ``forward``: ``"diagonal"``, ``"triangular"`` or ``"full"``. Lecture: "Jacobian
            structure", "Venn diagram for Normalizing flows".
        permuted: Whether rows and columns of the Jacobian must be reordered to reveal that structure.
        round_trip_error: Largest ``|g(f(x)) - x| / (1 + |x|)``, and the same for ``f(g(z))``.
        logdet_error: Largest ``|logdet - L| / (1 + |L|)`` for ``L = log|det J|`` of autodiff in float64, either way.
        unused: Names of parameters that no gradient reaches.
        saves: Whether ``describe`` and ``build`` preserve it, so that ``pf.save`` can write it.
    """

    structure: str
    permuted: bool
    round_trip_error: float
    logdet_error: float
    unused: tuple[str, ...]
    saves: bool


@torch.random.fork_rng(devices=[])  # rebuilding modules and torch's views draw from the global generator
def check_transform(
    transform: Transform, x: Tensor, context: Tensor | None = None, *, tolerance: float | None = None
) -> Report:
    r"""Checks the whole contract of a transform, at the points x.

    Both directions: shapes, dtype and finiteness; :math:`g(f(x)) = x`; :math:`\log|\det J|` against autodiff in
    float64; opposite log-determinants; equal results for the batch shapes (), (5,), (2, 3); contexts that broadcast;
    finite gradients for x, context and parameters. Then ``deepcopy``, ``state_dict``, ``describe`` and ``build``.

    Args:
        transform: The transform, in the dtype of x.
        x: Points in its domain, ``(*batch, *event)``, float32 or float64.
        context: ``(*batch, features)`` or broadcastable to it.
        tolerance: Replaces the dtype's entry in ``TOLERANCES``, for instance by that of an ODE solver.

    Raises:
        CheckError: a part of the contract is violated.
        ValueError: x has another dtype or too few dimensions.
    """
    case = Case.of(transform, x, context, tolerance)
    with torch.no_grad():
        z, _ = check_results(case)
    back = replace(case, transform=Inverse(transform), name=f"{type(transform).__name__}.inverse", x=z)
    found = [check_direction(one) for one in (case, back)]
    structure, permuted = jacobian_structure(found[0].jacobians)
    reached = found[0].reached | found[1].reached
    check_copies(case)
    return Report(
        structure=structure,
        permuted=permuted,
        round_trip_error=max(direction.round_trip_error for direction in found),
        logdet_error=max(direction.logdet_error for direction in found),
        unused=tuple(name for name, p in transform.named_parameters() if p.requires_grad and id(p) not in reached),
        saves=check_description(transform, lambda t: t(case.x, case.context)[0]),
    )


@torch.random.fork_rng(devices=[])
def check_flow(
    flow: Density, x: Tensor, context: Tensor | None = None, *, tolerance: float | None = None
) -> Report | None:
    r"""Checks the whole contract of a flow, at the points x: that of its transform, and the density's.

    :math:`\log p(x) = \log p(f(x)) + \log|\det J_f|`; shapes of ``log_prob`` and ``sample``; the density from
    ``rsample_and_log_prob`` agrees with ``log_prob``; ``condition`` is a ``torch.distributions.Distribution``;
    ``describe`` and ``build`` reproduce the density. Densities without a transform are checked as far as applicable.

    Args:
        flow: The flow or autoregressive model, in the dtype of x.
        x: Points, ``(*batch, *event)``.
        context: ``(*batch, features)`` or broadcastable to it.
        tolerance: As for :func:`check_transform`.

    Returns:
        The report on the flow's transform; ``None`` for a density without one.

    Raises:
        CheckError: a part of the contract is violated.
    """
    if not isinstance(flow, Flow):
        check_density(flow, x, context, tolerance or tolerance_of(next(flow.parameters()).dtype))
        return None
    report = check_transform(flow.transform, x, context, tolerance=tolerance)
    tolerance = tolerance or tolerance_of(x.dtype)
    log_prob = check_density(flow, x, context, tolerance)
    with torch.no_grad():
        case = Case.of(flow.transform, x, context, tolerance)
        z, logdet = flow.transform(case.x, case.context)
        want = (flow.base_log_prob(z, case.context) + logdet)[: log_prob.numel()]
        close("Flow.log_prob", "base.log_prob(f(x)) + logdet", log_prob.reshape(-1), want, tolerance)
    check_reparameterised(flow, context, tolerance)
    return report
