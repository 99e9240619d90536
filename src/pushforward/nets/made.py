"""MADE: a perceptron with masks, so that the parameters of feature j see only the features before j and the context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..described import Described
from .mlp import _uniform


class MADE(Described):
    r"""Maps ``(*batch, features)`` and a context to parameters ``(num_params, *batch, features)``, masked.

    Every unit has a degree; it reads units of at most its own degree, and the parameters of the feature of rank j read
    hidden units of degree below j. Units are sorted by degree, so every mask is block lower triangular. The context
    has degree 0 and reaches every output. Starts at exactly zero.

    Args:
        features: Features of a row, in their natural order.
        num_params: Parameters for each feature.
        context: Features of the context.
        hidden: Widths of the hidden layers; each must hold every degree.

    Raises:
        ValueError: ``features`` is below 1, or a hidden layer is too narrow to see every feature.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509. Lecture: "Autoregressive MLP".
    """

    def __init__(
        self, features: int, num_params: int, *, context: int = 0, hidden: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1, got features={features}")
        lowest = 0 if context else 1
        needed = features - lowest
        if min(hidden, default=needed) < max(needed, 1):
            raise ValueError(
                f"hidden={tuple(hidden)} is too narrow: with features={features} and context={context} every hidden "
                f"layer needs at least {max(needed, 1)} units, or some features would silently be ignored"
            )
        self.features, self.num_params = features, num_params
        degrees = [torch.arange(1, features + 1)]
        degrees += [torch.arange(n).mul(needed).div(n, rounding_mode="floor") + lowest if needed else torch.zeros(n, dtype=torch.long) for n in hidden]
        degrees.append(torch.arange(features).repeat(num_params))
        pairs = list(zip(degrees, degrees[1:], strict=False))
        self.weights = nn.ParameterList(_uniform(len(b), len(a)) for a, b in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(b))) for _, b in pairs)
        self.context_weight = _uniform(len(degrees[1]), context) if context else None
        for k, (a, b) in enumerate(pairs):
            self.register_buffer(f"mask_{k}", (b[:, None] >= a[None, :]).float(), persistent=False)
        with torch.no_grad():
            self.weights[-1].zero_()
            if len(pairs) == 1 and self.context_weight is not None:
                self.context_weight.zero_()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = F.linear(x, self.weights[0] * self.mask_0, self.biases[0])
        if self.context_weight is not None:
            h = h + F.linear(context, self.context_weight)
        for k in range(1, len(self.weights)):
            h = F.linear(F.relu(h), self.weights[k] * getattr(self, f"mask_{k}"), self.biases[k])
        return h.unflatten(-1, (self.num_params, self.features)).movedim(-2, 0)
