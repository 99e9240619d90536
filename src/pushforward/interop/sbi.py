"""Flows in sbi: a builder of density estimators for simulation-based inference. Needs sbi."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from torch import Tensor, nn

from ..distributions.average import Average
from ..distributions.flow import Flow
from ..posterior.constrain import constrain
from ..recipes.by_name import flow_by_name
from ..transforms.normalization import Standardize

WIDTH, DEPTH = 50, 5  # of hidden layers: on few simulations deep ones learn more than wide ones
SPLINES = {"bins": 10, "bound": 3.0, "mixing": "reverse"}


def density_estimator(
    flow: str = "nsf",
    *,
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    embedding: nn.Module | None = None,
    average: float = 0.99,
    members: int = 1,
    seed: int = 0,
) -> Callable[[Tensor, Tensor], FlowEstimator]:
    """What sbi's trainers take as ``density_estimator``: p(theta | x) for NPE, p(x | theta) for NLE, by a flow.

    Args:
        flow: The name of a recipe. Splines get 10 bins on [-3, 3] here: parameters are often uniform in a box, which
            standardised ends at 1.7. Between the transforms the order is reversed: a trained matrix would turn the
            box, whose edges are sharp along each parameter.
        layers: Of the recipe; its default where it is None.
        hidden: Of the recipe; five layers of 50 units where it is None.
        embedding: Maps conditions ``(n, *shape)`` to ``(n, features)``; without one they are flattened and
            standardised.
        average: Decay of the moving average of the weights that is used in place of the weights themselves wherever
            the estimator is in evaluation mode: for sbi's early stopping and for the posterior. sbi trains at one
            rate to the end, and the average takes out what that leaves of noise, also at three times sbi's 5e-4:
            ``train(learning_rate=1.5e-3)`` takes fewer epochs. 0 for none.
        members: So many flows are trained on the same simulations, each by itself, and their average is the density:
            a higher mean log-density where simulations are few, for so many times the time. Single posteriors need
            not come nearer.
        seed: Of the weights; every further member has the next one.

    Raises:
        ValueError: ``average`` is not in [0, 1), or ``members`` is below 1; or, once it builds, the name is unknown or
            a size does not fit.

    Example:
        >>> NPE(prior, density_estimator=density_estimator("nsf"))  # doctest: +SKIP
    """

    if not 0 <= average < 1:
        raise ValueError(f"average must be in [0, 1), got average={average}")
    if members < 1:
        raise ValueError(f"members must be at least 1, got members={members}")

    def build(batch_x: Tensor, batch_y: Tensor) -> FlowEstimator:
        """sbi gives the modelled rows first and the conditions second."""
        embed = embedding or nn.Sequential(nn.Flatten(), _standardize(batch_y.flatten(1)))
        with torch.no_grad():
            context = embed(batch_y[:2]).shape[-1]
        features = batch_x.shape[-1]
        widths = (max(WIDTH, features),) * DEPTH if hidden is None else hidden
        options = SPLINES if flow.startswith("nsf") else {}
        sizes: dict[str, Any] = {"context": context, "layers": layers, "hidden": widths, "options": options}
        flows = [
            constrain(flow_by_name(flow, features, **sizes, seed=seed + k), _standardize(batch_x).transform)
            for k in range(members)
        ]
        net = flows[0] if members == 1 else Average(flows)
        return FlowEstimator(net, embed, batch_x.shape[1:], batch_y.shape[1:], average)

    return build


class FlowEstimator(ConditionalDensityEstimator):
    """A flow with the manners of sbi: inputs ``(sample, batch, features)``, conditions ``(batch, *shape)``.

    Args:
        flow: p(input | embedded condition). Of an :class:`~pushforward.distributions.average.Average` every member is
            trained by itself.
        embedding: Maps conditions to the flow's context.
        input_shape: Shape of one input.
        condition_shape: Shape of one condition.
        average: Decay of the moving average of all weights that stands in for them in evaluation mode; 0 for none.
    """

    def __init__(
        self,
        flow: Flow | Average,
        embedding: nn.Module,
        input_shape: torch.Size,
        condition_shape: torch.Size,
        average: float = 0.0,
    ) -> None:
        super().__init__(flow, input_shape=input_shape, condition_shape=condition_shape)
        self.embedding = embedding
        self.average, self.updates = average, 0
        self.averaged = deepcopy(nn.ModuleList([flow, embedding])).requires_grad_(False) if average else None

    @property
    def embedding_net(self) -> nn.Module:
        return self.embedding

    def log_prob(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """Log-densities in nats, ``(sample, batch)``; a training step's also moves the average."""
        if self.averaged is not None and self.training and torch.is_grad_enabled():
            self._follow(self.averaged)
        input, condition, batch = self._broadcast_and_align(input, condition)
        flow, embedding = self._in_use()
        context = embedding(condition.reshape(-1, *self.condition_shape))
        context = context.reshape(len(input), batch, -1)
        if self.training and isinstance(flow, Average):
            return torch.stack([member(input, context) for member in flow.members]).mean(0)
        return flow(input, context)

    def loss(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """The negative log-density of each pair, ``(batch,)``, in nats."""
        return -self.log_prob(input.unsqueeze(0), condition)[0]

    def sample(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> Tensor:
        """Draws ``(*sample_shape, batch, *input_shape)``."""
        flow, embedding = self._in_use()
        return flow.sample(sample_shape, embedding(condition))

    def sample_and_log_prob(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities, in one pass."""
        flow, embedding = self._in_use()
        context = embedding(condition)
        if isinstance(flow, Average):
            draws = flow.sample(sample_shape, context)
            return draws, flow(draws, context)
        return flow.rsample_and_log_prob(sample_shape, context)

    def _in_use(self) -> tuple[Any, Any]:
        """Flow and embedding: those that are trained, or in evaluation mode their average."""
        if self.averaged is None or self.training:
            return self.net, self.embedding
        return self.averaged[0], self.averaged[1]

    @torch.no_grad()
    def _follow(self, averaged: nn.ModuleList) -> None:
        """Moves the average towards the weights, which the step before has changed; in large steps at first."""
        self.updates += 1
        share = 1 - min(self.average, self.updates / (self.updates + 10))
        for slow, fast in zip(averaged, (self.net, self.embedding), strict=True):
            for mean, value in zip(slow.parameters(), fast.parameters(), strict=True):
                mean.lerp_(value, share)
            for kept, buffer in zip(slow.buffers(), fast.buffers(), strict=True):
                kept.copy_(buffer)


class _Map(nn.Module):
    """The value of a transform, without its log-determinant, as a layer of an embedding."""

    def __init__(self, transform: Standardize) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor) -> Tensor:
        return self.transform(x)[0]


def _standardize(rows: Tensor) -> _Map:
    finite = rows[rows.isfinite().all(1)]
    return _Map(Standardize(finite.mean(0), finite.std(0).clamp_min(1e-6)))
