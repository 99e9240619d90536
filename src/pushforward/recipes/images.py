"""Recipes of flows of images (C, H, W): Glow, RealNVP with the paper's partitioning, and TarFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from ..distributions.flow import Flow
from ..errors import one_of, positive_integers
from ..nets.attention import CausalTransformer
from ..nets.conv import ConvNet, ResidualConvNet
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.compose import Compose
from ..transforms.convolution import Conv1x1
from ..transforms.coupling import Channel, Checkerboard, Coupling
from ..transforms.dequantise import Dequantise, GaussianNoise, UnitLogit, VariationalDequantise
from ..transforms.multiscale import Multiscale, Patches, Squeeze, check_squeezes
from ..transforms.normalization import ActNorm
from ..transforms.reversible import Reversible
from ..transforms.scalar import Affine, Scalar, Spline
from .networks import ContextOptions, Networks, affine, in_reverse, recipe

LIMIT = 1.0  # of an image coupling's log-scale: with dozens in sequence, an unusual image must not blow up


@recipe()
def glow(
    shape: Sequence[int],
    *,
    levels: int = 3,
    steps: int = 8,
    hidden: int = 128,
    reversible: bool = False,
    activation: str = "relu",
    **options: Unpack[ContextOptions],
) -> Flow:
    """Glow: on each level a squeeze, then steps of ActNorm, invertible 1x1 convolution and affine coupling.

    A density of real-valued images, best of about unit scale; wrap it with :func:`pushforward.pixels` for images of
    whole numbers. One pass in either direction. With ``context`` it is conditional; give classes as one-hot vectors.

    Args:
        shape: (C, H, W) of the images; H and W must be multiples of 2^levels.
        levels: Scales; after each but the last, half of the channels is factored out.
        steps: Steps on each level.
        hidden: Channels of the coupling networks.
        reversible: Recompute activations in the backward pass, so that memory does not grow with ``steps``.

    Raises:
        ValueError: a size is not positive, the image cannot be squeezed ``levels`` times, or ``activation`` is unknown.

    Reference:
        Kingma, Dhariwal (2018), Glow, arXiv:1807.03039. Lecture: "Glow samples".
    """
    positive_integers(levels=levels, steps=steps, hidden=hidden)
    check_squeezes(shape, levels)
    net = Networks(hidden=(hidden, hidden), activation=activation, **options)
    stages: list[Transform] = []
    for level in range(levels):
        channels = 2 ** (level + 2) * shape[0]
        parts = [_glow_step(channels, net) for _ in range(steps)]
        stages.append((Reversible if reversible else Compose)([Squeeze(), *parts]))
    return _multiscale(stages, shape, net, squeezes=levels)


@recipe()
def tarflow(
    shape: Sequence[int],
    *,
    patch: int = 2,
    blocks: int = 4,
    layers: int = 2,
    width: int = 128,
    heads: int = 4,
    noise: float = 0.0,
    bins: int = 0,
    inner: int = 0,
    reversible: bool = False,
    inversion: str = "incremental",
    tolerance: float = 0.0,
    **options: Unpack[ContextOptions],
) -> Flow:
    """TarFlow: Gaussian autoregressive flows over the patches of an image, by causal transformers, in alternate order.

    A density of real-valued images, best of about unit scale; wrap it with :func:`pushforward.pixels` for images of
    whole numbers. The density takes one pass; sampling goes patch by patch, with cached keys and values. With
    ``context`` it is conditional; give classes as one-hot vectors.

    Args:
        shape: (C, H, W) of the images.
        patch: Side of a patch, whose numbers are moved given the previous patches.
        blocks: Autoregressive transforms, every second one with the patches in reverse order.
        layers: Attention layers per block.
        width: Units per patch in each layer.
        heads: Heads of each attention layer.
        noise: Standard deviation of Gaussian noise added to the training images, for better samples with
            ``flow.sample(..., denoise=True)``; 0 for none.
        bins: Bins of splines that replace the affine maps, for densities with sharp edges or several peaks, such as
            those of scans and drawings; 0 for affine maps.
        inner: Hidden units of the network that lets each number of a patch see those before it; 0 for numbers that do
            not see each other, as in the paper.
        reversible: Recompute activations in the backward pass, so that memory does not grow with ``blocks``.
        inversion: How to sample, as for :class:`~pushforward.transforms.Autoregressive`.
        tolerance: When iterative sampling ends, as there.

    Raises:
        ValueError: a size is not positive, ``patch`` does not divide the image, ``heads`` does not divide ``width``, or
            ``noise`` is below 0.

    Reference:
        Zhai et al. (2024), Normalizing flows are capable generative models, arXiv:2412.06329. Lecture: "Gaussian
        autoregressive NF".
    """
    positive_integers(blocks=blocks)
    if not noise >= 0:
        raise ValueError(f"noise must be at least 0, got noise={noise}")
    net = Networks(**options)
    patches = Patches(shape, patch)
    size = patch**2 * shape[0]
    sizes = {"context": net.context, "layers": layers, "width": width, "heads": heads}
    features = patches.positions * size

    def block(number: int) -> Sequence[Transform]:
        scalar: Scalar = Spline(bins) if bins else affine(blocks)
        transformer = CausalTransformer(patches.positions, scalar.num_params, size=size, inner=inner, **sizes)
        parts = [Autoregressive(transformer, scalar, inversion=inversion, tolerance=tolerance)]
        return in_reverse(parts, features) if number % 2 else parts

    parts = [patches, *(part for number in range(blocks) for part in block(number))]
    transform: Transform = (Reversible if reversible else Compose)(parts)
    if noise:
        transform = Compose([GaussianNoise(noise), transform])
    return net.model(Flow, transform, features, event_shape=shape)


def pixels(
    flow: Flow, *, levels: int = 256, alpha: float | None = 0.05, dequantise: str = "uniform", hidden: int = 32
) -> Flow:
    """Turns a flow over real-valued images into a model of images of whole numbers, including the preprocessing.

    x is dequantised, scaled to [0, 1), and mapped to the real line by a logit; or, if the flow itself adds Gaussian
    noise (``pf.tarflow(..., noise=0.05)``), scaled to [-1, 1], the scale of ``noise``. ``log_prob`` is a lower bound,
    with one draw of the noise, on the log-probability of the discrete image:
    ``bits_per_dim(log_prob, shape, levels=1)``.

    Args:
        flow: The flow; its modules are shared, not copied.
        levels: x holds whole numbers from 0 to levels - 1.
        alpha: As for :class:`UnitLogit`; None leaves [0, 1) as it is.
        dequantise: ``"uniform"``, or ``"variational"`` for learnt noise.
        hidden: Channels of the network for learnt noise.

    Raises:
        ValueError: an argument is out of range, or ``dequantise`` is unknown.
    """
    one_of(("uniform", "variational"), dequantise=dequantise)
    shape = flow.event_shape
    noisy, *rest = flow.transform.flattened()
    if isinstance(noisy, GaussianNoise):
        parts: list[Transform] = [GaussianNoise(noisy.noise, levels), *rest]
        sizes: dict[str, Any] = {"event_shape": shape, "context": flow.context_features}
        return Flow(Compose(parts), flow.base, **sizes, encoder=flow.encoder)
    first = Dequantise(levels) if dequantise == "uniform" else VariationalDequantise(shape, levels, hidden)
    return flow.behind(first, *([] if alpha is None else [UnitLogit(alpha)]))


def image_realnvp(shape: Sequence[int], net: Networks) -> Flow:
    """RealNVP with the paper's partitioning: checkerboards, squeeze, channels, half factored out."""
    positive_integers(layers=net.layers)
    check_squeezes(shape, 0)
    C, H, W = shape
    stages: list[Transform] = []
    squeezes = 0
    while min(H, W) >= 8 and H % 2 == W % 2 == 0 and squeezes < 2:
        parts = _checkerboards(C, H, W, (net.layers + 1) // 2, net)
        parts += [Squeeze(), *_channels(4 * C, net.layers // 2, net)]
        stages.append(Compose(parts))
        C, H, W, squeezes = 2 * C, H // 2, W // 2, squeezes + 1
    stages.append(Compose(_checkerboards(C, H, W, (net.layers + 1) // 2, net)))
    return _multiscale(stages, shape, net, squeezes)


def _multiscale(stages: Sequence[Transform], shape: Sequence[int], net: Networks, squeezes: int) -> Flow:
    """Stages, each but the last followed by a learned prior for the half that is factored out."""
    C, H, W = shape
    priors: list[Transform] = []
    pieces = []
    for _ in range(len(stages) - 1):
        C, H, W = 2 * C, H // 2, W // 2  # after the split
        prior = ConvNet(C, C, Affine.num_params, context=net.context, hidden=())
        priors.append(Coupling(Channel(2 * C), prior, Affine(LIMIT)))
        pieces.append((C, H, W))
    pieces.append((4 * C, H // 2, W // 2) if squeezes == len(stages) else (C, H, W))
    return net.model(Flow, Multiscale(stages, priors, pieces), math.prod(shape), event_shape=shape)


def _glow_step(channels: int, net: Networks) -> Transform:
    split, scalar = Channel(channels), Affine(LIMIT)
    convolutions = ConvNet(split.kept, split.moved, scalar.num_params, **net.convolutional)
    return Compose([Conv1x1(channels, normalize=True), Coupling(split, convolutions, scalar)])


def _checkerboards(C: int, H: int, W: int, count: int, net: Networks) -> list[Transform]:
    parts: list[Transform] = []
    for layer in range(count):
        split, scalar = Checkerboard(H, W, swap=layer % 2 == 1), Affine(LIMIT)
        masked = ResidualConvNet(C, C, scalar.num_params, moved=1 - split.mask, **net.convolutional)
        parts += [ActNorm(C, event_dim=3), Coupling(split, masked, scalar)]
    return parts


def _channels(C: int, count: int, net: Networks) -> list[Transform]:
    parts: list[Transform] = []
    for layer in range(count):
        split, scalar = Channel(C, swap=layer % 2 == 1), Affine(LIMIT)
        convolutions = ResidualConvNet(split.kept, split.moved, scalar.num_params, **net.convolutional)
        parts += [ActNorm(C, event_dim=3), Coupling(split, convolutions, scalar)]
    return parts
