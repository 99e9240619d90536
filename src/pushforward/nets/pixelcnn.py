"""The masked convolutional network of the autoregressive CNN: the parameters of a pixel depend on earlier pixels alone.

Earlier means: the rows above, the pixels to the left, and the preceding channels of the same pixel (red, green, blue).
Two stacks cover all of them without a blind spot: a vertical one reads the rows above, a horizontal one the current
row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one
from ..saving.config import Configurable
from .mlp import has_context, zero_

FIRST = 7  # rows, columns and taps of the first convolutions
WIDTH = 3  # columns of the later vertical ones; these see 2 rows, and the horizontal ones 2 taps along the row


class AboveConv(Configurable):
    """A convolution over the rows up to the current one, or strictly above it.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        rows: Rows seen.
        columns: Columns seen, centred; odd.
        strict: The current row is not seen, only ``rows`` rows above it.
    """

    def __init__(self, inputs: int, outputs: int, rows: int, columns: int, *, strict: bool = False) -> None:
        super().__init__()
        self.rows, self.columns, self.strict = rows, columns, strict
        layer = nn.Conv2d(inputs, outputs, (rows, columns))
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        above = self.rows if self.strict else self.rows - 1
        x = F.pad(x[..., : x.shape[-2] - self.strict, :], (0, 0, above, 0))
        return self.row(x)

    def row(self, window: Tensor) -> Tensor:
        """The last row alone, from the rows it sees: (n, inputs, rows, W) to (n, outputs, 1, W)."""
        return F.conv2d(window, self.weight, self.bias, padding=(0, self.columns // 2))


class AcrossConv(Configurable):
    """A convolution along the row over the pixels to the left and, masked by colour, the current pixel.

    Input and output channels fall into ``colours`` groups, in the order red, green, blue. At the current pixel a group
    sees the groups up to its own, or strictly before it.

    Args:
        inputs: Input channels.
        outputs: Output channels, ``copies`` times over the groups.
        taps: Pixels seen, including the current one.
        colours: Colour channels of the image.
        strict: A group does not see its own colour at the current pixel.
        copies: How often the groups repeat among the outputs (gates have 2).

    Raises:
        ValueError: there are fewer channels than colours.
    """

    mask: Tensor

    def __init__(
        self, inputs: int, outputs: int, taps: int, colours: int, *, strict: bool = False, copies: int = 1
    ) -> None:
        super().__init__()
        if min(inputs, outputs // copies) < colours:
            raise ValueError(
                f"hidden must be at least the {colours} colour channels, got {inputs} and {outputs} channels"
            )
        layer = nn.Conv2d(inputs, outputs, (1, taps))
        self.weight, self.bias = nn.Parameter(layer.weight.detach().squeeze(2)), layer.bias  # (outputs, inputs, taps)
        reads = groups(inputs, colours)
        writes = groups(outputs // copies, colours).repeat(copies)
        mask = torch.ones(outputs, inputs, taps)
        mask[..., -1] = (writes[:, None] > reads) if strict else (writes[:, None] >= reads)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.mask
        return F.conv2d(F.pad(x, (weight.shape[-1] - 1, 0)), weight[:, :, None], self.bias)


def groups(channels: int, colours: int) -> Tensor:
    """The colour of each channel, in order: 0 … 0, 1 … 1, 2 … 2."""
    return torch.arange(channels) * colours // channels


class Block(Configurable):
    r"""One residual step of both stacks: v sees the rows above, h the current row and v.

    .. math:: v' = v + A\,\mathrm{relu}(v),\quad (a, b) = C\,\mathrm{relu}(h) + L\,\mathrm{relu}(v') + K c,\quad
              h' = h + M(\tanh a \odot \mathrm{sigmoid}\, b)

    Args:
        hidden: Channels of each stack.
        colours: Colour channels of the image.
        context: Features of the context c, 0 for none.
    """

    def __init__(self, hidden: int, colours: int, context: int) -> None:
        super().__init__()
        self.above = AboveConv(hidden, hidden, 2, WIDTH)
        self.across = AcrossConv(hidden, 2 * hidden, 2, colours, copies=2)
        self.link = nn.Conv2d(hidden, 2 * hidden, 1, bias=False)
        self.context = nn.Linear(context, 2 * hidden, bias=False) if has_context(context) else None
        self.mix = AcrossConv(hidden, hidden, 1, colours)

    def forward(self, v: Tensor, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        v = v + self.above(F.relu(v))
        a, b = (self.across(F.relu(h)) + self.given(v, context)).chunk(2, 1)
        return v, h + self.mix(a.tanh() * b.sigmoid())

    def given(self, v: Tensor, context: Tensor | None) -> Tensor:
        """The contribution of the rows above and the context to the horizontal stack, (n, 2 · hidden, rows, W)."""
        link = self.link(F.relu(v))
        return link if self.context is None else link + self.context(context)[..., None, None]


class PixelNet(Configurable):
    r"""Maps images in [-1, 1], ``(n, C, H, W)``, to parameters ``(num_params, n, C, H, W)``, in one pass.

    The parameters of a number depend only on earlier numbers and the context. They start at exactly zero.

    Args:
        colours: C, the channels of the image.
        num_params: Parameters for each number.
        hidden: Channels of each of the two stacks.
        layers: Residual blocks.
        context: Features of the context, 0 for none.

    Raises:
        ValueError: a size is below 1, or ``hidden`` below the colours.

    Reference:
        van den Oord, Kalchbrenner, Kavukcuoglu (2016), arXiv:1601.06759; van den Oord et al. (2016), Conditional image
        generation with PixelCNN decoders, arXiv:1606.05328. Lecture: "Autoregressive CNN".
    """

    def __init__(self, colours: int, num_params: int, *, hidden: int = 64, layers: int = 8, context: int = 0) -> None:
        super().__init__()
        at_least_one(hidden=hidden, layers=layers, channels=colours)
        self.colours, self.num_params = colours, num_params
        self.enter_above = AboveConv(colours, hidden, FIRST, FIRST, strict=True)
        self.enter_across = AcrossConv(colours, hidden, FIRST, colours, strict=True)
        self.enter_link = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.blocks = nn.ModuleList(Block(hidden, colours, context) for _ in range(layers))
        self.exit = AcrossConv(hidden, hidden, 1, colours)
        self.head = AcrossConv(hidden, num_params * colours, 1, colours)  # colours outermost: all of red first
        zero_(self.head)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        v = self.enter_above(x)
        h = self.enter_across(x) + self.enter_link(F.relu(v))
        for block in self.blocks:
            v, h = block(v, h, context)
        return self.split(self.head(F.relu(self.exit(F.relu(h)))))

    def split(self, out: Tensor) -> Tensor:
        """(n, C · num_params, ...) to (num_params, n, C, ...)."""
        return out.unflatten(1, (self.colours, self.num_params)).movedim(2, 0)


class PixelSteps:
    """Computes the parameters of one number at a time, in raster order: here by a pass of the whole network for each.

    Args:
        net: The network.
        x: The images being filled, ``(n, C, H, W)`` in [-1, 1]; read only where already filled.
        context: ``(n, features)`` or None.
    """

    def __init__(self, net: PixelNet, x: Tensor, context: Tensor | None) -> None:
        self.net, self.x, self.context = net, x.clone(), context

    def begin_row(self, i: int) -> None:
        """To be called before the pixels of row i."""

    def begin_pixel(self) -> None:
        """Advances to the next pixel of the row."""

    def params(self, i: int, j: int) -> Tensor:
        """Parameters (num_params, n, C) of pixel (i, j), valid for every colour whose predecessors are known."""
        return self.net(self.x[:, :, : i + 1], self.context)[..., i, j]  # type: ignore[no-any-return]

    def fill(self, i: int, j: int, channel: int, value: Tensor) -> None:
        """Writes the number at row i, column j."""
        self.x[:, channel, i, j] = value

    def take(self, index: Tensor) -> None:
        """Continues with the images at these indices, which may repeat; to be called between two pixels of a row."""
        self.x, self.context = self.x[index], None if self.context is None else self.context[index]


def as_batch(x: Tensor, context: Tensor | None, event_dim: int = 3) -> tuple[Tensor, Tensor | None, Sequence[int]]:
    """x and the context with a single batch dimension, and the original batch shape."""
    batch = x.shape[: x.dim() - event_dim]
    if context is not None:
        context = context.expand(*batch, context.shape[-1]).unsqueeze(0).flatten(0, -2)
    return x.unsqueeze(0).flatten(0, -event_dim - 1), context, batch
