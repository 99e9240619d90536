"""The layers of recipes for rows, and what mixes the features between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..nets.made import MADE
from ..nets.mlp import MLP
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.coupling import Coupling, Half
from ..transforms.linear import PLU, Permutation
from ..transforms.scalar import Scalar

Net = Mapping[str, Any]  # options of every network: context, hidden, residual


def autoregressive(
    features: int, layers: int, scalar: Scalar, net: Net, mixing: str, tails: float | None = None
) -> list[Transform]:
    """Autoregressive transforms, every second one through the features in reverse, and what mixes them."""
    backwards = range(features - 1, -1, -1)

    def layer(number: int) -> Transform:
        parameters = MADE(features, scalar.num_params, **net)
        return Autoregressive(parameters, scalar, backwards if number % 2 else None, tails=tails)

    return _mixed(features, layers, layer, mixing)


def couplings(features: int, layers: int, scalar: Scalar, net: Net, mixing: str) -> list[Transform]:
    """Couplings, every second one of the other half, and what mixes them."""

    def layer(number: int) -> Transform:
        split = Half(features, swap=number % 2 == 1)
        return Coupling(split, MLP(split.kept, split.moved, scalar.num_params, **net), scalar)

    return _mixed(features, layers, layer, mixing)


def _mixed(features: int, layers: int, layer: Callable[[int], Transform], mixing: str) -> list[Transform]:
    """The layers with what stands between them.

    Two layers that follow each other are a pair, which takes the features in both orders, or moves both halves;
    random orders come between pairs, so that no feature is ever left out.
    """
    check(features=features, layers=layers)
    if mixing not in MIXINGS:
        raise ValueError(f"mixing must be one of {', '.join(MIXINGS)}, got mixing={mixing!r}")
    parts = [layer(0)]
    for number in range(1, layers):
        parts += [*MIXINGS[mixing](features, number % 2 == 1), layer(number)]
    return parts


def _order(features: int, within_pair: bool) -> torch.Tensor:
    """The order of the features after a layer: as it is within a pair, or where there are two; else a random one."""
    return torch.arange(features) if within_pair or features < 3 else torch.randperm(features)


def _random(features: int, within_pair: bool) -> Sequence[Transform]:
    return [] if within_pair or features < 3 else [Permutation(_order(features, within_pair))]


def _lu(features: int, within_pair: bool) -> Sequence[Transform]:
    return [PLU(torch.eye(features)[_order(features, within_pair)])] if features > 1 else []


def _rotation(features: int, within_pair: bool) -> Sequence[Transform]:
    return [PLU(features)]


MIXINGS: dict[str, Callable[[int, bool], Sequence[Transform]]] = {
    "reverse": lambda features, within_pair: [],
    "random": _random,
    "lu": _lu,
    "rotation": _rotation,
}


def check(**sizes: int) -> None:
    """ValueError: a size is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {name}={size}")
