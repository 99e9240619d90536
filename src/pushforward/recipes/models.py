"""Recipes of densities other than flows: autoregressive models, mixtures, and any entries given any others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from ..distributions.conditional import AutoregressiveModel, Bernoulli, Categorical, Gaussian, Mixture
from ..distributions.guided import AnyOrder
from ..distributions.mixture import GaussianMixture
from ..distributions.pixelcnn import PixelCNN
from ..errors import one_of, positive_integers
from ..nets.subset import SubsetNet
from ..transforms.base import Transform
from .networks import ContextOptions, Networks, recipe

FAR = 3.0  # times five standard deviations, beyond which numbers of an any-order model are linear


@recipe()
def made(
    features: int,
    *,
    hidden: Sequence[int] = (128, 128),
    conditional: str = "gaussian",
    classes: int | None = None,
    components: int = 8,
    **options: Unpack[ContextOptions],
) -> AutoregressiveModel:
    """An autoregressive model: an exact density in one pass, without a latent space.

    Args:
        conditional: ``"gaussian"``, ``"mixture"`` (of Gaussians), ``"bernoulli"`` (0 or 1) or ``"categorical"``.
        classes: Values 0 … classes-1 of a categorical feature.
        components: Gaussians in a mixture.

    Raises:
        ValueError: ``conditional`` is unknown, ``classes`` is missing or superfluous, or a size does not fit.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509. Lecture: "Autoregressive MLP".
    """
    kinds = {"gaussian": Gaussian, "mixture": Mixture, "bernoulli": Bernoulli, "categorical": Categorical}
    one_of(kinds, conditional=conditional)
    if (classes is None) == (conditional == "categorical"):
        raise ValueError(f"classes is for conditional='categorical', got conditional={conditional!r} and {classes=}")
    positive_integers(features=features)
    sizes = {"mixture": components, "categorical": classes}
    part = kinds[conditional](*([sizes[conditional]] if conditional in sizes else []))
    net = Networks(hidden=hidden, **options)
    return net.model(AutoregressiveModel, net.made(features, part), part)


@recipe()
def pixelcnn(
    shape: Sequence[int],
    *,
    levels: int = 256,
    hidden: int = 64,
    layers: int = 8,
    conditional: str = "categorical",
    **options: Unpack[ContextOptions],
) -> PixelCNN:
    """The autoregressive CNN, for images of whole numbers.

    The exact probability takes one pass; sampling goes number by number.

    Args:
        shape: (C, H, W) of the images.
        levels: Numbers run from 0 to levels - 1; 2 to 256.
        hidden: Channels of the network's two stacks.
        layers: Residual blocks.
        conditional: ``"categorical"``, or ``"logistic"`` for a discretised mixture of logistic distributions.

    Reference:
        van den Oord et al. (2016), arXiv:1606.05328. Lecture: "Autoregressive CNN".
    """
    net = Networks(**options)
    return net.model(PixelCNN, shape, levels=levels, hidden=hidden, layers=layers, conditional=conditional)


def gmm(features: int, *, context: int = 0, components: int = 8, covariance: str = "full") -> GaussianMixture:
    """A mixture of Gaussians, to be fitted by expectation maximisation: ``pf.gmm(3, components=5).fit(x)``.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none; p(x | context) is the exact conditional of a joint mixture.
        components: Gaussians.
        covariance: ``"full"``, ``"tied"``, ``"diagonal"`` or ``"spherical"``.

    Raises:
        ValueError: a size is not positive, or ``covariance`` is unknown.

    Reference:
        Dempster, Laird, Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.

    Example:
        >>> import torch, pushforward as pf
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> mixture = pf.gmm(3, components=2).fit(x)
        >>> mixture.conditional([0]).sample((5,), x[0, :1]).shape
        torch.Size([5, 2])
    """
    positive_integers(features=features)
    return GaussianMixture(features, components, covariance=covariance, context=context)


@recipe()
def anyorder(
    features: int,
    *,
    hidden: Sequence[int] = (128, 128),
    layers: int = 2,
    bins: int = 8,
    classes: Sequence[int | None] | None = None,
    first: Sequence[Transform | None] | None = None,
    normal: bool = True,
    **options: Unpack[ContextOptions],
) -> AnyOrder:
    """One model of every conditional p(any entries | any others), exact along an order; NaN marks unobserved entries.

    Trained by :func:`pushforward.fit` on random subsets; rows may contain NaN.

    Args:
        hidden: Width of the network, then the widths of the inner layers of each residual block.
        layers: Residual blocks.
        bins: Bins of each number's spline.
        classes: For every feature, its number of categories, or None for a number; all are numbers by default.
        first: For every feature, a map from its units to a suitable scale, of ``event_dim`` 0, or None.
        normal: Whether numbers are standardised by their conditionals in a normal distribution with the covariance of
            the training rows, so that the network learns only the non-linear part.

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
    positive_integers(features=features)
    sizes = [size or 0 for size in classes] if classes is not None else [0] * features
    if len(sizes) != features or any(size < 0 or size == 1 for size in sizes):
        raise ValueError(f"classes must hold at least 2, or None, for each of {features} features, got {classes}")
    net = Networks(hidden=hidden, **options)
    subset = SubsetNet(*AnyOrder.sizes(sizes, bins), **net.sizes, layers=layers)
    return net.model(AnyOrder, subset, sizes, bins=bins, first=first, normal=normal, far=FAR)


__test__ = {"anyorder": anyorder}  # a decorated function, which doctest would take for one of another file
