"""Flows in Pyro: as a distribution in a model, as a guide, and fitted to a model as its target. Needs pyro-ppl."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import Delta
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ..distributions.flow import Flow
from ..distributions.view import DensityView
from ..objectives.forms import as_target


class PyroDensity(DensityView, TorchDistributionMixin):  # type: ignore[misc]  # of which both define expand
    """A density given a context, for ``pyro.sample``; register its parameters by ``pyro.module("flow", flow)``.

    Args:
        density: The density; its parameters are shared.
        context: The context, or None; its leading dimensions are the batch.

    Example:
        >>> pyro.sample("x", PyroDensity(flow), obs=x)  # doctest: +SKIP
    """


class FlowGuide(nn.Module):
    """A guide that draws all latent sites of a model jointly from one flow.

    A row of the flow is split into the sites, in order. Map the flow to the sites' supports first, with
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
        numbers = sum(shape.numel() for shape in self.shapes.values())
        if tuple(flow.event_shape) != (numbers,):
            raise ValueError(f"the sites have {numbers} numbers, but the flow has {tuple(flow.event_shape)}")

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draws every site; the arguments are the model's and are ignored."""
        pyro.module("pushforward_flow", self.flow)
        row = pyro.sample("pushforward_row", PyroDensity(self.flow), infer={"is_auxiliary": True})
        sites = _sites_of(row, self.shapes).items()
        return {name: pyro.sample(name, Delta(value, event_dim=len(self.shapes[name]))) for name, value in sites}


class ModelTarget:
    """The log-joint of a Pyro model in its free parameters, for :func:`pushforward.fit_target`.

    Called like a function, it maps ``(n, features)`` to ``(n,)``, in nats: the latent sites, concatenated and
    transformed to the whole space, including the Jacobian.

    Args:
        model: A model with continuous latent sites of fixed shapes; its data are observed.
        args: Arguments of the model.
        kwargs: Likewise, by name.

    Attributes:
        features: Number of free parameters.
        sites: The shape of each latent site, in the free parameters.

    Raises:
        ValueError: the model has no latent site, or a discrete one.

    Example:
        >>> target = ModelTarget(model, data)  # doctest: +SKIP
        >>> fitted = pf.fit_target(target, target.features)  # doctest: +SKIP
        >>> target.constrain(fitted.draws(1000, exact=True))["mu"]  # doctest: +SKIP
    """

    def __init__(self, model: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        from pyro.infer.mcmc.util import initialize_model

        trace = pyro.poutine.trace(model).get_trace(*args, **kwargs)
        discrete = [n for n in trace.stochastic_nodes if getattr(trace.nodes[n]["fn"], "has_enumerate_support", False)]
        if discrete:
            raise ValueError(f"model must have only continuous latent sites, but {', '.join(discrete)} are discrete")
        start, _, self.transforms, _ = initialize_model(model, args, kwargs)
        if not start:
            raise ValueError("model must have a latent site, but all of its sites are observed")
        self.sites = {name: value.shape for name, value in start.items()}
        self.features = sum(value.numel() for value in start.values())

        def of_row(row: Tensor) -> Tensor:
            values, height = {}, row.new_zeros(())
            for name, part in _sites_of(row, self.sites).items():
                values[name] = self.transforms[name].inv(part)
                height = height - self.transforms[name].log_abs_det_jacobian(values[name], part).sum()
            with pyro.validation_enabled(False):
                trace = pyro.poutine.trace(pyro.poutine.condition(model, data=values)).get_trace(*args, **kwargs)
                return height + trace.log_prob_sum()  # type: ignore[no-any-return]

        first = torch.cat([value.flatten() for value in start.values()])
        self.target = as_target(of_row, first + torch.zeros(4, 1))

    def __call__(self, x: Tensor) -> Tensor:
        return self.target(x)

    def constrain(self, draws: Tensor) -> dict[str, Tensor]:
        """Converts draws of the free parameters ``(n, features)`` to draws of sites, ``(n, *shape of the site)``."""
        return {name: self.transforms[name].inv(value) for name, value in _sites_of(draws, self.sites).items()}


def _sites_of(rows: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The values of each site, ``(*batch, *shape)``, of rows that hold them in order."""
    parts = rows.split([shape.numel() for shape in shapes.values()], -1)
    sites = zip(shapes.items(), parts, strict=True)
    return {name: part.reshape(rows.shape[:-1] + shape) for (name, shape), part in sites}
