"""The plain parameter network of couplings: a multi-layer perceptron with a context and parameters-first output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..described import Described


class MLP(Described):
    """Maps ``(*batch, inputs)`` and a context to ``(num_params, *batch, outputs)``; starts at exactly zero.

    The context enters the first layer through weights of its own, so it may have any shape that broadcasts against
    the batch. With no inputs at all the result depends on the context alone, or is a free constant.

    Args:
        inputs: Features that are read; may be 0.
        outputs: Features that get parameters.
        num_params: Parameters for each of them.
        context: Features of the context.
        hidden: Widths of the hidden layers.

    Raises:
        ValueError: a width is below 1.
    """

    def __init__(
        self, inputs: int, outputs: int, num_params: int, *, context: int = 0, hidden: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__()
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden layers must have at least 1 unit each, got hidden={tuple(hidden)}")
        self.outputs, self.num_params = outputs, num_params
        widths = [inputs, *hidden, outputs * num_params]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.weights = nn.ParameterList(_uniform(b, a) for a, b in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for _, b in pairs)
        self.context_weight = _uniform(widths[1], context) if context else None
        with torch.no_grad():
            self.weights[-1].zero_()
            if len(widths) == 2 and self.context_weight is not None:
                self.context_weight.zero_()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = F.linear(x, self.weights[0], self.biases[0])
        if self.context_weight is not None:
            h = h + F.linear(context, self.context_weight)
        for k in range(1, len(self.weights)):  # indices, not slices: torch.export cannot slice a ParameterList
            h = F.linear(F.relu(h), self.weights[k], self.biases[k])
        return h.unflatten(-1, (self.num_params, self.outputs)).movedim(-2, 0)


def _uniform(rows: int, columns: int) -> nn.Parameter:
    """PyTorch's own default for linear layers: uniform within 1/sqrt(fan-in)."""
    bound = columns**-0.5 if columns else 0.0
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
