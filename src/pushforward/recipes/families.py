"""Recipes of further families: volume-preserving flows, Gaussianization, and circular flows."""

from __future__ import annotations

import math
from typing import Unpack

from ..distributions.bounded import BoxUniform
from ..distributions.flow import Flow
from ..transforms.permutation import Diagonal
from ..transforms.scalar import Additive
from ..transforms.scalar_monotone import Gaussianization
from ..transforms.scalar_splines import CircularSpline
from .layers import autoregressive, couplings, univariate
from .networks import NetworkOptions, Networks, shares_options


@shares_options
def nice(features: int, *, layers: int = 8, mixing: str = "reverse", **options: Unpack[NetworkOptions]) -> Flow:
    """Additive couplings over alternating halves and one scale per feature: one pass in both directions.

    All but the last step preserve volume.

    Args:
        features: Features of an event.
        layers: Couplings.
        context, hidden, mixing, residual, activation, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive.

    Reference:
        Dinh, Krueger, Bengio (2015), NICE, arXiv:1410.8516.
    """
    net = Networks(**options)
    return net.flow(features, *couplings(features, layers, Additive(), net, mixing), Diagonal(features))


@shares_options
def gf(features: int, *, layers: int = 6, components: int = 8, **options: Unpack[NetworkOptions]) -> Flow:
    """Gaussianization flow: mixtures through the normal quantile, feature by feature, with trained rotations between.

    Only the context has a network; one pass in both directions, with the root finder in the inverse.

    Args:
        features: Features of an event.
        layers: Gaussianizations.
        hidden: Widths of the hidden layers of the networks that read the context.
        components: Logistics in each mixture (:class:`~pushforward.transforms.Gaussianization`).
        context, residual, activation, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive.

    Reference:
        Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
    """
    net = Networks(**options)
    return net.flow(features, *univariate(features, layers, Gaussianization(components), net))


@shares_options
def ncsf(
    features: int, *, layers: int = 5, bins: int = 8, mixing: str = "random", **options: Unpack[NetworkOptions]
) -> Flow:
    """Neural circular spline flow: a density of angles in [-pi, pi), continuous around every circle.

    The transforms of :func:`~pushforward.maf` rotate each circle and map it by a spline with one slope where its ends
    meet; networks read cosines and sines, and the base is uniform. Numbers outside are taken modulo 2 pi, however far.

    Args:
        features: Features of an event.
        layers: Autoregressive transforms.
        bins: Bins of each spline (:class:`~pushforward.transforms.CircularSpline`).
        context, hidden, mixing, residual, activation, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive, a hidden layer is too narrow for the features, or ``mixing`` is neither
            "reverse" nor "random".

    Reference:
        Rezende et al. (2020), Normalizing Flows on Tori and Spheres, arXiv:2002.02428.
    """
    net = Networks(**options)
    if mixing not in ("reverse", "random"):
        raise ValueError(f"mixing must be 'reverse' or 'random' for angles, got mixing={mixing!r}")
    parts = autoregressive(features, layers, CircularSpline(bins), net, mixing)
    return net.flow(BoxUniform([-math.pi] * features, [math.pi] * features), *parts)
