"""Keys and values of attention at the positions that are done: sampling computes each position once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics.torch_internals import transformed


class KeyValueCache:
    """What the layers of a transformer keep: 2 · positions · width numbers for an event and a layer.

    Args:
        positions: How many positions there can be.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.layers: list[LayerCache] = []

    def layer(self, number: int) -> LayerCache:
        """The cache of one layer; layers are asked for in order."""
        if number == len(self.layers):
            self.layers.append(LayerCache(self.positions))
        return self.layers[number]


class LayerCache:
    """Keys and values of one layer, ``(n, heads, positions, d)``: written in place, or joined anew where gradients or
    ``torch.func`` have to go through them."""

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.known: tuple[Tensor, Tensor] | None = None

    def put(self, k: Tensor, v: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Takes those of the positions from ``start`` on, and gives those of all positions up to them."""
        end = start + k.shape[-2]
        if torch.is_grad_enabled() or transformed():
            if self.known is not None and start:
                k, v = (torch.cat([old[..., :start, :], new], -2) for old, new in zip(self.known, (k, v), strict=True))
            self.known = k, v
            return k, v
        if self.known is None:
            shape = (*k.shape[:-2], self.positions, k.shape[-1])
            self.known = k.new_empty(shape), v.new_empty(shape)
        for kept, new in zip(self.known, (k, v), strict=True):
            kept[..., start:end, :] = new
        return self.known[0][..., :end, :], self.known[1][..., :end, :]
