"""Recipes of densities other than flows: autoregressive models and mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from ..distributions.autoregressive import AutoregressiveModel
from ..distributions.conditional import Bernoulli, Categorical, Gaussian, Mixture
from ..distributions.mixture import GaussianMixture
from ..nets.made import MADE
from .networks import ContextOptions, Networks, shares_options


@shares_options
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
        features: Features of an event.
        hidden: Widths of the hidden layers.
        conditional: ``"gaussian"``, ``"mixture"`` (of Gaussians), ``"bernoulli"`` (0 or 1) or ``"categorical"``.
        classes: Values 0 … classes-1 of a categorical feature.
        components: Gaussians in a mixture.
        context, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: ``conditional`` is unknown, ``classes`` is missing or superfluous, or a size does not fit.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509. Lecture: "Autoregressive MLP".
    """
    kinds = {"gaussian": Gaussian, "mixture": Mixture, "bernoulli": Bernoulli, "categorical": Categorical}
    if conditional not in kinds:
        raise ValueError(f"conditional must be one of {', '.join(kinds)}, got conditional={conditional!r}")
    if (classes is None) == (conditional == "categorical"):
        raise ValueError(f"classes is for conditional='categorical', got conditional={conditional!r} and {classes=}")
    sizes = {"mixture": components, "categorical": classes}
    part = kinds[conditional](*([sizes[conditional]] if conditional in sizes else []))
    net = Networks(hidden=hidden, **options)
    masked = MADE(features, part.num_params, context=net.context, hidden=hidden, inputs=part.inputs)
    return net.placed(AutoregressiveModel(masked, part, context=net.context, encoder=net.encoder))


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
    return GaussianMixture(features, components, covariance=covariance, context=context)
