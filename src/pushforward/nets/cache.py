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
    """Keys and values of one layer, ``(2, n, heads, positions, d)``: written in place, or joined anew where gradients
    or ``torch.func`` have to go through them."""

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.known: Tensor | None = None

    def put(self, new: Tensor, start: int) -> Tensor:
        """Takes those of the positions from ``start`` on, and gives those of all positions up to them."""
        if torch.is_grad_enabled() or transformed():
            known = new if self.known is None or not start else torch.cat([self.known[..., :start, :], new], -2)
            self.known = known
            return known
        if self.known is None:
            self.known = new.new_empty(*new.shape[:-2], self.positions, new.shape[-1])
        end = start + new.shape[-2]
        self.known[..., start:end, :] = new
        return self.known[..., :end, :]
