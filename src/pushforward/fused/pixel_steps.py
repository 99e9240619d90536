"""The network of the autoregressive CNN, number by number: a new pixel recomputes only what it affects.

At the start of an image row, the vertical stack is run once for that row. Along the row each pixel then costs matrix
products over its own hidden units; those of the pixels to its left are cached. A whole image thus costs about the
arithmetic of one parallel pass per colour, instead of one full pass per number.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nets.pixelcnn import FIRST, PixelNet


class FusedPixelSteps:
    """The same interface as :class:`pushforward.nets.pixelcnn.PixelSteps`."""

    def __init__(self, net: PixelNet, x: Tensor, context: Tensor | None) -> None:
        self.net: Any = net
        self.context = context
        self.padded = F.pad(x, (FIRST - 1, 0, FIRST, 0))  # zeros above and to the left of the image
        hidden = net.exit.weight.shape[0]
        self.rows = [x.new_zeros(len(x), hidden, 1, x.shape[-1]) for _ in net.blocks]  # relu(v) of the row above
        self.enter, self.exit, self.head = map(_matrix, (net.enter_across, net.exit, net.head))
        self.blocks = [(_matrix(block.across), _matrix(block.mix)) for block in self.net.blocks]

    def fill(self, i: int, j: int, channel: int, value: Tensor) -> None:
        self.padded[:, channel, i + FIRST, j + FIRST - 1] = value

    def begin_row(self, i: int) -> None:
        """Runs the vertical stack for row i, and discards the cached pixels of the previous row."""
        net = self.net
        v = net.enter_above.row(self.padded[:, :, i : i + FIRST, FIRST - 1 :])
        self.given = [net.enter_link(F.relu(v)).squeeze(2)]
        for k, block in enumerate(net.blocks):
            read = F.relu(v)
            v = v + block.above.row(torch.cat([self.rows[k], read], 2))
            self.rows[k] = read
            self.given.append(block.given(v, self.context).squeeze(2))
        self.given = [g.permute(2, 0, 1).contiguous() for g in self.given]  # (W, n, channels)
        self.left = [torch.zeros_like(read[..., 0, 0]) for read in self.rows]
        self.current = self.left

    def begin_pixel(self) -> None:
        self.left = self.current

    def take(self, index: Tensor) -> None:
        self.padded, self.context = self.padded[index], None if self.context is None else self.context[index]
        self.rows, self.left = ([part[index] for part in parts] for parts in (self.rows, self.left))
        self.given = [part[:, index] for part in self.given]
        self.current = self.left

    def params(self, i: int, j: int) -> Tensor:
        window = self.padded[:, :, i + FIRST, j : j + FIRST]  # (n, C, taps)
        h = torch.addmm(self.given[0][j], window.transpose(1, 2).flatten(1), self.enter[0]) + self.enter[1]
        current = []
        for k, (across, mix) in enumerate(self.blocks):
            current.append(F.relu(h))
            seen = torch.cat([self.left[k], current[-1]], 1)
            a, b = torch.addmm(self.given[k + 1][j], seen, across[0]).add_(across[1]).chunk(2, 1)
            h = h + torch.addmm(mix[1], a.tanh() * b.sigmoid(), mix[0])
        self.current = current
        h = F.relu(torch.addmm(self.exit[1], F.relu(h), self.exit[0]))
        return self.net.split(torch.addmm(self.head[1], h, self.head[0]))


def _matrix(layer: Any) -> tuple[Tensor, Tensor]:
    """The masked weight as (taps · inputs, outputs), and the bias."""
    return (layer.weight * layer.mask).permute(2, 1, 0).flatten(0, 1).contiguous(), layer.bias
