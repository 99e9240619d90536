"""The network of any-order models: it reads some entries and which they are, and describes all the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import at_least_one
from ..saving.config import Configurable
from .mlp import has_context, needed, uniform

PART = 1024  # columns whose hidden units are held at once, without gradients: they stay in the processor's cache


class SubsetNet(Configurable):
    r"""A residual network from the known entries to the parameters of any unknown entry.

    .. math:: h_0 = W_0\,[x \odot m,\, m] + W_c\,c + b_0,\quad
              h_{k+1} = h_k + B_k \max(A_k \max(h_k, 0) + a_k, 0) + b_k,\quad \theta_j = H_j \max(h, 0) + \beta_j

    A number is read as its value and 1, a category as its indicators, and unknown entries as zeros. The heads
    :math:`H_j` start at zero. The batch is the last dimension everywhere.

    Args:
        inputs: For every entry, how many numbers represent it.
        outputs: For every entry, its number of parameters.
        context: Features of the context.
        hidden: Width of the network, then the widths of the inner layers of each residual block.
        layers: Residual blocks.

    Raises:
        ValueError: a size is below 1.

    Reference:
        He et al. (2016), arXiv:1603.05027; Uria, Murray, Larochelle (2014), A deep and tractable density estimator,
        arXiv:1310.1757.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        context: int = 0,
        hidden: Sequence[int] = (128, 128),
        layers: int = 2,
    ) -> None:
        super().__init__()
        hidden = tuple(hidden)
        at_least_one(entries=len(inputs), inputs=inputs, outputs=outputs, hidden=hidden, layers=layers)
        if not hidden:
            raise ValueError("hidden is empty: give the width of the network first")
        width, inner = hidden[0], hidden[1:] or hidden
        self.blocks = [[*inner, width]] * layers
        self.rows = [range(sum(outputs[:j]), sum(outputs[: j + 1])) for j in range(len(outputs))]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self._add(width, sum(inputs))
        for sizes in self.blocks:
            for rows, columns in zip(sizes, [width, *sizes], strict=False):
                self._add(rows, columns)
        self._add(sum(outputs), width, zero=True)
        self.context_weight = uniform(width, context) if has_context(context) else None

    def _add(self, rows: int, columns: int, *, zero: bool = False) -> None:
        self.weights.append(uniform(rows, columns, zero=zero))
        self.biases.append(nn.Parameter(torch.zeros(rows)))

    def forward(self, read: Tensor, context: Tensor | None = None) -> Tensor:
        """The hidden units that the heads read, ``(width, n)``.

        Args:
            read: The entries as network inputs, zero where unknown, ``(sum of inputs, n)``.
            context: ``(n, context features)`` or None.
        """
        if read.shape[1] <= PART or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._units(read, context, self.weights, self.biases)
        given = repeat(None) if context is None else context.split(PART)
        matrices = list(self.weights), list(self.biases)  # of which each look-up would take as long as an operator
        parts = zip(read.split(PART, 1), given, strict=False)
        return torch.cat([self._units(*part, *matrices) for part in parts], 1)

    def _units(self, read: Tensor, context: Tensor | None, weights: Any, biases: Any) -> Tensor:
        h = torch.addmm(biases[0][:, None], weights[0], read)
        if self.context_weight is not None:
            h = torch.addmm(h, self.context_weight, needed(context, self.context_weight).t())
        k = 1
        for sizes in self.blocks:
            change = h
            for _ in sizes:
                change = torch.addmm(biases[k][:, None], weights[k], change.relu())
                k += 1
            h = h + change
        return F.relu(h)

    def params(self, h: Tensor, entry: int | None = None) -> Tensor:
        """The parameters of one entry, or of all of them in turn: ``(parameters, n)``."""
        weight, bias = self.weights[-1], self.biases[-1]
        if entry is not None:
            rows = self.rows[entry]
            weight, bias = weight[rows.start : rows.stop], bias[rows.start : rows.stop]
        return torch.addmm(bias[:, None], weight, h)
