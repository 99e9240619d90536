"""The recipe of the any-order model: any entries given any others."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..distributions.guided import AnyOrder
from ..nets.encoders import context_features
from ..nets.subset import SubsetNet
from ..transforms.base import Transform

FAR = 3.0  # times five standard deviations, beyond which numbers are linear


def anyorder(
    features: int,
    *,
    context: int = 0,
    hidden: Sequence[int] = (128, 128),
    layers: int = 2,
    bins: int = 8,
    classes: Sequence[int | None] | None = None,
    first: Sequence[Transform | None] | None = None,
    normal: bool = True,
    encoder: nn.Module | None = None,
) -> AnyOrder:
    """One model of every conditional p(any entries | any others), exact along an order; NaN marks unobserved entries.

    Trained by :func:`pushforward.fit` on random subsets; rows may contain NaN.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none.
        hidden: Width of the network, then the widths of the inner layers of each residual block.
        layers: Residual blocks.
        bins: Bins of each number's spline.
        classes: For every feature, its number of categories, or None for a number; all are numbers by default.
        first: For every feature, a map from its units to a suitable scale, of ``event_dim`` 0, or None.
        normal: Whether numbers are standardised by their conditionals in a normal distribution with the covariance of
            the training rows, so that the network learns only the non-linear part.
        encoder: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive, or ``classes`` does not have one entry for each feature, or has one below 2.

    Reference:
        Uria, Murray, Larochelle (2014), arXiv:1310.1757; Hoogeboom et al. (2022), arXiv:2110.02037.

    Example:
        >>> import torch, pushforward as pf
        >>> density = pf.anyorder(3, classes=[None, 4, None])
        >>> density.log_prob(torch.tensor([0.5, 3.0, torch.nan])).shape
        torch.Size([])
    """
    if features < 1:
        raise ValueError(f"features must be at least 1, got features={features}")
    sizes = [size or 0 for size in classes] if classes is not None else [0] * features
    if len(sizes) != features or any(size < 0 or size == 1 for size in sizes):
        raise ValueError(f"classes must hold at least 2, or None, for each of {features} features, got {classes}")
    inputs, outputs = AnyOrder.sizes(sizes, bins)
    context = context_features(context, encoder)
    net = SubsetNet(inputs, outputs, context=context, hidden=hidden, layers=layers)
    return AnyOrder(net, sizes, bins=bins, first=first, normal=normal, context=context, encoder=encoder, far=FAR)
