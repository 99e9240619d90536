"""Flows in sbi: a builder of density estimators for simulation-based inference. Needs sbi."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from torch import Tensor, nn

from ..distributions.flow import Flow
from ..posterior.constrain import constrain
from ..recipes.by_name import flow_by_name
from ..transforms.normalization import Standardize


def density_estimator(
    flow: str = "nsf",
    *,
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    embedding: nn.Module | None = None,
    seed: int = 0,
) -> Callable[[Tensor, Tensor], FlowEstimator]:
    """What sbi's trainers take as ``density_estimator``: p(theta | x) for NPE, p(x | theta) for NLE, by a flow.

    Args:
        flow: The name of a recipe.
        layers: Of the recipe; its default where it is None.
        hidden: Of the recipe; its default where it is None.
        embedding: Maps conditions ``(n, *shape)`` to ``(n, features)``; without one they are flattened and
            standardised.
        seed: Of the weights.

    Example:
        >>> NPE(prior, density_estimator=density_estimator("nsf"))  # doctest: +SKIP
    """

    def build(batch_x: Tensor, batch_y: Tensor) -> FlowEstimator:
        """sbi gives the modelled rows first and the conditions second."""
        embed = embedding or nn.Sequential(nn.Flatten(), _standardize(batch_y.flatten(1)))
        with torch.no_grad():
            context = embed(batch_y[:2]).shape[-1]
        inner = flow_by_name(flow, batch_x.shape[-1], context=context, layers=layers, hidden=hidden, seed=seed)
        net = constrain(inner, _standardize(batch_x).transform)
        return FlowEstimator(net, embed, batch_x.shape[1:], batch_y.shape[1:])

    return build


class FlowEstimator(ConditionalDensityEstimator):
    """A flow with the manners of sbi: inputs ``(sample, batch, features)``, conditions ``(batch, *shape)``.

    Args:
        flow: p(input | embedded condition).
        embedding: Maps conditions to the flow's context.
        input_shape: Shape of one input.
        condition_shape: Shape of one condition.
    """

    def __init__(self, flow: Flow, embedding: nn.Module, input_shape: torch.Size, condition_shape: torch.Size) -> None:
        super().__init__(flow, input_shape=input_shape, condition_shape=condition_shape)
        self.embedding = embedding

    @property
    def embedding_net(self) -> nn.Module:
        return self.embedding

    def log_prob(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """Log-densities in nats, ``(sample, batch)``."""
        input, condition, batch = self._broadcast_and_align(input, condition)
        context = self.embedding(condition.reshape(-1, *self.condition_shape))
        return self.net(input, context.reshape(len(input), batch, -1))

    def loss(self, input: Tensor, condition: Tensor, **options: Any) -> Tensor:
        """The negative log-density of each pair, ``(batch,)``, in nats."""
        return -self.log_prob(input.unsqueeze(0), condition)[0]

    def sample(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> Tensor:
        """Draws ``(*sample_shape, batch, *input_shape)``."""
        return self.net.sample(sample_shape, self.embedding(condition))

    def sample_and_log_prob(self, sample_shape: torch.Size, condition: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """Draws and their log-densities, in one pass."""
        return self.net.rsample_and_log_prob(sample_shape, self.embedding(condition))


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
