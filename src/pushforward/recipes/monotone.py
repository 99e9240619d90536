"""Recipes of autoregressive flows whose scalar maps are monotone networks or polynomials.

Sampling inverts these maps feature by feature with the root finder, on the whole line; logarithmic tails follow each
layer. Polynomials are linear outside [-bound, bound].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

from ..distributions.flow import Flow
from ..transforms.scalar_monotone import Bernstein, DeepSigmoid, MonotonicNetwork, SumOfSquares
from .layers import TAILS, autoregressive
from .networks import NetworkOptions, Networks, shares_options


@shares_options
def naf(
    features: int,
    *,
    layers: int = 3,
    units: int = 16,
    depth: int = 1,
    mixing: str = "lu",
    **options: Unpack[NetworkOptions],
) -> Flow:
    """Neural autoregressive flow: the transforms of :func:`~pushforward.maf` with deep sigmoidal maps.

    Sampling inverts them with the root finder, on the whole line. Logarithmic tails follow each layer.

    Args:
        units: Sigmoids of each map (:class:`~pushforward.transforms.DeepSigmoid`).
        depth: Layers of each map.

    Reference:
        Huang, Krueger, Lacoste, Courville (2018), Neural Autoregressive Flows, arXiv:1804.00779.
    """
    net = Networks(**options)
    return net.flow(features, *autoregressive(features, layers, DeepSigmoid(units, depth), net, mixing, TAILS))


@shares_options
def unaf(
    features: int,
    *,
    layers: int = 3,
    signal: int = 16,
    network: Sequence[int] = (64, 64),
    nodes: int = 16,
    mixing: str = "lu",
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
    return net.flow(features, *autoregressive(features, layers, scalars, net, mixing, TAILS))


@shares_options
def bpf(
    features: int,
    *,
    layers: int = 3,
    degree: int = 16,
    bound: float = 5.0,
    mixing: str = "lu",
    **options: Unpack[NetworkOptions],
) -> Flow:
    """Bernstein polynomial flow: the transforms of :func:`~pushforward.maf` with increasing polynomials.

    They are linear far out, sampling inverts them with the root finder, and logarithmic tails follow every layer.

    Args:
        degree: Degree of the polynomials (:class:`~pushforward.transforms.Bernstein`).

    Reference:
        Arpogaus et al. (2022), arXiv:2204.13939.
    """
    net = Networks(**options)
    return net.flow(features, *autoregressive(features, layers, Bernstein(degree, bound), net, mixing, TAILS))


@shares_options
def sospf(
    features: int,
    *,
    layers: int = 3,
    degree: int = 4,
    polynomials: int = 3,
    bound: float = 5.0,
    mixing: str = "lu",
    **options: Unpack[NetworkOptions],
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
    return net.flow(features, *autoregressive(features, layers, scalar, net, mixing, TAILS))
