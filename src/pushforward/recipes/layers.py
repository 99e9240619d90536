"""The layers of recipes for vectors, and the mixing of features between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import one_of, positive_integers
from ..nets.graph import GraphMLP, checked_graph
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.coupling import Coupling
from ..transforms.elementwise import LogTails
from ..transforms.linear import PLU
from ..transforms.permutation import Permutation
from ..transforms.scalar import Affine, Scalar
from ..transforms.splits import Half
from .networks import Networks

# Log-scales of affine layers are bounded by 15 in total, and by 5 in each layer. Otherwise single outliers meet narrow
# scales in layer after layer and lose thousands of nats, and in single precision a RealNVP with random weights is not
# invertible at all. A MAF also has logarithmic tails between the layers, which end where they undo more than the exp(3)
# that each of five layers can add: there they become linear, so that five layers can also invert outliers.
TOTAL_LOG_SCALE, LAYER_LOG_SCALE, TAILS, FAR = 15.0, 5.0, 5.0, 30.0

Layer = Callable[[int], Sequence[Transform]]  # the transforms of the layer of this number


def affine(layers: int) -> Affine:
    """The scalar map for each of ``layers`` layers, with a total bound on the log-scales."""
    return Affine(min(LAYER_LOG_SCALE, TOTAL_LOG_SCALE / layers))


def stacked(features: int, layers: int, layer: Layer, mixing: str = "reverse") -> list[Transform]:
    """The layers with the mixing between them, and for "lu" also at both ends, as columns are mostly correlated.

    Two consecutive layers are a pair, which takes the features in both orders, or moves both halves; random orders come
    between pairs, so that no feature is left out.
    """
    positive_integers(features=features, layers=layers)
    one_of(MIXINGS, mixing=mixing)
    parts = [*layer(0)]
    for number in range(1, layers):
        parts += [*MIXINGS[mixing](features, number % 2 == 1), *layer(number)]
    return [*_lu(features, True), *parts, *_lu(features, True)] if mixing == "lu" else parts


def autoregressive(
    features: int,
    layers: int,
    scalar: Scalar | Callable[[], Scalar],
    net: Networks,
    mixing: str,
    tails: float | None = None,
) -> list[Transform]:
    """Autoregressive transforms, every second one with the features in reverse order, and the mixing between them.

    A scalar map with its own weights is given as a function that makes one for each transform. With ``tails``, each is
    followed by logarithmic ones that begin there.
    """

    def layer(number: int) -> Sequence[Transform]:
        own = scalar if isinstance(scalar, Scalar) else scalar()
        parts = [Autoregressive(net.made(features, own), own), *_log_tails(tails)]
        return in_reverse(parts, features) if number % 2 else parts

    return stacked(features, layers, layer, mixing)


def in_reverse(parts: Sequence[Transform], features: int) -> Sequence[Transform]:
    """The same transforms for features that are taken from the last to the first."""
    if features == 1:
        return parts
    order = range(features - 1, -1, -1)
    return [Permutation(order), *parts, Permutation(order)]


def couplings(features: int, layers: int, scalar: Scalar, net: Networks, mixing: str) -> list[Transform]:
    """Couplings over alternating halves, and the mixing between them."""

    def layer(number: int) -> Sequence[Transform]:
        split = Half(features, swap=number % 2 == 1)
        return [Coupling(split, net.mlp(split.kept, split.moved, scalar), scalar)]

    return stacked(features, layers, layer, mixing)


def along_graph(
    adjacency: Tensor | Sequence[Sequence[bool]],
    features: int,
    scalar: Scalar,
    net: Networks,
    mixing: str,
    tails: float | None = None,
) -> list[Transform]:
    """One autoregressive transform along a graph: any second one, or mixing, would add dependence on grandparents."""
    positive_integers(features=features)
    if mixing in ("random", "rotation"):
        raise ValueError(f"mixing={mixing!r} would mix features that adjacency keeps apart: leave it out")
    graph = checked_graph(adjacency, features, net.context)
    return [Autoregressive(GraphMLP(graph, scalar.num_params, **net.options), scalar), *_log_tails(tails)]


def _log_tails(bound: float | None) -> list[Transform]:
    return [] if bound is None else [LogTails(bound, far=FAR)]


def _random(features: int, within_pair: bool) -> Sequence[Transform]:
    """A random order, but none within a pair, or of two features."""
    return [] if within_pair or features < 3 else [Permutation(torch.randperm(features))]


def _lu(features: int, within_pair: bool) -> Sequence[Transform]:
    order = torch.arange(features) if within_pair or features < 3 else torch.randperm(features)
    return [PLU(torch.eye(features)[order])] if features > 1 else []


MIXINGS: dict[str, Callable[[int, bool], Sequence[Transform]]] = {
    "reverse": lambda features, within_pair: [],
    "random": _random,
    "lu": _lu,
    "rotation": lambda features, within_pair: [PLU(features)],
}
