"""Recipes: functions that return a ready flow with defaults that work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..distributions.flow import Flow
from ..nets.encoders import context_features
from ..nets.field import FourierField, MLPField
from ..transforms.compose import Inverse
from ..transforms.continuous import Continuous
from ..transforms.scalar import Affine, Spline
from ..transforms.scalar_chain import ScalarChain
from .images import image_realnvp
from .layers import TAILS, affine, along_graph, autoregressive, check, couplings, flow_of
from .placement import placed


def maf(
    features: int,
    *,
    context: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    mixing: str = "reverse",
    residual: bool = False,
    activation: str = "relu",
    linear: bool = False,
    adjacency: Tensor | Sequence[Sequence[bool]] | None = None,
    encoder: nn.Module | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Flow:
    """Masked autoregressive flow: the density in one pass, sampling feature by feature.

    Logarithmic tails after every layer (:class:`~pushforward.transforms.LogTails`) keep far rows in reach of the next.

    Args:
        features: Features of a row.
        context: Features of the context, 0 for none.
        layers: Autoregressive transforms, which together bound the log-scales by 15.
        hidden: Widths of the hidden layers of each network.
        mixing: What mixes the features between transforms, of which every second one takes them in reverse or moves
            the other half: "reverse", nothing else; "random", also a random order after every second one; "lu",
            trained matrices :class:`~pushforward.transforms.PLU` that start as these orders, and one at either end;
            "rotation", trained matrices that start as random rotations.
        residual: Whether the hidden layers after the first come in pairs that add to what they read; ``hidden`` is then
            an odd number of equal widths.
        activation: Of the hidden units: "relu", "tanh", "elu", "gelu" or "silu".
        linear: Short for ``mixing="rotation"``: slower steps, and mostly a better density.
        adjacency: A graph without cycles, ``(features, features)`` of 0 and 1 or booleans: row j says which features
            feature j depends on given the others. The zeros of the Jacobian are then exactly the graph's, and sampling
            takes as many steps as it is deep. Each feature gets one affine map given its parents: ``layers`` and
            ``mixing`` count for nothing, as further layers would let the parents' parents in.
        encoder: A module that turns contexts of any shape into the features of the context, trained with the flow:
            :class:`~pushforward.nets.DeepSet` for one, or any of your own, which then needs ``context``.
        device: Where the weights stand; PyTorch's default where it is None.
        dtype: Of the weights, a floating-point one; PyTorch's default where it is None.

    Raises:
        ValueError: a size is not positive, a hidden layer is too narrow for the features, or ``adjacency`` has a cycle,
            which the sentence names.

    Reference:
        Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057. Lecture: "Gaussian autoregressive NF".
    """
    check(layers=layers)
    context = context_features(context, encoder)
    net = {"context": context, "hidden": hidden, "residual": residual, "activation": activation}
    mixing = "rotation" if linear else mixing
    if adjacency is not None:
        parts = along_graph(adjacency, features, affine(1), net, mixing, tails=TAILS)
    else:
        parts = autoregressive(features, layers, affine(layers), net, mixing, tails=TAILS)
    return flow_of(parts, features, context, device, dtype, encoder)


def iaf(
    features: int,
    *,
    context: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    mixing: str = "reverse",
    residual: bool = False,
    activation: str = "relu",
    encoder: nn.Module | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Flow:
    """Inverse autoregressive flow: sampling in one pass, the density of given data feature by feature.

    Args and errors as for :func:`maf`, without ``linear``.

    Reference:
        Kingma et al. (2016), arXiv:1606.04934.
    """
    context = context_features(context, encoder)
    net = {"context": context, "hidden": hidden, "residual": residual, "activation": activation}
    parts = autoregressive(features, layers, Affine(), net, mixing)
    return flow_of([Inverse(part) for part in reversed(parts)], features, context, device, dtype, encoder)


def realnvp(
    features: int | Sequence[int],
    *,
    context: int = 0,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    mixing: str = "reverse",
    residual: bool = False,
    activation: str = "relu",
    encoder: nn.Module | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Flow:
    """Affine couplings over alternating halves of the features: one pass in both directions.

    For images the partitioning is the paper's: checkerboards, a squeeze, channels, half of which is factored out, as
    long as both sides can be halved to 4 pixels and twice at most; then checkerboards.

    Args:
        features: Features of a row, or the shape (C, H, W) of an image.
        context: Features of the context, 0 for none.
        layers: Couplings, which together bound the log-scales by 15; for images on each scale, half over checkerboards
            and half over channels.
        hidden: Widths of the hidden layers of each network; for images one width, once per residual block.
        mixing: As of :func:`maf`; for rows.
        residual: As of :func:`maf`; networks of images always are.
        activation: As of :func:`maf`.
        encoder: As of :func:`maf`.
        device: Where the weights stand; PyTorch's default where it is None.
        dtype: Of the weights, a floating-point one; PyTorch's default where it is None.

    Raises:
        ValueError: a size is not positive.

    Reference:
        Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803. Lecture: "RealNVP".
    """
    context = context_features(context, encoder)
    net = {"context": context, "hidden": hidden, "activation": activation}
    if not isinstance(features, int):
        return placed(image_realnvp(features, layers, net, encoder), device, dtype)
    check(layers=layers)
    net["residual"] = residual
    return flow_of(couplings(features, layers, affine(layers), net, mixing), features, context, device, dtype, encoder)


def ffjord(
    features: int,
    *,
    context: int = 0,
    hidden: Sequence[int] = (64, 64),
    frequencies: int = 0,
    solver: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    trace: str = "auto",
    encoder: nn.Module | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Flow:
    """Continuous-in-time flow: a field that carries data to noise; both directions solve a differential equation.

    Args:
        features: Features of a row.
        context: Features of the context, 0 for none.
        hidden: Widths of the field's hidden layers; up to two of them make the exact trace nearly free.
        frequencies: So many random waves of x that the field reads besides x, for fine structure in few features
            (:class:`~pushforward.nets.field.FourierField`): its trace takes one product for each feature.
        solver: "dopri5", "tsit5" or "bosh3".
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance of a step.
        trace: "auto", "closed", "exact" or "hutchinson".
        encoder: As of :func:`maf`.
        device: Where the weights stand; PyTorch's default where it is None.
        dtype: Of the weights, a floating-point one; PyTorch's default where it is None.

    Raises:
        ValueError: a size is not positive, or a name is unknown.

    Reference:
        Grathwohl et al. (2019), FFJORD, arXiv:1810.01367. Lecture: "FFJORD density estimation".
    """
    check(features=features)
    context = context_features(context, encoder)
    if frequencies < 0:
        raise ValueError(f"frequencies must not be negative, got frequencies={frequencies}")
    field: MLPField | FourierField = (
        FourierField(features, context=context, hidden=hidden, frequencies=frequencies)
        if frequencies
        else MLPField(features, context=context, hidden=hidden)
    )
    transform = Continuous(field, solver=solver, rtol=rtol, atol=atol, trace=trace)
    return placed(Flow(transform, features, context=context, encoder=encoder), device, dtype)


def nsf(
    features: int,
    *,
    context: int = 0,
    layers: int = 5,
    hidden: Sequence[int] | None = None,
    bins: int = 8,
    bound: float = 5.0,
    coupling: bool = False,
    mixing: str = "lu",
    residual: bool = False,
    activation: str = "relu",
    linear: bool = False,
    adjacency: Tensor | Sequence[Sequence[bool]] | None = None,
    encoder: nn.Module | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Flow:
    """Neural spline flow: the transforms of :func:`maf`, or with ``coupling`` of :func:`realnvp`, with splines.

    Args:
        features: Features of a row.
        context: Features of the context, 0 for none.
        layers: Transforms.
        hidden: Widths of the hidden layers of each network; where it is None, two of 128, or with ``coupling`` four, as
            the half that a coupling reads says less, and deeper networks make more of it.
        bins: Bins of each spline.
        bound: Splines act on [-bound, bound] and leave the rest as it is.
        coupling: Whether both directions take one pass.
        mixing: As of :func:`maf`.
        residual: Whether the hidden layers after the first come in pairs that add to what they read; ``hidden`` is then
            an odd number of equal widths.
        activation: Of the hidden units: "relu", "tanh", "elu", "gelu" or "silu".
        linear: Short for ``mixing="rotation"``. Worth it where no feature stands for itself, as with pixels.
        adjacency: A graph, as of :func:`maf`; ``layers`` splines of each feature then follow one another, all given by
            its parents.
        encoder: As of :func:`maf`.
        device: Where the weights stand; PyTorch's default where it is None.
        dtype: Of the weights, a floating-point one; PyTorch's default where it is None.

    Raises:
        ValueError: a size is not positive, ``bins`` is below 2, or a hidden layer is too narrow for the features.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    context, make = context_features(context, encoder), couplings if coupling else autoregressive
    hidden = (128,) * spline_depth(coupling) if hidden is None else hidden
    net = {"context": context, "hidden": hidden, "residual": residual, "activation": activation}
    mixing = "rotation" if linear else mixing
    if adjacency is not None and coupling:
        raise ValueError("adjacency is for autoregressive transforms: leave coupling=True out")
    if adjacency is not None:
        check(layers=layers)
        splines = ScalarChain([Spline(bins, bound) for _ in range(layers)])
        parts = along_graph(adjacency, features, splines, net, mixing)
    else:
        parts = make(features, layers, Spline(bins, bound), net, mixing)
    return flow_of(parts, features, context, device, dtype, encoder)


def spline_depth(coupling: bool) -> int:
    """Hidden layers of each network of :func:`nsf` where nothing is said of them."""
    return 4 if coupling else 2
