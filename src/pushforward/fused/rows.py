"""Couplings and autoregressive transforms of vectors, run as stacks of networks and scalar maps.

Events always have the shape ``(*batch, features)``; fused maps pass tensors whose memory is feature-first, so that each
feature is contiguous over the batch and a range of features is a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn

from ..nets.made import MADE
from ..nets.mlp import MLP, Perceptron, needed
from ..numerics import affine
from ..numerics.torch_internals import listed, watched
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.coupling import Alternate, Coupling, Half, Split
from ..transforms.elementwise import LogTails
from ..transforms.linear import Permutation
from ..transforms.scalar import Affine, Scalar, Spline
from . import stack
from .incremental import Sequential, UnitSchedule
from .maps import AffineMap, AnyMap, SplineMap, within
from .network import Shape, block_triangular, full


class Couplings:
    """Consecutive couplings of the same two parts of an event."""

    def __init__(self, parts: tuple[tuple[int, int, int], ...]) -> None:
        self.parts = parts
        self.places = {parts: 0, parts[::-1]: 1}  # of the part that a coupling reads
        self.nets: list[Any] = []
        self.layers: list[stack.FlowLayer] = []

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> Couplings | None:
        parts = _parts(transform.split) if type(transform) is Coupling else None
        found = None if parts is None else cls(parts)
        return found if found is not None and found.take(transform) else None

    def take(self, transform: Transform) -> bool:
        """Takes in the next transform if it is a coupling of the same parts; returns whether it did."""
        if type(transform) is not Coupling or watched(transform):
            return False
        net, scalar_map = transform.net, _scalar_map(transform.scalar)
        read = self.places.get(_parts(transform.split))  # type: ignore[arg-type]
        if read is None or scalar_map is None or not _known(net, MLP):
            return False
        self.nets.append(net)
        self.layers.append(stack.FlowLayer(_shape(net), scalar_map, read, 1 - read))
        return True

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(z, context, inverse=True)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.inverse(z, context)[0]

    def _run(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        batch, way = x.shape[:-1], slice(None, None, -1 if inverse else 1)
        params = [p for net in self.nets[way] for p in _parameters(net, context, batch)]
        layers = tuple(self.layers[way])
        z, logdet = stack.run(planes(x, packed=False), stack.Plan(self.parts, layers, inverse), params)
        return unplanes(z, batch), logdet.view(batch)


class MaskedRows:
    """An autoregressive transform: one layer over the whole event forwards, step by step in the inverse.

    Tails after it are computed with it, and the features come out in the order of a permutation after that.
    """

    tails: LogTails | None = None
    order: Permutation | None = None

    def __init__(self, transform: Autoregressive, forward: AffineMap | SplineMap | None) -> None:
        self.transform, self.map = transform, forward
        self.solving: Any = forward or AnyMap(transform.scalar)  # without tails
        self.net: Any = transform.net  # a MADE, as make() checks

    @classmethod
    def make(cls, transform: Transform, like: Tensor) -> MaskedRows | None:
        if type(transform) is not Autoregressive or not _known(transform.net, MADE) or transform.inversion == "jacobi":
            return None
        if transform.scalar.inputs != 1:  # the steps write one number per feature
            return None
        return cls(transform, _scalar_map(transform.scalar))

    def take(self, transform: Transform) -> bool:
        """Takes in the next transform if it is the tails or a permutation; returns whether it did."""
        if self.order is not None or watched(transform):
            return False
        if type(transform) is LogTails and isinstance(self.map, AffineMap) and self.tails is None:
            self.tails, self.map = transform, self.map._replace(tails=transform.bound, far=transform.far)
            return True
        if type(transform) is Permutation and self.map is not None:
            self.order = transform
            return True
        return False

    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        transform, batch = self.transform, x.shape[:-1]
        if self.map is None:
            return transform(x, context)  # type: ignore[no-any-return]
        net: MADE = self.net
        parts = ((0, net.features, 1),)
        layer = stack.FlowLayer(_shape(net), self.map, 0, 0)
        params = _parameters(net, context, batch)
        z, logdet = stack.run(planes(x, packed=False), stack.Plan(parts, (layer,), False), params, self.order)
        return unplanes(z, batch), logdet.view(batch)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scalar, batch = self.transform.scalar, z.shape[:-1]
        if torch.is_grad_enabled() and any(p.requires_grad for p in scalar.parameters()):
            return self.transform.inverse(z, context)  # the steps give gradients only for the network's parameters
        y, log_tail = self._untailed(planes(z))
        x, log_slope = sequential(self.net, context, batch).invert(y, self.solving)
        logdet = (log_slope if log_tail is None else log_slope + log_tail).sum(0)
        return unplanes(x, batch), logdet.view(batch)

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled():
            return self.inverse(z, context)[0]
        batch, (y, _) = z.shape[:-1], self._untailed(planes(z))
        return unplanes(sequential(self.net, context, batch).solve(y, self.solving), batch)

    def _untailed(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features in the network's order, before the tails, and their log-slopes."""
        if self.order is not None:
            z = z.index_select(0, self.order.back)
        if self.tails is None or (not z.requires_grad and within(z, self.tails.bound)):
            return z, None
        return affine.inverse_log_tails(z, self.tails.bound, self.tails.far)


_SHAPES: WeakKeyDictionary[nn.Module, Shape] = WeakKeyDictionary()
_SCHEDULES: WeakKeyDictionary[nn.Module, UnitSchedule] = WeakKeyDictionary()


def _known(net: nn.Module, kind: type[Perceptron]) -> bool:
    """Whether a network is exactly of this class, with ReLU, not watched, and with plain parameters."""
    plain = type(net) is kind and net.activation == "relu" and not watched(net)
    return plain and type(net.weights) is type(net.biases) is nn.ParameterList


def _scalar_map(scalar: Scalar) -> AffineMap | SplineMap | None:
    if type(scalar) is Affine:
        return AffineMap(scalar.limit, None)
    return SplineMap(scalar.bins, scalar.bound, scalar.floor) if type(scalar) is Spline else None


def _parts(split: Split) -> tuple[tuple[int, int, int], ...] | None:
    """The kept and the moved part of an event, if they are slices."""
    if type(split) is Half:
        parts = (0, split.cut, 1), (split.cut, split.kept + split.moved, 1)
        return parts[::-1] if split.swap else parts
    if type(split) is Alternate:
        features = split.kept + split.moved
        return (split.start, features, 2), (1 - split.start, features, 2)
    return None


def _shape(net: Any) -> Shape:
    found = _SHAPES.get(net)
    if found is None or found.residual != net.residual or len(found.layers) != len(net.weights):
        if isinstance(net, MADE):
            layers = tuple(map(block_triangular, net.degrees[1:], net.degrees))
        else:
            layers = tuple(full(*weight.shape) for weight in net.weights)
        found = _SHAPES[net] = Shape(layers, isinstance(net, MADE), bool(net.residual), net.straight)
    return found


def _parameters(net: Any, context: Tensor | None, batch: Size) -> list[Tensor]:
    """Weights and biases in turn; the context enters the first bias, which is ``(units, n)`` if each event has its own
    context."""
    params = list(chain.from_iterable(zip(listed(net.weights), listed(net.biases), strict=True)))
    if net.context_weight is not None:
        context = needed(context, net.context_weight)
        if context.shape[:-1].numel() == 1:
            params[1] = F.linear(context.reshape(-1), net.context_weight, params[1])
        else:
            given = context.expand(*batch, context.shape[-1]).flatten(0, -2)
            params[1] = F.linear(given, net.context_weight, params[1]).t()
    return params


def sequential(net: MADE, context: Tensor | None, batch: Size) -> Sequential:
    schedule = _SCHEDULES.get(net)
    if schedule is None or schedule.shape is not _shape(net):
        schedule = _SCHEDULES[net] = UnitSchedule(net.degrees[:-1], net.num_params, _shape(net))
    return Sequential(schedule, _parameters(net, context, batch))


def planes(x: Tensor, *, packed: bool = True) -> Tensor:
    """``(*batch, features)`` as ``(features, n)``, contiguous if it is to be ``packed``; free if the memory is already
    feature-first."""
    if x.dim() == 2:
        return x.t().contiguous() if packed else x.t()
    return x.movedim(-1, 0).reshape(x.shape[-1], x.shape[:-1].numel()).contiguous()


def unplanes(x: Tensor, batch: Size) -> Tensor:
    """The inverse of :func:`planes`; always a view."""
    if len(batch) == 1:
        return x.t()
    return x.view(x.shape[0], *batch).movedim(0, -1)


def through(maps: Sequence[Any], x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Applies the maps in sequence."""
    total: Any = 0.0
    for each in maps:
        x, logdet = each(x, context)
        total = logdet + total
    return x, total
