"""The recipe of the transformer autoregressive flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from ..distributions.flow import Flow
from ..nets.attention import CausalTransformer
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.compose import Compose
from ..transforms.dequantise import GaussianNoise
from ..transforms.patches import Patches
from ..transforms.reversible import Reversible
from ..transforms.scalar import Scalar, Spline
from .layers import affine, in_reverse
from .networks import ContextOptions, Networks, check, shares_options


@shares_options
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
        inversion, tolerance: How to sample, as for :class:`~pushforward.transforms.Autoregressive`.
        context, encoder, device, dtype: As for :func:`~pushforward.maf`.

    Raises:
        ValueError: a size is not positive, ``patch`` does not divide the image, ``heads`` does not divide ``width``, or
            ``noise`` is below 0.

    Reference:
        Zhai et al. (2024), Normalizing flows are capable generative models, arXiv:2412.06329. Lecture: "Gaussian
        autoregressive NF".
    """
    check(blocks=blocks)
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
    return net.placed(Flow(transform, features, event_shape=shape, context=net.context, encoder=net.encoder))
