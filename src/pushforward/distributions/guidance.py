"""Sampling beyond the density: guidance by the context, and denoising by the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..nets.positions import PositionNet
from ..numerics.torch_internals import with_children
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.compose import Compose
from ..transforms.coupling import Coupling
from ..transforms.dequantise import GaussianNoise
from ..transforms.reversible import Reversible

if TYPE_CHECKING:
    from .flow import Flow


def with_guidance(transform: Transform, guidance: float) -> Transform:
    r"""The transform with each parameter network pushed away from its output without a context.

    .. math:: \hat\theta = \theta(x, c) + w\,(\theta(x, c) - \theta(x, 0))

    for couplings and autoregressive transforms; weights are shared, not copied. A context of zeros stands for none,
    which the flow must have been trained with: ``pf.ForwardKL(flow, drop=0.1)``. The result is a transform like any
    other, so the guided flow also has a density.

    Args:
        transform: The transform.
        guidance: w, 0 for the transform itself.

    Reference:
        Ho, Salimans (2022), Classifier-free diffusion guidance, arXiv:2207.12598; Zhai et al. (2024), arXiv:2412.06329.
    """
    if isinstance(transform, Reversible):
        transform = Compose(list(transform.transforms))

    def guided(name: str, child: Any) -> nn.Module:
        if isinstance(transform, Coupling | Autoregressive) and name == "net":
            return (GuidedPositions if isinstance(child, PositionNet) else GuidedNet)(child, guidance)
        return with_guidance(child, guidance)

    return with_children(transform, guided)  # type: ignore[return-value]


class GuidedNet(nn.Module):
    """A parameter network guided by its context: two passes."""

    def __init__(self, net: Any, guidance: float) -> None:
        super().__init__()
        self.net, self.guidance = net, guidance
        self.features, self.num_params = getattr(net, "features", None), net.num_params
        self.inputs = getattr(net, "inputs", 1)

    def stages(self) -> Tensor:
        return self.net.stages()  # type: ignore[no-any-return]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        given, free = self.net(x, context), self.net(x, torch.zeros_like(context))
        return given + self.guidance * (given - free)  # type: ignore[no-any-return]


class GuidedPositions(PositionNet):
    """The same for a network over positions: one pass with twice the batch, and one cache."""

    def __init__(self, net: PositionNet, guidance: float) -> None:
        super().__init__()
        self.net, self.guidance = net, guidance
        self.positions, self.size, self.num_params, self.inner = net.positions, net.size, net.num_params, net.inner

    def begin(self, batch: int, context: Tensor | None, *, cached: bool) -> Any:
        both = None if context is None else torch.cat([context, torch.zeros_like(context)])
        return self.net.begin(2 * batch, both, cached=cached)

    def extend(self, state: Any, previous: Tensor, start: int) -> Tensor:
        return self.net.extend(state, torch.cat([previous, previous]), start)

    def params(self, units: Tensor, x: Tensor) -> Tensor:
        return self._led(self.net.params(units, torch.cat([x, x])))

    def params_of(self, number: int, units: Tensor, x: Tensor) -> Tensor:
        return self._led(self.net.params_of(number, units, torch.cat([x, x])))

    def _led(self, params: Tensor) -> Tensor:
        given, free = params.chunk(2, 1)
        return given + self.guidance * (given - free)


def denoised(flow: Flow, transform: Transform, z: Tensor, context: Tensor | None) -> Tensor:
    r"""g(z) without the noise of the flow's events: the mean of x given the noisy y, by Tweedie's formula.

    .. math:: \mathbb{E}[x \mid y] = y + \sigma^2\, \nabla_y \log p(y)

    Args:
        flow: The flow, with density p.
        transform: Its transform, or a guided one, which gives y.
        z: Draws of the base.
        context: As the flow takes it.

    Raises:
        ValueError: the flow has no :class:`~pushforward.transforms.GaussianNoise`.

    Reference:
        Efron (2011), Tweedie's formula and selection bias; Zhai et al. (2024), arXiv:2412.06329, section 3.3.
    """
    parts, own = opened(transform), opened(flow.transform)
    places = [place for place, part in enumerate(parts) if isinstance(part, GaussianNoise)]
    if not places:
        raise ValueError("denoise=True, but the flow was built without Gaussian noise: give pf.tarflow a noise above 0")
    place = places[0]
    y = Compose(parts[place + 1 :]).generate(z, context)
    with torch.enable_grad():
        y.requires_grad_()
        latent, logdet = Compose(own[place + 1 :])(y, context)
        (score,) = torch.autograd.grad((flow.base_log_prob(latent, context) + logdet).sum(), y)
    mean = y.detach() + parts[place].noise ** 2 * score  # type: ignore[operator]
    return Compose(parts[: place + 1]).generate(mean, context)


def opened(transform: Transform) -> list[Transform]:
    """The transforms that run one after the other, those of reversible compositions among them."""
    found = [part.transforms if isinstance(part, Reversible) else [part] for part in transform.flattened()]
    return Compose([inner for parts in found for inner in parts]).flattened()
