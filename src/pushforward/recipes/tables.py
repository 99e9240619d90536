"""Recipes: functions that return a ready-to-use flow with good defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from ..distributions.flow import Flow
from ..nets.field import FourierField, MLPField
from ..transforms.compose import Compose, Inverse
from ..transforms.continuous import Continuous
from ..transforms.scalar import Affine, Spline
from ..transforms.scalar_chain import ScalarChain
from .images import image_realnvp
from .layers import TAILS, affine, along_graph, autoregressive, couplings
from .networks import ContextOptions, NetworkOptions, Networks, StyleOptions, check, shares_options


@shares_options
def maf(
    features: int,
    *,
    layers: int = 5,
    mixing: str = "reverse",
    linear: bool = False,
    adjacency: Tensor | Sequence[Sequence[bool]] | None = None,
    **options: Unpack[NetworkOptions],
) -> Flow:
    """Masked autoregressive flow: the density in one pass, sampling feature by feature.

    Logarithmic tails after every layer (:class:`~pushforward.transforms.LogTails`) keep outliers in range of the next.

    Args:
        features: Features of an event.
        context: Features of the context, 0 for none.
        layers: Autoregressive transforms, whose log-scales are bounded by 15 in total.
        hidden: Widths of the hidden layers of each network.
        mixing: How features are mixed between transforms, every second of which takes them in reverse or moves the
            other half: "reverse", no further mixing; "random", also a random order after every second one; "lu",
            trained matrices :class:`~pushforward.transforms.PLU` that start as these orders, with one more at either
            end; "rotation", trained matrices that start as random rotations.
        residual: Whether the hidden layers after the first form residual pairs; ``hidden`` is then an odd number of
            equal widths.
        activation: Activation of the hidden units: "relu", "tanh", "elu", "gelu" or "silu".
        linear: Short for ``mixing="rotation"``: slower steps, and usually a better density.
        adjacency: A graph without cycles, ``(features, features)`` of 0 and 1 or booleans: row j says which features
            feature j depends on given the others. The zeros of the Jacobian are then exactly the graph's, and sampling
            takes as many steps as the graph is deep. Each feature gets one affine map given its parents: ``layers`` and
            ``mixing`` have no effect, as further layers would add dependence on the parents' parents. With shape
            ``(features, features + context)`` it also says which context features reach which feature.
        encoder: A module that maps contexts of any shape to context features, trained with the flow:
            :class:`~pushforward.nets.DeepSet` for one, or your own, which then needs ``context``.
        device: Device of the weights; PyTorch's default if None.
        dtype: Floating-point dtype of the weights; PyTorch's default if None.

    Raises:
        ValueError: a size is not positive, a hidden layer is too narrow for the features, or ``adjacency`` has a cycle,
            which the message names.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057. Lecture: "Gaussian autoregressive NF".
    """
    check(layers=layers)
    net = Networks(**options)
    mixing = "rotation" if linear else mixing
    if adjacency is not None:
        return net.flow(features, *along_graph(adjacency, features, affine(1), net, mixing, TAILS))
    return net.flow(features, *autoregressive(features, layers, affine(layers), net, mixing, TAILS))


@shares_options
def iaf(features: int, *, layers: int = 5, mixing: str = "reverse", **options: Unpack[NetworkOptions]) -> Flow:
    """Inverse autoregressive flow: sampling in one pass, the density of given data feature by feature.

    Args and errors as for :func:`maf`, without ``linear``.

    Reference:
        Kingma et al. (2016), arXiv:1606.04934.
    """
    net = Networks(**options)
    parts = autoregressive(features, layers, Affine(), net, mixing)
    return net.flow(features, Inverse(Compose(parts)))


@shares_options
def realnvp(
    features: int | Sequence[int], *, layers: int = 8, mixing: str = "reverse", **options: Unpack[NetworkOptions]
) -> Flow:
    """Affine couplings over alternating halves of the features: one pass in both directions.

    For images the partitioning is the paper's: checkerboards, a squeeze, then channels, half of which are factored out,
    as long as both sides can be halved to 4 pixels, and at most twice; then checkerboards.

    Args:
        features: Features of a row, or the shape (C, H, W) of an image.
        layers: Couplings, whose log-scales are bounded by 15 in total; for images their number on each scale, half over
            checkerboards and half over channels.
        hidden: Widths of the hidden layers of each network; for images one width, repeated once per residual block.
        mixing, residual: As for :func:`maf`; not for images, whose networks always are residual.
        context, activation, encoder, device, dtype: As for :func:`maf`.

    Raises:
        ValueError: a size is not positive.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803. Lecture: "RealNVP".
    """
    net = Networks(**options)
    if not isinstance(features, int):
        return image_realnvp(features, layers, net)
    check(layers=layers)
    return net.flow(features, *couplings(features, layers, affine(layers), net, mixing))


@shares_options
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
        features: Features of an event.
        hidden: Widths of the field's hidden layers; up to two of them make the exact trace nearly free.
        frequencies: Number of random waves of x that the field reads besides x, for fine structure in few features
            (:class:`~pushforward.nets.field.FourierField`): its trace takes one product per feature.
        solver: "dopri5", "tsit5" or "bosh3".
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step.
        trace: "auto", "closed", "exact" or "hutchinson".
        context, encoder, device, dtype: As for :func:`maf`.

    Raises:
        ValueError: a size is not positive, or a name is unknown.

    Reference:
        Grathwohl et al. (2019), FFJORD, arXiv:1810.01367. Lecture: "FFJORD density estimation".
    """
    check(features=features)
    net = Networks(hidden=hidden, **options)
    if frequencies < 0:
        raise ValueError(f"frequencies must not be negative, got frequencies={frequencies}")
    field: MLPField | FourierField = (
        FourierField(features, context=net.context, hidden=hidden, frequencies=frequencies)
        if frequencies
        else MLPField(features, context=net.context, hidden=hidden)
    )
    transform = Continuous(field, solver=solver, rtol=rtol, atol=atol, trace=trace)
    return net.placed(Flow(transform, features, context=net.context, encoder=net.encoder))


@shares_options
def nsf(
    features: int,
    *,
    layers: int = 5,
    hidden: Sequence[int] | None = None,
    bins: int = 8,
    bound: float = 5.0,
    coupling: bool = False,
    mixing: str = "lu",
    linear: bool = False,
    adjacency: Tensor | Sequence[Sequence[bool]] | None = None,
    **options: Unpack[StyleOptions],
) -> Flow:
    """Neural spline flow: the transforms of :func:`maf`, or with ``coupling`` of :func:`realnvp`, with splines.

    Args:
        features: Features of an event.
        layers: Transforms.
        hidden: Widths of the hidden layers of each network; if None, two of 128, or four with ``coupling``, as the half
            that a coupling reads carries less information, of which deeper networks make more.
        bins: Bins of each spline.
        bound: Splines act on [-bound, bound] and are the identity outside.
        coupling: Whether to use couplings, so that both directions take one pass.
        linear: Short for ``mixing="rotation"``. Worthwhile if single features mean little, as with pixels.
        adjacency: A graph, as for :func:`maf`; each feature then gets ``layers`` splines in sequence, all given by its
            parents.
        context, mixing, residual, activation, encoder, device, dtype: As for :func:`maf`.

    Raises:
        ValueError: a size is not positive, ``bins`` is below 2, or a hidden layer is too narrow for the features.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    hidden = (128,) * spline_depth(coupling) if hidden is None else hidden
    net = Networks(hidden=hidden, **options)
    mixing = "rotation" if linear else mixing
    if adjacency is None:
        make = couplings if coupling else autoregressive
        return net.flow(features, *make(features, layers, Spline(bins, bound), net, mixing))
    if coupling:
        raise ValueError("adjacency is for autoregressive transforms: leave coupling=True out")
    check(layers=layers)
    splines = ScalarChain([Spline(bins, bound) for _ in range(layers)])
    return net.flow(features, *along_graph(adjacency, features, splines, net, mixing))


def spline_depth(coupling: bool) -> int:
    """Default number of hidden layers of each network of :func:`nsf`."""
    return 4 if coupling else 2
