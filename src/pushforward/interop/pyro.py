"""Flows in Pyro: as a distribution in a model, and as a guide for stochastic variational inference. Needs pyro-ppl."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import Delta
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ..distributions.flow import Flow
from ..distributions.view import DensityView


class PyroDensity(DensityView, TorchDistributionMixin):
    """A density given a context, for ``pyro.sample``; register its parameters by ``pyro.module("flow", flow)``.

    Args:
        density: The density; its parameters are shared.
        context: The context, or None; its leading dimensions are the batch.

    Example:
        >>> pyro.sample("x", PyroDensity(flow), obs=x)  # doctest: +SKIP
    """

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        if self.context is None:  # Pyro's own wrapper draws a batch from a density that has none
            return TorchDistributionMixin.expand(self, torch.Size(batch_shape))
        return super().expand(batch_shape)


class FlowGuide(nn.Module):
    """A guide that draws all latent sites of a model jointly from one flow.

    A row of the flow is cut into the sites, in order. Carry the flow to the sites' supports first, by
    :func:`pushforward.constrain`, so that the guide's density is that of the sites' own values.

    Args:
        flow: A flow over rows, without a context.
        sites: The shape of each latent site, ``()`` for a number.

    Raises:
        ValueError: the shapes do not add up to the flow's features.

    Reference:
        Bingham et al. (2019), Pyro, arXiv:1810.09538.

    Example:
        >>> guide = FlowGuide(flow, {"mu": (), "theta": (8,)})  # doctest: +SKIP
        >>> pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())  # doctest: +SKIP
    """

    def __init__(self, flow: Flow, sites: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.flow = flow
        self.shapes = {name: torch.Size(shape) for name, shape in sites.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        if tuple(flow.event_shape) != (sum(self.sizes),):
            raise ValueError(f"the sites have {sum(self.sizes)} numbers, but the flow has {tuple(flow.event_shape)}")

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draws every site; the arguments are the model's and are not looked at."""
        pyro.module("pushforward_flow", self.flow)
        row = pyro.sample("pushforward_row", PyroDensity(self.flow), infer={"is_auxiliary": True})
        values = {}
        for (name, shape), part in zip(self.shapes.items(), row.split(self.sizes, -1), strict=True):
            value = part.reshape(row.shape[:-1] + shape)
            values[name] = pyro.sample(name, Delta(value, event_dim=len(shape)))
        return values
