"""Recipes of flows of vectors with networks: autoregressive ones, couplings, and continuous ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

from ..distributions.bounded import BoxUniform
from ..distributions.flow import Flow
from ..errors import positive_integers
from ..nets.field import FourierField, MLPField
from ..transforms.base import Transform
from ..transforms.compose import Compose, Inverse
from ..transforms.continuous import Continuous
from ..transforms.linear import Diagonal, Triangular
from ..transforms.scalar import Additive, Affine, CircularSpline, ScalarChain, Spline
from .images import image_realnvp
from .networks import TAILS, Adjacency, ContextOptions, LayerOptions, NetworkOptions, Networks, affine, recipe


@recipe(layers=5, hidden=(128, 128, 128))
def maf(
    features: int, *, linear: bool = False, adjacency: Adjacency | None = None, **options: Unpack[NetworkOptions]
) -> Flow:
    """Masked autoregressive flow: the density in one pass, sampling feature by feature.

    Logarithmic tails after every layer (:class:`~pushforward.transforms.LogTails`) keep outliers in range of the next.

    Args:
        layers: Autoregressive transforms, whose log-scales are bounded by 15 in total.
        linear: Short for ``mixing="rotation"``: slower steps, and usually a better density.
        adjacency: A graph without cycles, ``(features, features)`` of 0 and 1 or booleans: row j says which features
            feature j depends on given the others. The zeros of the Jacobian are then exactly the graph's, and sampling
            takes as many steps as the graph is deep. Each feature gets one affine map given its parents: ``layers`` and
            ``mixing`` have no effect, as further layers would add dependence on the parents' parents. With shape
            ``(features, features + context)`` it also says which context features reach which feature.

    Raises:
        ValueError: a size is not positive, a hidden layer is too narrow for the features, or ``adjacency`` has a cycle,
            which the message names.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057. Lecture: "Gaussian autoregressive NF".
    """
    net = Networks(**options).rotating(linear)
    if adjacency is not None:
        return net.flow(features, *net.along_graph(adjacency, features, affine(1), TAILS))
    return net.flow(features, *net.autoregressive(features, affine(net.layers), TAILS))


@recipe(layers=5)
def iaf(features: int, **options: Unpack[NetworkOptions]) -> Flow:
    """Inverse autoregressive flow: sampling in one pass, the density of given data feature by feature.

    Reference:
        Kingma et al. (2016), arXiv:1606.04934.
    """
    net = Networks(**options)
    return net.flow(features, Inverse(Compose(net.autoregressive(features, Affine()))))


@recipe(layers=5, hidden=(128, 128, 128), mixing="lu")
def nsf(
    features: int,
    *,
    bins: int = 8,
    bound: float = 5.0,
    coupling: bool = False,
    linear: bool = False,
    adjacency: Adjacency | None = None,
    **options: Unpack[NetworkOptions],
) -> Flow:
    """Neural spline flow: the transforms of :func:`maf`, or with ``coupling`` of :func:`realnvp`, with splines.

    Args:
        coupling: Whether to use couplings, so that both directions take one pass.
        linear: Short for ``mixing="rotation"``. Worthwhile if single features mean little, as with pixels.
        adjacency: A graph, as for :func:`maf`; each feature then gets ``layers`` splines in sequence, all given by its
            parents.

    Raises:
        ValueError: a size is not positive, ``bins`` is below 2, or a hidden layer is too narrow for the features.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    net = Networks(**options).rotating(linear)
    if adjacency is None:
        make = net.couplings if coupling else net.autoregressive
        return net.flow(features, *make(features, Spline(bins, bound)))
    if coupling:
        raise ValueError("adjacency is for autoregressive transforms: leave coupling=True out")
    positive_integers(layers=net.layers)
    splines = ScalarChain([Spline(bins, bound) for _ in range(net.layers)])
    return net.flow(features, *net.along_graph(adjacency, features, splines))


@recipe(layers=8, hidden=())
def triangular_spline(features: int, *, bins: int = 8, bound: float = 5.0, **options: Unpack[LayerOptions]) -> Flow:
    """Triangular spline flow: a spline for each feature, then a triangular matrix; one pass in either direction.

    Few parameters, and no network without a context. The matrices are lower and upper triangular in turn.

    Args:
        layers: Pairs of splines and a matrix.
        hidden: Widths of the hidden layers between the context and the splines; empty for a linear map.

    Reference:
        The flow of this name in flowjax; Durkan, Bekasov, Murray, Papamakarios (2019), arXiv:1906.04032.
    """
    net, scalar = Networks(**options), Spline(bins, bound)

    def layer(number: int) -> Sequence[Transform]:
        return [net.univariate(features, scalar), Triangular(features, lower=number % 2 == 0)]

    return net.flow(features, *net.stacked(features, layer))


@recipe(layers=5, mixing="random")
def ncsf(features: int, *, bins: int = 8, **options: Unpack[NetworkOptions]) -> Flow:
    """Neural circular spline flow: a density of angles in [-pi, pi), continuous around every circle.

    The transforms of :func:`maf` rotate each circle and map it by a spline with one slope where its ends meet; networks
    read cosines and sines, and the base is uniform. Numbers outside are taken modulo 2 pi, however far.

    Args:
        bins: Bins of each spline (:class:`~pushforward.transforms.CircularSpline`).
        mixing: "reverse" or "random", as for :func:`maf`.

    Reference:
        Rezende et al. (2020), Normalizing Flows on Tori and Spheres, arXiv:2002.02428.
    """
    net = Networks(**options)
    if net.mixing not in ("reverse", "random"):
        raise ValueError(f"mixing must be 'reverse' or 'random' for angles, got mixing={net.mixing!r}")
    parts = net.autoregressive(features, CircularSpline(bins))
    return net.flow(BoxUniform([-math.pi] * features, [math.pi] * features), *parts)


@recipe(layers=8)
def realnvp(features: int | Sequence[int], **options: Unpack[NetworkOptions]) -> Flow:
    """Affine couplings over alternating halves of the features: one pass in both directions.

    For images the partitioning is the paper's: checkerboards, a squeeze, then channels, half of which are factored out,
    as long as both sides can be halved to 4 pixels, and at most twice; then checkerboards.

    Args:
        features: Features of a row, or the shape (C, H, W) of an image.
        layers: Couplings, whose log-scales are bounded by 15 in total; for images their number on each scale, half over
            checkerboards and half over channels.
        mixing: As for :func:`maf`; not for images.
        hidden: Widths of the hidden layers of each network; for images one width, repeated once per residual block.
        residual: Whether networks of vectors have residual pairs, as for :func:`maf`; those of images always have them.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803. Lecture: "RealNVP".
    """
    net = Networks(**options)
    if isinstance(features, Sequence):
        return image_realnvp(features, net)
    return net.flow(features, *net.couplings(features, affine(net.layers)))


@recipe(layers=8)
def nice(features: int, **options: Unpack[NetworkOptions]) -> Flow:
    """Additive couplings over alternating halves and one scale per feature: one pass in both directions.

    All but the last step preserve volume.

    Reference:
        Dinh, Krueger, Bengio (2015), NICE, arXiv:1410.8516.
    """
    net = Networks(**options)
    return net.flow(features, *net.couplings(features, Additive()), Diagonal(features))


@recipe()
def ffjord(
    features: int,
    *,
    hidden: Sequence[int] = (64, 64),
    frequencies: int = 0,
    solver: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    trace: str = "auto",
    **options: Unpack[ContextOptions],
) -> Flow:
    """Continuous-in-time flow: a field that carries data to noise; both directions solve a differential equation.

    Args:
        hidden: Widths of the field's hidden layers; up to two of them make the exact trace nearly free.
        frequencies: Number of random waves of x that the field reads besides x, for fine structure in few features
            (:class:`~pushforward.nets.field.FourierField`): its trace takes one product per feature.
        solver: "dopri5", "tsit5" or "bosh3".
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step.
        trace: "auto", "closed", "exact" or "hutchinson".

    Reference:
        Grathwohl et al. (2019), FFJORD, arXiv:1810.01367. Lecture: "FFJORD density estimation".
    """
    positive_integers(features=features)
    net = Networks(hidden=hidden, **options)
    if frequencies < 0:
        raise ValueError(f"frequencies must not be negative, got frequencies={frequencies}")
    waves = FourierField(features, **net.sizes, frequencies=frequencies) if frequencies else None
    field = waves or MLPField(features, **net.sizes)
    return net.model(Flow, Continuous(field, solver=solver, rtol=rtol, atol=atol, trace=trace), features)
