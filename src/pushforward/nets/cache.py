"""Attention keys and values of finished positions: sampling computes each position once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics.torch_internals import transformed


class KeyValueCache:
    """The cache of a transformer: 2 · positions · width numbers per event and layer.

    Args:
        positions: The largest number of positions.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.layers: list[LayerCache] = []

    def layer(self, number: int) -> LayerCache:
        """The cache of one layer; layers are requested in order."""
        if number == len(self.layers):
            self.layers.append(LayerCache(self.positions))
        return self.layers[number]


class LayerCache:
    """Keys and values of one layer, ``(2, n, heads, positions, d)``: written in place, or concatenated anew if
    gradients or ``torch.func`` must pass through them."""

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.known: Tensor | None = None

    def put(self, new: Tensor, start: int) -> Tensor:
        """Stores those of the positions from ``start`` on, and returns those of all positions so far."""
        if torch.is_grad_enabled() or transformed():
            known = new if self.known is None or not start else torch.cat([self.known[..., :start, :], new], -2)
            self.known = known
            return known
        if self.known is None:
            self.known = new.new_empty(*new.shape[:-2], self.positions, new.shape[-1])
        end = start + new.shape[-2]
        self.known[..., start:end, :] = new
        return self.known[..., :end, :]
