"""Flows in sbi: a builder of density estimators for simulation-based inference. Needs sbi."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from torch import Tensor, nn
from torch.func import functional_call

from ..distributions.average import Average
from ..distributions.flow import Flow
from ..distributions.guided import AnyOrder
from ..errors import at_least_one
from ..nets.encoders import Scaled
from ..nets.made import Masked
from ..nets.mlp import MLP
from ..numerics.torch_internals import added
from ..objectives.anyorder import AnyOrderLikelihood
from ..posterior.constrain import constrain
from ..recipes.by_name import FLOWS, flow_by_name, seeded
from ..recipes.models import anyorder
from ..transforms.continuous import Continuous
from ..transforms.normalization import Standardize
from ..transforms.scalar import Spline

WIDTH, DEPTH = 50, 5  # of hidden layers: with few simulations, deep networks learn more than wide ones
START = 0.8  # bound of the initial weights between hidden layers, times sqrt(units)
SPLINES = {"bins": 10, "bound": 3.0, "mixing": "reverse"}
FLOOR = 0.05  # of splines: posteriors have gaps between their modes and sharp ends, where a density must be low
PLAIN = {"residual": False}  # networks of which all layers read what was rectified


def density_estimator(
    flow: str = "nsf",
    *,
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    embedding: nn.Module | None = None,
    average: float = 0.99,
    gain: float = 3.0,
    members: int = 1,
    seed: int = 0,
) -> Callable[[Tensor, Tensor], SbiFlowEstimator]:
    """A ``density_estimator`` for sbi's trainers: p(theta | x) for NPE, p(x | theta) for NLE, by a flow.

    Args:
        flow: The name of a recipe. Splines get 10 bins on [-3, 3] here: parameters are often uniform in a box, which
            ends at 1.7 once standardised. Between the transforms the order is reversed: a trained matrix would rotate
            the box, whose edges are sharp along each parameter.
        layers: The recipe's number of layers; None for its default.
        hidden: The recipe's hidden widths; None for five layers of 50 units.
        embedding: Maps conditions ``(n, *shape)`` to ``(n, features)``; without one they are flattened and
            standardised.
        average: Decay of the moving average of the weights, which replaces the weights whenever the estimator is in
            evaluation mode: for sbi's early stopping and for the posterior. sbi trains at a constant rate to the end,
            and the average removes the noise that this leaves. 0 for no average.
        gain: The optimiser sees the flow's weights divided by this number, so that its steps for them are longer by
            this factor: sbi's learning rate of 5e-4 becomes 1.5e-3, which suits the flows. Weights of an
            ``embedding`` and of continuous flows are trained unscaled. 1 for no scaling.
        members: Number of flows that are trained on the same simulations, independently, and averaged: a higher mean
            log-density if simulations are few, at this multiple of the time. Individual posteriors become more accurate
            on average, but not every one.
        seed: Seed of the weights; every further member uses the next one.

    Raises:
        ValueError: ``average`` is not in [0, 1), ``gain`` is not above 0, or ``members`` is below 1; or, once it
            builds, the name is unknown or a size does not fit.

    Example:
        >>> NPE(prior, density_estimator=density_estimator("nsf"))  # doctest: +SKIP
    """

    if not 0 <= average < 1:
        raise ValueError(f"average must be in [0, 1), got average={average}")
    if not gain > 0:
        raise ValueError(f"gain must be above 0, got gain={gain}")
    at_least_one(members=members)

    def build(batch_x: Tensor, batch_y: Tensor) -> SbiFlowEstimator:
        """sbi passes the modelled rows first and the conditions second."""
        embed = embedding or nn.Sequential(nn.Flatten(), Scaled(*_spread(batch_y.flatten(1))))
        with torch.no_grad():
            context = embed(batch_y[:2]).shape[-1]
        features = batch_x.shape[-1]
        widths = (max(WIDTH, features),) * DEPTH if hidden is None else hidden
        styled = flow in FLOWS and "residual" in inspect.signature(FLOWS[flow]).parameters
        options = (SPLINES if flow.startswith("nsf") else {}) | (PLAIN if styled else {})
        sizes: dict[str, Any] = {"context": context, "layers": layers, "hidden": widths, "options": options}
        flows = [
            constrain(_calm(flow_by_name(flow, features, **sizes, seed=seed + k)), Standardize(*_spread(batch_x)))
            for k in range(members)
        ]
        net = flows[0] if members == 1 else Average(flows)
        again = any(isinstance(part, Continuous) for part in net.modules())  # its backward pass would find v, not w
        return SbiFlowEstimator(net, embed, batch_x.shape[1:], batch_y.shape[1:], average, 1.0 if again else gain)

    return build


def any_conditional(
    *, hidden: Sequence[int] = (128, 128), layers: int = 2, seed: int = 0
) -> Callable[[Tensor, Tensor], SbiAnyConditional]:
    """A ``density_estimator`` for sbi's trainers that takes missing values: :func:`pushforward.anyorder` over the
    modelled values and the conditions together.

    Simulations and observations may hold NaN, for what was not measured; for sbi to keep such simulations, append them
    with ``exclude_invalid_x=False``. sbi's posteriors refuse such an observation, so draw from the trained estimator
    (``estimator.sample((1000,), x_o)``); its ``net`` answers every other conditional, such as p(missing values of x |
    theta, the others).

    Args:
        hidden: As for :func:`pushforward.anyorder`.
        layers: Likewise, residual blocks.
        seed: Seed of the weights.

    Reference:
        Gloeckler et al. (2024), All-in-one simulation-based inference, arXiv:2404.09636.

    Example:
        >>> trainer = NPE(prior, density_estimator=any_conditional())  # doctest: +SKIP
        >>> estimator = trainer.append_simulations(theta, x, exclude_invalid_x=False).train()  # doctest: +SKIP
    """

    def build(batch_x: Tensor, batch_y: Tensor) -> SbiAnyConditional:
        rows = torch.cat([batch_x, batch_y.flatten(1)], 1)
        with seeded(seed):
            net = anyorder(rows.shape[1], hidden=hidden, layers=layers)
        net.initialize(rows)
        return SbiAnyConditional(net, batch_x.shape[1:], batch_y.shape[1:])

    return build


class SbiAnyConditional(ConditionalDensityEstimator):
    """An any-order model of inputs and conditions together, with sbi's interface; NaN marks what is missing.

    It is trained on random subsets of both, and judged in evaluation mode by p(input | condition).
    """

    net: AnyOrder
    known: Tensor

    def __init__(self, net: AnyOrder, input_shape: torch.Size, condition_shape: torch.Size) -> None:
        super().__init__(net, input_shape=input_shape, condition_shape=condition_shape)
        known = torch.arange(net.event_shape[0]) >= input_shape.numel()
        self.register_buffer("known", known, persistent=False)

    def log_prob(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """Log-densities of what is not NaN in the inputs, ``(sample, batch)``, in nats."""
        input, condition, _ = self._broadcast_and_align(input, condition)
        return self.net.log_prob(torch.cat([input, condition.flatten(2)], -1), given=self.known)

    def loss(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """The loss of each pair, ``(batch,)``, in nats."""
        if not self.training:
            return -self.log_prob(input.unsqueeze(0), condition)[0]
        return AnyOrderLikelihood(self.net).held_out(torch.cat([input, condition.flatten(1)], -1))

    def sample(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> Tensor:
        """Draws ``(*sample_shape, batch, *input_shape)``."""
        features = self.input_shape.numel()
        missing = condition.new_full((len(condition), features), math.nan)
        given = torch.cat([missing, condition.flatten(1)], -1)
        return self.net.sample(sample_shape, given=given)[..., :features]


class SbiFlowEstimator(ConditionalDensityEstimator):
    """A flow with sbi's interface: inputs ``(sample, batch, features)``, conditions ``(batch, *shape)``.

    Every member of an :class:`~pushforward.distributions.average.Average` is trained independently. The estimator
    divides the weights by ``gain``, in place; ``average`` is the decay of the moving average that replaces them in
    evaluation mode.
    """

    net: _Scaled

    def __init__(
        self,
        flow: Flow | Average,
        embedding: nn.Module,
        input_shape: torch.Size,
        condition_shape: torch.Size,
        average: float = 0.0,
        gain: float = 1.0,
    ) -> None:
        averaged = deepcopy(nn.ModuleList([flow, embedding])).requires_grad_(False) if average else None
        super().__init__(_Scaled(flow, gain), input_shape=input_shape, condition_shape=condition_shape)
        self.embedding = embedding
        self.averaged, self.average, self.updates = averaged, average, 0

    @property
    def embedding_net(self) -> nn.Module:
        return self.embedding

    def log_prob(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """Log-densities in nats, ``(sample, batch)``; in training mode, a call also updates the average."""
        if self.averaged is not None and self.training and torch.is_grad_enabled():
            self._follow(self.averaged)
        input, condition, batch = self._broadcast_and_align(input, condition)
        context = self._embed(condition.reshape(-1, *self.condition_shape)).reshape(len(input), batch, -1)
        if self.training and isinstance(self.net.density, Average):
            parts = self._call("parts", input, context)
            return parts.mean(0) + math.log(len(parts))  # without the weights of the members, 1 / K each
        return self._call("log_prob", input, context)

    def loss(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """The negative log-density of each pair, ``(batch,)``, in nats."""
        return -self.log_prob(input.unsqueeze(0), condition)[0]

    def sample(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> Tensor:
        """Draws ``(*sample_shape, batch, *input_shape)``."""
        return self._call("sample", sample_shape, self._embed(condition))

    def sample_and_log_prob(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities, in one pass."""
        context = self._embed(condition)
        if isinstance(self.net.density, Average):
            draws = self._call("sample", sample_shape, context)
            return draws, self._call("log_prob", draws, context)
        return self._call("rsample_and_log_prob", sample_shape, context)

    def _embed(self, condition: Tensor) -> Tensor:
        """The context of each condition, by the current weights or, in evaluation mode, by their average."""
        embedding = self.embedding if self.averaged is None or self.training else self.averaged[1]
        return embedding(condition)

    def _call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the flow, with the current weights or, in evaluation mode, with their average."""
        if self.averaged is None or self.training:
            return self.net.call(method, *arguments)
        return getattr(self.averaged[0], method)(*arguments)

    @torch.no_grad()
    def _follow(self, averaged: nn.ModuleList) -> None:
        """Moves the average towards the weights as changed by the previous step; in large steps at first."""
        self.updates += 1
        share = 1 - min(self.average, self.updates / (self.updates + 10))
        weights = [*self.net.weights().values(), *self.embedding.parameters()]
        for mean, value in zip(averaged.parameters(), weights, strict=True):
            mean.lerp_(value, share)
        for kept, buffer in zip(averaged.buffers(), [*self.net.buffers(), *self.embedding.buffers()], strict=True):
            kept.copy_(buffer)


class _Scaled(nn.Module):
    r"""A density whose weights are :math:`w = g\, v`, where an optimiser sees and changes v, by which w is replaced in
    place.

    v gets the gradients of w, which optimisers use for their steps and clients clip: the steps of w are those of any
    optimiser at g times its learning rate.
    """

    def __init__(self, density: Flow | Average, gain: float) -> None:
        super().__init__()
        self.density, self.gain = density, gain
        with torch.no_grad():
            for weight in density.parameters():
                weight.div_(gain)

    def weights(self) -> dict[str, Tensor]:
        """w by name, as v + (g - 1) v, of which autograd sees only the first v."""
        names, stored = zip(*self.named_parameters(), strict=True)
        fixed = [value.detach() for value in stored]
        return dict(zip(names, added(stored, fixed, self.gain - 1), strict=True))

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the density with weights w."""
        return functional_call(self, self.weights(), (method, *arguments))

    def forward(self, method: str, *arguments: Any) -> Any:
        return getattr(self.density, method)(*arguments)


def _spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column."""
    finite = rows[rows.isfinite().all(1)]
    return finite.mean(0), finite.std(0).clamp_min(1e-6)


@torch.no_grad()
def _calm(flow: Flow) -> Flow:
    """The same flow, with weights between hidden layers within 0.8 / sqrt(units), regardless of their masks.

    Masked networks start within 1 / sqrt(connected inputs), which is larger and noisier. Splines may be flatter.
    """
    for net in flow.modules():
        if isinstance(net, Spline):
            net.floor = FLOOR
        if isinstance(net, MLP | Masked):
            masks = net.masks() if isinstance(net, Masked) else [torch.ones_like(weight) for weight in net.weights]
            for weight, mask in list(zip(net.weights, masks, strict=True))[1:-1]:
                weight *= START * mask.to(weight).mean(1, keepdim=True).sqrt()
    return flow
