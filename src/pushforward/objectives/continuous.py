"""Objectives for continuous flows: flow matching, and maximum likelihood with a regularised field."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..distributions.base import base_draw
from ..distributions.flow import Flow
from ..errors import one_of, positive
from ..transforms.base import Transform, sum_event
from ..transforms.continuous import Continuous
from .divergences import Objective, weighted_mean


class FlowMatching(Objective):
    r"""Regresses the field on straight lines from noise z to data x; no differential equation is solved.

    .. math:: \mathcal{L} = \mathbb{E}_{t, z, x} \frac{1}{m} \left\lVert f(z_t, t \mid c) - (x - z) \right\rVert^2,
              \qquad z_t = (1 - t)\, z + t\, x

    The flow is the same as one trained by likelihood, and has its exact likelihood afterwards. With
    ``coupling="optimal"`` the noise of a batch is assigned to its data so that the lines are short in total
    (which makes paths straighter and solves cheaper). Every draw and every datum is used exactly once, and x keeps its
    context. With a context, each draw of noise is first given one at random, and assigning it to another one costs
    the distance between the two: the noise of each context stays close to normal.

    Args:
        flow: A flow with one :class:`~pushforward.transforms.Continuous` transform.
        coupling: ``"independent"`` or ``"optimal"`` (needs SciPy).
        context_cost: The cost of context distance for ``"optimal"``, in units of the mean distance from z to x.
        late: Times are 1 - u^late with u uniform on (0, 1]: above 1, more of them are close to the data, where a
            density with fine structure needs a field with fine structure. The optimal field is the same for all.

    Raises:
        ValueError: the flow has not exactly one continuous transform, or an argument is out of range.
        ImportError: SciPy is missing.

    Reference:
        Lipman et al. (2023), arXiv:2210.02747; Tong et al. (2024), arXiv:2302.00482; with contexts: Cheng, Schwing
        (2025), arXiv:2503.10636.
    """

    flow: Flow

    def __init__(
        self, flow: Flow, coupling: str = "independent", *, context_cost: float = 10.0, late: float = 1.0
    ) -> None:
        super().__init__(flow)
        split_at_continuous(flow)
        one_of(("independent", "optimal"), coupling=coupling)
        if not context_cost >= 0:
            raise ValueError(f"context_cost must not be negative, got context_cost={context_cost}")
        positive(late=late)
        if coupling == "optimal":
            _assignment()
        self.coupling, self.context_cost, self.late = coupling, context_cost, late

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean squared error of the field, a scalar; times are stratified over the batch."""
        return weighted_mean(self._errors(x, context, spread=True), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The squared error of every row, each at its own time and noise, ``(*batch,)``."""
        return self._errors(x, context, spread=False)

    def _errors(self, x: Tensor, context: Tensor | None, spread: bool) -> Tensor:
        x, context = self.flow._check(x, context)
        before, continuous, after = split_at_continuous(self.flow)
        batch = x.shape[: x.dim() - len(self.flow.event_shape)]
        for part in before:
            x = part(x, context)[0]
        with torch.no_grad():  # this objective does not train the parameters of a base
            z = base_draw(self.flow.base, batch, context, None, 1.0)
        for part in reversed(after):
            z = part.inverse(z, context)[0]
        n, event = batch.numel(), x.shape[len(batch) :]
        x, z = x.reshape(n, *event), z.reshape(n, *event)
        if context is not None:
            context = context.expand(*batch, context.shape[-1]).reshape(n, context.shape[-1])
        if self.coupling == "optimal" and n > 1:
            z = z[optimal_partners(x, z, context, self.context_cost)]
        t = torch.rand(n, *(1,) * len(event), dtype=x.dtype, device=x.device)
        if spread:  # one time in each n-th of the interval: same expectation, less variance
            t = (torch.arange(n, device=x.device).view_as(t) + t) / n
        t = 1 - (1 - t) ** self.late
        error = continuous.field(t, torch.lerp(z, x, t), context) - (x - z)
        return sum_event(error.square(), len(event)).view(batch) / event.numel()


class RegularisedLikelihood(Objective):
    r"""Maximum likelihood with a penalty on fast and on bent paths (RNODE): fields that are cheap to solve.

    .. math:: \mathcal{L} = -\frac{1}{n} \sum_i \log p(x_i \mid c_i)
              + \frac{1}{n} \sum_i \int_0^1 \alpha \lVert f(z_i(t), t) \rVert^2
              + \beta \lVert J_i(t)\, v_i \rVert^2\, dt

    with random signs v, so that the last term is the squared Frobenius norm of the Jacobian in expectation.

    Args:
        flow: A flow with one :class:`~pushforward.transforms.Continuous` transform.
        kinetic: alpha.
        jacobian: beta.

    Raises:
        ValueError: the flow has not exactly one continuous transform, or a penalty is negative.

    Reference:
        Finlay et al. (2020), How to train your neural ODE, arXiv:2002.02798.
    """

    flow: Flow

    def __init__(self, flow: Flow, *, kinetic: float = 0.01, jacobian: float = 0.01) -> None:
        super().__init__(flow)
        split_at_continuous(flow)
        if not (kinetic >= 0 and jacobian >= 0):
            raise ValueError(f"penalties must not be negative, got kinetic={kinetic}, jacobian={jacobian}")
        self.kinetic, self.jacobian = kinetic, jacobian

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean penalised negative log-likelihood in nats, a scalar."""
        x, context = self.flow._check(x, context)
        log_prob: Any = 0.0
        for part in self.flow.transform.flattened():
            if isinstance(part, Continuous):
                solution = part.solve(x, context, part.time, 0.0, energies=True)
                x, logdet = solution.z, solution.logdet
            else:
                x, logdet = part(x, context)
            log_prob = log_prob + logdet
        penalty = self.kinetic * solution.kinetic + self.jacobian * solution.jacobian  # type: ignore[operator]
        return weighted_mean(penalty - log_prob - self.flow.base_log_prob(x, context), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p(x | context) of every row, without the penalty, ``(*batch,)``, in nats."""
        return -self.flow(x, context)


def split_at_continuous(flow: Any) -> tuple[list[Transform], Continuous, list[Transform]]:
    """The transforms before a flow's continuous one, that one, and those after it.

    Raises:
        ValueError: the flow has none, or several.
    """
    whole = getattr(flow, "transform", None)  # other kinds of densities have none
    parts: list[Any] = whole.flattened() if isinstance(whole, Transform) else []
    places = [i for i, part in enumerate(parts) if isinstance(part, Continuous)]
    if len(places) != 1:
        raise ValueError(f"flow must have exactly one Continuous transform, but it has {len(places)}")
    place = places[0]
    return parts[:place], parts[place], parts[place + 1 :]


def optimal_partners(x: Tensor, z: Tensor, context: Tensor | None = None, context_cost: float = 10.0) -> Tensor:
    r"""The permutation ``(n,)`` that assigns each x a z with the least total cost.

    .. math:: \min_\pi \sum_i \lVert x_i - z_{\pi(i)} \rVert^2 + \gamma \lVert c_i - c_{\pi(i)} \rVert^2

    z_i initially belongs to c_i, and gamma is relative to the mean of the first distance over that of the second.
    """
    with torch.no_grad():
        cost = torch.cdist(x.flatten(1), z.flatten(1)).square()
        if context is not None:
            apart = torch.cdist(context, context).square()
            scale = cost.mean() / apart.mean().clamp_min(torch.finfo(apart.dtype).tiny)
            cost = cost + context_cost * scale * apart
    return torch.as_tensor(_assignment()(cost.cpu().numpy())[1], device=x.device)


def _assignment():
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise ImportError('coupling="optimal" needs SciPy: pip install scipy') from None
    return linear_sum_assignment
