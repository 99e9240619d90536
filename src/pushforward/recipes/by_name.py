"""One registry of recipes by name, with suitable sizes, as used by the command line and by estimators."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from ..distributions.base import Density
from ..distributions.bases import Product
from ..distributions.flow import Flow
from ..distributions.mixed import Categories
from ..errors import InputError, refuse_large_flow
from ..nets.made import MADE
from ..nets.mlp import MLP
from ..transforms.circle import AnglesFirst
from ..transforms.multiscale import possible_squeezes
from .images import glow, pixels, tarflow
from .iterative import bnaf, bpf, gf, naf, residual, sospf, unaf
from .models import pixelcnn
from .tables import ffjord, iaf, maf, ncsf, nsf, realnvp

WIDTH = 128  # of hidden layers by default, if there are fewer features
LARGE = 1_000_000  # units of a flow whose memory is asked for first


FLOWS: dict[str, partial[Flow]] = {
    "nsf": partial(nsf),
    "nsf-coupling": partial(nsf, coupling=True),
    "nsf-linear": partial(nsf, linear=True),
    "maf": partial(maf),
    "maf-linear": partial(maf, linear=True),
    "iaf": partial(iaf),
    "realnvp": partial(realnvp),
    "ffjord": partial(ffjord),
    "bnaf": partial(bnaf),
    "residual": partial(residual, logdet="exact"),  # scores must be reproducible
    "naf": partial(naf),
    "unaf": partial(unaf),
    "bpf": partial(bpf),
    "sospf": partial(sospf),
    "gf": partial(gf),
}
FAST = ("nsf", "nsf-coupling", "nsf-linear", "maf", "maf-linear")  # those that bear a high learning rate


def learning_rate(name: str) -> float:
    """The recommended learning rate for the flow of this name on tables."""
    return 3e-3 if name in FAST else 1e-3


def flow_by_name(
    name: str,
    features: int,
    *,
    context: int = 0,
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
    biases: bool = True,
) -> Flow:
    """A new flow; leaves the global random state unchanged.

    Args:
        name: One of ``FLOWS``.
        features: Features of an event.
        context: Features of the context, 0 for none.
        layers: Layers; the recipe's default if None.
        hidden: Widths of the hidden layers; if None, the recipe's default, or the number of features if larger.
        options: Further arguments of the recipe.
        seed: Seed of the weights.
        biases: Whether biases start at random; else at 0. Random ones put kinks into the tails, where a flow that
            learns from its own draws learns least: at equal effective sample sizes k-hat of a Gamma posterior was 1.1
            and 1.4 with them, 0.4 without.
    """
    if name not in FLOWS:
        raise ValueError(f"there is no flow {name!r}; choose one of {', '.join(FLOWS)}")
    recipe = FLOWS[name]
    options = dict(options)
    if layers is not None:
        if name == "ffjord":
            raise ValueError("ffjord has no layers; choose the widths of its field with hidden")
        options["layers"] = layers
    if hidden is not None:
        options["hidden"] = hidden
    elif features > WIDTH and name != "ffjord":
        options["hidden"] = (features,) * len(inspect.signature(recipe).parameters["hidden"].default)
    if layers and hidden and layers * np.max(hidden) > LARGE:
        with seeded(seed):
            one = recipe(features, context=context, **options | {"layers": 1})
        refuse_large_flow(layers * sum(each.numel() for each in one.parameters()), hidden)
    with seeded(seed):
        flow = recipe(features, context=context, **options)
    if not biases:
        for net in flow.modules():
            for bias in net.biases if isinstance(net, MADE | MLP) else ():
                nn.init.zeros_(bias)
    return flow


def flow_with_angles(name: str, features: int, angles: Sequence[int], *, context: int = 0, **sizes: Any) -> Flow:
    """A new flow over events in which some features are angles in [-pi, pi), of period 2 pi.

    A circular spline flow models the angles; the named flow models all other features given the angles.

    Args:
        name: One of ``FLOWS``, for the features that are not angles.
        features: Features of an event.
        angles: Which of them are angles; if none, the result is that of :func:`flow_by_name`.
        context: Features of the context, 0 for none.
        sizes: ``layers``, ``hidden`` and ``seed``, as for :func:`flow_by_name`.
    """
    count = len(angles)
    # The other features' flow is built in any case, as this checks its name.
    rest = flow_by_name(name, max(features - count, 1), context=context + 2 * count, **sizes)
    if not count:
        return rest
    with seeded(sizes["seed"]):
        around = ncsf(count, context=context, hidden=sizes["hidden"] or (max(WIDTH, count),) * 2)
    if count == features:
        return around
    transform = AnglesFirst(around.transform, rest.transform, angles, features)
    return Flow(transform, Product([around.base, rest.base]), context=context)


def categories_by_size(classes: Sequence[int], *, context: int = 0, seed: int = 0) -> Categories:
    """A new density over categories; leaves the global random state unchanged.

    Args:
        classes: Categories of each column.
        context: Features of the context, 0 for none.
        seed: Seed of the weights.
    """
    width = max(WIDTH, len(classes))
    with seeded(seed):
        net = MADE(len(classes), max(classes), context=context, hidden=(width, width), inputs=max(classes))
    return Categories(net, classes, context=context)


def _glow(
    shape: Sequence[int], levels: int, context: int, *, layers: int = 8, width: int = 64, scales: int | None = None
) -> Density:
    scales = default_scales(shape) if scales is None else scales
    return pixels(glow(shape, context=context, levels=scales, steps=layers, hidden=width), levels=levels)


def _realnvp(shape: Sequence[int], levels: int, context: int, *, layers: int = 6, width: int = 32) -> Density:
    return pixels(realnvp(shape, context=context, layers=layers, hidden=(width, width)), levels=levels)


def _pixelcnn(shape: Sequence[int], levels: int, context: int, *, layers: int = 6, width: int = 32) -> Density:
    return pixelcnn(shape, levels=levels, context=context, hidden=width, layers=layers)


def _tarflow(
    shape: Sequence[int],
    levels: int,
    context: int,
    *,
    layers: int = 4,
    width: int = 96,
    patch: int | None = None,
    noise: float = 0.0,
) -> Density:
    # Noise smooths the edges for which splines, and numbers that see those before them in a patch, are there.
    kind: dict[str, Any] = {"noise": noise} if noise else {"bins": 8, "inner": width}
    patch = default_patch(shape) if patch is None else patch
    heads = max(heads for heads in range(1, max(width // 32, 1) + 1) if width % heads == 0)  # of about 32 units each
    kind |= {"blocks": layers, "width": width, "heads": heads}
    return pixels(tarflow(shape, patch=patch, context=context, **kind), levels=levels)


# Densities of images of whole numbers, from shape, levels, context and keywords of their own. Layers are Glow's steps
# on each scale, PixelCNN's residual blocks and TarFlow's blocks.
IMAGE_FLOWS: dict[str, Callable[..., Density]] = {
    "glow": _glow,
    "realnvp": _realnvp,
    "pixelcnn": _pixelcnn,
    "tarflow": _tarflow,
}


def image_flow_by_name(
    name: str,
    shape: Sequence[int],
    *,
    levels: int = 256,
    context: int = 0,
    hidden: Sequence[int] | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
) -> Density:
    """A new model of images of whole numbers from 0 to levels - 1; leaves the global random state unchanged.

    Args:
        name: One of ``IMAGE_FLOWS``.
        shape: (C, H, W).
        levels: Number of values of each number.
        context: Features of the context, 0 for none.
        hidden: The width of the networks.
        options: Its other keywords (``layers``, Glow's ``scales``, TarFlow's ``patch``, ``noise``); None for a default.
        seed: Seed of the weights.
    """
    if name not in IMAGE_FLOWS:
        raise ValueError(f"there is no such flow for images; choose one of {', '.join(IMAGE_FLOWS)}")
    asked = {option: value for option, value in options.items() if value is not None}
    for option in asked:
        owners = [flow for flow, make in IMAGE_FLOWS.items() if option in inspect.signature(make).parameters]
        if name not in owners:
            raise InputError(f"applies to {', '.join(owners)} only, but the flow is {name}", option)
    if hidden is not None and len(hidden) != 1:
        raise ValueError(f"image flows have one width, as in hidden=64, got {','.join(map(str, hidden))}")
    width = {} if hidden is None else {"width": hidden[0]}
    with seeded(seed):
        return IMAGE_FLOWS[name](shape, levels, context, **asked, **width)


def default_image_flow(shape: Sequence[int]) -> str:
    """Glow if the image can be halved, RealNVP if a side is odd."""
    return "glow" if possible_squeezes(shape) else "realnvp"


def default_scales(shape: Sequence[int]) -> int:
    """How many times Glow halves an image by default."""
    roomy = [times for times in (1, 2, 3) if times <= possible_squeezes(shape) and min(shape[1:]) >= 4 * 2**times]
    return max(roomy, default=1)


def default_patch(shape: Sequence[int]) -> int:
    """The side of a patch by default: up to 4, as long as there are 16 patches."""
    _, height, width = shape
    return max(p for p in (1, 2, 4) if not (height % p or width % p) and (p == 1 or height * width >= 16 * p * p))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, weights are drawn from a seed; the global random state is unchanged afterwards."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus):
        (torch.manual_seed if gpus else torch.default_generator.manual_seed)(seed)
        yield
