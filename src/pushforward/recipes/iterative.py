"""Recipes whose transforms evaluate in one pass and are inverted by iteration, to rounding.

A root finder inverts monotone networks and polynomials, on the whole line, and a contraction residual layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

from ..distributions.flow import Flow
from ..errors import positive_integers
from ..nets.lipschitz import LipschitzMLP
from ..transforms.base import Transform
from ..transforms.block import BlockAutoregressive
from ..transforms.linear import Permutation
from ..transforms.normalization import ActNorm
from ..transforms.planar import Planar, Sylvester
from ..transforms.residual import Residual
from ..transforms.scalar_monotone import Bernstein, DeepSigmoid, Gaussianization, MonotonicNetwork, SumOfSquares
from .networks import TAILS, LayerOptions, NetworkOptions, Networks, recipe


@recipe(layers=3, mixing="lu")
def naf(features: int, *, units: int = 16, depth: int = 1, **options: Unpack[NetworkOptions]) -> Flow:
    """Neural autoregressive flow: the transforms of :func:`~pushforward.maf` with deep sigmoidal maps.

    Sampling inverts them with the root finder, on the whole line. Logarithmic tails follow each layer.

    Args:
        units: Sigmoids of each map (:class:`~pushforward.transforms.DeepSigmoid`).
        depth: Layers of each map.

    Reference:
        Huang, Krueger, Lacoste, Courville (2018), Neural Autoregressive Flows, arXiv:1804.00779.
    """
    net = Networks(**options)
    return net.flow(features, *net.autoregressive(features, DeepSigmoid(units, depth), TAILS))


@recipe(layers=3, mixing="lu")
def unaf(
    features: int,
    *,
    signal: int = 16,
    network: Sequence[int] = (64, 64),
    nodes: int = 16,
    **options: Unpack[NetworkOptions],
) -> Flow:
    """Unconstrained neural autoregressive flow: integrals of a positive network, in the transforms of
    :func:`~pushforward.maf`.

    Sampling inverts them with the root finder, on the whole line. Logarithmic tails follow each layer.

    Args:
        signal: Numbers by which the positive network is conditioned.
        network: Widths of its hidden layers (:class:`~pushforward.transforms.MonotonicNetwork`).
        nodes: Points of the quadrature.

    Reference:
        Wehenkel, Louppe (2019), Unconstrained Monotonic Neural Networks, arXiv:1908.05164.
    """
    net, scalars = Networks(**options), partial(MonotonicNetwork, signal, network, nodes)
    return net.flow(features, *net.autoregressive(features, scalars, TAILS))


@recipe(layers=3, mixing="lu")
def bpf(features: int, *, degree: int = 16, bound: float = 5.0, **options: Unpack[NetworkOptions]) -> Flow:
    """Bernstein polynomial flow: the transforms of :func:`~pushforward.maf` with increasing polynomials.

    They are linear far out, sampling inverts them with the root finder, and logarithmic tails follow every layer.

    Args:
        degree: Degree of the polynomials (:class:`~pushforward.transforms.Bernstein`).

    Reference:
        Arpogaus et al. (2022), arXiv:2204.13939.
    """
    net = Networks(**options)
    return net.flow(features, *net.autoregressive(features, Bernstein(degree, bound), TAILS))


@recipe(layers=3, mixing="lu")
def sospf(
    features: int, *, degree: int = 4, polynomials: int = 3, bound: float = 5.0, **options: Unpack[NetworkOptions]
) -> Flow:
    """Sum-of-squares polynomial flow: the transforms of :func:`~pushforward.maf` with sums of squares as slopes.

    They are linear far out, sampling inverts them with the root finder, and logarithmic tails follow every layer.

    Args:
        degree: Degree of the squared polynomials (:class:`~pushforward.transforms.SumOfSquares`).
        polynomials: Number of squared polynomials per feature.

    Reference:
        Jaini, Selby, Yu (2019), Sum-of-Squares Polynomial Flow, arXiv:1905.02325.
    """
    net, scalar = Networks(**options), SumOfSquares(degree, polynomials, bound)
    return net.flow(features, *net.autoregressive(features, scalar, TAILS))


@recipe(layers=8)
def residual(features: int, *, lipschitz: float = 0.97, logdet: str = "auto", **options: Unpack[LayerOptions]) -> Flow:
    """Residual flow: layers x + g(x) with contractions g, so every feature may depend on all others.

    Args:
        layers: Residual layers, each after a trained shift and scale.
        hidden: Widths of the hidden layers of each g.
        lipschitz: The Lipschitz bound of each g, below 1: slopes lie within 1 - lipschitz and 1 + lipschitz.
        logdet: "exact"; "roulette", an unbiased estimate, drawn anew in each call; or "auto", exact up to 8 features.

    Raises:
        ValueError: a size is not positive, ``lipschitz`` is outside (0, 1), or ``logdet`` is unknown.

    Reference:
        Chen, Behrmann, Duvenaud, Jacobsen (2019), arXiv:1906.02735.
    """
    net = Networks(**options)

    def layer(number: int) -> Sequence[Transform]:
        contraction = LipschitzMLP(features, **net.sizes, lipschitz=lipschitz)
        return [ActNorm(features), Residual(contraction, logdet=logdet)]

    return net.flow(features, *net.stacked(features, layer))


@recipe(layers=16, hidden=(64,))
def planar(features: int, **options: Unpack[LayerOptions]) -> Flow:
    """Planar flow: each layer moves every point along one direction. Small, fast, and for few features.

    Args:
        hidden: Widths of the hidden layers of the networks that turn a context into each layer's parameters.

    Reference:
        Rezende, Mohamed (2015), arXiv:1505.05770.
    """
    net = Networks(**options)
    return net.flow(features, *net.stacked(features, lambda _: [Planar(features, **net.sizes)]))


@recipe(layers=8, hidden=(64,))
def sylvester(features: int, *, rank: int | None = None, **options: Unpack[LayerOptions]) -> Flow:
    """Sylvester flow: each layer moves every point along several orthogonal directions.

    Args:
        rank: Directions per layer, at most ``features``; as many as features if None.
        hidden: Widths of the hidden layers of the networks that turn a context into each layer's parameters.

    Reference:
        van den Berg, Hasenclever, Tomczak, Welling (2018), arXiv:1803.05649.
    """
    net = Networks(**options)
    return net.flow(features, *net.stacked(features, lambda _: [Sylvester(features, rank, **net.sizes)]))


@recipe(layers=2)
def bnaf(features: int, **options: Unpack[LayerOptions]) -> Flow:
    """Block neural autoregressive flow: each layer is one network, increasing in the feature that it moves.

    Args:
        layers: Networks, every second one with the features in reverse order.
        hidden: Widths of the hidden layers, divided among the features; each has at least four units.

    Reference:
        De Cao, Titov, Aziz (2019), arXiv:1904.04676.
    """
    net = Networks(**options)
    positive_integers(features=features, **{f"hidden[{k}]": width for k, width in enumerate(net.hidden)})
    units = [max(-(-width // features), 4) for width in net.hidden]

    def layer(number: int) -> Sequence[Transform]:
        turn = [Permutation(range(features)[::-1])] if number else []
        return [*turn, BlockAutoregressive(features, context=net.context, units=units)]

    return net.flow(features, *net.stacked(features, layer))


@recipe(layers=6, mixing="rotation")
def gf(features: int, *, components: int = 8, **options: Unpack[NetworkOptions]) -> Flow:
    """Gaussianization flow: mixtures through the normal quantile, feature by feature, with trained rotations between.

    Only the context has a network; one pass in both directions, with the root finder in the inverse.

    Args:
        components: Logistics in each mixture (:class:`~pushforward.transforms.Gaussianization`).
        hidden: Widths of the hidden layers of the networks that read the context.

    Reference:
        Meng, Song, Song, Ermon (2020), Gaussianization Flows, arXiv:2003.01941.
    """
    net, scalar = Networks(**options), Gaussianization(components)
    return net.flow(features, *net.stacked(features, lambda _: [net.univariate(features, scalar)]))
