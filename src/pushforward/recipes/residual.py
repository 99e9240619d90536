"""Recipes whose transforms have no closed-form inverse, or no networks: residual flows of all kinds, and monotone ones.

Each evaluates in one pass and is inverted by a root finder or a contraction, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from ..distributions.flow import Flow
from ..nets.lipschitz import LipschitzMLP
from ..transforms.base import Transform
from ..transforms.block import BlockAutoregressive
from ..transforms.linear import Triangular
from ..transforms.normalization import ActNorm
from ..transforms.permutation import Permutation
from ..transforms.planar import Planar, Sylvester
from ..transforms.residual import Residual
from ..transforms.scalar import Spline
from ..transforms.univariate import Univariate
from .networks import ContextOptions, Networks, check, shares_options


@shares_options
def residual(
    features: int,
    *,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    lipschitz: float = 0.97,
    logdet: str = "auto",
    **options: Unpack[ContextOptions],
) -> Flow:
    """Residual flow: layers x + g(x) with contractions g, so every feature may depend on all others.

    Args:
        features: Features of an event.
        layers: Residual layers, each after a trained shift and scale.
        hidden: Widths of the hidden layers of each g.
        lipschitz: The Lipschitz bound of each g, below 1: slopes lie within 1 - lipschitz and 1 + lipschitz.
        logdet: "exact"; "roulette", an unbiased estimate, drawn anew in each call; or "auto", exact up to 8 features.
        context, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive, ``lipschitz`` is outside (0, 1), or ``logdet`` is unknown.

    Reference:
        Chen, Behrmann, Duvenaud, Jacobsen (2019), arXiv:1906.02735.
    """
    check(features=features, layers=layers)
    net = Networks(hidden=hidden, **options)
    parts: list[Transform] = []
    for _ in range(layers):
        contraction = LipschitzMLP(features, context=net.context, hidden=hidden, lipschitz=lipschitz)
        parts += [ActNorm(features), Residual(contraction, logdet=logdet)]
    return net.flow(features, *parts)


@shares_options
def planar(
    features: int, *, layers: int = 16, hidden: Sequence[int] = (64,), **options: Unpack[ContextOptions]
) -> Flow:
    """Planar flow: each layer moves every point along one direction. Small, fast, and for few features.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none; a network of each layer turns them into its parameters.
        layers: Planar layers.
        hidden: Widths of the hidden layers of these networks.
        encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive.

    Reference:
        Rezende, Mohamed (2015), arXiv:1505.05770.
    """
    check(features=features, layers=layers)
    net = Networks(hidden=hidden, **options)
    return net.flow(features, *[Planar(features, context=net.context, hidden=hidden) for _ in range(layers)])


@shares_options
def sylvester(
    features: int,
    *,
    layers: int = 8,
    rank: int | None = None,
    hidden: Sequence[int] = (64,),
    **options: Unpack[ContextOptions],
) -> Flow:
    """Sylvester flow: each layer moves every point along several orthogonal directions.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none; a network of each layer turns them into its parameters.
        layers: Sylvester layers.
        rank: Directions per layer; as many as features if None.
        hidden: Widths of the hidden layers of these networks.
        encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive, or ``rank`` is above ``features``.

    Reference:
        van den Berg, Hasenclever, Tomczak, Welling (2018), arXiv:1803.05649.
    """
    check(features=features, layers=layers)
    net = Networks(hidden=hidden, **options)
    return net.flow(features, *[Sylvester(features, rank, context=net.context, hidden=hidden) for _ in range(layers)])


@shares_options
def bnaf(
    features: int, *, layers: int = 2, hidden: Sequence[int] = (128, 128), **options: Unpack[ContextOptions]
) -> Flow:
    """Block neural autoregressive flow: each layer is one network, increasing in the feature that it moves.

    Args:
        features: Features of an event.
        layers: Networks, every second one with the features in reverse order.
        hidden: Widths of the hidden layers, divided among the features; each has at least four units.
        context, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive.

    Reference:
        De Cao, Titov, Aziz (2019), arXiv:1904.04676.
    """
    check(features=features, layers=layers, **{f"hidden[{k}]": width for k, width in enumerate(hidden)})
    net = Networks(hidden=hidden, **options)
    units = [max(-(-width // features), 4) for width in hidden]
    parts: list[Transform] = []
    for number in range(layers):
        parts += [Permutation(range(features)[::-1])] * (number > 0)
        parts.append(BlockAutoregressive(features, context=net.context, units=units))
    return net.flow(features, *parts)


@shares_options
def triangular_spline(
    features: int,
    *,
    layers: int = 8,
    bins: int = 8,
    bound: float = 5.0,
    hidden: Sequence[int] = (),
    **options: Unpack[ContextOptions],
) -> Flow:
    """Triangular spline flow: a spline for each feature, then a triangular matrix; one pass in either direction.

    Few parameters, and no network without a context. The matrices are lower and upper triangular in turn.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none; it determines the splines.
        layers: Pairs of splines and a matrix.
        bins: Bins of each spline.
        bound: Splines act on [-bound, bound] and are the identity outside.
        hidden: Widths of the hidden layers between the context and the splines; empty for a linear map.
        encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive, or ``bins`` is below 2.

    Reference:
        The flow of this name in flowjax; Durkan, Bekasov, Murray, Papamakarios (2019), arXiv:1906.04032.
    """
    check(features=features, layers=layers)
    net, scalar = Networks(hidden=hidden, **options), Spline(bins, bound)
    parts: list[Transform] = []
    for number in range(layers):
        splines = Univariate(net.without_context().mlp(0, features, scalar), scalar)
        parts += [splines, Triangular(features, lower=number % 2 == 0)]
    return net.flow(features, *parts)
