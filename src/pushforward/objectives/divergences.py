"""Training objectives: each holds a density and turns a batch, or a number of draws, into one loss.

To write another one, derive from :class:`Objective` and define two methods. Either the objective learns from data::

    class Mine(Objective):
        def forward(self, x, context=None): ...   # the scalar loss of a batch, a mean in nats
        def held_out(self, x, context=None): ...  # the loss of every row, (*batch,): validation averages it

or it draws its own samples, says ``uses_data = False``, and takes their number in place of the batch:
``forward(n)`` and ``held_out(n)``, the latter with one loss for each draw.

An objective that can weight rows takes ``weights``, ``(*batch,)``, as a third argument of ``forward``; see
:func:`weighted_mean`.

Random numbers come from PyTorch's default generators: ``fit`` seeds them, and restores their state for the caller. It
also sets them to the same state before each validation, so that two validations differ only by the weights.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.guided import AnyOrder
from ..errors import one_of
from .family import Contexts, Family, check_width
from .target import check_finite, check_target, evaluate, note_start
from .user_target import LogDensity, UserTarget


class Objective(nn.Module):
    """A loss to minimise over the parameters of a density; gradients flow through ``forward`` (so DDP works).

    Args:
        flow: The density to train.
    """

    uses_data: ClassVar[bool] = True
    first_rows: ClassVar[int] = 0  # with which the flow is initialised, if more than a batch
    calls_flow: ClassVar[bool] = False  # whether losses are computed by ``self.flow(x, context)`` alone

    flow: Density

    def __init__(self, flow: Density) -> None:
        super().__init__()
        if not isinstance(flow, Density):
            raise TypeError(f"flow must be a density (a Flow, say), got {type(flow).__name__}")
        self.flow = flow

    @cached_property  # which a class may state, a property of its own compute, and an object be given
    def takes_missing(self) -> bool:
        """Whether rows may have NaN for values that were not observed: an any-order model has their marginals."""
        return isinstance(self.flow, AnyOrder)

    def held_out(self, *inputs: Any, **options: Any) -> Tensor:
        """The loss of every row, or of every draw: validation averages it, and its spread gives the error."""
        raise NotImplementedError

    def explain(self, *inputs: Any) -> str:
        """Why the loss of such inputs is not finite, a sentence for the error that ends a training; may be empty."""
        return ""


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The loss of a batch from those of its rows: their mean, or that of losses times weights.

    :func:`pushforward.fit` divides weights by their mean over all training rows, so batches of small weight count
    little.
    """
    return losses.mean() if weights is None else (losses * weights).mean()


class ForwardKL(Objective):
    r"""Maximum likelihood: KL(data ‖ flow) up to the entropy of the data, which the flow cannot change.

    .. math:: \mathcal{L} = -\frac{1}{n} \sum_i w_i \log p(x_i \mid c_i)

    with weights of 1 if rows have none.

    Args:
        flow: The density to train.
        drop: The share of a batch's rows that are trained without their context, with zeros in its place, as
            ``flow.sample(..., guidance=...)`` requires.

    Raises:
        ValueError: ``drop`` is not in [0, 1), or not 0 for a flow without a context.

    Reference:
        Lecture: "Forward KL for NF". With ``drop``: Ho, Salimans (2022), arXiv:2207.12598.
    """

    calls_flow = True

    def __init__(self, flow: Density, *, drop: float = 0.0) -> None:
        super().__init__(flow)
        if not 0 <= drop < 1:
            raise ValueError(f"drop must be in [0, 1), got drop={drop}")
        if drop and not flow.context_features:
            raise ValueError(f"drop={drop} needs a context, but the flow was built with context=0")
        if drop and flow.encoder is not None:
            raise ValueError(f"drop={drop} is for contexts that are plain numbers, but the flow has an encoder")
        self.drop = drop

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean negative log-likelihood in nats, a scalar."""
        if self.drop and context is not None:
            context = context * (torch.rand_like(context[..., :1]) >= self.drop)
        return weighted_mean(self.held_out(x, context), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p(x | context) of every row, of shape ``(*batch,)``, in nats."""
        return -self.flow(x, context)


def kl_of_draws(log_q: Tensor, log_pi: Tensor) -> Tensor:
    r"""log q - log pi of n draws, whose mean is that of the flow restricted to where pi is not 0.

    .. math:: \mathrm{KL}(q(\cdot \mid G) \Vert \pi) = \mathbb{E}_q[\log q - \log\tilde\pi \mid G] - \log q(G) + \log Z,
              \qquad G = \{x : \tilde\pi(x) > 0\}

    The divergence of q itself would be infinite; importance weights, 0 outside G, account for the difference. Draws
    outside G, of log_pi -infinity, have the mean of the others; infinite if there are no others.
    """
    good = log_pi != -math.inf
    gap = torch.where(good, log_q - log_pi, 0.0)
    share = good.to(gap).mean()
    mean = gap.sum() / good.sum()  # NaN if no draw is good, and then the step is skipped
    return torch.where(good, gap, mean) - share.log()


class TargetObjective(Objective):
    """A loss of a flow's own draws, for a density pi known up to a constant; its arguments are those of
    :class:`ReverseKL`."""

    uses_data = False
    flow: Flow

    def __init__(
        self,
        flow: Flow,
        log_density: LogDensity,
        *,
        contexts: Contexts | None = None,
        chunk: int | None = None,
        check: bool = True,
    ) -> None:
        super().__init__(flow)
        if not hasattr(flow, "rsample_and_log_prob"):
            raise TypeError(f"flow must have reparameterised samples, which {type(flow).__name__} does not have")
        if flow.context_features and contexts is None:
            raise ValueError(
                f"flow was built with context={flow.context_features}, but a target has no context: say which to draw "
                "with contexts= of ReverseKL, or take a flow without one"
            )
        self.family = family = None if contexts is None else Family(log_density, contexts, math.prod(flow.event_shape))
        if family is not None:
            check_width(flow, family.width)
            log_density = family.check(flow) if check else family.joint
        elif check:
            log_density = check_target(flow, log_density)
            note_start(flow, log_density)
        self.log_density, self.chunk = log_density, chunk

    @torch.no_grad()
    def held_out(self, n: int) -> Tensor:
        """log q(x) - log pi(x) of n fresh draws, of shape ``(n,)``, in nats, whatever the loss: so they compare."""
        x, log_q, context = self._draw(n)
        return kl_of_draws(log_q, self._log_pi(x, context))

    def explain(self, n: int) -> str:
        x, _, context = self._draw(n)
        try:
            check_finite(self._log_pi(x, context).detach(), x)
        except ValueError as error:
            known = self.log_density.notes if isinstance(self.log_density, UserTarget) else []
            return "; ".join([str(error), *known])
        return ""

    def _draw(self, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """x, log q(x) and the contexts, if any: one draw for each."""
        if self.family is None:
            return *self.flow.rsample_and_log_prob((n,)), None
        context = self.family.draw(n, next(self.flow.parameters()))
        return *self.flow.rsample_and_log_prob((), context), context

    def _log_pi(self, x: Tensor, context: Tensor | None) -> Tensor:
        return evaluate(self.log_density, x if context is None else torch.cat([x, context], -1), self.chunk)


class ReverseKL(TargetObjective):
    r"""KL(flow ‖ pi) up to log Z, for a density pi known up to a constant: learning without data.

    .. math:: \mathcal{L} = \mathbb{E}_{p(z)}\left[\log p(z) - \log|\det J_g(z)| - \beta \log\tilde\pi(g(z))\right]
              = \mathrm{KL}(p_\theta \,\Vert\, \pi) - \log Z \quad (\beta = 1)

    The gradient of log q(g(z)) has two parts: through the draw, and through the parameters of q itself. The second is
    zero on average, but not in a single batch. ``"path"`` leaves it out: it costs one more density pass, and its
    variance vanishes when the flow equals the target. ``"reparameterised"`` keeps both, in one pass.

    Recipes that sample in one pass are suitable: ``nsf(coupling=True)``, ``realnvp``, ``iaf``. The density of a given x
    is sequential for ``iaf``, so there ``"path"`` costs more than elsewhere.

    Args:
        flow: The flow to train.
        log_density: Maps ``(n, *event)`` to ``(n,)``: log pi(x) + constant, in nats, differentiable. With
            ``contexts`` it maps x ``(n, features)`` and contexts ``(n, width)``: log pi(x | c), and one flow is trained
            for all contexts, by draws of both.
        estimator: ``"path"`` or ``"reparameterised"``.
        anneal: Training calls over which beta rises linearly to 1, so that the flow first sees a flattened target
            and finds modes before it settles on them; 0 for none.
        chunk: Rows per call of ``log_density``; a larger n is evaluated piece by piece. None for no limit.
        contexts: For a flow with a context: a function of n that draws contexts ``(n, width)``, or contexts
            ``(N, width)`` to choose from. Each step draws fresh ones.
        check: Try ``log_density`` once, now, on a few draws.

    Raises:
        TypeError: ``flow`` has no reparameterised samples, or ``log_density`` is not a function of a batch.
        ValueError: an argument is out of range, or ``log_density`` violates its contract; see
            :func:`pushforward.objectives.target.check_target`.

    Reference:
        Roeder, Wu, Duvenaud (2017), Sticking the landing, arXiv:1703.09194; Vaitl et al. (2022), Path-gradient
        estimators for continuous normalizing flows, arXiv:2206.09016. Lecture: "Reverse KL for flow model".
    """

    calls: Tensor

    def __init__(
        self,
        flow: Flow,
        log_density: LogDensity,
        estimator: str = "path",
        *,
        anneal: int = 0,
        chunk: int | None = None,
        contexts: Contexts | None = None,
        check: bool = True,
    ) -> None:
        super().__init__(flow, log_density, contexts=contexts, chunk=chunk, check=check)
        one_of(("path", "reparameterised"), estimator=estimator)
        if anneal < 0 or (chunk is not None and chunk < 1):
            raise ValueError(f"anneal must be at least 0 and chunk at least 1, got {anneal} and {chunk}")
        self.estimator, self.anneal = estimator, anneal
        # calls of forward in training: the clock of the annealing
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, n: int) -> Tensor:
        """The estimate from n draws, a scalar in nats: of those draws at which pi is not 0; see :func:`kl_of_draws`."""
        x, log_q, context = self._draw(n)
        if self.estimator == "path" and torch.is_grad_enabled():
            stopped = {name: parameter.detach() for name, parameter in self.flow.named_parameters()}
            log_q = torch.func.functional_call(self.flow, stopped, (x, context))
        return kl_of_draws(log_q, self._beta() * self._log_pi(x, context)).mean()

    def _beta(self) -> Tensor | float:
        if not (self.anneal and torch.is_grad_enabled()):
            return 1.0
        self.calls += 1
        return (self.calls / self.anneal).clamp(max=1.0)
