"""A category whose logits are its context, scaled and shifted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .base import Density, Generator
from .conditional import category_log_prob, draw_index

STEPS = 50


class Softmax(Density):
    r"""A category given scores of its values, which may be too sure or biased.

    .. math:: p(k \mid c) \propto \exp(a\, c_k + b_k)

    A code outside 0 … ``classes`` - 1 has probability 0.

    Args:
        classes: Number of values, the same as that of context features.

    Reference:
        Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, arXiv:1706.04599.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.event_shape, self.context_features, self.classes = torch.Size((1,)), classes, classes
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(classes))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(0, self.classes - 1), 1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats, of shape ``(*batch,)``."""
        x, context = self._check(x, context)
        code = x[..., 0]
        return category_log_prob(code, self._logits(context).expand(*code.shape, -1).movedim(-1, 0))

    def fit(self, x: Tensor, context: Tensor, weight: Tensor, prior: float = 1.0) -> Softmax:
        """Maximises the likelihood of rows, with so many pseudo-rows for a = 1 and b = 0; returns itself.

        Args:
            x: Codes, ``(n, 1)``.
            context: Their scores, ``(n, classes)``.
            weight: The weight of each row, ``(n,)``.
            prior: Pseudo-rows.
        """
        optimizer = torch.optim.LBFGS(self.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            away = (self.scale - 1).square() + self.shift.square().sum()
            value = (prior * away - (self.log_prob(x, context) * weight).sum()) / weight.sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        return self

    def _promoted(self, value: Tensor, name: str) -> Tensor:
        return value if name == "x" else super()._promoted(value, name)  # codes are whole in any dtype

    def _logits(self, context: Tensor | None) -> Tensor:
        assert context is not None
        return self.scale * context + self.shift

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        logits = (self._logits(context) / temperature).expand(*batch, -1).movedim(-1, 0)
        return draw_index(logits, generator).to(logits.dtype)[..., None]
